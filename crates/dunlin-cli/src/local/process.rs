//! One node process of a local cluster.

use super::plan::NodePlan;
use anyhow::Context;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};

/// How long a node may take to drain before it is killed.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// A child process and whether its end was reported.
pub struct NodeProcess {
    child: Child,
    /// The other end of the node's standard input: the system closes it when this process ends, in whatever way, and
    /// the node then drains and ends too.
    tether: Option<ChildStdin>,
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
        let mut child = Command::new(program)
            .args(["server", "--config"])
            .arg(node.config_file())
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C and a closed terminal are for the launcher, which then tells the nodes to drain.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", node.name))?;
        let tether = child.stdin.take();
        Ok(NodeProcess { child, tether, reported: false })
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

    fn terminate(&mut self) {
        self.tether = None;
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

/// Tells every node to drain and waits; kills what does not end in time, or when `hurry` ends. True if all ended by
/// themselves with status 0.
pub async fn stop_all(nodes: &mut [NodeProcess], hurry: impl Future<Output = ()>) -> bool {
    for node in nodes.iter_mut() {
        node.terminate();
    }
    let mut clean = true;
    let drained = async {
        for node in nodes.iter_mut().filter(|node| !node.reported) {
            clean &= node.child.wait().await.is_ok_and(|status| status.success());
            node.reported = true;
        }
    };
    let all = tokio::select! {
        biased;
        () = drained => true,
        () = hurry => false,
        () = tokio::time::sleep(DRAIN_WITHIN) => false,
    };
    for node in nodes.iter_mut().filter(|node| !node.reported) {
        // An error means that it has ended.
        let _ = node.child.kill().await;
    }
    all && clean
}

/// The end of a log, for an error message.
pub fn log_tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
