//! The `nodetool` command: an operator's view of a cluster, over the admin HTTP of one node.
//!
//! [`args`] names the verbs, [`http`] asks, [`render`] prints for people; `--format json` prints what the node
//! answered. Exit status: 0 done, 1 the operation failed, 2 wrong usage. It starts in milliseconds: one
//! current-thread runtime, one connection, nothing else.

// A closed pipe or a full disk must not end in a panic: `dunlin_terminal::say!`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod hints;
mod http;
mod offline;
mod place;
mod render;
mod repair;

use anyhow::{Context, bail};
use args::{Cli, HintsVerb, Verb};
use clap::CommandFactory;
use dunlin_terminal::{Format, Output, Progress, Unwritten};
use http::{Admin, POLL_EVERY};
use place::Place;
use serde_json::Value;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli: Cli = match dunlin_terminal::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(&cli)));
    dunlin_terminal::finish_as("nodetool", cli.format, done.map(|()| ExitCode::SUCCESS))
}

/// Carries the verb out and prints what it gives.
async fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.verb {
        Verb::Restore { name, data_dir } => {
            return Ok(write(print(cli, &offline::restore(data_dir, name)?).as_bytes())?);
        }
        Verb::Scrub { data_dir: Some(data_dir), .. } => {
            return Ok(write(print(cli, &offline::scrub(data_dir)?).as_bytes())?);
        }
        Verb::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "nodetool", &mut text);
            return Ok(write(&text)?);
        }
        _ => {}
    }
    let place = Place::named(cli.host.as_deref(), cli.port)?;
    let mut admin = Admin::connect(&place, cli.timeout).await?;
    let mut progress = match cli.format {
        Format::Text => Progress::start(),
        Format::Json => Progress::silent(),
    };
    let answer = ask(cli, &mut admin, &mut progress).await?;
    drop(progress);
    write(print(cli, &answer).as_bytes())?;
    if matches!(cli.verb, Verb::Verify { .. }) && answer["damaged_places"] != 0 {
        bail!("there is damage: run `nodetool scrub` on this node, the other replicas have the data");
    }
    Ok(())
}

/// What the node answers to the verb.
async fn ask(cli: &Cli, admin: &mut Admin, progress: &mut Progress) -> anyhow::Result<Value> {
    Ok(match &cli.verb {
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
        Verb::Hints { verb } => {
            hints::run(admin, verb.as_ref().unwrap_or(&HintsVerb::List), progress).await?
        }
        Verb::Listpendinghints => hints::run(admin, &HintsVerb::List, progress).await?,
        Verb::Flush { keyspace, table } => {
            let scope = scope(keyspace.as_deref(), table.as_deref());
            admin.work(&format!("/api/v1/flush{scope}"), progress).await?
        }
        Verb::Compact { keyspace, table }
        | Verb::Verify { keyspace, table }
        | Verb::Scrub { keyspace, table, .. }
        | Verb::Cleanup { keyspace, table } => {
            let scope = scope(keyspace.as_deref(), table.as_deref());
            task(admin, &format!("/api/v1/{}{scope}", cli.verb.name()), progress).await?
        }
        Verb::Snapshot { name } => {
            let query = name.as_ref().map(|n| format!("?name={}", http::escape(n))).unwrap_or_default();
            admin.work(&format!("/api/v1/snapshot{query}"), progress).await?
        }
        Verb::Clearsnapshot { name, .. } => {
            let which = name.as_ref().map_or("all=true".to_owned(), |n| format!("name={}", http::escape(n)));
            admin.work(&format!("/api/v1/clearsnapshot?{which}"), progress).await?
        }
        Verb::Restore { .. } | Verb::Completions { .. } => bail!("{} asks no node", cli.verb.name()),
        Verb::Repair(what) => repair::run(admin, what, progress).await?,
        Verb::Tombstones { keyspace, table } => {
            admin.get(&format!("/api/v1/tombstones{}", scope(keyspace.as_deref(), table.as_deref()))).await?
        }
        Verb::Drain => admin.work("/api/v1/drain", progress).await?,
        Verb::Decommission => admin.post("/api/v1/decommission").await?,
        Verb::Removenode { host_id, force } => {
            let force = if *force { "&force=true" } else { "" };
            admin.post(&format!("/api/v1/removenode?host={}{force}", http::escape(host_id))).await?
        }
        Verb::Abort { host_id } => {
            admin.post(&format!("/api/v1/abort?host={}", http::escape(host_id))).await?
        }
    })
}

fn write(text: &[u8]) -> Result<(), Unwritten> {
    let mut out = Output::new();
    out.write(text)?;
    out.flush()
}

fn print(cli: &Cli, answer: &Value) -> String {
    match cli.format {
        Format::Json => format!("{answer:#}\n"),
        Format::Text => render::text(&cli.verb, answer),
    }
}

/// Starts what may take hours, says how far it is, and stays with it to its end. Its result.
async fn task(admin: &mut Admin, path: &str, progress: &mut Progress) -> anyhow::Result<Value> {
    let mut state = admin.post(path).await?;
    let id = state["id"].as_u64().context("the node named no task")?;
    let verb = state["verb"].as_str().unwrap_or("the task").to_owned();
    while state["running"] == true {
        let number = |name: &str| state[name].as_u64().unwrap_or(0);
        let (done, total) = (number("bytes_done"), number("bytes_total"));
        let table = state["table"].as_str().unwrap_or_default();
        let far = format!("{verb} {table}: {} of {}", render::size(done), render::size(total));
        progress.show(&far, (total > 0).then(|| done as f64 / total as f64));
        sleep().await;
        if admin.is_late() {
            bail!(
                "{verb} is not done within --timeout; it goes on, and `nodetool compactionstats` shows how far it is"
            );
        }
        state = admin.look(&format!("/api/v1/task?id={id}")).await?;
    }
    if let Some(error) = state["error"].as_str() {
        bail!("{verb} failed: {error}");
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
