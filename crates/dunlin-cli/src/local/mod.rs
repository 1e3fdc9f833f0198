//! `dunlin local`: a whole cluster of real node processes on loopback.
//!
//! [`plan`] decides names, addresses and files; [`process`] starts and stops one node; this file waits until the
//! cluster is whole and then for the end.

#![allow(clippy::disallowed_methods, reason = "an edge: starts processes and waits in real time")]

mod plan;
mod process;

use crate::admin;
use crate::args::LocalArgs;
use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use dunlin_terminal::{complain, say};
use plan::{NodePlan, Plan};
use process::NodeProcess;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Longest wait for the cluster to become whole.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the nodes, prints them and `ready`, then stays until Ctrl-C, SIGTERM, or the death of all of them.
pub async fn run(args: LocalArgs) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let plan = Plan::make(&args)?;
    plan.check_ports()?;
    plan.write_files()?;

    let mut nodes = Vec::new();
    for node in &plan.nodes {
        nodes.push(NodeProcess::start(node)?);
    }
    let outcome = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(false),
        _ = terminate.recv() => Ok(false),
        whole = wait_until_whole(&plan, &mut nodes) => whole.map(|()| true),
    };
    match outcome {
        Ok(true) => {}
        Ok(false) => {
            process::stop_all(&mut nodes).await;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => {
            process::stop_all(&mut nodes).await;
            return Err(error);
        }
    }
    print_table(&plan, &nodes)?;
    say!("ready")?;

    let mut alive = nodes.len();
    let mut check = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = check.tick() => {
                for (node, process) in plan.nodes.iter().zip(&mut nodes) {
                    if let Some(how) = process.newly_dead() {
                        alive -= 1;
                        say!("{} ended ({how}); the others go on. Its log: {}", node.name, node.log_file().display())?;
                        say!("start it again with: {} server --config {}", own_name(), node.config_file().display())?;
                    }
                }
                if alive == 0 {
                    bail!("every node has ended; their logs are below {}", plan.dir.display());
                }
            }
        }
    }
    complain!("stopping {alive} node{}", if alive == 1 { "" } else { "s" });
    let clean = process::stop_all(&mut nodes).await;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn own_name() -> String {
    std::env::args().next().unwrap_or_else(|| "dunlin".to_owned())
}

/// Every node is ready, and every node sees every node up in one layout.
async fn wait_until_whole(plan: &Plan, nodes: &mut [NodeProcess]) -> anyhow::Result<()> {
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

fn print_table(plan: &Plan, nodes: &[NodeProcess]) -> Result<(), dunlin_terminal::Unwritten> {
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
    say!("{table}")?;
    say!(
        "shell: {} shell {}    status: nodetool --host {} --port {} status",
        own_name(),
        plan.nodes[0].client,
        plan.nodes[0].admin.ip(),
        plan.nodes[0].admin.port()
    )?;
    say!("Ctrl-C stops all of it; the data stays in {}", plan.dir.display())
}
