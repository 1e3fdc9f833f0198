//! Hinted handoff: records kept for hosts that missed them, until they are up again.
//!
//! An optimisation that shortens the time replicas differ; anti-entropy is the guarantee. Kept per
//! target host in segmented, checksummed files under `hints/<host id>/`. [`delivery`] sends them.
//!
//! File writes here are small and buffered by the operating system; only level ANY waits for a sync.

pub mod delivery;
pub mod segment;
mod target;

use dunlin_storage::fs::Fs;
use dunlin_types::runtime::{PlantedBug, SharedRuntime};
use dunlin_types::{HostId, Key, Micros, Record, TableId, Token};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use target::Target;
use tokio::sync::Notify;

/// Directory of all hints.
const DIR: &str = "hints";

/// Settings of hinted handoff.
#[derive(Clone, Debug)]
pub struct HintConfig {
    /// No new hints for a host whose oldest one is older than this.
    pub window: Duration,
    /// Most bytes for one host.
    pub target_bytes_max: u64,
    /// Most bytes in all; a tenth of the disk if that is less.
    pub total_bytes_max: u64,
    /// A segment is closed when it reaches this size.
    pub segment_bytes: u64,
    /// Delivery, bytes a second and target.
    pub rate_bytes: u64,
    /// Hints on their way to one target.
    pub in_flight_max: usize,
    /// How often pending hints are written and delivery is looked after.
    pub tick: Duration,
    /// How long a delivery of one hint may take.
    pub timeout: Duration,
    /// Longest pause after a failed delivery.
    pub backoff_max: Duration,
}

impl Default for HintConfig {
    fn default() -> Self {
        HintConfig {
            window: Duration::from_secs(3 * 3600),
            target_bytes_max: 1 << 30,
            total_bytes_max: 16 << 30,
            segment_bytes: 4 << 20,
            rate_bytes: 16 << 20,
            in_flight_max: 32,
            tick: Duration::from_millis(200),
            timeout: Duration::from_secs(5),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// Hints that were not kept or not delivered, by the rule that dropped them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HintsDropped {
    /// The oldest hint of the target is older than the window.
    pub window: u64,
    /// The byte bound of the target or of all targets is reached.
    pub bytes: u64,
    /// The disk is too full, or a write failed.
    pub disk: u64,
    /// Older than the table's `gc_grace`, or the table is gone.
    pub expired: u64,
    /// Could not be read back.
    pub damaged: u64,
    /// An operator threw them away.
    pub truncated: u64,
}

/// How hints for one host stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HintStats {
    /// For whom.
    pub target: HostId,
    /// Hints kept now.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was kept.
    pub oldest: Option<Micros>,
    /// Delivered since this node started.
    pub delivered: u64,
    /// Dropped since this node started.
    pub dropped: HintsDropped,
    /// How long delivery takes at the configured rate, once the target is up.
    pub eta: Duration,
}

/// What became of a hint that counts as an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kept {
    /// Refused: it will never be delivered.
    Nowhere,
    /// A write or a sync failed: it may be found at the next start.
    Unsure,
    /// Kept, whatever happens to this node.
    Durable,
}

/// Hints of one node. See the module's comment.
pub struct Hints {
    fs: Arc<dyn Fs>,
    runtime: SharedRuntime,
    config: HintConfig,
    total_bytes_max: u64,
    targets: Mutex<BTreeMap<HostId, Target>>,
    /// Held while files are written, so that pending bytes reach their file in order.
    writing: Mutex<()>,
    disk_full: AtomicBool,
    paused: AtomicBool,
    wake: Notify,
}

impl Hints {
    /// Finds the hints that an earlier run left. Damaged segments are cut at the damage.
    pub fn open(fs: Arc<dyn Fs>, runtime: SharedRuntime, config: HintConfig) -> io::Result<Arc<Hints>> {
        dunlin_storage::fs::create_dirs(&*fs, DIR)?;
        let mut targets = BTreeMap::new();
        for entry in fs.list(DIR)? {
            if let (true, Ok(host)) = (entry.is_dir, entry.name.parse::<HostId>()) {
                targets.insert(host, Target::load(&*fs, host)?);
            }
        }
        let tenth = fs.space()?.total_bytes / 10;
        let total_bytes_max =
            if tenth == 0 { config.total_bytes_max } else { config.total_bytes_max.min(tenth) };
        Ok(Arc::new(Hints {
            fs,
            runtime,
            config,
            total_bytes_max,
            targets: Mutex::new(targets),
            writing: Mutex::new(()),
            disk_full: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            wake: Notify::new(),
        }))
    }

    /// Keeps a record for a host. It reaches a file with the next tick, and survives a restart from
    /// then on. Returns whether it was kept; if not, the counters say why.
    pub fn add(&self, target: HostId, table: TableId, token: Token, key: &Key, record: &Record) -> bool {
        if self.runtime.planted(PlantedBug::HealingOff) {
            return true;
        }
        let now = self.runtime.wall();
        let large = {
            let mut targets = self.targets.lock();
            let total: u64 = if targets.len() > 1 { targets.values().map(|t| t.bytes).sum() } else { 0 };
            let target = targets.entry(target).or_default();
            if !self.admits(target, total, now) {
                return false;
            }
            target.push(now, table, token, key, record);
            target.pending.len() as u64 >= self.config.segment_bytes / 4
        };
        if large {
            self.write_target(target, false);
        }
        self.runtime.event("hint_kept", target.short(), token.0);
        self.wake.notify_one();
        true
    }

