//! Reading an SSTable in order.

use super::SsTable;
use super::block::Block;
use crate::entry::Cursor;
use crate::error::EngineError;
use crate::memtable::Place;
use bytes::Bytes;
use dunlin_types::Token;
use std::sync::Arc;

/// Entries of an SSTable from a place to a token.
pub(crate) struct SstCursor {
    table: Arc<SsTable>,
    from: Place,
    last: Token,
    /// The next block to read; `None` at the end.
    next_block: Option<usize>,
    block: Option<Block>,
    /// Next entry of `block`.
    entry: usize,
    current: (Token, Bytes, Bytes),
    keep: bool,
}

impl SstCursor {
    /// `keep`: blocks that are read go to the cache.
    pub(crate) fn new(table: Arc<SsTable>, from: Place, last: Token, keep: bool) -> SstCursor {
        let apart = last < table.statistics.first || from.token > table.statistics.last || last < from.token;
        let next_block = if apart { None } else { Some(table.index.find(from.token).unwrap_or(0)) };
        let current = (Token(0), Bytes::new(), Bytes::new());
        SstCursor { table, from, last, next_block, block: None, entry: 0, current, keep }
    }
}

impl Cursor for SstCursor {
    fn advance(&mut self) -> Result<bool, EngineError> {
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
                        self.current = (token, key, record);
                        return Ok(true);
                    }
                }
                self.block = None;
            }
            let Some(number) = self.next_block.filter(|&n| n < self.table.index.blocks()) else {
                return Ok(false);
            };
            let block = self.table.block(number, self.keep)?;
            self.entry = block.first_at(self.from.token);
            self.block = Some(block);
            self.next_block = Some(number + 1);
        }
    }

    fn token(&self) -> Token {
        self.current.0
    }

    fn key(&self) -> &[u8] {
        &self.current.1
    }

    fn record(&self) -> &[u8] {
        &self.current.2
    }
}
