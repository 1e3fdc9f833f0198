//! Sizes and bounds of the engine.

use crate::parallel::{Parallel, Sequential};
use dunlin_types::runtime::PlantedBug;
use dunlin_types::schema::Compression;
use std::sync::Arc;

/// Sizes and bounds. The defaults suit a node with a few GiB of memory.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// A log segment is closed once it is this long (it may end one frame later).
    pub log_segment_bytes: u64,
    /// When the log is longer than this, the table that keeps its oldest segment is flushed.
    pub log_bytes_max: u64,
    /// Alignment of what the log writes: a power of two from 512 bytes to 64 KiB, rounded otherwise. 4 KiB is what
    /// disks and page caches write at once; a disk that asks for more gets no direct writes.
    pub log_block_bytes: u64,
    /// Spare segments that are kept, already written, for the log to reuse: overwriting written blocks
    /// syncs faster than growing a file.
    pub log_spares_max: usize,
    /// A table's memtable is flushed once it holds this much.
    pub memtable_bytes: u64,
    /// Writes are refused as overloaded while all memtables together hold this much.
    pub memtables_bytes_max: u64,
    /// Raw size of an SSTable block.
    pub block_bytes: usize,
    /// Size of the cache of decompressed blocks.
    pub block_cache_bytes: u64,
    /// How SSTables are merged.
    pub compaction: CompactionOptions,
    /// About how much a step of [`crate::Engine::maintenance`] writes at most.
    pub step_bytes: u64,
    /// Threads for the replay of the log.
    pub parallel: Arc<dyn Parallel>,
    /// In simulation, the bug planted in the engine: `LogUnchecked` or `VisibleBeforeSync`.
    pub planted: Option<PlantedBug>,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            log_segment_bytes: 64 << 20,
            log_bytes_max: 512 << 20,
            log_block_bytes: 4096,
            log_spares_max: 2,
            memtable_bytes: 64 << 20,
            memtables_bytes_max: 512 << 20,
            block_bytes: 4096,
            block_cache_bytes: 256 << 20,
            compaction: CompactionOptions::default(),
            step_bytes: 4 << 20,
            parallel: Arc::new(Sequential),
            planted: None,
        }
    }
}

impl EngineOptions {
    /// Small sizes that make flushes, compactions and segment changes happen often: for tests and simulation.
    pub fn small() -> EngineOptions {
        EngineOptions {
            log_segment_bytes: 64 << 10,
            log_bytes_max: 512 << 10,
            log_block_bytes: 512,
            log_spares_max: 1,
            memtable_bytes: 64 << 10,
            memtables_bytes_max: 4 << 20,
            block_bytes: 1024,
            block_cache_bytes: 1 << 20,
            compaction: CompactionOptions::small(),
            step_bytes: 32 << 10,
            parallel: Arc::new(Sequential),
            planted: None,
        }
    }
}

/// How the SSTables of a table are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Levels of disjoint SSTables, each larger than the one above it (O'Neil et al. 1996; LevelDB): little
    /// space, few SSTables to look into.
    #[default]
    Leveled,
    /// SSTables of like size are merged into one (Bigtable, Chang et al. 2006): fewer rewrites, more space and
    /// more SSTables to look into. For tables that are written much and read little.
    Tiered,
}

/// Sizes and bounds of compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionOptions {
    /// Leveled: fewest SSTables of level 0 that are worth a merge.
    pub level0_min: usize,
    /// Writes to a table are refused as overloaded while its level 0 has this many sound SSTables (tiered:
    /// all its SSTables).
    pub level0_max: usize,
    /// Leveled: level 0 is merged into the next level once it is at least this share of what it overlaps
    /// there, in percent; before, its SSTables are merged among themselves.
    pub level0_percent: u64,
    /// Leveled: about what level 0 holds when it is merged. One level is enough for `level_factor` times as much.
    pub level_base_bytes: u64,
    /// Leveled: most times that a level is larger than the one above it.
    pub level_factor: u64,
    /// Leveled: about the size of SSTables below level 0.
    pub file_bytes: u64,
    /// Tiered: fewest SSTables of like size worth a merge.
    pub inputs_min: usize,
    /// Tiered: most SSTables merged at once.
    pub inputs_max: usize,
    /// Tiered: SSTables below this size all count as alike.
    pub small_bytes: u64,
    /// An SSTable is merged for that alone once this share of its entries, in percent, may be purged.
    pub purge_percent: u64,
    /// Memtables of one table that wait for their flush before writes to it are refused as overloaded.
    pub frozen_max: usize,
    /// Free space that a compaction leaves besides its output.
    pub margin_bytes: u64,
}

impl Default for CompactionOptions {
    fn default() -> CompactionOptions {
        CompactionOptions {
            level0_min: 8,
            level0_max: 48,
            level0_percent: 25,
            level_base_bytes: 256 << 20,
            level_factor: 10,
            file_bytes: 64 << 20,
            inputs_min: 4,
            inputs_max: 32,
            small_bytes: 4 << 20,
            purge_percent: 20,
            frozen_max: 6,
            margin_bytes: 64 << 20,
        }
    }
}

impl CompactionOptions {
    /// As [`EngineOptions::small`].
    pub fn small() -> CompactionOptions {
        CompactionOptions {
            level0_min: 4,
            level_base_bytes: 128 << 10,
            level_factor: 4,
            file_bytes: 48 << 10,
            small_bytes: 16 << 10,
            margin_bytes: 16 << 10,
            ..CompactionOptions::default()
        }
    }
}

/// Of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// Folder of its SSTables below the data directory: `tables/<keyspace>/<table>`.
    pub dir: String,
    /// Of SSTable blocks; each names its own codec, so that this can change at any time.
    pub compression: Compression,
    /// How its SSTables are merged; may change at any time.
    pub compaction: Strategy,
}