    /// Keeps a record for hosts where a hint counts as an acknowledgement: the best that became of one.
    pub(crate) fn add_synced(
        &self,
        targets: &[HostId],
        table: TableId,
        token: Token,
        key: &Key,
        record: &Record,
    ) -> Kept {
        let mut kept = Kept::Nowhere;
        for &target in targets {
            let lost = self.lost(target);
            if !self.add(target, table, token, key, record) {
                continue;
            }
            // Another task may have taken the hint along in a write of its own that failed.
            let durable = self.write_target(target, true) && self.lost(target) == lost;
            kept = kept.max(if durable { Kept::Durable } else { Kept::Unsure });
        }
        kept
    }

    fn lost(&self, target: HostId) -> u64 {
        self.targets.lock().get(&target).map_or(0, |t| t.dropped.disk)
    }

    fn admits(&self, target: &mut Target, total: u64, now: Micros) -> bool {
        let age = target.oldest().map_or(0, |oldest| now.0.saturating_sub(oldest.0));
        if self.disk_full.load(Ordering::Relaxed) {
            target.dropped.disk += 1;
        } else if u128::from(age) > self.config.window.as_micros() {
            target.dropped.window += 1;
        } else if target.bytes >= self.config.target_bytes_max
            || total.max(target.bytes) >= self.total_bytes_max
        {
            target.dropped.bytes += 1;
        } else {
            return true;
        }
        self.runtime.event("hint_dropped", target.dropped.window, target.dropped.bytes);
        false
    }

    /// Writes what is pending to the files; with `sync`, makes it durable. At a clean stop the server
    /// calls this last.
    pub fn flush(&self, sync: bool) {
        let pending: Vec<HostId> = self
            .targets
            .lock()
            .iter()
            .filter(|(_, t)| sync || !t.pending.is_empty())
            .map(|(host, _)| *host)
            .collect();
        for host in pending {
            self.write_target(host, sync);
        }
        if let Ok(space) = self.fs.space() {
            self.disk_full.store(space.free_bytes < space.total_bytes / 10, Ordering::Relaxed);
        }
    }

    /// Whether the pending hints of a target are in its file (and durable). On an error they are dropped.
    fn write_target(&self, host: HostId, sync: bool) -> bool {
        let _writing = self.writing.lock();
        let taken = self.targets.lock().get_mut(&host).map(|target| {
            let closed = if sync { target.take_unsynced() } else { Vec::new() };
            (target.take_pending(), closed)
        });
        let Some(((mut open, pending), closed)) = taken else { return true };
        let synced = closed.iter().try_for_each(|file| file.sync());
        let written = synced.and_then(|()| target::append(&*self.fs, host, &mut open, &pending, sync));
        let mut targets = self.targets.lock();
        let Some(target) = targets.get_mut(&host) else { return written.is_ok() };
        match written {
            Ok(()) => {
                target.put_open(open, pending, self.config.segment_bytes);
                true
            }
            Err(error) => {
                tracing::warn!(target = %host, %error, "hints could not be written");
                target.lose(pending);
                false
            }
        }
    }

    /// How hints stand, per target that has or had any.
    pub fn stats(&self) -> Vec<HintStats> {
        let targets = self.targets.lock();
        let stats = targets.iter().map(|(host, target)| HintStats {
            target: *host,
            count: target.count,
            bytes: target.bytes,
            oldest: target.oldest(),
            delivered: target.delivered,
            dropped: target.dropped,
            eta: Duration::from_secs(target.bytes / self.config.rate_bytes.max(1)),
        });
        stats.collect()
    }

    /// Hints kept now, for all targets.
    pub fn count(&self) -> u64 {
        self.targets.lock().values().map(|t| t.count).sum()
    }

    /// Whether there is nothing to look after: no hints, and no full disk that may have room again.
    fn is_idle(&self) -> bool {
        !self.disk_full.load(Ordering::Relaxed) && self.count() == 0
    }

    /// Stops or resumes delivery; hints are still kept.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether delivery is stopped.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Throws away the hints for one host, or for all.
    pub fn truncate(&self, only: Option<HostId>) {
        let _writing = self.writing.lock();
        let mut targets = self.targets.lock();
        for (host, target) in targets.iter_mut().filter(|(host, _)| only.is_none_or(|o| o == **host)) {
            target.dropped.truncated += target.count;
            target.clear(&*self.fs, *host);
        }
    }

    /// Ends when every hint kept before the call is delivered or dropped (`true`), or after `timeout`
    /// (`false`).
    pub async fn wait_delivered(&self, timeout: Duration) -> bool {
        let goal: Vec<(HostId, u64)> = self.targets.lock().iter().map(|(host, t)| (*host, t.added)).collect();
        let deadline = self.runtime.mono().after(timeout);
        loop {
            let reached = {
                let targets = self.targets.lock();
                goal.iter().all(|(host, added)| targets.get(host).is_none_or(|t| t.removed() >= *added))
            };
            let left = deadline.since(self.runtime.mono());
            if reached || left.is_zero() {
                return reached;
            }
            self.runtime.sleep(self.config.tick.min(left)).await;
        }
    }
}
