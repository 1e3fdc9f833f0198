//! Sizes and bounds of the engine.

use dunlin_types::runtime::PlantedBug;
use dunlin_types::schema::Compression;

/// Sizes and bounds. The defaults suit a node with a few GiB of memory.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// A log segment is closed once it is this long (it may end one frame later).
    pub log_segment_bytes: u64,
    /// When the log is longer than this, the table that keeps its oldest segment is flushed.
    pub log_bytes_max: u64,
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
    /// In simulation, the bug planted in the engine: `LogUnchecked` or `VisibleBeforeSync`.
    pub planted: Option<PlantedBug>,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            log_segment_bytes: 64 << 20,
            log_bytes_max: 512 << 20,
            log_spares_max: 2,
            memtable_bytes: 64 << 20,
            memtables_bytes_max: 512 << 20,
            block_bytes: 4096,
            block_cache_bytes: 256 << 20,
            compaction: CompactionOptions::default(),
            step_bytes: 4 << 20,
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
            log_spares_max: 1,
            memtable_bytes: 64 << 10,
            memtables_bytes_max: 4 << 20,
            block_bytes: 1024,
            block_cache_bytes: 1 << 20,
            compaction: CompactionOptions { small_bytes: 16 << 10, ..CompactionOptions::default() },
            step_bytes: 32 << 10,
            planted: None,
        }
    }
}

/// Size-tiered compaction: SSTables of like size are merged into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionOptions {
    /// Fewest SSTables of like size worth a merge.
    pub inputs_min: usize,
    /// Most SSTables merged at once.
    pub inputs_max: usize,
    /// SSTables below this size all count as alike.
    pub small_bytes: u64,
}

impl Default for CompactionOptions {
    fn default() -> CompactionOptions {
        CompactionOptions { inputs_min: 4, inputs_max: 32, small_bytes: 4 << 20 }
    }
}

/// Of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// Folder of its SSTables below the data directory: `tables/<keyspace>/<table>`.
    pub dir: String,
    /// Of SSTable blocks. Zstandard is not built in yet: such tables are written with LZ4 (each block names
    /// its own codec, so that this can change at any time).
    pub compression: Compression,
}
