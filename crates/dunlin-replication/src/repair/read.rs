//! Reading a range in bounded pages: into a tree, or into a list.

use super::gone::gone_at;
use super::kept::{KeptTrees, LeafRead, Plan};
use super::message::{Digest, Listed};
use super::tree::{self, MerkleTree, RecordHasher, Sum};
use crate::foreground::Foreground;
use crate::store::{Entry, ReplicaStore, StoreError};
use dunlin_types::runtime::SharedRuntime;
use dunlin_types::{Key, Micros, TableId, Token, TokenRange};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A place in (token, key) order.
pub type Place = (Token, Key);

/// Requests of clients at work beyond which a page's rest grows no further.
const STAND_BACK_MAX: u64 = 31;
/// A scan costs about as much as so many records.
const SCAN_RECORDS: usize = 8;
/// A tree is made anew with more leaves once they have this many times the records that they should have.
const CROWDED: u64 = 4;

/// How a node reads its own copy for repair.
#[derive(Clone)]
pub struct Reader {
    /// The node's doors.
    pub runtime: SharedRuntime,
    /// Its copy.
    pub store: Arc<dyn ReplicaStore>,
    /// Trees of it.
    pub trees: Arc<KeptTrees>,
    /// How busy clients keep it.
    pub foreground: Arc<Foreground>,
    /// Records of a page.
    pub page_records: usize,
    /// About the most bytes of a page.
    pub page_bytes: usize,
    /// Rest after a page while no client's request is at work; with each one that is, as long again.
    pub page_pause: Duration,
}

impl Reader {
    /// The tree of a range without what is gone since before the horizon, and how many records had to be read for it.
    /// What was written before the call is in it.
    pub async fn tree(
        &self,
        hasher: &RecordHasher,
        table: TableId,
        range: TokenRange,
        horizon: Micros,
    ) -> Result<(MerkleTree, u64), StoreError> {
        let plan = match self.trees.plan(table, range, horizon) {
            Some(plan) => plan,
            None => {
                let page = self.page(table, range, None).await?;
                self.trees.open(table, range, self.leaves_for(range, &page))
            }
        };
        let mut leaves: Vec<LeafRead> = plan.leaves.iter().map(|leaf| leaf.unwrap_or_default()).collect();
        let mut records = 0;
        let mut reading = Reading { reader: self, hasher, table, range, horizon, plan: &plan, unrested: 0 };
        for run in unknown_runs(&plan) {
            records += reading.run(run, &mut leaves).await?;
        }
        let held: u64 = leaves.iter().map(|leaf| u64::from(leaf.records)).sum();
        if held > leaves.len() as u64 * self.trees.leaf_records() * CROWDED
            && plan.leaves_log2 < tree::leaves_log2_max(range)
        {
            self.trees.forget(table, range);
        }
        let sums: Vec<Sum> = leaves.iter().map(|leaf| leaf.sum).collect();
        Ok((MerkleTree::fold(range, &sums), records))
    }

    /// The records of a slice in short, strictly after `after` and up to `upto` (both may be open), at
    /// most `limit`. The second value is where the list was cut, if it was.
    pub async fn list(
        &self,
        table: TableId,
        slice: TokenRange,
        horizon: Micros,
        after: Option<&Place>,
        upto: Option<&Place>,
        limit: usize,
    ) -> Result<(Vec<(Listed, Key)>, Option<Place>), StoreError> {
        let mut listed: Vec<(Listed, Key)> = Vec::new();
        let mut after = after.cloned();
        loop {
            let page = self.page(table, slice, after.take()).await?;
            let Some(last) = page.last() else { return Ok((listed, None)) };
            let last = (last.token, last.key.clone());
            for entry in page {
                if upto.is_some_and(|upto| (entry.token, &entry.key) > (upto.0, &upto.1)) {
                    return Ok((listed, None));
                }
                if listed.len() >= limit {
                    let cut = listed.last().map(|(l, key)| (l.token, key.clone()));
                    return Ok((listed, cut));
                }
                let short = Listed {
                    token: entry.token,
                    key_hash: tree::key_hash(&entry.key),
                    digest: entry.record.digest(),
                    gone: gone_at(&entry.record).is_some_and(|at| at < horizon),
                };
                listed.push((short, entry.key));
            }
            after = Some(last);
        }
    }

