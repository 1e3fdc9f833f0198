//! Removing token ranges.

use super::Engine;
use crate::compaction::ranges::complement;
use crate::error::EngineError;
use dunlin_types::{TableId, TokenRange};

impl Engine {
    /// Removes every entry of a token range that was written before the call, tombstones too. Durable when this
    /// returns; a crash before leaves all or nothing of it. For ranges that the node does not own any more.
    pub fn delete_range(&self, table: TableId, range: TokenRange) -> Result<(), EngineError> {
        self.delete_ranges(table, &[range])
    }

    /// As [`Engine::delete_range`], for all tokens but those of the ranges given.
    pub fn cleanup(&self, table: TableId, keep: &[TokenRange]) -> Result<(), EngineError> {
        self.delete_ranges(table, &complement(keep))
    }

    fn delete_ranges(&self, table: TableId, _ranges: &[TokenRange]) -> Result<(), EngineError> {
        self.table(table)?;
        Err(EngineError::Refused("removal of token ranges is not built yet".into()))
    }
}
