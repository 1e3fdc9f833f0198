//! Jobs under way.

use crate::compaction::Why;
use dunlin_types::TableId;

/// A flush or a merge under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunningJob {
    /// Grows with every job of this engine: tells jobs apart, and when one was first seen.
    pub id: u64,
    /// Of which table.
    pub table: TableId,
    /// `None`: a flush.
    pub why: Option<Why>,
    /// SSTables that are merged.
    pub inputs: u64,
    /// Level of the output.
    pub output_level: u8,
    /// Bytes read so far.
    pub bytes_done: u64,
    /// Bytes to read.
    pub bytes_total: u64,
}
