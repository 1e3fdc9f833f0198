//! Reading an SSTable in order.

use super::SsTable;
use super::block::Block;
use crate::LogPosition;
use crate::entry::{Entry, Source};
use crate::error::EngineError;
use crate::memtable::Place;
use dunlin_types::Token;
use std::sync::Arc;

/// Entries of an SSTable from a place to a token.
pub(crate) struct SstSource {
    table: Arc<SsTable>,
    from: Place,
    last: Token,
    /// The next block to read; `None` at the end.
    next_block: Option<usize>,
    block: Option<Block>,
    /// Next entry of `block`.
    entry: usize,
    keep: bool,
}

impl SstSource {
    /// `keep`: blocks that are read go to the cache.
    pub(crate) fn new(table: Arc<SsTable>, from: Place, last: Token, keep: bool) -> SstSource {
        let apart = last < table.statistics.first || from.token > table.statistics.last || last < from.token;
        let next_block = if apart { None } else { Some(table.index.find(from.token).unwrap_or(0)) };
        SstSource { table, from, last, next_block, block: None, entry: 0, keep }
    }
}

impl Source for SstSource {
    fn next(&mut self) -> Result<Option<Entry>, EngineError> {
        loop {
            if let Some(block) = &self.block {
                while self.entry < block.count() {
                    let token = block.token(self.entry);
                    if token > self.last {
                        self.next_block = None;
                        break;
                    }
                    let number = self.next_block.unwrap_or(1) - 1;
                    let (key, record) = block.entry(self.entry).ok_or_else(|| self.table.report(number))?;
                    self.entry += 1;
                    if !self.from.excludes(token, &key) {
                        return Ok(Some(Entry { token, key, record, position: LogPosition(0) }));
                    }
                }
                self.block = None;
            }
            let Some(number) = self.next_block.filter(|&n| n < self.table.index.blocks()) else {
                return Ok(None);
            };
            let block = self.table.block(number, self.keep)?;
            self.entry = block.first_at(self.from.token);
            self.block = Some(block);
            self.next_block = Some(number + 1);
        }
    }
}
