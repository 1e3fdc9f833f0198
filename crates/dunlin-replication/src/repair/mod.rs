//! Anti-entropy: replicas compare Merkle trees of the ranges they share and exchange the records that
//! differ, both ways (DeCandia et al. 2007, section 4.7). It is the guarantee behind hints and read
//! repair, which are optimisations.
//!
//! An exchange: the roots of all shared ranges of a table go to the peer in one message; the peer names
//! those that differ, and the asker descends; for the leaves that differ the peer lists key hashes and
//! record digests; only records that differ travel, are merged on both sides, and end equal. Equal copies
//! cost one small message a peer and table. Any step may fail or be repeated: merging is idempotent, and
//! the next exchange finds what is left.
//!
//! [`tree`] is what a tree is, [`kept`] keeps them up to date as writes come in, [`read`] reads what changed;
//! [`compared`] notes what ended equal, and what may be forgotten for it. [`exchange`] asks, [`respond`] answers, [`schedule`] decides what to compare when. Range transfer
//! (`crate::transfer`) is the same exchange, pulling only.

pub mod compared;
pub mod exchange;
pub mod gone;
pub mod kept;
pub mod message;
pub mod read;
pub mod respond;
pub mod resync;
pub mod schedule;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod watch;

pub use exchange::{RepairError, RepairOutcome};
pub use message::{RepairRequest, RepairResponse};
pub use respond::Responder;
pub use schedule::{Divergence, PairOutcome, PairReport, RepairProgress, RepairReport, RepairScope};

use crate::core::{Core, decode_answer};
use crate::message::{Envelope, LayoutStamp, Refusal, Request, Response};
use crate::view::Views;
use compared::{Compared, ExchangeId, Side};
use dunlin_transport::Lane;
use dunlin_types::runtime::BoxFuture;
use dunlin_types::{HostId, Micros, PartitionerKey, TableId, Token, TokenRange};
use exchange::{Exchange, Peer};
use message::{Differing, Purpose, ROOTS_MAX, ROOTS_RECORDS_MAX, RangeRoot};
use parking_lot::Mutex;
use read::{Place, Reader};
use respond::Knowledge;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tree::RecordHasher;

/// Settings of repair and transfer.
#[derive(Clone, Debug)]
pub struct RepairConfig {
    /// Each vnode is compared with each co-replica about once in this time; zero: never by itself.
    pub interval: Duration,
    /// Longest wait for one answer; the peer may have to read a range for it.
    pub timeout: Duration,
    /// Records read at once.
    pub page_records: usize,
    /// About the most bytes read at once.
    pub page_bytes: usize,
    /// Rest between two pages while no client's request is at work; with each one that is, as long again.
    pub page_pause: Duration,
    /// Wait before what failed is tried again.
    pub retry_pause: Duration,
    /// Beside a table's `gc_grace`: how old a deletion is at least before it is forgotten. Longer than the longest
    /// life of a message and the largest error of clocks together.
    pub purge_margin: Duration,
    /// Leaves of Merkle trees kept in memory, about 64 bytes each.
    pub tree_leaves_max: usize,
}

impl Default for RepairConfig {
    fn default() -> Self {
        RepairConfig {
            interval: Duration::from_secs(600),
            timeout: Duration::from_secs(120),
            page_records: 512,
            page_bytes: 1 << 20,
            page_pause: Duration::from_millis(1),
            retry_pause: Duration::from_millis(300),
            purge_margin: Duration::from_secs(240),
            tree_leaves_max: 1 << 20,
        }
    }
}

/// Times that an exchange is tried whose peer was busy.
const TRIES_MAX: u32 = 4;

/// Counters, for metrics.
#[derive(Debug, Default)]
pub struct RepairStats {
    /// Comparisons of a table with a peer that ended.
    pub comparisons: AtomicU64,
    /// Comparisons that failed.
    pub failures: AtomicU64,
    /// Ranges that differed.
    pub ranges_differing: AtomicU64,
    /// Records sent.
    pub records_sent: AtomicU64,
    /// Records received.
    pub records_received: AtomicU64,
    /// Bytes of records, both ways.
    pub bytes: AtomicU64,
}

