//! `dunlin local`: a whole cluster of real node processes on loopback.
//!
//! [`plan`] decides names, addresses and files; [`process`] starts and stops one node; [`signals`] say when it is over; this
//! file waits until the cluster is whole and then for the end. The nodes never outlive this process: each holds the other
//! end of a pipe and drains when that closes.

#![allow(clippy::disallowed_methods, reason = "an edge: starts processes and waits in real time")]

mod plan;
mod process;
mod signals;

use crate::admin;
use crate::args::LocalArgs;
use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use dunlin_terminal::{Progress, complain, say};
use plan::{NodePlan, Plan};
use process::NodeProcess;
use signals::Signals;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longest wait for the cluster to become whole.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longest wait for nodes of an earlier start that are ending.
const LEFTOVERS_WITHIN: Duration = Duration::from_secs(20);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the nodes, prints them and `ready`, then stays until Ctrl-C, SIGTERM, a closed terminal, or the death of all of
/// them. That nobody reads what it prints is no reason to end.
pub async fn run(args: LocalArgs) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut signals = Signals::new()?;
    let plan = Plan::make(&args)?;
    let _alone = plan.lock()?;
    let mut nodes = Vec::new();
    let lived = tokio::select! {
        biased;
        () = signals.told() => Ok(()),
        lived = live(&plan, &mut nodes, began) => lived,
    };
    let alive = nodes.iter().filter(|node| node.pid().is_some()).count();
    if lived.is_ok() && alive > 0 {
        complain!("stopping {alive} node{} (Ctrl-C again kills)", if alive == 1 { "" } else { "s" });
    }
    let clean = process::stop_all(&mut nodes, signals.told()).await;
    lived?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the cluster and stays with it while a node lives.
async fn live(plan: &Plan, nodes: &mut Vec<NodeProcess>, began: Instant) -> anyhow::Result<()> {
    let mut progress = Progress::start();
    progress.show("waiting for the nodes of an earlier start to end", None);
    room(plan).await?;
    plan.write_files()?;
    for node in &plan.nodes {
        nodes.push(NodeProcess::start(node)?);
    }
    wait_until_whole(plan, nodes, &mut progress).await?;
    drop(progress);
    tell(&format!("{}\nready", table(plan, nodes, began.elapsed())));

    let mut alive = nodes.len();
    let mut check = tokio::time::interval(Duration::from_millis(200));
    while alive > 0 {
        check.tick().await;
        for (node, process) in plan.nodes.iter().zip(nodes.iter_mut()) {
            if let Some(how) = process.newly_dead() {
                alive -= 1;
                tell(&format!(
                    "{} ended ({how}); the others go on. Its log: {}\nstart it again with: {} server --config {}",
                    node.name,
                    node.log_file().display(),
                    own_name(),
                    node.config_file().display()
                ));
            }
        }
    }
    bail!("every node has ended; their logs are below {}", plan.dir.display())
}

/// Says it to whoever listens.
fn tell(text: &str) {
    if let Err(error) = say!("{text}")
        && !error.reader_is_gone()
    {
        complain!("dunlin local: {error}");
    }
}

/// Returns when ports and directories are free: nodes whose launcher was killed take a moment to drain.
async fn room(plan: &Plan) -> anyhow::Result<()> {
    let until = Instant::now() + LEFTOVERS_WITHIN;
    loop {
        let (held, ports) = (plan.held(), plan.check_ports());
        match (held, ports) {
            (None, ports) => return ports,
            (Some(node), _) if Instant::now() >= until => bail!(
                "a process uses {}: stop it first (a node that was started by hand?)",
                node.data_dir().display()
            ),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn own_name() -> String {
    std::env::args().next().unwrap_or_else(|| "dunlin".to_owned())
}

/// Every node is ready, and every node sees every node up in one layout.
async fn wait_until_whole(
    plan: &Plan,
    nodes: &mut [NodeProcess],
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    let mut missing = String::new();
    while Instant::now() < deadline {
        for (node, process) in plan.nodes.iter().zip(nodes.iter_mut()) {
            if let Some(how) = process.newly_dead() {
                bail!("{} ended while starting ({how}):\n{}", node.name, process::log_tail(&node.log_file()));
            }
        }
        match first_missing(plan).await {
            None => return Ok(()),
            Some(what) => missing = what,
        }
        progress.show(&format!("starting {} nodes: {missing}", nodes.len()), None);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    bail!(
        "the cluster is not whole after {} s: {missing}; logs are below {}",
        READY_WITHIN.as_secs(),
        plan.dir.display()
    )
}

/// What is not there yet, or nothing.
async fn first_missing(plan: &Plan) -> Option<String> {
    for node in &plan.nodes {
        match admin::get(node.admin, "/health/ready", ASK_TIMEOUT).await {
            Ok((200, _)) => {}
            Ok((status, body)) => {
                return Some(format!(
                    "{} is not ready ({status}: {})",
                    node.name,
                    String::from_utf8_lossy(&body).trim()
                ));
            }
            Err(error) => return Some(format!("{}: {error:#}", node.name)),
        }
    }
    for node in &plan.nodes {
        match sees(node).await {
            Ok(up) if up >= plan.nodes.len() => {}
            Ok(up) => {
                return Some(format!("{} sees {up} of {} nodes joined and up", node.name, plan.nodes.len()));
            }
            Err(error) => return Some(format!("{}: {error:#}", node.name)),
        }
    }
    None
}

/// How many nodes a node sees joined and up; none of them while a layout is in transition.
async fn sees(node: &NodePlan) -> anyhow::Result<usize> {
    let status = admin::get_json(node.admin, "/api/v1/status", ASK_TIMEOUT).await?;
    if status["layout"]["active"].as_u64().unwrap_or(1) > 1 {
        return Ok(0);
    }
    let nodes = status["nodes"].as_array().context("status names no nodes")?;
    Ok(nodes
        .iter()
        .filter(|n| n["up"] == true && n["state"].as_str().is_some_and(|s| s.eq_ignore_ascii_case("normal")))
        .count())
}

fn table(plan: &Plan, nodes: &[NodeProcess], took: Duration) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["node", "client", "internode", "admin", "pid", "files"]);
    for (node, process) in plan.nodes.iter().zip(nodes) {
        table.add_row([
            node.name.clone(),
            node.client.to_string(),
            node.internode.to_string(),
            format!("http://{}", node.admin),
            process.pid().map_or_else(String::new, |pid| pid.to_string()),
            node.dir.display().to_string(),
        ]);
    }
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    let (own, first) = (own_name(), &plan.nodes[0]);
    format!(
        "{}\nshell:  {own} shell {}\nstatus: nodetool --host {} status   (a second program: cargo build --release)\n\
         whole after {:.1} s; Ctrl-C stops all of it, the data stays in {}",
        lines.join("\n"),
        first.client,
        first.admin,
        took.as_secs_f64(),
        plan.dir.display()
    )
}
