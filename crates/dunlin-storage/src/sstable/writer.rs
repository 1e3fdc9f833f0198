//! Writing an SSTable, entry by entry in order.

use super::block::BlockBuilder;
use super::filter::{Filter, FilterHash};
use super::footer::{Footer, Place};
use super::index::IndexBuilder;
use super::part::Sealer;
use super::statistics::SstStatistics;
use crate::checksum::checksum;
use crate::error::EngineError;
use crate::fs::{File, Fs, OpenMode};
use dunlin_types::schema::Compression;
use dunlin_types::{TableId, Token};
use std::sync::Arc;

/// Stored bytes that are gathered before they go to the file.
const BUFFER_BYTES: usize = 256 << 10;
/// Compresses as fast as LZ4 and a little better; level 1 costs two to three times the time for a tenth
/// less space (docs/benchmarks.md).
const ZSTD_LEVEL: i32 = -5;

pub(crate) struct SstWriter {
    path: String,
    file: Arc<dyn File>,
    table: TableId,
    sequence: u64,
    salt: u64,
    block_bytes: usize,
    sealer: Sealer,
    block: BlockBuilder,
    raw: Vec<u8>,
    index: IndexBuilder,
    hashes: Vec<FilterHash>,
    statistics: SstStatistics,
    /// Not yet in the file.
    buffer: Vec<u8>,
    /// Length of what is in the file.
    written: u64,
}

impl SstWriter {
    /// Creates the file. It counts for nothing until a manifest names it.
    pub(crate) fn create(
        fs: &dyn Fs,
        path: String,
        table: TableId,
        sequence: u64,
        compression: Compression,
        block_bytes: usize,
    ) -> Result<SstWriter, EngineError> {
        let file =
            fs.open(&path, OpenMode::Truncate).map_err(|e| EngineError::io(format!("create {path}"), &e))?;
        Ok(SstWriter {
            path,
            file,
            table,
            sequence,
            salt: checksum(table.0, &sequence.to_le_bytes()),
            block_bytes,
            sealer: Sealer::new(compression, ZSTD_LEVEL),
            block: BlockBuilder::default(),
            raw: Vec::new(),
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            statistics: SstStatistics::new(),
            buffer: Vec::new(),
            written: 0,
        })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Length of the blocks so far, as stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(crate) fn entries(&self) -> u64 {
        self.statistics.entries
    }

    /// Appends an entry, which must lie behind the one before. Returns about how many bytes it took.
    /// Error: the record is not one, or the file cannot be written.
    pub(crate) fn push(&mut self, token: Token, key: &[u8], record: &[u8]) -> Result<u64, EngineError> {
        let same_token = self.block.last() == Some(token);
        if self.block.bytes() >= self.block_bytes && !same_token {
            self.cut_block()?;
        }
        if !same_token {
            self.hashes.push(FilterHash::new(token));
        }
        self.statistics.add(token, key, record)?;
        self.block.push(token, key, record);
        Ok((key.len() + record.len() + 16) as u64)
    }

    /// Writes the rest and syncs the file; its name is not durable yet. Returns its length. There must be an
    /// entry.
    pub(crate) fn finish(&mut self) -> Result<u64, EngineError> {
        self.cut_block()?;
        // Both are close to random bits.
        let mut plain = Sealer::new(Compression::None, 0);
        let index = self.part(&mut plain, &self.index.encode());
        let filter = self.part(&mut plain, &Filter::build(&self.hashes).encode());
        let SstWriter { table, sequence, salt, statistics, .. } = *self;
        let footer = Footer { table, sequence, salt, index, filter, statistics };
        self.buffer.extend_from_slice(&footer.encode());
        self.write_out()?;
        self.file.sync().map_err(|e| EngineError::io(format!("sync {}", self.path), &e))?;
        Ok(self.written)
    }

    fn cut_block(&mut self) -> Result<(), EngineError> {
        let Some(first) = self.block.first() else { return Ok(()) };
        let mut raw = std::mem::take(&mut self.raw);
        self.block.take(&mut raw);
        let offset = self.written + self.buffer.len() as u64;
        self.sealer.seal(&mut self.buffer, &raw, self.salt, offset);
        self.raw = raw;
        self.index.push(first, self.written + self.buffer.len() as u64 - offset);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    fn part(&mut self, sealer: &mut Sealer, raw: &[u8]) -> Place {
        let offset = self.written + self.buffer.len() as u64;
        sealer.seal(&mut self.buffer, raw, self.salt, offset);
        Place { offset, bytes: self.written + self.buffer.len() as u64 - offset }
    }

    fn write_out(&mut self) -> Result<(), EngineError> {
        self.file
            .write_at(self.written, &self.buffer)
            .map_err(|e| EngineError::io(format!("write {}", self.path), &e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
