//! Hinted handoff: records kept for hosts that missed them, until they are up again.
//!
//! An optimisation that shortens the time replicas differ; anti-entropy is the guarantee. Kept per
//! target host in segmented, checksummed files under `hints/<host id>/`. [`delivery`] sends them, [`intake`]
//! takes them at the other end.
//!
//! File writes here are small and buffered by the operating system. Only where a hint counts as an
//! acknowledgement (level ANY, sloppy quorum) is it synced; those that come together share one sync.

pub mod delivery;
mod intake;
pub mod message;
mod pending;
mod route;
pub mod segment;
mod stats;
mod target;

pub use stats::{HintStats, HintsDropped};

use dunlin_storage::fs::Fs;
use dunlin_types::runtime::{PlantedBug, SharedRuntime};
use dunlin_types::{HostId, Key, Record, TableId, Token};
use intake::Intake;
use parking_lot::Mutex;
use segment::Hint;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
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
    /// What this node grants to all together that deliver hints to it, bytes a second.
    pub rate_bytes: u64,
    /// How often pending hints are written and delivery is looked after.
    pub tick: Duration,
    /// How long a delivery of one message may take.
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
            tick: Duration::from_millis(200),
            timeout: Duration::from_secs(5),
            backoff_max: Duration::from_secs(30),
        }
    }
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
    intake: Intake,
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
        let hints = Hints {
            fs,
            runtime,
            config,
            total_bytes_max,
            targets: Mutex::new(targets),
            writing: Mutex::new(()),
            intake: Intake::default(),
            disk_full: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            wake: Notify::new(),
        };
        hints.look_at_disk();
        Ok(Arc::new(hints))
    }

    /// Keeps a record for a host. It reaches a file with the next tick, and survives a restart from
    /// then on. Returns whether it was kept; if not, the counters say why.
    pub fn add(&self, target: HostId, table: TableId, token: Token, key: &Key, record: &Record) -> bool {
        if self.runtime.planted(PlantedBug::HealingOff) {
            return true;
        }
        let created = self.runtime.wall();
        let (key, record) = (key.clone(), record.clone());
        self.push(target, Hint { created, table, token, key, record }, true)
    }

    /// `fresh`: the window of its target counts.
    fn push(&self, host: HostId, hint: Hint, fresh: bool) -> bool {
        let token = hint.token;
        let large = {
            let mut targets = self.targets.lock();
            let total: u64 = if targets.len() > 1 { targets.values().map(|t| t.bytes).sum() } else { 0 };
            let target = targets.entry(host).or_default();
            if !self.admits(target, total, fresh) {
                return false;
            }
            target.push(hint);
            target.pending.bytes() >= self.config.segment_bytes / 4
        };
        if large {
            self.write_target(host, false);
        }
        self.runtime.event("hint_kept", host.short(), token.0);
        self.wake.notify_one();
        true
    }

    /// Keeps hints that count as acknowledgements: what became of each. Those that other tasks want to keep
    /// at the same time share the sync. Dropped early, they may be kept or not.
    pub(crate) async fn keep_synced(&self, target: HostId, hints: Vec<Hint>, fresh: bool) -> Vec<Kept> {
        let healing_off = self.runtime.planted(PlantedBug::HealingOff);
        self.look_at_disk();
        let lost = self.lost(target);
        let kept: Vec<bool> =
            hints.into_iter().map(|hint| healing_off || self.push(target, hint, fresh)).collect();
        let written = if kept.contains(&true) {
            breathe().await;
            // Another task may have taken them along in a write of its own that failed.
            self.write_target(target, true) && self.lost(target) == lost
        } else {
            false
        };
        let fate = |kept| match (kept, written) {
            (false, _) => Kept::Nowhere,
            (true, false) => Kept::Unsure,
            (true, true) => Kept::Durable,
        };
        kept.into_iter().map(fate).collect()
    }

    /// Keeps a record for each of these hosts, where one kept hint counts: the best that became of one.
    pub(crate) async fn add_synced(
        &self,
        targets: &[HostId],
        table: TableId,
        token: Token,
        key: &Key,
        record: &Record,
    ) -> Kept {
        let mut best = Kept::Nowhere;
        for &target in targets {
            let (key, record) = (key.clone(), record.clone());
            let hint = Hint { created: self.runtime.wall(), table, token, key, record };
            best = self.keep_synced(target, vec![hint], true).await.into_iter().fold(best, Kept::max);
        }
        best
    }

    fn lost(&self, target: HostId) -> u64 {
        self.targets.lock().get(&target).map_or(0, |t| t.dropped.failed)
    }

    fn admits(&self, target: &mut Target, total: u64, fresh: bool) -> bool {
        let now = self.runtime.wall();
        let age = target.oldest().map_or(0, |oldest| now.0.saturating_sub(oldest.0));
        if self.disk_full.load(Ordering::Relaxed) {
            target.dropped.disk += 1;
        } else if fresh && u128::from(age) > self.config.window.as_micros() {
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

    /// From 90 % full on no new hints are kept.
    fn look_at_disk(&self) {
        if let Ok(space) = self.fs.space() {
            self.disk_full.store(space.free_bytes < space.total_bytes / 10, Ordering::Relaxed);
        }
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
        self.look_at_disk();
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
        let stats = targets.iter().map(|(host, target)| {
            let rate = target.rate_bytes.unwrap_or(self.config.rate_bytes).max(1);
            HintStats {
                target: *host,
                count: target.count,
                bytes: target.bytes,
                oldest: target.oldest(),
                added: target.added,
                delivered: target.delivered,
                moved: target.moved,
                dropped: target.dropped,
                paused: target.paused || self.is_paused(),
                rate_bytes: target.rate_bytes,
                eta: Duration::from_secs(target.bytes.div_ceil(rate)),
            }
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

    /// Stops or resumes delivery to one host, or to all; hints are still kept. Forgotten when the node stops.
    pub fn set_paused(&self, only: Option<HostId>, paused: bool) {
        match only {
            Some(host) => self.targets.lock().entry(host).or_default().paused = paused,
            None => {
                self.paused.store(paused, Ordering::Relaxed);
                self.targets.lock().values_mut().for_each(|target| target.paused = false);
            }
        }
        self.wake.notify_one();
    }

    /// Whether all delivery is stopped.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    fn is_paused_for(&self, host: HostId) -> bool {
        self.is_paused() || self.targets.lock().get(&host).is_some_and(|target| target.paused)
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
    pub async fn wait_delivered(&self, only: Option<HostId>, timeout: Duration) -> bool {
        let added = |stats: HintStats| (stats.target, stats.added);
        let goal: Vec<(HostId, u64)> =
            self.stats().into_iter().map(added).filter(|(host, _)| only.is_none_or(|o| o == *host)).collect();
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

/// Lets every other task that is ready go first, once.
async fn breathe() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