/// Whom a comparison is with, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct With {
    /// The table.
    pub(crate) table: TableId,
    /// The peer.
    pub(crate) host: HostId,
    /// The layout version that the peer must know.
    pub(crate) layout: u64,
    /// What for.
    pub(crate) purpose: Purpose,
}

/// What a peer says of some ranges.
struct Answer {
    compared: usize,
    differing: Vec<Differing>,
    doubtful: Vec<u32>,
}

/// A range that was compared.
#[derive(Debug)]
pub(crate) struct Done {
    /// The range.
    pub(crate) range: TokenRange,
    /// What it took.
    pub(crate) outcome: RepairOutcome,
    /// The peer lost data of it.
    pub(crate) doubtful: bool,
    /// The peer's purge horizon; zero if the copies were equal.
    pub(crate) purged: Micros,
    /// In a resync: what the peer lacks.
    pub(crate) lacking: Vec<Place>,
}

impl Done {
    fn new(range: TokenRange, doubtful: bool) -> Done {
        Done { range, outcome: RepairOutcome::default(), doubtful, purged: Micros(0), lacking: Vec::new() }
    }
}

/// The asking side: compares with co-replicas, by itself and when told to.
pub struct Repairer {
    core: Arc<Core>,
    reader: Reader,
    /// One exchange at a time on this node's own account, so that clients come first.
    exchanges: Semaphore,
    divergence: Mutex<BTreeMap<(TableId, HostId), Divergence>>,
    /// Counters.
    pub stats: RepairStats,
}

impl Repairer {
    /// Over the node's doors; settings are `core.config.repair`.
    pub fn new(core: Arc<Core>) -> Arc<Repairer> {
        let reader = reader(&core);
        Arc::new(Repairer {
            core,
            reader,
            exchanges: Semaphore::new(1),
            divergence: Mutex::default(),
            stats: RepairStats::default(),
        })
    }

    /// Records of a range were lost or removed, not by writes: what was read of it and what was proved of it holds
    /// no more.
    pub fn forget(&self, table: TableId, range: TokenRange) {
        self.core.trees.forget(table, range);
        self.core.compared.forget(table, range);
    }

    /// This copy gave ranges away, or lost something of them: it is not all that this incarnation wrote.
    pub fn note_gap(&self, table: TableId, ranges: &[TokenRange]) {
        self.core.gaps.add(table, ranges);
        ranges.iter().for_each(|range| self.forget(table, *range));
    }

    /// Drops the trees of ranges that are not wanted.
    pub fn retain_trees(&self, wanted: impl Fn(TableId, TokenRange) -> bool) {
        self.core.trees.retain(wanted);
    }

    /// Leaves of trees kept in memory.
    pub fn tree_leaves(&self) -> u64 {
        self.core.trees.leaves() as u64
    }

    /// What comparisons have proved.
    pub fn compared(&self) -> &Arc<Compared> {
        &self.core.compared
    }

    /// The node's doors.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// A way to ask a peer.
    pub(crate) fn peer(&self, host: HostId) -> CorePeer {
        CorePeer { core: Arc::clone(&self.core), host }
    }

