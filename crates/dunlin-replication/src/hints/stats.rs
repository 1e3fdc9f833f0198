//! How hints stand, for operators and metrics.

use dunlin_types::{HostId, Micros};
use std::time::Duration;

/// Hints that were not kept or not delivered, by the rule that dropped them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HintsDropped {
    /// The oldest hint of the target is older than the window.
    pub window: u64,
    /// The byte bound of the target or of all targets is reached.
    pub bytes: u64,
    /// The disk is too full.
    pub disk: u64,
    /// Kept, and then lost by a write that failed.
    pub failed: u64,
    /// A value in them is older than the table's `gc_grace`: it may have been deleted and forgotten since.
    pub gc_grace: u64,
    /// The table is gone.
    pub table: u64,
    /// Could not be read back.
    pub damaged: u64,
    /// An operator threw them away.
    pub truncated: u64,
}

impl HintsDropped {
    /// Each rule by its name, with how many it dropped.
    pub fn by_rule(&self) -> [(&'static str, u64); 8] {
        [
            ("window", self.window),
            ("bytes", self.bytes),
            ("disk", self.disk),
            ("failed", self.failed),
            ("gc_grace", self.gc_grace),
            ("table", self.table),
            ("damaged", self.damaged),
            ("truncated", self.truncated),
        ]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_rule().iter().map(|(_, count)| count).sum()
    }

    /// Those that were refused from the start, so that repair owns the difference.
    pub fn refused(&self) -> u64 {
        self.window + self.bytes + self.disk
    }
}

/// How hints for one host stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HintStats {
    /// For whom.
    pub target: HostId,
    /// Hints kept now. Those of one key that came close together are one.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was kept.
    pub oldest: Option<Micros>,
    /// Hints ever kept, those found at the start included. All that were kept up to a moment are gone when
    /// `added - count` has reached what this was then.
    pub added: u64,
    /// Delivered since this node started.
    pub delivered: u64,
    /// Given to another node to keep since this node started, because this one leaves.
    pub moved: u64,
    /// Dropped since this node started.
    pub dropped: HintsDropped,
    /// Whether an operator stopped their delivery.
    pub paused: bool,
    /// Bytes a second that the target granted last; `None` while nothing is delivered.
    pub rate_bytes: Option<u64>,
    /// How long delivery takes at that rate, or at the one this node would grant, once the target is up.
    pub eta: Duration,
}

impl HintStats {
    /// Invariant: every hint that was ever kept is here still, delivered, with another node, or dropped by a
    /// rule that is counted. One whose write failed may be found in its file all the same, and count twice.
    pub fn is_accounted_for(&self) -> bool {
        let dropped = self.dropped.total() - self.dropped.refused();
        let accounted = self.count + self.delivered + self.moved + dropped;
        (self.added..=self.added + self.dropped.failed).contains(&accounted)
    }
}
