//! What the engine counts.

use super::Engine;
use super::jobs::RunningJob;
use super::table::Table;
use crate::LogPosition;
use crate::error::EngineError;
use crate::log::LogStatistics;
use dunlin_types::{Hlc, TableId, Token};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of background work.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) bytes_flushed: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) bytes_compacted: AtomicU64,
    pub(crate) compactions_put_off: AtomicU64,
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
    /// Compactions that had to wait for free space.
    pub compactions_put_off: u64,
    /// Flushes and merges under way.
    pub running: Vec<RunningJob>,
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
    /// Those of level 0, which may overlap. Writes are refused when they are too many.
    pub sstables_level0: u64,
    /// Bytes of SSTables that wait to be merged, about.
    pub bytes_pending: u64,
    /// Bytes of SSTables that flushes wrote since the start.
    pub bytes_flushed: u64,
    /// Bytes of SSTables that merges wrote since the start: with those of flushes, over those of flushes, the
    /// table's write amplification without the log.
    pub bytes_compacted: u64,
    /// SSTables with a block that failed its check.
    pub sstables_damaged: u64,
    /// Their length.
    pub sstable_bytes: u64,
    /// Their entries; a key counts once for each SSTable it is in.
    pub sstable_entries: u64,
    /// Those that are nothing but tombstones.
    pub tombstones: u64,
    /// Those that are tombstones, or are gone once their values have expired.
    pub gone: u64,
    /// When the oldest tombstone in them was written; `None` if there is none.
    pub tombstone_oldest: Option<Hlc>,
    /// Indexes and filters kept in memory.
    pub pinned_bytes: u64,
}

impl Engine {
    /// SSTables in level 0 of the table that has most there. Cheap, unlike [`Engine::stats`].
    pub fn level0_max(&self) -> usize {
        self.tables.load().values().map(|t| t.state().sstables.level0().len()).max().unwrap_or(0)
    }

    /// A snapshot of the counters. Waits for a running sync of the log.
    pub fn stats(&self) -> EngineStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reads = &self.shared.counters;
        let jobs = self.jobs.lock();
        EngineStats {
            log: self.log.statistics(),
            durable: self.log.durable(),
            written: self.log.written(),
            memtable_bytes: count(&self.memtable_bytes),
            flushes: count(&self.counters.flushes),
            bytes_flushed: count(&self.counters.bytes_flushed),
            compactions: count(&self.counters.compactions),
            bytes_compacted: count(&self.counters.bytes_compacted),
            compactions_put_off: count(&self.counters.compactions_put_off),
            running: jobs.report(),
            cache_bytes: self.shared.cache.bytes(),
            cache_hits: self.shared.cache.hits(),
            cache_misses: self.shared.cache.misses(),
            filtered: reads.filtered.get(),
            unfiltered: reads.passed.get(),
            damaged_blocks: count(&reads.damaged),
            failure: self.log.failure(),
            tables: self
                .tables
                .load()
                .values()
                .map(|t| table_stats(t, self.pending_bytes(t, &jobs)))
                .collect(),
        }
    }
}

impl Engine {
    /// Paths below the data directory of the SSTables in whose token range a token lies, newest first.
    pub fn sstables_of(&self, table: TableId, token: Token) -> Result<Vec<String>, EngineError> {
        let state = self.table(table)?.state();
        Ok(state.sstables.covering(token).map(|s| s.path().to_owned()).collect())
    }

    /// Paths below the data directory of the SSTables with a block that failed its check.
    pub fn damaged_sstables(&self) -> Vec<(TableId, String)> {
        let of = |table: &Arc<Table>| -> Vec<(TableId, String)> {
            let state = table.state();
            let damaged = state.sstables.iter().filter(|(_, s)| s.is_damaged());
            damaged.map(|(_, s)| (table.id, s.path().to_owned())).collect()
        };
        self.tables.load().values().flat_map(of).collect()
    }
}

fn table_stats(table: &Table, bytes_pending: u64) -> TableStats {
    let state = table.state();
    let memtables = || state.frozen.iter().map(|f| &f.memtable).chain([&state.active]);
    let sstables = || state.sstables.iter().map(|(_, s)| s);
    TableStats {
        table: table.id,
        memtable_bytes: memtables().map(|m| m.bytes()).sum(),
        memtable_entries: memtables().map(|m| m.entries()).sum(),
        flushes_pending: state.frozen.len() as u64,
        sstables: state.sstables.len() as u64,
        sstables_level0: state.sstables.level0().len() as u64,
        bytes_pending,
        bytes_flushed: table.bytes_flushed.load(Ordering::Relaxed),
        bytes_compacted: table.bytes_compacted.load(Ordering::Relaxed),
        sstables_damaged: sstables().filter(|s| s.is_damaged()).count() as u64,
        sstable_bytes: sstables().map(|s| s.file_bytes()).sum(),
        sstable_entries: sstables().map(|s| s.statistics().entries).sum(),
        tombstones: sstables().map(|s| s.statistics().tombstones).sum(),
        gone: sstables().map(|s| s.statistics().gone).sum(),
        tombstone_oldest: sstables()
            .filter(|s| s.statistics().tombstones > 0)
            .map(|s| s.statistics().tombstone_written_min)
            .min(),
        pinned_bytes: sstables().map(|s| s.pinned_bytes()).sum(),
    }
}
