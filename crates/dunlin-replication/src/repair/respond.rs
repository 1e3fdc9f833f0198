//! The answering side of an exchange.

use super::message::{
    Digest, LEVELS_MAX, LISTED_MAX, PARENTS_MAX, RECORD_BYTES_MAX, RECORDS_MAX, ROOTS_MAX, RangeRoot,
    RepairRequest, RepairResponse, SLICES_MAX,
};
use super::read::{Place, Reader};
use super::tree::{LEAVES_LOG2_MAX, MerkleTree};
use crate::local::Local;
use crate::message::Refusal;
use crate::store::{Durability, Entry, StoreError};
use dunlin_types::{TableId, Token, TokenRange};
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Trees kept for exchanges under way.
const TREES_KEPT_MAX: usize = 8;
/// Trees built at once; a further asker is told to come again.
const BUILDS_MAX: usize = 4;
/// What a refused asker is told to wait.
const RETRY_AFTER_MS: u32 = 200;

/// What the answering side must know of the cluster.
pub trait Knowledge: Send + Sync {
    /// Version and stamp of the newest layout known here.
    fn newest_layout(&self) -> crate::message::LayoutStamp;
    /// Every table known here.
    fn tables(&self) -> Vec<TableId>;
    /// Whether this node owns the token in any active layout.
    fn owns(&self, table: TableId, token: Token) -> bool;
}

/// Answers [`RepairRequest`]s.
pub struct Responder {
    reader: Reader,
    local: Local,
    knowledge: Arc<dyn Knowledge>,
    builds: Semaphore,
    trees: Mutex<Trees>,
}

#[derive(Default)]
struct Trees {
    last: u64,
    kept: VecDeque<(u64, Arc<MerkleTree>)>,
}

impl Responder {
    /// Answers from that copy.
    pub fn new(reader: Reader, local: Local, knowledge: Arc<dyn Knowledge>) -> Responder {
        Responder { reader, local, knowledge, builds: Semaphore::new(BUILDS_MAX), trees: Mutex::default() }
    }

    /// Answers one request. A request over a bound is refused.
    pub async fn handle(&self, request: RepairRequest) -> RepairResponse {
        match self.answer(request).await {
            Ok(response) => response,
            Err(refusal) => RepairResponse::Refused(refusal),
        }
    }

    async fn answer(&self, request: RepairRequest) -> Result<RepairResponse, Refusal> {
        match request {
            RepairRequest::Tables { layout } => {
                self.know(layout)?;
                Ok(RepairResponse::Tables(self.knowledge.tables()))
            }
            RepairRequest::Roots { layout, table, ranges } => {
                self.know(layout)?;
                self.differ(table, ranges).await
            }
            RepairRequest::Build { layout, table, range, leaves_log2 } => {
                self.know(layout)?;
                let tree = self.build(table, range, leaves_log2).await?;
                let root = tree.root();
                Ok(RepairResponse::Tree { tree: self.keep(tree), root })
            }
            RepairRequest::Nodes { tree, level, down, parents } => self.nodes(tree, level, down, &parents),
            RepairRequest::List { table, slices, after } => self.lists(table, slices, after).await,
            RepairRequest::Fetch { table, wanted } => self.fetch(table, &wanted).await,
            RepairRequest::Store { table, entries } => self.store(table, entries).await,
        }
    }

    fn know(&self, layout: u64) -> Result<(), Refusal> {
        let newest = self.knowledge.newest_layout();
        if newest.version < layout { Err(Refusal::Behind(newest)) } else { Ok(()) }
    }

    async fn differ(&self, table: TableId, ranges: Vec<RangeRoot>) -> Result<RepairResponse, Refusal> {
        ensure(ranges.len() <= ROOTS_MAX)?;
        let mut differ = Vec::new();
        for (index, theirs) in (0u32..).zip(ranges) {
            if self.build(table, theirs.range, theirs.leaves_log2).await?.root() != theirs.root {
                differ.push(index);
            }
        }
        Ok(RepairResponse::Differ(differ))
    }

    async fn build(&self, table: TableId, range: TokenRange, leaves_log2: u8) -> Result<MerkleTree, Refusal> {
        ensure(range.first <= range.last && leaves_log2 <= LEAVES_LOG2_MAX)?;
        let _permit =
            self.builds.try_acquire().map_err(|_| Refusal::Overloaded { retry_after_ms: RETRY_AFTER_MS })?;
        self.reader.tree(table, range, Some(leaves_log2)).await.map_err(refusal)
    }

    fn keep(&self, tree: MerkleTree) -> u64 {
        let mut trees = self.trees.lock();
        trees.last += 1;
        let id = trees.last;
        trees.kept.push_back((id, Arc::new(tree)));
        if trees.kept.len() > TREES_KEPT_MAX {
            trees.kept.pop_front();
        }
        id
    }

    fn nodes(&self, tree: u64, level: u8, down: u8, parents: &[u32]) -> Result<RepairResponse, Refusal> {
        ensure((1..=LEVELS_MAX).contains(&down) && level <= LEAVES_LOG2_MAX && parents.len() <= PARENTS_MAX)?;
        let found = self.trees.lock().kept.iter().find(|(id, _)| *id == tree).map(|(_, t)| Arc::clone(t));
        let Some(tree) = found else { return Ok(RepairResponse::Gone) };
        let mut nodes: Vec<Digest> = Vec::with_capacity(parents.len() << down);
        for &parent in parents {
            ensure(parent >> level == 0)?;
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
            let (listed, cut) =
                self.reader.list(table, slice, after.take().as_ref(), None, left).await.map_err(refusal)?;
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
