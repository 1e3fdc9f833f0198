//! Writing an SSTable, entry by entry in order.

use super::block::BlockBuilder;
use super::bloom::Bloom;
use super::envelope;
use super::footer::{Footer, Part, SstStatistics};
use super::index::Index;
use crate::checksum::checksum;
use crate::error::EngineError;
use crate::fs::{File, Fs, OpenMode};
use dunlin_types::schema::Compression;
use dunlin_types::view::RecordView;
use dunlin_types::{TableId, Token};
use std::sync::Arc;

/// Stored bytes that are gathered before they go to the file.
const BUFFER_BYTES: usize = 256 << 10;

pub(crate) struct SstWriter {
    path: String,
    file: Arc<dyn File>,
    table: TableId,
    sequence: u64,
    salt: u64,
    compression: Compression,
    block_bytes: usize,
    block: BlockBuilder,
    raw: Vec<u8>,
    index: Index,
    tokens: Vec<u64>,
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
            compression,
            block_bytes,
            block: BlockBuilder::default(),
            raw: Vec::new(),
            index: Index::default(),
            tokens: Vec::new(),
            statistics: SstStatistics::default(),
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
    pub(crate) fn push(&mut self, token: Token, key: &[u8], record: &[u8]) -> Result<u64, EngineError> {
        if self.block.bytes() >= self.block_bytes && self.block.last() != Some(token) {
            self.cut_block()?;
        }
        if self.tokens.last() != Some(&token.0) {
            self.tokens.push(token.0);
        }
        let view = RecordView::parse(record).map_err(|e| {
            EngineError::damaged("a record on its way to an SSTable", e.offset as u64, e.what)
        })?;
        let statistics = &mut self.statistics;
        if statistics.entries == 0 {
            statistics.first = token;
        }
        statistics.last = token;
        statistics.entries += 1;
        statistics.tombstones += u64::from(view.tombstone);
        statistics.key_bytes += key.len() as u64;
        statistics.record_bytes += record.len() as u64;
        statistics.written_max = statistics.written_max.max(view.written_max);
        self.block.push(token, key, record);
        Ok((key.len() + record.len() + 16) as u64)
    }

    /// Writes the rest and syncs the file; its name is not durable yet. Returns its length.
    pub(crate) fn finish(&mut self) -> Result<u64, EngineError> {
        self.cut_block()?;
        let index = self.part(&self.index.encode(), self.compression);
        let filter = self.part(&Bloom::build(&self.tokens).encode(), Compression::None);
        let statistics = self.part(&self.statistics.encode(), Compression::None);
        let footer =
            Footer { table: self.table, sequence: self.sequence, salt: self.salt, index, filter, statistics };
        self.buffer.extend_from_slice(&footer.encode());
        self.write_out()?;
        self.file.sync().map_err(|e| EngineError::io(format!("sync {}", self.path), &e))?;
        Ok(self.written)
    }

    fn cut_block(&mut self) -> Result<(), EngineError> {
        let Some(first) = self.block.first() else { return Ok(()) };
        let mut raw = std::mem::take(&mut self.raw);
        self.block.take(&mut raw);
        let part = self.part(&raw, self.compression);
        self.raw = raw;
        self.index.push(first, part.offset + part.bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    fn part(&mut self, raw: &[u8], compression: Compression) -> Part {
        let offset = self.written + self.buffer.len() as u64;
        envelope::seal(&mut self.buffer, raw, compression, self.salt, offset);
        Part { offset, bytes: self.written + self.buffer.len() as u64 - offset }
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
