//! The engine of one node: commit log, memtable, SSTables, compaction, over the [`fs::Fs`] seam.
//!
//! It stores records under (table, token, key) by merging ([`dunlin_types::Record::merge`]); it knows
//! nothing of rings, peers, clocks or threads. All calls are synchronous and come from any thread; the
//! owner of an [`Engine`] decides which thread commits and which one does background work.
//!
//! Start with [`Engine`], then `log` (durability), `memtable`, `sstable`, `compaction`. The bytes on disk
//! are described in `docs/formats.md`.

mod checksum;
mod compaction;
mod document;
pub mod engine;
mod entry;
pub mod error;
pub mod fs;
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod manifest;
mod memtable;
pub mod options;
pub mod parallel;
pub mod snapshot;
mod sstable;

pub use compaction::Why;
pub use compaction::purge::PurgeRule;
pub use engine::{
    Damage, Engine, EngineStats, Lane, Progress, RunningJob, Scrubbed, Step, TableStats, Watch,
};
pub use error::{EngineError, OpenError, UpdateError};
pub use log::LogStatistics;
pub use log::scrub::{LogDamage, LogScrub, scrub_log};
pub use options::{CompactionOptions, EngineOptions, Strategy, TableOptions};
pub use snapshot::{Snapshot, SnapshotTable};
#[doc(hidden)]
pub use sstable::probe;

use dunlin_types::{Key, Record, Token};

/// A place in the commit log. Grows with every append over the whole life of a data directory; a write
/// is durable once [`Engine::durable`] has reached its position. Zero is before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition(pub u64);

/// What [`Engine::get`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The record, tombstones included.
    pub record: Record,
    /// Do not show the record before [`Engine::durable`] has reached this: a crash could take it back.
    pub visible_at: LogPosition,
}

/// What [`Engine::get_bytes`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundBytes {
    /// Canonical bytes of the record, tombstones included. They may share a block's memory: copy what is kept long.
    pub record: bytes::Bytes,
    /// As [`Found::visible_at`].
    pub visible_at: LogPosition,
}

/// What [`Engine::digest`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeDigest {
    /// Records.
    pub entries: u64,
    /// Bytes of keys and canonical records.
    pub bytes: u64,
    /// BLAKE3 over all of them.
    pub digest: [u8; 32],
}

/// What [`Engine::scan`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scanned {
    /// Records in (token, key) order, tombstones included.
    pub entries: Vec<(Token, Key, Record)>,
    /// As [`Found::visible_at`], for all of them.
    pub visible_at: LogPosition,
    /// Whether the limits cut the answer short: call again after the last entry.
    pub more: bool,
}