    /// The record of a key that is known by its hash.
    pub async fn find(
        &self,
        table: TableId,
        token: Token,
        key_hash: Digest,
    ) -> Result<Option<Entry>, StoreError> {
        let range = TokenRange { first: token, last: token };
        let mut after = None;
        loop {
            let page = self.page(table, range, after.take()).await?;
            let Some(last) = page.last() else { return Ok(None) };
            after = Some((last.token, last.key.clone()));
            if let Some(found) = page.into_iter().find(|e| tree::key_hash(&e.key) == key_hash) {
                return Ok(Some(found));
            }
        }
    }

    async fn page(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<Place>,
    ) -> Result<Vec<Entry>, StoreError> {
        self.store.scan(table, range, after, self.page_records, self.page_bytes).await
    }

    /// Lets clients' requests come first.
    async fn stand_back(&self) {
        let at_work = self.foreground.at_work().min(STAND_BACK_MAX) as u32;
        self.runtime.sleep(self.page_pause * (1 + at_work)).await;
    }

    /// Tokens are evenly spread, so the first page tells how dense the range is.
    fn leaves_for(&self, range: TokenRange, first_page: &[Entry]) -> u8 {
        let Some(last) = first_page.last() else { return 0 };
        let seen = u128::from(last.token.0 - range.first.0) + 1;
        let whole = u128::from(range.last.0 - range.first.0) + 1;
        let estimate = first_page.len() as u128 * whole / seen;
        // A short page that ends early in the range is most likely all there is.
        let records =
            if first_page.len() < self.page_records / 4 { first_page.len() as u128 } else { estimate };
        tree::leaves_log2_for(range, u64::try_from(records).unwrap_or(u64::MAX), self.trees.leaf_records())
    }
}

/// Runs of neighbours among the leaves that are to be read.
fn unknown_runs(plan: &Plan) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for (index, leaf) in (0u32..).zip(&plan.leaves) {
        match runs.last_mut() {
            _ if leaf.is_ok() => {}
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// The reading of some leaves of a tree.
struct Reading<'a> {
    reader: &'a Reader,
    hasher: &'a RecordHasher,
    table: TableId,
    range: TokenRange,
    horizon: Micros,
    plan: &'a Plan,
    /// Records, or what took as long, read since the last rest.
    unrested: usize,
}

impl Reading<'_> {
    /// Reads a run of leaves into `leaves` and keeps each as soon as it is whole. How many records that were.
    async fn run(&mut self, run: Range<u32>, leaves: &mut [LeafRead]) -> Result<u64, StoreError> {
        let depth = self.plan.leaves_log2;
        let slice = TokenRange {
            first: tree::slice(self.range, depth, run.start).first,
            last: tree::slice(self.range, depth, run.end - 1).last,
        };
        let (mut current, mut read, mut records) = (run.start, LeafRead::default(), 0);
        let mut after = None;
        loop {
            let page = self.reader.page(self.table, slice, after.take()).await?;
            for entry in &page {
                let leaf = tree::leaf_of(self.range, depth, entry.token);
                while current < leaf {
                    self.keep(current, std::mem::take(&mut read), leaves);
                    current += 1;
                }
                let hash = || self.hasher.hash(entry.token, &entry.key, entry.record.digest());
                read.add(gone_at(&entry.record), self.horizon, hash);
            }
            self.unrested += page.len() + SCAN_RECORDS;
            let Some(last) = page.last() else { break };
            after = Some((last.token, last.key.clone()));
            records += page.len() as u64;
            if self.unrested >= self.reader.page_records {
                self.unrested = 0;
                self.reader.stand_back().await;
            }
        }
        while current < run.end {
            self.keep(current, std::mem::take(&mut read), leaves);
            current += 1;
        }
        Ok(records)
    }

    fn keep(&self, leaf: u32, read: LeafRead, leaves: &mut [LeafRead]) {
        leaves[leaf as usize] = read;
        if let Err(mark) = self.plan.leaves[leaf as usize] {
            self.reader.trees.keep(self.table, self.range, self.plan, leaf, mark, read);
        }
    }
}
