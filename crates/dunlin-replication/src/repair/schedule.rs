//! What to compare with whom, and when.

use super::exchange::{RepairError, RepairOutcome};
use super::message::Purpose;
use super::{Done, Repairer, With};
use crate::view::{TableView, View};
use dunlin_types::runtime::PlantedBug;
use dunlin_types::{HostId, Micros, TableId, TokenRange};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the schedule waits before it looks again for something to compare, at most.
const IDLE: Duration = Duration::from_secs(5);

/// Times that a peer which is up, and cannot be reached, is tried when an operator asks.
const REACH_TRIES: u32 = 8;

/// What an operator wants repaired; an empty field means all.
#[derive(Clone, Debug, Default)]
pub struct RepairScope {
    /// Only this keyspace.
    pub keyspace: Option<String>,
    /// Only this table.
    pub table: Option<String>,
    /// Only with this peer.
    pub peer: Option<HostId>,
    /// Only vnodes of which this node is the first replica: done on every node, each vnode is compared once.
    pub primary: bool,
    /// Count what differs, and move nothing.
    pub preview: bool,
}

/// Result of comparing a table with a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PairOutcome {
    /// Ranges compared.
    pub ranges: u64,
    /// Ranges that differed and are equal now.
    pub ranges_differing: u64,
    /// Ranges that were left out, since one of the two lost data of them and has to get it back first.
    pub ranges_doubtful: u64,
    /// What it took.
    pub outcome: RepairOutcome,
}

/// A table and a peer with what became of them.
#[derive(Clone, Debug)]
pub struct PairReport {
    /// `keyspace.table`.
    pub table: String,
    /// The peer.
    pub peer: HostId,
    /// What became of it; `None` if the peer is down and was left out.
    pub result: Option<Result<PairOutcome, RepairError>>,
}

/// What [`Repairer::run_once`] did, a report for each table and co-replica.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// In the order of the work.
    pub pairs: Vec<PairReport>,
}

impl RepairReport {
    /// Whether every co-replica was compared with, and ended equal.
    pub fn is_complete(&self) -> bool {
        self.pairs.iter().all(|p| matches!(p.result, Some(Ok(_))))
    }

    /// All counts together.
    pub fn total(&self) -> PairOutcome {
        let mut total = PairOutcome::default();
        for pair in self.pairs.iter().filter_map(|p| p.result.as_ref()?.as_ref().ok()) {
            total.ranges += pair.ranges;
            total.ranges_differing += pair.ranges_differing;
            total.ranges_doubtful += pair.ranges_doubtful;
            total.outcome.add(pair.outcome);
        }
        total
    }
}

/// How far a repair is.
#[derive(Clone, Debug)]
pub struct RepairProgress<'a> {
    /// Ranges that are done, each counted for each table and peer.
    pub done: u64,
    /// Of so many.
    pub total: u64,
    /// The table and peer just done, if the last of its ranges is.
    pub pair: Option<&'a PairReport>,
}

/// How a table and a peer differed when they were last compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Divergence {
    /// When it ended, by this node's clock.
    pub at: Micros,
    /// What was found, and is mended.
    pub found: PairOutcome,
}

/// What an operator wants compared of a table with a peer.
struct Asked {
    table: TableId,
    name: String,
    peer: HostId,
    ranges: Vec<TokenRange>,
}

/// Nodes that share ranges of a table with this one, and the ranges: owners under any active layout,
/// since a write goes to all of them.
pub fn co_replicas(view: &View, table: &TableView) -> BTreeMap<HostId, Vec<TokenRange>> {
    let mut shared: BTreeMap<HostId, Vec<TokenRange>> = BTreeMap::new();
    let Some(layout) = view.newest_layout() else { return shared };
    for vnode in layout.vnodes.iter() {
        let range = layout.range_of(vnode);
        if !view.owns(table, range.first, view.me) {
            continue;
        }
        let owners = view.replicas(table, range.first).hosts;
        for host in owners.into_iter().filter(|h| *h != view.me) {
            shared.entry(host).or_default().push(range);
        }
    }
    shared
}

/// Which of two nodes begins their scheduled exchanges; it needs both to be up anyway. Half of a node's
/// pairs are begun by it, whatever its id.
fn begins(me: HostId, other: HostId) -> bool {
    let odd = (me.0[15] ^ other.0[15]) & 1 == 1;
    (me < other) != odd
}

