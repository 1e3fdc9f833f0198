//! The `nodetool` command: an operator's view of a cluster, over the admin HTTP of one node.
//!
//! [`args`] names the verbs, [`http`] asks, [`render`] prints for people; `--format json` prints what the node
//! answered. Exit status: 0 done, 1 the operation failed, 2 wrong usage. It starts in milliseconds: one
//! current-thread runtime, one connection, nothing else.

mod args;
mod hints;
mod http;
mod offline;
mod render;
mod repair;

use anyhow::{Context, bail};
use args::{Cli, Format, HintsVerb, Verb};
use clap::Parser;
use dunlin_terminal::{Output, Unwritten};
use http::Admin;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often the progress of a long task is asked for.
const POLL_EVERY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(&cli)));
    dunlin_terminal::finish("nodetool", done.map(|()| ExitCode::SUCCESS))
}

/// Carries the verb out and prints what it gives.
async fn run(cli: &Cli) -> anyhow::Result<()> {
    if let Verb::Restore { name, data_dir } = &cli.verb {
        return Ok(write(&print(cli, &offline::restore(data_dir, name)?)?)?);
    }
    if let Verb::Scrub { data_dir: Some(data_dir), .. } = &cli.verb {
        return Ok(write(&print(cli, &offline::scrub(data_dir)?)?)?);
    }
    let mut admin = Admin::connect(&cli.host, cli.port).await?;
    let json = cli.format == Format::Json;
    let answer = match &cli.verb {
        Verb::Status
        | Verb::Info
        | Verb::Describecluster
        | Verb::Gossipinfo
        | Verb::Version
        | Verb::Layout
        | Verb::Netstats
        | Verb::Tpstats
        | Verb::Compactionstats
        | Verb::Tablestats
        | Verb::Listsnapshots
        | Verb::Ring => admin.get(&format!("/api/v1/{}", cli.verb.name())).await?,
        Verb::Getendpoints { keyspace, table, key } | Verb::Getsstables { keyspace, table, key } => {
            let query = format!(
                "keyspace={}&table={}&key={}",
                http::escape(keyspace),
                http::escape(table),
                http::escape(key)
            );
            admin.get(&format!("/api/v1/{}?{query}", cli.verb.name())).await?
        }
        Verb::Hints { verb } => hints::run(&mut admin, verb).await?,
        Verb::Listpendinghints => hints::run(&mut admin, &HintsVerb::List).await?,
        Verb::Flush { keyspace, table } => {
            admin.post(&format!("/api/v1/flush{}", scope(keyspace.as_deref(), table.as_deref()))).await?
        }
        Verb::Compact { keyspace, table }
        | Verb::Verify { keyspace, table }
        | Verb::Scrub { keyspace, table, .. }
        | Verb::Cleanup { keyspace, table } => {
            let scope = scope(keyspace.as_deref(), table.as_deref());
            task(&mut admin, &format!("/api/v1/{}{scope}", cli.verb.name()), json).await?
        }
        Verb::Snapshot { name } => {
            let query = name.as_ref().map(|n| format!("?name={}", http::escape(n))).unwrap_or_default();
            admin.post(&format!("/api/v1/snapshot{query}")).await?
        }
        Verb::Clearsnapshot { name, .. } => {
            let which = name.as_ref().map_or("all=true".to_owned(), |n| format!("name={}", http::escape(n)));
            admin.post(&format!("/api/v1/clearsnapshot?{which}")).await?
        }
        Verb::Restore { .. } => bail!("restore works on the directory of a stopped node"),
        Verb::Repair(what) => repair::run(&mut admin, what, json).await?,
        Verb::Tombstones { keyspace, table } => {
            admin.get(&format!("/api/v1/tombstones{}", scope(keyspace.as_deref(), table.as_deref()))).await?
        }
        Verb::Drain | Verb::Decommission => admin.post(&format!("/api/v1/{}", cli.verb.name())).await?,
        Verb::Removenode { host_id, force } => {
            let force = if *force { "&force=true" } else { "" };
            admin.post(&format!("/api/v1/removenode?host={}{force}", http::escape(host_id))).await?
        }
        Verb::Abort { host_id } => {
            admin.post(&format!("/api/v1/abort?host={}", http::escape(host_id))).await?
        }
    };
    write(&print(cli, &answer)?)?;
    if matches!(cli.verb, Verb::Verify { .. }) && answer["damaged_places"] != 0 {
        bail!("there is damage: run `nodetool scrub` on this node, the other replicas have the data");
    }
    Ok(())
}

fn write(text: &str) -> Result<(), Unwritten> {
    let mut out = Output::new();
    out.write(text.as_bytes())?;
    out.flush()
}

fn print(cli: &Cli, answer: &Value) -> anyhow::Result<String> {
    Ok(match cli.format {
        Format::Json => format!("{answer:#}\n"),
        Format::Text => render::text(&cli.verb, answer),
    })
}

/// Starts what may take hours and stays with it to its end, with a bar on a terminal. Its result.
async fn task(admin: &mut Admin, path: &str, json: bool) -> anyhow::Result<Value> {
    let mut state = admin.post(path).await?;
    let id = state["id"].as_u64().context("the node named no task")?;
    let bar = indicatif::ProgressBar::with_draw_target(
        None,
        if json { indicatif::ProgressDrawTarget::hidden() } else { indicatif::ProgressDrawTarget::stderr() },
    );
    let style = "{spinner} {msg} {bytes}/{total_bytes} {bar:30}";
    bar.set_style(indicatif::ProgressStyle::with_template(style).context("the bar's template")?);
    while state["running"] == true {
        bar.set_length(state["bytes_total"].as_u64().unwrap_or(0));
        bar.set_position(state["bytes_done"].as_u64().unwrap_or(0));
        bar.set_message(state["table"].as_str().unwrap_or_default().to_owned());
        bar.tick();
        sleep().await;
        state = admin.get(&format!("/api/v1/task?id={id}")).await?;
    }
    bar.finish_and_clear();
    if let Some(error) = state["error"].as_str() {
        bail!("{} failed: {error}", state["verb"].as_str().unwrap_or("the task"));
    }
    Ok(state["result"].take())
}

fn scope(keyspace: Option<&str>, table: Option<&str>) -> String {
    let mut query = String::new();
    for (name, value) in [("keyspace", keyspace), ("table", table)] {
        if let Some(value) = value {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&format!("{name}={}", http::escape(value)));
        }
    }
    query
}

#[allow(clippy::disallowed_methods, reason = "an edge: a command line waits in real time")]
async fn sleep() {
    tokio::time::sleep(POLL_EVERY).await;
}
