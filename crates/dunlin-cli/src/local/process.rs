//! One node process of a local cluster.

use super::plan::NodePlan;
use anyhow::Context;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long a node may take to drain before it is killed.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// A child process and whether its end was reported.
pub struct NodeProcess {
    child: Child,
    reported: bool,
}

impl NodeProcess {
    /// Starts `dunlin server` with its log appended to the node's log file.
    pub fn start(node: &NodePlan) -> anyhow::Result<NodeProcess> {
        let log_file = node.log_file();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log_file)
            .with_context(|| format!("cannot open {}", log_file.display()))?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let child = Command::new(program)
            .args(["server", "--config"])
            .arg(node.config_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the launcher, which then tells the nodes to drain.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", node.name))?;
        Ok(NodeProcess { child, reported: false })
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, once.
    pub fn newly_dead(&mut self) -> Option<String> {
        if self.reported {
            return None;
        }
        let status = self.child.try_wait().ok().flatten()?;
        self.reported = true;
        Some(describe(status))
    }

    fn terminate(&self) {
        if let Some(pid) = self.pid().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            // An error means that it ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Tells every node to drain and waits; kills what does not end in time. True if all ended by themselves with status 0.
pub async fn stop_all(nodes: &mut [NodeProcess]) -> bool {
    for node in nodes.iter() {
        node.terminate();
    }
    let deadline = Instant::now() + DRAIN_WITHIN;
    let mut clean = true;
    for node in nodes {
        if node.reported {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, node.child.wait()).await {
            Ok(Ok(status)) => clean &= status.success(),
            _ => {
                clean = false;
                let _ = node.child.kill().await;
            }
        }
    }
    clean
}

/// The end of a log, for an error message.
pub fn log_tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
