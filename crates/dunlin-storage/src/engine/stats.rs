//! What the engine counts.

use super::Engine;
use crate::LogPosition;
use crate::log::LogStatistics;
use dunlin_types::TableId;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of background work.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) bytes_flushed: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) bytes_compacted: AtomicU64,
}

/// A snapshot of the engine's counters; those of events count from its start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineStats {
    /// Of the commit log.
    pub log: LogStatistics,
    /// As [`Engine::durable`].
    pub durable: LogPosition,
    /// As [`Engine::written`].
    pub written: LogPosition,
    /// Bytes in memtables, frozen ones included.
    pub memtable_bytes: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Bytes of SSTables that flushes wrote.
    pub bytes_flushed: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Bytes of SSTables that compactions wrote.
    pub bytes_compacted: u64,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// Blocks found in the cache.
    pub cache_hits: u64,
    /// Blocks read from a file.
    pub cache_misses: u64,
    /// Lookups in an SSTable that its filter or token range ended.
    pub filtered: u64,
    /// Lookups in an SSTable that went on to a block.
    pub unfiltered: u64,
    /// Blocks that failed their check.
    pub damaged_blocks: u64,
    /// As [`Engine::failure`].
    pub failure: Option<String>,
    /// By table id.
    pub tables: Vec<TableStats>,
}

/// Of one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableStats {
    /// Which.
    pub table: TableId,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Entries in memtables.
    pub memtable_entries: u64,
    /// Memtables that wait for a flush.
    pub flushes_pending: u64,
    /// SSTables.
    pub sstables: u64,
    /// SSTables with a block that failed its check.
    pub sstables_damaged: u64,
    /// Their length.
    pub sstable_bytes: u64,
    /// Their entries; a key counts once for each SSTable it is in.
    pub sstable_entries: u64,
    /// Those that are nothing but tombstones.
    pub tombstones: u64,
    /// Indexes and filters kept in memory.
    pub pinned_bytes: u64,
}

impl Engine {
    /// A snapshot of the counters. Waits for a running sync of the log.
    pub fn stats(&self) -> EngineStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reads = &self.shared.counters;
        EngineStats {
            log: self.log.statistics(),
            durable: self.log.durable(),
            written: self.log.written(),
            memtable_bytes: count(&self.memtable_bytes),
            flushes: count(&self.counters.flushes),
            bytes_flushed: count(&self.counters.bytes_flushed),
            compactions: count(&self.counters.compactions),
            bytes_compacted: count(&self.counters.bytes_compacted),
            cache_bytes: self.shared.cache.bytes(),
            cache_hits: self.shared.cache.hits(),
            cache_misses: self.shared.cache.misses(),
            filtered: count(&reads.filtered),
            unfiltered: count(&reads.passed),
            damaged_blocks: count(&reads.damaged),
            failure: self.log.failure(),
            tables: self.tables.load().values().map(|t| table_stats(t)).collect(),
        }
    }
}

fn table_stats(table: &super::table::Table) -> TableStats {
    let state = table.state();
    let memtables = || state.frozen.iter().map(|f| &f.memtable).chain([&state.active]);
    TableStats {
        table: table.id,
        memtable_bytes: memtables().map(|m| m.bytes()).sum(),
        memtable_entries: memtables().map(|m| m.entries()).sum(),
        flushes_pending: state.frozen.len() as u64,
        sstables: state.sstables.len() as u64,
        sstables_damaged: state.sstables.iter().filter(|s| s.is_damaged()).count() as u64,
        sstable_bytes: state.sstables.iter().map(|s| s.file_bytes()).sum(),
        sstable_entries: state.sstables.iter().map(|s| s.statistics().entries).sum(),
        tombstones: state.sstables.iter().map(|s| s.statistics().tombstones).sum(),
        pinned_bytes: state.sstables.iter().map(|s| s.pinned_bytes()).sum(),
    }
}
