//! Reading a memtable in order, a batch of copies at a time, so that writers never wait long.

use super::arena::At;
use super::{Memtable, shard_of};
use crate::LogPosition;
use crate::entry::Cursor;
use crate::error::EngineError;
use bytes::Bytes;
use dunlin_types::Token;
use std::sync::Arc;

/// Entries that are copied under one lock, or fewer if they are long.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

/// Where to go on: at a token, behind a key of it if one is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) token: Token,
    pub(crate) after: Option<Bytes>,
}

impl Place {
    /// Whether an entry of a token not below the place's lies before it.
    pub(crate) fn excludes(&self, token: Token, key: &[u8]) -> bool {
        token == self.token && self.after.as_ref().is_some_and(|after| key <= &after[..])
    }
}

/// An entry of a batch; its key starts at `from`, its record at `record` and ends at `end`.
struct Copied {
    token: Token,
    position: LogPosition,
    from: usize,
    record: usize,
    end: usize,
}

/// Entries of a memtable. While it is written to, an entry is seen as it is when its batch is taken.
pub(crate) struct MemtableCursor {
    memtable: Arc<Memtable>,
    from: Place,
    last: Token,
    limit: usize,
    data: Vec<u8>,
    batch: Vec<Copied>,
    /// Number of the entry behind the current one.
    next: usize,
    ended: bool,
}

impl MemtableCursor {
    /// `expected`: about how many entries will be asked for.
    pub(crate) fn new(memtable: Arc<Memtable>, from: Place, last: Token, expected: usize) -> MemtableCursor {
        let ended = last < from.token || memtable.is_empty();
        let limit = expected.clamp(1, BATCH);
        MemtableCursor { memtable, from, last, limit, data: Vec::new(), batch: Vec::new(), next: 0, ended }
    }

    fn fill(&mut self) {
        if let Some(entry) = self.batch.last() {
            self.from.token = entry.token;
            self.from.after = Some(Bytes::copy_from_slice(&self.data[entry.from..entry.record]));
        }
        self.data.clear();
        self.batch.clear();
        self.next = 0;
        for index in shard_of(self.from.token)..=shard_of(self.last) {
            let shard = self.memtable.shards[index].read();
            for (&token, &first) in shard.tree.range(self.from.token.0..=self.last.0) {
                let token = Token(token);
                let mut at = first;
                while at != At::NONE {
                    let header = shard.arena.header(at);
                    let key = shard.arena.key(at, &header);
                    if !self.from.excludes(token, key) {
                        if self.batch.len() >= self.limit || self.data.len() >= BATCH_BYTES {
                            return;
                        }
                        let from = self.data.len();
                        self.data.extend_from_slice(key);
                        let record = self.data.len();
                        self.data.extend_from_slice(shard.arena.record(at, &header));
                        let end = self.data.len();
                        self.batch.push(Copied { token, position: header.position, from, record, end });
                    }
                    at = header.next;
                }
            }
        }
    }

    fn current(&self) -> &Copied {
        &self.batch[self.next - 1]
    }
}

impl Cursor for MemtableCursor {
    fn advance(&mut self) -> Result<bool, EngineError> {
        if self.next == self.batch.len() && !self.ended {
            self.fill();
            self.ended = self.batch.is_empty();
        }
        let more = self.next < self.batch.len();
        self.next += usize::from(more);
        Ok(more)
    }

    fn token(&self) -> Token {
        self.current().token
    }

    fn key(&self) -> &[u8] {
        let entry = self.current();
        &self.data[entry.from..entry.record]
    }

    fn record(&self) -> &[u8] {
        let entry = self.current();
        &self.data[entry.record..entry.end]
    }

    fn position(&self) -> LogPosition {
        self.current().position
    }
}
