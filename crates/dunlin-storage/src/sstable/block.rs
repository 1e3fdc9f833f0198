//! A block of entries: tokens, offsets, then keys and records.
//!
//! The tokens stand together, so that a search touches few cache lines. All entries of one token are in
//! one block.

use crate::checksum::{u32_at, u64_at};
use bytes::Bytes;
use dunlin_types::Token;
use dunlin_types::codec::{Reader, put_bytes};

/// Collects a block.
#[derive(Default)]
pub(crate) struct BlockBuilder {
    tokens: Vec<u64>,
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl BlockBuilder {
    /// Appends an entry; they come in order.
    pub(crate) fn push(&mut self, token: Token, key: &[u8], record: &[u8]) {
        self.tokens.push(token.0);
        self.offsets.push(u32::try_from(self.data.len()).expect("blocks are cut before 4 GiB"));
        put_bytes(&mut self.data, key);
        self.data.extend_from_slice(record);
    }

    /// About the raw length.
    pub(crate) fn bytes(&self) -> usize {
        4 + self.tokens.len() * 12 + self.data.len()
    }

    pub(crate) fn first(&self) -> Option<Token> {
        self.tokens.first().map(|&t| Token(t))
    }

    pub(crate) fn last(&self) -> Option<Token> {
        self.tokens.last().map(|&t| Token(t))
    }

    /// The raw block; the builder is empty afterwards.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&(self.tokens.len() as u32).to_le_bytes());
        self.tokens.drain(..).for_each(|t| out.extend_from_slice(&t.to_le_bytes()));
        self.offsets.drain(..).for_each(|o| out.extend_from_slice(&o.to_le_bytes()));
        out.append(&mut self.data);
    }
}

/// A decompressed block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    raw: Bytes,
    count: usize,
}

impl Block {
    /// `None` if the bytes cannot be a block.
    pub(crate) fn decode(raw: Bytes) -> Option<Block> {
        let count = u32_at(&raw, 0)? as usize;
        (4 + count.checked_mul(12)? <= raw.len()).then_some(Block { raw, count })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.raw.len() as u64
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Token of entry `i < count`.
    pub(crate) fn token(&self, i: usize) -> Token {
        Token(u64_at(&self.raw, 4 + i * 8).unwrap_or_default())
    }

    /// Number of the first entry whose token is not below `token`.
    pub(crate) fn first_at(&self, token: Token) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if self.token(middle) < token { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Key and record of entry `i < count`; `None` if the block is not well-formed.
    pub(crate) fn entry(&self, i: usize) -> Option<(Bytes, Bytes)> {
        let offsets = 4 + self.count * 8;
        let data = offsets + self.count * 4;
        let from = data + u32_at(&self.raw, offsets + i * 4)? as usize;
        let to = if i + 1 < self.count {
            data + u32_at(&self.raw, offsets + (i + 1) * 4)? as usize
        } else {
            self.raw.len()
        };
        if from > to || to > self.raw.len() {
            return None;
        }
        let entry = self.raw.slice(from..to);
        let mut reader = Reader::new(&entry);
        let key = reader.bytes("key").ok()?;
        let record = entry.slice(entry.len() - reader.remaining()..);
        Some((key, record))
    }

    /// The record of a key; the outer `None` if the block is not well-formed.
    pub(crate) fn find(&self, token: Token, key: &[u8]) -> Option<Option<Bytes>> {
        for i in self.first_at(token)..self.count {
            if self.token(i) != token {
                break;
            }
            let (found, record) = self.entry(i)?;
            if found == key {
                return Some(Some(record));
            }
        }
        Some(None)
    }
}