    /// Compares the roots of ranges and exchanges those that differ; `finished` is told of each range
    /// that is done.
    pub(crate) async fn compare(
        &self,
        with: With,
        ranges: &[TokenRange],
        finished: &mut (dyn FnMut(Done) + Send),
    ) -> Result<PairOutcome, RepairError> {
        let hasher = RecordHasher::new(self.partitioner()?);
        let exchange = ExchangeId { peer: with.host, side: Side::Asker, number: self.core.runtime.random() };
        let mut total = PairOutcome::default();
        // A copy that lost data is no measure for others: it may lack the deletion of what it still has.
        let gives = matches!(with.purpose, Purpose::Repair | Purpose::Handover | Purpose::Preview);
        let sound = |range: &&TokenRange| !gives || self.core.local.store.serves(with.table, **range).is_ok();
        let ranges: Vec<TokenRange> = {
            let sound: Vec<TokenRange> = ranges.iter().filter(sound).copied().collect();
            total.ranges_doubtful = (ranges.len() - sound.len()) as u64;
            sound
        };
        let mut rest = &ranges[..];
        while !rest.is_empty() {
            let mut roots: Vec<RangeRoot> = Vec::new();
            let mut records = 0;
            while roots.len() < ROOTS_MAX && roots.len() < rest.len() && records < ROOTS_RECORDS_MAX {
                let range = rest[roots.len()];
                if with.purpose == Purpose::Repair {
                    self.core.compared.begin(with.table, range, exchange, self.core.local.now());
                }
                let horizon = self.core.compared.horizon(with.table, range);
                let (tree, read) = self.reader.tree(&hasher, with.table, range, horizon).await?;
                records += read;
                roots.push(RangeRoot { range, horizon, root: tree.root() });
            }
            let Answer { compared, differing, doubtful } =
                self.differing(with, exchange.number, roots).await?;
            let (compared, later) = rest.split_at(compared);
            let mut ended = Vec::new();
            for (index, &range) in (0u32..).zip(compared) {
                let mut done = Done::new(range, doubtful.contains(&index));
                if done.doubtful && !with.purpose.suits_doubtful() {
                    total.ranges_doubtful += 1;
                    continue;
                }
                if let Some(theirs) = differing.iter().find(|d| d.index == index) {
                    match self.exchange(&hasher, with, *theirs, &mut done).await {
                        Ok(()) => {}
                        Err(error) => {
                            self.end(with, exchange, ended).await?;
                            return Err(error);
                        }
                    };
                    total.ranges_differing += 1;
                    total.outcome.add(done.outcome);
                    self.count(done.outcome);
                }
                total.ranges += 1;
                if done.outcome.records_refused == 0 {
                    ended.push(range);
                }
                finished(done);
            }
            self.end(with, exchange, ended).await?;
            rest = later;
        }
        Ok(total)
    }

    /// Notes on both sides that the exchange of these ranges has ended; durable on both before it counts.
    async fn end(
        &self,
        with: With,
        exchange: ExchangeId,
        ranges: Vec<TokenRange>,
    ) -> Result<(), RepairError> {
        if with.purpose != Purpose::Repair || ranges.is_empty() {
            return Ok(());
        }
        let table = with.table;
        self.core.local.store.sync().await?;
        let request = RepairRequest::Ended { table, exchange: exchange.number, ranges: ranges.clone() };
        match self.peer(with.host).ask(request).await? {
            RepairResponse::Noted => {
                ranges.iter().for_each(|range| self.core.compared.ended(table, *range, exchange));
                Ok(())
            }
            _ => Err(RepairError::Protocol("to Ended")),
        }
    }

