//! A door for measuring one SSTable alone (`examples/sstable.rs`); no part of the crate's interface.

use super::writer::SstWriter;
use super::{FilterHash, SsTable, SstCursor, SstShared};
use crate::entry::Cursor;
use crate::error::EngineError;
use crate::fs::Fs;
use crate::memtable::Place;
use dunlin_types::schema::Compression;
use dunlin_types::{TableId, Token};
use std::sync::Arc;

/// An SSTable in a cache.
pub struct Probe(Arc<SsTable>);

impl Probe {
    /// Writes the entries, which come in order, and opens the file.
    pub fn build(
        fs: &dyn Fs,
        entries: impl Iterator<Item = (Token, Vec<u8>, Vec<u8>)>,
        compression: Compression,
        block_bytes: usize,
        cache_bytes: u64,
    ) -> Result<Probe, EngineError> {
        let mut writer =
            SstWriter::create(fs, "probe.sst".to_owned(), TableId(1), 1, compression, block_bytes)?;
        for (token, key, record) in entries {
            writer.push(token, &key, &record)?;
        }
        writer.finish()?;
        let shared = Arc::new(SstShared::new(cache_bytes, block_bytes));
        let table = SsTable::open(fs, "probe.sst", TableId(1), 1, &shared).expect("opens");
        Ok(Probe(Arc::new(table)))
    }

    /// Length of the record of a key.
    pub fn get(&self, token: Token, key: &[u8]) -> Result<Option<usize>, EngineError> {
        if !self.0.may_hold(token, FilterHash::new(token)) {
            return Ok(None);
        }
        self.0.get_with(token, key, <[u8]>::len)
    }

    /// Reads up to `limit` entries from a token on; returns their bytes.
    pub fn scan(&self, from: Token, limit: usize) -> Result<usize, EngineError> {
        let from = Place { token: from, after: None };
        let mut cursor = SstCursor::new(self.0.clone(), from, Token(u64::MAX), true);
        let mut bytes = 0;
        for _ in 0..limit {
            if !cursor.advance()? {
                break;
            }
            bytes += cursor.key().len() + cursor.record().len();
        }
        Ok(bytes)
    }

    /// Reads everything as a compaction does; returns the bytes.
    pub fn read_all(&self) -> Result<usize, EngineError> {
        let from = Place { token: Token(0), after: None };
        let mut cursor = SstCursor::new(self.0.clone(), from, Token(u64::MAX), false);
        let mut bytes = 0;
        while cursor.advance()? {
            bytes += cursor.key().len() + cursor.record().len();
        }
        Ok(bytes)
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.0.file_bytes()
    }
}
