//! Reading a range in bounded pages: into a tree, or into a list.
//!
//! A tree is built by reading its whole range. Keeping the digests of leaves between exchanges and
//! reading only those that writes made dirty is a later step; it changes this file and nothing of the
//! protocol.

use super::message::{Digest, Listed};
use super::tree::{self, MerkleTree, TreeBuilder};
use crate::store::{Entry, ReplicaStore, StoreError};
use dunlin_types::runtime::SharedRuntime;
use dunlin_types::{Key, TableId, Token, TokenRange};
use std::sync::Arc;
use std::time::Duration;

/// A place in (token, key) order.
pub type Place = (Token, Key);

/// How a node reads its own copy for repair.
#[derive(Clone)]
pub struct Reader {
    /// The node's doors.
    pub runtime: SharedRuntime,
    /// Its copy.
    pub store: Arc<dyn ReplicaStore>,
    /// Records of a page.
    pub page_records: usize,
    /// About the most bytes of a page.
    pub page_bytes: usize,
    /// Rest after a page, so that clients come first.
    pub page_pause: Duration,
}

impl Reader {
    /// The tree of a range; its leaves as many as asked, or as fit the records found.
    pub async fn tree(
        &self,
        table: TableId,
        range: TokenRange,
        leaves_log2: Option<u8>,
    ) -> Result<MerkleTree, StoreError> {
        let mut page = self.page(table, range, None).await?;
        let leaves_log2 = leaves_log2.unwrap_or_else(|| self.leaves_for(range, &page));
        let mut builder = TreeBuilder::new(range, leaves_log2);
        loop {
            for entry in &page {
                builder.push(entry.token, &entry.key, entry.record.digest());
            }
            let Some(last) = page.last() else { return Ok(builder.finish()) };
            let after = Some((last.token, last.key.clone()));
            page = self.page(table, range, after).await?;
            if !page.is_empty() {
                self.runtime.sleep(self.page_pause).await;
            }
        }
    }

    /// The records of a slice in short, strictly after `after` and up to `upto` (both may be open), at
    /// most `limit`. The second value is where the list was cut, if it was.
    pub async fn list(
        &self,
        table: TableId,
        slice: TokenRange,
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
                let digest = entry.record.digest();
                listed.push((
                    Listed { token: entry.token, key_hash: tree::key_hash(&entry.key), digest },
                    entry.key,
                ));
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

    /// Tokens are evenly spread, so the first page tells how dense the range is.
    fn leaves_for(&self, range: TokenRange, first_page: &[Entry]) -> u8 {
        let Some(last) = first_page.last() else { return 0 };
        let seen = u128::from(last.token.0 - range.first.0) + 1;
        let whole = u128::from(range.last.0 - range.first.0) + 1;
        let estimate = first_page.len() as u128 * whole / seen;
        // A short page that ends early in the range is most likely all there is.
        let records =
            if first_page.len() < self.page_records / 4 { first_page.len() as u128 } else { estimate };
        tree::leaves_log2_for(range, u64::try_from(records).unwrap_or(u64::MAX))
    }
}