    /// What the peer says of the ranges.
    async fn differing(
        &self,
        with: With,
        exchange: u64,
        roots: Vec<RangeRoot>,
    ) -> Result<Answer, RepairError> {
        let With { table, layout, purpose, .. } = with;
        let peer = self.peer(with.host);
        for attempt in 1.. {
            let request = RepairRequest::Roots { layout, table, purpose, exchange, ranges: roots.clone() };
            match peer.ask(request).await {
                Ok(RepairResponse::Differ { compared, differing, doubtful })
                    if (1..=roots.len()).contains(&(compared as usize)) =>
                {
                    return Ok(Answer { compared: compared as usize, differing, doubtful });
                }
                Ok(_) => return Err(RepairError::Protocol("to Roots")),
                Err(error) if attempt < TRIES_MAX && error.is_passing() => self.rest(attempt).await,
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn exchange(
        &self,
        hasher: &RecordHasher,
        with: With,
        theirs: Differing,
        done: &mut Done,
    ) -> Result<(), RepairError> {
        let peer = self.peer(with.host);
        let With { table, purpose, .. } = with;
        let (reader, local, lacking) = (&self.reader, &self.core.local, Mutex::default());
        let exchange = Exchange { reader, hasher, local, peer: &peer, table, purpose, lacking };
        for attempt in 1.. {
            match exchange.run(done.range, theirs).await {
                Ok(outcome) => {
                    let sent = outcome.records_sent;
                    self.core.runtime.event("repair_exchange", sent, outcome.records_received);
                    done.outcome = outcome;
                    done.purged = theirs.purged;
                    done.lacking = exchange.lacking.into_inner();
                    return Ok(());
                }
                Err(error) if attempt < TRIES_MAX && error.is_passing() => self.rest(attempt).await,
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The cluster's secret.
    fn partitioner(&self) -> Result<PartitionerKey, RepairError> {
        let view = self.core.views.peek();
        let layout = view.newest_layout().ok_or(RepairError::Refused(Refusal::NotReady))?;
        Ok(layout.partitioner)
    }

    async fn rest(&self, attempt: u32) {
        self.core.runtime.sleep(self.core.config.repair.retry_pause * attempt).await;
    }

    fn count(&self, outcome: RepairOutcome) {
        self.stats.ranges_differing.fetch_add(1, Ordering::Relaxed);
        self.stats.records_sent.fetch_add(outcome.records_sent, Ordering::Relaxed);
        self.stats.records_received.fetch_add(outcome.records_received, Ordering::Relaxed);
        self.stats.bytes.fetch_add(outcome.bytes, Ordering::Relaxed);
    }
}

impl RepairError {
    /// Whether the same may well succeed a moment later.
    fn is_passing(&self) -> bool {
        matches!(self, RepairError::Refused(Refusal::Overloaded { .. }))
    }
}

fn reader(core: &Core) -> Reader {
    let config = &core.config.repair;
    Reader {
        runtime: core.runtime.clone(),
        store: core.local.store.clone(),
        trees: core.trees.clone(),
        foreground: core.foreground.clone(),
        page_records: config.page_records,
        page_bytes: config.page_bytes,
        page_pause: config.page_pause,
    }
}

impl Responder {
    /// The answering side over a node's doors.
    pub fn over(core: &Core) -> Responder {
        let knowledge = Arc::new(ViewKnowledge(Arc::clone(&core.views)));
        Responder::new(reader(core), core.local.clone(), core.compared.clone(), knowledge)
    }
}

struct ViewKnowledge(Arc<Views>);

impl Knowledge for ViewKnowledge {
    fn newest_layout(&self) -> LayoutStamp {
        self.0.peek().fence.newest
    }

    fn tables(&self) -> Vec<TableId> {
        self.0.peek().tables().map(|t| t.def.id).collect()
    }

    fn owns(&self, table: TableId, token: Token) -> bool {
        let view = self.0.peek();
        view.table(table).is_some_and(|t| view.owns(t, token, view.me))
    }

    fn is_vnode(&self, range: TokenRange) -> bool {
        let view = self.0.peek();
        view.newest_layout().is_some_and(|l| l.range_of(l.vnode_of(range.first)) == range)
    }

    fn partitioner(&self) -> Option<PartitionerKey> {
        self.0.peek().newest_layout().map(|layout| layout.partitioner)
    }
}

/// A member of the cluster, asked over lane `Bulk`.
pub(crate) struct CorePeer {
    core: Arc<Core>,
    host: HostId,
}

impl Peer for CorePeer {
    fn ask(&self, request: RepairRequest) -> BoxFuture<'_, Result<RepairResponse, RepairError>> {
        Box::pin(async move {
            let view = self.core.views.load();
            let peer = view.peers.get(&self.host).filter(|_| view.is_alive(self.host));
            let Some(peer) = peer else {
                return Err(RepairError::Unreachable("it is down or no member".to_owned()));
            };
            let envelope = Envelope { from: view.me, fence: view.fence, request: Request::Repair(request) };
            let timeout = self.core.config.repair.timeout;
            let answer = self.core.transport.call(peer.address, Lane::Bulk, envelope.encode(), timeout).await;
            match decode_answer(answer) {
                Ok(Response::Repair(RepairResponse::Refused(refusal)) | Response::Refused(refusal)) => {
                    Err(RepairError::Refused(refusal))
                }
                Ok(Response::Repair(response)) => Ok(response),
                Ok(_) => Err(RepairError::Protocol("not an answer to a repair request")),
                Err(error) => Err(RepairError::Unreachable(error.outcome().name().to_owned())),
            }
        })
    }
}
