//! What a store is to the bench, and the stores.

mod dunlin;
mod fjall;
mod group;
mod lmdb;
mod record;
#[cfg(feature = "rocksdb")]
mod rocks;

use crate::data::Key;
use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The stores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Dunlin's byte-level calls.
    DunlinBare,
    /// Dunlin as a replica uses it: versions, merged on write and read.
    DunlinReplica,
    Rocksdb,
    /// RocksDB with `O_DIRECT` reads, for what is larger than memory.
    RocksdbDirect,
    Fjall,
    /// For point reads and scans alone.
    Lmdb,
}

impl Engine {
    pub fn is_dunlin(self) -> bool {
        matches!(self, Engine::DunlinBare | Engine::DunlinReplica)
    }

    /// The same files serve both.
    pub fn files(self) -> Engine {
        if self == Engine::RocksdbDirect { Engine::Rocksdb } else { self }
    }

    pub fn name(self) -> &'static str {
        match self {
            Engine::DunlinBare => "dunlin-bare",
            Engine::DunlinReplica => "dunlin-replica",
            Engine::Rocksdb => "rocksdb",
            Engine::RocksdbDirect => "rocksdb-direct",
            Engine::Fjall => "fjall",
            Engine::Lmdb => "lmdb",
        }
    }
}

/// The same for every store.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Settings {
    pub memtable_bytes: u64,
    pub cache_bytes: u64,
    /// Durable writes follow: puts need not reach the operating system one by one.
    pub durable: bool,
}

/// Flushes and compactions that run at once, in every store.
pub const BACKGROUND: usize = 2;
/// Raw size of a block, in every store.
pub const BLOCK_BYTES: usize = 4096;

/// A key-value store under test. Calls come from any thread.
pub trait Store: Send + Sync {
    /// Inserts or overwrites.
    fn put(&self, key: &Key, value: &[u8]) -> Result<()>;

    /// As `put`; on return the write survives a crash of the machine.
    fn put_durable(&self, key: &Key, value: &[u8]) -> Result<()>;

    /// Shows the value of a key; false if there is none.
    fn get(&self, key: &Key, show: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Shows up to `limit` keys and values in the order of the store, from a key on; returns how many.
    fn scan(&self, from: &Key, limit: usize, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<usize>;

    /// Keys present, counted by reading them all.
    fn count(&self) -> Result<u64>;

    /// On return the operating system has all puts: a kill of the process loses none.
    fn write_out(&self) -> Result<()>;

    /// Writes memtables to files.
    fn flush(&self) -> Result<()>;

    /// Waits until no flush or compaction runs or is due.
    fn settle(&self) -> Result<()>;

    /// Rewrites everything.
    fn compact(&self) -> Result<()>;

    /// Whether a file of the store's folder belongs to the commit log.
    fn is_log(&self, file: &str) -> bool;

    /// Durable writes without a thread per client, if the store has them.
    fn asynchronous(&self) -> Option<&dyn Asynchronous> {
        None
    }

    /// Ends background work; what `write_out` promises holds.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Durable writes whose acknowledgement comes later.
pub trait Asynchronous: Sync {
    /// Writes; durable once [`Asynchronous::durable`] reaches the returned position.
    fn submit(&self, key: &Key, value: &[u8]) -> Result<u64>;

    /// Everything up to here survives a crash.
    fn durable(&self) -> Result<u64>;

    /// Sleeps until [`Asynchronous::durable`] may have passed `seen`.
    fn wait(&self, seen: u64) -> Result<()>;
}

/// Opens a store, and makes it if its folder is empty.
pub fn open(engine: Engine, dir: &Path, settings: Settings) -> Result<Box<dyn Store>> {
    std::fs::create_dir_all(dir)?;
    Ok(match engine {
        Engine::DunlinBare => Box::new(dunlin::Dunlin::open(dir, settings, dunlin::Mode::Bare)?),
        Engine::DunlinReplica => Box::new(dunlin::Dunlin::open(dir, settings, dunlin::Mode::Replica)?),
        #[cfg(feature = "rocksdb")]
        Engine::Rocksdb | Engine::RocksdbDirect => {
            Box::new(rocks::Rocks::open(dir, settings, engine == Engine::RocksdbDirect)?)
        }
        #[cfg(not(feature = "rocksdb"))]
        Engine::Rocksdb | Engine::RocksdbDirect => anyhow::bail!("built without the feature `rocksdb`"),
        Engine::Fjall => Box::new(fjall::Fjall::open(dir, settings)?),
        Engine::Lmdb => Box::new(lmdb::Lmdb::open(dir)?),
    })
}