impl Repairer {
    /// Compares everything in scope now and waits for it; peers that are down are left out, and the
    /// report says so. One that is just back may not be reached at once: it is tried again for some seconds.
    /// `progress` is called after each range, and after each table and peer.
    pub async fn run_once(
        &self,
        scope: &RepairScope,
        progress: &(dyn Fn(RepairProgress<'_>) + Send + Sync),
    ) -> RepairReport {
        let asked = self.asked(scope);
        let total = asked.iter().map(|pair| pair.ranges.len() as u64).sum();
        let purpose = if scope.preview { Purpose::Preview } else { Purpose::Repair };
        let mut report = RepairReport::default();
        let mut before = 0;
        for Asked { table, name, peer, ranges } in asked {
            let with = With { table, host: peer, layout: 0, purpose };
            let mut result = None;
            for attempt in 1..=REACH_TRIES {
                if !self.core.views.peek().is_alive(peer) {
                    break;
                }
                let mut done = before;
                let mut finished = |_: Done| {
                    done += 1;
                    progress(RepairProgress { done, total, pair: None });
                };
                let compared = self.compare_ranges(with, &ranges, &mut finished).await;
                let again = matches!(compared, Err(RepairError::Unreachable(_))) && attempt < REACH_TRIES;
                result = Some(compared);
                if !again {
                    break;
                }
                self.core.runtime.sleep(self.core.config.repair.retry_pause * attempt).await;
            }
            before += ranges.len() as u64;
            report.pairs.push(PairReport { table: name, peer, result });
            progress(RepairProgress { done: before, total, pair: report.pairs.last() });
        }
        report
    }

    /// What is in scope.
    fn asked(&self, scope: &RepairScope) -> Vec<Asked> {
        let view = self.core.views.load();
        let wanted = |scope: &Option<String>, name: &str| scope.as_deref().is_none_or(|s| s == name);
        let mut asked = Vec::new();
        for table in view.tables() {
            if !wanted(&scope.keyspace, &table.def.keyspace) || !wanted(&scope.table, &table.def.name) {
                continue;
            }
            let first = |range: &TokenRange| {
                let newest = table.keyspace.placed.last();
                newest.is_some_and(|placed| placed.replicas(range.first).first() == Some(&view.me))
            };
            for (peer, mut ranges) in co_replicas(&view, table) {
                ranges.retain(|range| !scope.primary || first(range));
                if !ranges.is_empty() && scope.peer.is_none_or(|only| only == peer) {
                    let name = format!("{}.{}", table.def.keyspace, table.def.name);
                    asked.push(Asked { table: table.def.id, name, peer, ranges });
                }
            }
        }
        asked
    }

    /// The schedule: runs until it is dropped. Comparisons are spread evenly over the interval.
    pub async fn run(self: Arc<Self>) {
        let interval = self.core.config.repair.interval;
        if interval.is_zero() {
            return;
        }
        loop {
            let pairs = self.scheduled();
            if pairs.is_empty() {
                self.core.runtime.sleep(interval.min(IDLE)).await;
                continue;
            }
            let pause = interval / u32::try_from(pairs.len()).unwrap_or(u32::MAX);
            for (table, peer) in pairs {
                // Somewhere within the pause, so that nodes started together do not march in step.
                let early = self.core.runtime.below(pause.as_nanos() as u64 / 4);
                self.core.runtime.sleep(pause - Duration::from_nanos(early)).await;
                if !self.core.views.peek().is_alive(peer) {
                    continue;
                }
                if let Err(error) = self.compare_with(table, peer).await {
                    tracing::debug!(%peer, %table, %error, "repair did not end");
                }
            }
        }
    }

    /// Compares all shared ranges of a table with a peer. Waits for its turn.
    pub async fn compare_with(&self, table: TableId, peer: HostId) -> Result<PairOutcome, RepairError> {
        let view = self.core.views.load();
        let shared = view.table(table).and_then(|t| co_replicas(&view, t).remove(&peer)).unwrap_or_default();
        let with = With { table, host: peer, layout: 0, purpose: Purpose::Repair };
        self.compare_ranges(with, &shared, &mut |_| {}).await
    }

    async fn compare_ranges(
        &self,
        with: With,
        ranges: &[TokenRange],
        finished: &mut (dyn FnMut(Done) + Send),
    ) -> Result<PairOutcome, RepairError> {
        if self.core.runtime.planted(PlantedBug::HealingOff) {
            return Ok(PairOutcome::default());
        }
        let _turn = self.exchanges.acquire().await.expect("the semaphore is never closed");
        let result = self.compare(with, ranges, finished).await;
        let counter = if result.is_ok() { &self.stats.comparisons } else { &self.stats.failures };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Ok(found) = &result {
            self.core.runtime.event("repair_compared", found.ranges, found.ranges_differing);
            let at = self.core.runtime.wall();
            let view = self.core.views.load();
            let mut divergence = self.divergence.lock();
            divergence
                .retain(|(table, peer), _| view.table(*table).is_some() && view.peers.contains_key(peer));
            divergence.insert((with.table, with.host), Divergence { at, found: *found });
        }
        result
    }

    /// How each table and peer differed when this node last compared them.
    pub fn divergence(&self) -> BTreeMap<(TableId, HostId), Divergence> {
        self.divergence.lock().clone()
    }

    /// Tables and peers whose comparison is this node's to begin.
    fn scheduled(&self) -> Vec<(TableId, HostId)> {
        let view = self.core.views.load();
        let mut pairs = Vec::new();
        for table in view.tables() {
            let peers = co_replicas(&view, table).into_keys().filter(|p| begins(view.me, *p));
            pairs.extend(peers.map(|peer| (table.def.id, peer)));
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_begins_and_nobody_has_all_the_work() {
        let hosts: Vec<HostId> = (0..20).map(|i| HostId::from_words(i * 77, i * 13)).collect();
        for (i, &a) in hosts.iter().enumerate() {
            for &b in &hosts[..i] {
                assert_ne!(begins(a, b), begins(b, a));
            }
            let begun = hosts.iter().filter(|b| **b != a && begins(a, **b)).count();
            assert!((4..=15).contains(&begun), "{begun}");
        }
    }
}
