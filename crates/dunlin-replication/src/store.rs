//! The `ReplicaStore` seam: where a node's own copy lives and where blocking work runs.
//!
//! Production runs the engine's commits on a thread of its own with group commit; the simulation runs
//! them inline on virtual time. Both stand on `dunlin_storage::Engine`.

use dunlin_types::runtime::BoxFuture;
use dunlin_types::{Key, Record, TableId, Token, TokenRange};
use std::sync::Arc;

/// When a write is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum Durability {
    /// After the commit log was synced.
    #[default]
    Synced,
    /// Once handed to the operating system.
    Buffered,
}

/// Why the store did not do it. After a failed write nothing was applied unless said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The table is not known here (schema not yet arrived, or dropped).
    #[error("no table {0} here")]
    UnknownTable(TableId),
    /// Writes are refused: the log failed and was closed. Reads go on.
    #[error("the store takes no writes: {0}")]
    ReadOnly(String),
    /// Too full a disk for client writes.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// A queue is full; come again.
    #[error("the store is overloaded")]
    Overloaded,
    /// Reading failed or found damage: the answer has to come from another replica.
    #[error("cannot read: {0}")]
    Damaged(String),
    /// The change function refused; nothing was written.
    #[error("refused: {0:?}")]
    Refused(Box<dunlin_types::ClusterError>),
}

/// A record with its place, as scans give it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Place on the ring.
    pub token: Token,
    /// Key.
    pub key: Key,
    /// Copy of the record, tombstones included.
    pub record: Record,
}

/// Decides the new record from the present one, under the key's lock: read, merge and write are one
/// step. It must be quick and must not block.
pub type Change = Box<dyn FnOnce(Option<Record>) -> Result<Record, Box<dunlin_types::ClusterError>> + Send>;

/// Told of every write that a copy takes in: merges and updates, whoever sent them.
pub trait WriteObserver: Send + Sync {
    /// A record is about to be joined into the copy. Must return at once.
    fn taking(&self, table: TableId, token: Token, record: &Record);

    /// The record was joined into the copy; a read that begins now sees it.
    fn taken(&self, table: TableId, token: Token, record: &Record);
}

/// A node's own copy. Every future is safe to drop; a write then still may happen.
pub trait ReplicaStore: Send + Sync {
    /// Names who is told of writes; only the first call counts. A store that is never repaired may ignore it.
    fn observe(&self, _observer: Arc<dyn WriteObserver>) {}

    /// The record as of now, never one that a crash could take back (it waits for the shared sync).
    fn get(
        &self,
        table: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>>;

    /// Joins the record into what is stored; ends when durable as asked.
    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        durability: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Reads, changes and writes in one step. The outer result comes at once, with the new record and
    /// a future that ends when it is durable: a coordinator sends to the others meanwhile.
    fn update(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        change: Change,
        durability: Durability,
    ) -> BoxFuture<'static, Result<Updated, StoreError>>;

    /// Ends when all that was applied before the call is durable, writes that nobody waited for included.
    fn sync(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether there is room for what clients write. What heals copies goes on without it.
    fn takes_client_writes(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether reads for clients may count on this copy of a range. Repair reads it all the same.
    /// Error: data of it was lost and is not back yet.
    fn serves(&self, _table: TableId, _range: TokenRange) -> Result<(), StoreError> {
        Ok(())
    }

    /// Records of a token range in (token, key) order, strictly after `after`, at most `limit` of
    /// them and at most about `bytes` bytes (always at least one if there is any).
    fn scan(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<(Token, Key)>,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Entry>, StoreError>>;
}

/// Result of [`ReplicaStore::update`].
pub struct Updated {
    /// The record as stored.
    pub record: Record,
    /// Ends when it is durable as asked.
    pub durable: BoxFuture<'static, Result<(), StoreError>>,
}
