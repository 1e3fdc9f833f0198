//! How busy a node is with its clients, so that background work (repair, transfer, hints) can stand back.

use crate::view::Latency;
use dunlin_types::Mono;
use dunlin_types::runtime::SharedRuntime;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Requests of clients that this node coordinates, and how long they took lately.
#[derive(Debug, Default)]
pub struct Foreground {
    at_work: AtomicU64,
    latency: Latency,
}

impl Foreground {
    /// Requests being worked on.
    pub fn at_work(&self) -> u64 {
        self.at_work.load(Ordering::Relaxed)
    }

    /// Smoothed time of those that ended.
    pub fn latency(&self) -> Duration {
        Duration::from_nanos(self.latency.nanos())
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, runtime: &SharedRuntime) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork { foreground: Arc::clone(self), started: runtime.mono(), runtime: runtime.clone() }
    }
}

/// A request at work.
pub(crate) struct AtWork {
    foreground: Arc<Foreground>,
    started: Mono,
    runtime: SharedRuntime,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.foreground.at_work.fetch_sub(1, Ordering::Relaxed);
        self.foreground.latency.observe(self.runtime.mono().since(self.started));
    }
}
