//! The answering side of an exchange.

use super::compared::{Compared, ExchangeId, Side};
use super::message::{
    Differing, Digest, LEVELS_MAX, LISTED_MAX, PARENTS_MAX, Purpose, RECORD_BYTES_MAX, RECORDS_MAX,
    ROOTS_MAX, ROOTS_RECORDS_MAX, RangeRoot, RepairRequest, RepairResponse, SLICES_MAX,
};
use super::read::{Place, Reader};
use super::tree::{LEAVES_LOG2_MAX, MerkleTree, RecordHasher};
use crate::local::Local;
use crate::message::{LayoutStamp, Refusal};
use crate::store::{Durability, Entry, StoreError};
use dunlin_types::{HostId, Micros, PartitionerKey, TableId, Token, TokenRange};
use futures::future::join_all;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Trees read at once; a further asker is told to come again.
const READS_MAX: usize = 4;
/// What a refused asker is told to wait.
const RETRY_AFTER_MS: u32 = 200;

/// What repair must know of the cluster.
pub trait Knowledge: Send + Sync {
    /// Version and stamp of the newest layout known here.
    fn newest_layout(&self) -> LayoutStamp;
    /// Every table known here.
    fn tables(&self) -> Vec<TableId>;
    /// Whether this node owns the token in any active layout.
    fn owns(&self, table: TableId, token: Token) -> bool;
    /// Whether the range is that of a vnode.
    fn is_vnode(&self, range: TokenRange) -> bool;
    /// The cluster's secret; `None` before a layout is known.
    fn partitioner(&self) -> Option<PartitionerKey>;
}

/// Answers [`RepairRequest`]s.
pub struct Responder {
    reader: Reader,
    local: Local,
    compared: Arc<Compared>,
    knowledge: Arc<dyn Knowledge>,
    reads: Semaphore,
}

impl Responder {
    /// Answers from that copy.
    pub fn new(
        reader: Reader,
        local: Local,
        compared: Arc<Compared>,
        knowledge: Arc<dyn Knowledge>,
    ) -> Responder {
        Responder { reader, local, compared, knowledge, reads: Semaphore::new(READS_MAX) }
    }

    /// Answers one request of a node. A request over a bound is refused.
    pub async fn handle(&self, from: HostId, request: RepairRequest) -> RepairResponse {
        match self.answer(from, request).await {
            Ok(response) => response,
            Err(refusal) => RepairResponse::Refused(refusal),
        }
    }

    async fn answer(&self, from: HostId, request: RepairRequest) -> Result<RepairResponse, Refusal> {
        match request {
            RepairRequest::Tables { layout } => {
                self.know(layout)?;
                Ok(RepairResponse::Tables(self.knowledge.tables()))
            }
            RepairRequest::Roots { layout, table, purpose, exchange, ranges } => {
                self.know(layout)?;
                ensure(ranges.len() <= ROOTS_MAX)?;
                let exchange = ExchangeId { peer: from, side: Side::Responder, number: exchange };
                self.differ(table, purpose, exchange, ranges).await
            }
            RepairRequest::Nodes { table, range, horizon, level, down, parents } => {
                self.nodes(table, range, horizon, level, down, &parents).await
            }
            RepairRequest::List { table, purpose, slices, horizon, after } => {
                slices.iter().try_for_each(|slice| self.check_sound(table, purpose, *slice))?;
                self.lists(table, slices, horizon, after).await
            }
            RepairRequest::Fetch { table, purpose, wanted } => {
                let at = |token: Token| TokenRange { first: token, last: token };
                wanted.iter().try_for_each(|(token, _)| self.check_sound(table, purpose, at(*token)))?;
                self.fetch(table, &wanted).await
            }
            RepairRequest::Store { table, entries } => self.store(table, entries).await,
            RepairRequest::Ended { table, exchange, ranges } => {
                ensure(ranges.len() <= ROOTS_MAX)?;
                self.local.store.sync().await.map_err(refusal)?;
                let exchange = ExchangeId { peer: from, side: Side::Responder, number: exchange };
                ranges.iter().for_each(|range| self.compared.ended(table, *range, exchange));
                Ok(RepairResponse::Noted)
            }
        }
    }

    /// A copy that lost data gives nothing of it away, but to another one that did.
    fn check_sound(&self, table: TableId, purpose: Purpose, range: TokenRange) -> Result<(), Refusal> {
        match self.local.store.serves(table, range) {
            Err(error) if !purpose.suits_doubtful() => Err(Refusal::Failed(error.to_string())),
            _ => Ok(()),
        }
    }

    fn know(&self, layout: u64) -> Result<(), Refusal> {
        let newest = self.knowledge.newest_layout();
        if newest.version < layout { Err(Refusal::Behind(newest)) } else { Ok(()) }
    }

