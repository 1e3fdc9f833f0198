//! Real time, for figures of speed only: nothing of a run depends on it.

#![allow(clippy::disallowed_methods, reason = "measures the simulator from outside")]

use std::time::{Duration, Instant};

/// Measures wall time and the process's CPU time.
pub struct Stopwatch {
    started: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch { started: Instant::now(), cpu: cpu_time() }
    }

    /// Wall time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// CPU time of all threads since the start; zero where `/proc` does not tell.
    pub fn cpu(&self) -> Duration {
        cpu_time().saturating_sub(self.cpu)
    }
}

/// User and system time, from `/proc/self/stat`: in hundredths of a second.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may hold anything; what follows is numbers.
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
