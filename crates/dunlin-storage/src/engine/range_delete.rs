//! Removing token ranges.

use super::Engine;
use super::job::Job;
use super::levels::Levels;
use crate::compaction::ranges::complement;
use crate::error::EngineError;
use dunlin_types::{TableId, TokenRange};
use std::cell::Cell;

impl Engine {
    /// Removes every entry of a token range that was written before the call, tombstones too. Durable when this
    /// returns; a crash before leaves all of it or nothing. For ranges that the node does not own any more.
    pub fn delete_range(&self, table: TableId, range: TokenRange) -> Result<(), EngineError> {
        self.keep_ranges(table, &|| Some(complement(&[range]))).map(drop)
    }

    /// As [`Engine::delete_range`], for all tokens but those of the ranges that `keep` gives. It is asked once it
    /// is settled which SSTables are meant: a write that they hold was taken before, so what its owner knew then
    /// of who owns what, `keep` knows. `None`: it is not known now, and nothing is removed. Whether it was.
    pub fn cleanup(
        &self,
        table: TableId,
        keep: &dyn Fn() -> Option<Vec<TokenRange>>,
    ) -> Result<bool, EngineError> {
        self.keep_ranges(table, keep)
    }

    /// SSTables that lie in the ranges are dropped, those that straddle are rewritten without them; all in one
    /// change of the manifest, so that no older version of a key comes to light in between.
    fn keep_ranges(
        &self,
        table: TableId,
        keep: &dyn Fn() -> Option<Vec<TokenRange>>,
    ) -> Result<bool, EngineError> {
        let known = Cell::new(false);
        // Once flushed, the log does not bring it back.
        self.flush(Some(table))?;
        let table = self.table(table)?;
        self.run_alone(&table, |jobs, table| {
            let state = table.state();
            let Some(kept) = keep() else { return Ok(None) };
            known.set(true);
            let ranges = complement(&kept);
            // Sorted and disjoint, whatever was given.
            let kept = complement(&ranges);
            let met = state.sstables.iter().filter(|(_, s)| ranges.iter().any(|r| Levels::meets(s, *r)));
            let inputs: Vec<_> = met.map(|(level, s)| (level, s.clone())).collect();
            if inputs.is_empty() {
                return Ok(None);
            }
            let id = jobs.next_id();
            let (job, parts) = Job::range_delete(id, table.clone(), inputs, &kept);
            self.check_space(job.bytes_total)?;
            Ok(Some((job, parts)))
        })?;
        Ok(known.get())
    }
}