    async fn differ(
        &self,
        table: TableId,
        purpose: Purpose,
        exchange: ExchangeId,
        ranges: Vec<RangeRoot>,
    ) -> Result<RepairResponse, Refusal> {
        let (mut compared, mut records) = (0, 0);
        let (mut differing, mut doubtful) = (Vec::new(), Vec::new());
        for theirs in ranges {
            let range = theirs.range;
            ensure(range.first <= range.last)?;
            if self.local.store.serves(table, range).is_err() {
                doubtful.push(compared);
                if !purpose.suits_doubtful() {
                    compared += 1;
                    continue;
                }
            }
            if purpose == Purpose::Repair
                && self.knowledge.is_vnode(range)
                && self.knowledge.owns(table, range.first)
            {
                self.compared.begin(table, range, exchange, self.local.now());
            }
            let purged = self.compared.horizon(table, range);
            let horizon = theirs.horizon.max(purged);
            let (tree, read) = self.tree(table, range, horizon).await?;
            // Equal sums are of equal records, whatever the horizons.
            if tree.root() != theirs.root {
                let (root, leaves_log2) = (tree.root(), tree.leaves_log2());
                differing.push(Differing { index: compared, horizon, root, leaves_log2, purged });
            }
            compared += 1;
            records += read;
            if records >= ROOTS_RECORDS_MAX {
                break;
            }
        }
        Ok(RepairResponse::Differ { compared, differing, doubtful })
    }

    async fn tree(
        &self,
        table: TableId,
        range: TokenRange,
        horizon: Micros,
    ) -> Result<(MerkleTree, u64), Refusal> {
        ensure(range.first <= range.last)?;
        let hasher = RecordHasher::new(self.knowledge.partitioner().ok_or(Refusal::NotReady)?);
        let _permit =
            self.reads.try_acquire().map_err(|_| Refusal::Overloaded { retry_after_ms: RETRY_AFTER_MS })?;
        self.reader.tree(&hasher, table, range, horizon).await.map_err(refusal)
    }

    async fn nodes(
        &self,
        table: TableId,
        range: TokenRange,
        horizon: Micros,
        level: u8,
        down: u8,
        parents: &[u32],
    ) -> Result<RepairResponse, Refusal> {
        ensure((1..=LEVELS_MAX).contains(&down) && level <= LEAVES_LOG2_MAX && parents.len() <= PARENTS_MAX)?;
        ensure(parents.iter().all(|parent| parent >> level == 0))?;
        let (tree, _) = self.tree(table, range, horizon).await?;
        let mut nodes: Vec<Digest> = Vec::with_capacity(parents.len() << down);
        for &parent in parents {
            for index in parent << down..(parent + 1) << down {
                nodes.push(tree.node(level + down, index).ok_or(Refusal::Malformed)?);
            }
        }
        Ok(RepairResponse::Nodes(nodes))
    }

    async fn lists(
        &self,
        table: TableId,
        slices: Vec<TokenRange>,
        horizon: Micros,
        after: Option<Place>,
    ) -> Result<RepairResponse, Refusal> {
        ensure(slices.len() <= SLICES_MAX)?;
        let mut lists = Vec::new();
        let mut left = LISTED_MAX;
        let mut after = after;
        for slice in slices {
            if left == 0 {
                break;
            }
            let (listed, cut) = self
                .reader
                .list(table, slice, horizon, after.take().as_ref(), None, left)
                .await
                .map_err(refusal)?;
            left -= listed.len();
            lists.push(listed.into_iter().map(|(l, _)| l).collect());
            if cut.is_some() {
                return Ok(RepairResponse::Lists { lists, cut });
            }
        }
        Ok(RepairResponse::Lists { lists, cut: None })
    }

    async fn fetch(&self, table: TableId, wanted: &[(Token, Digest)]) -> Result<RepairResponse, Refusal> {
        ensure(wanted.len() <= RECORDS_MAX)?;
        let mut entries = Vec::new();
        let (mut answered, mut bytes) = (0, 0);
        for &(token, key_hash) in wanted {
            if bytes >= RECORD_BYTES_MAX {
                break;
            }
            if let Some(entry) = self.reader.find(table, token, key_hash).await.map_err(refusal)? {
                let size = entry_bytes(&entry);
                if bytes + size > RECORD_BYTES_MAX && !entries.is_empty() {
                    break;
                }
                bytes += size;
                entries.push(entry);
            }
            answered += 1;
        }
        Ok(RepairResponse::Records { answered, entries })
    }

    async fn store(&self, table: TableId, entries: Vec<Entry>) -> Result<RepairResponse, Refusal> {
        ensure(entries.len() <= RECORDS_MAX)?;
        let given = entries.len();
        let owned: Vec<Entry> = entries.into_iter().filter(|e| self.knowledge.owns(table, e.token)).collect();
        let stored = owned.len();
        merge_all(&self.local, table, owned).await.map_err(refusal)?;
        Ok(RepairResponse::Stored { stored: stored as u32, refused: (given - stored) as u32 })
    }
}

/// Joins records into the own copy; ends when all are synced. They share syncs.
pub(crate) async fn merge_all(local: &Local, table: TableId, entries: Vec<Entry>) -> Result<(), StoreError> {
    let merges =
        entries.into_iter().map(|e| local.merge(table, e.token, e.key, e.record, Durability::Synced));
    join_all(merges).await.into_iter().collect()
}

/// Size of a record in a message, about.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    let mut bytes = Vec::new();
    entry.record.encode(&mut bytes);
    bytes.len() + entry.key.as_bytes().len() + 16
}

fn ensure(holds: bool) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Malformed) }
}

fn refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::UnknownTable(_) => Refusal::UnknownTable,
        StoreError::DiskFull(_) => Refusal::DiskFull,
        StoreError::Overloaded => Refusal::Overloaded { retry_after_ms: RETRY_AFTER_MS },
        other => Refusal::Failed(other.to_string()),
    }
}
