//! SSTables: immutable files of entries in (token, key) order, read by block.
//!
//! Index, filter and statistics are read and checked when the file is opened and stay in memory; data
//! blocks are checked at each read from the disk.

mod block;
mod bloom;
mod cache;
mod envelope;
mod footer;
mod index;
pub(crate) mod source;
pub(crate) mod writer;

pub(crate) use cache::BlockCache;
pub(crate) use footer::SstStatistics;

use crate::error::{EngineError, OpenError};
use crate::fs::{File, Fs, OpenMode, read_exact_at};
use block::Block;
use bloom::Bloom;
use bytes::Bytes;
use dunlin_types::{TableId, Token};
use footer::{FOOTER_BYTES, Footer, Part};
use index::Index;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters of reads from SSTables, shared by all of an engine.
#[derive(Default)]
pub(crate) struct ReadCounters {
    /// Lookups that a filter ended.
    pub(crate) filtered: AtomicU64,
    /// Lookups that a filter let pass.
    pub(crate) passed: AtomicU64,
    /// Blocks that failed their check.
    pub(crate) damaged: AtomicU64,
}

/// What all SSTables of an engine share.
pub(crate) struct SstShared {
    pub(crate) cache: BlockCache,
    pub(crate) counters: ReadCounters,
    /// Numbers for [`cache::BlockId`].
    pub(crate) opened: AtomicU64,
}

pub(crate) struct SsTable {
    path: String,
    file: Arc<dyn File>,
    file_bytes: u64,
    sequence: u64,
    salt: u64,
    id: u64,
    index: Index,
    filter: Bloom,
    statistics: SstStatistics,
    shared: Arc<SstShared>,
    damaged: AtomicBool,
}

impl SsTable {
    /// Opens a file that a manifest names.
    pub(crate) fn open(
        fs: &dyn Fs,
        path: &str,
        table: TableId,
        sequence: u64,
        shared: &Arc<SstShared>,
    ) -> Result<SsTable, OpenError> {
        let io = |e: std::io::Error| EngineError::io(format!("open {path}"), &e);
        let file = match fs.open(path, OpenMode::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(EngineError::damaged(path, 0, "SSTable is missing").into());
            }
            Err(e) => return Err(io(e).into()),
        };
        let file_bytes = file.length().map_err(io)?;
        let footer_at = file_bytes.saturating_sub(FOOTER_BYTES as u64);
        let footer_bytes = read_exact_at(&*file, footer_at, (file_bytes - footer_at) as usize).map_err(io)?;
        let footer = Footer::decode(&footer_bytes, path, footer_at)?;
        if footer.table != table || footer.sequence != sequence {
            return Err(EngineError::damaged(path, footer_at, "the footer of another SSTable").into());
        }
        let part = |part: Part, what: &str| -> Result<Bytes, EngineError> {
            let damaged = || EngineError::damaged(path, part.offset, what);
            let in_file = part.offset.checked_add(part.bytes).is_some_and(|end| end <= footer_at);
            let length = usize::try_from(part.bytes).ok().filter(|_| in_file).ok_or_else(damaged)?;
            let stored = Bytes::from(read_exact_at(&*file, part.offset, length).map_err(io)?);
            envelope::open(&stored, footer.salt, part.offset).ok_or_else(damaged)
        };
        let damaged = |part: Part, what: &str| EngineError::damaged(path, part.offset, what);
        let index = Index::decode(&part(footer.index, "SSTable index")?, footer.index.offset)
            .ok_or_else(|| damaged(footer.index, "SSTable index"))?;
        let filter = Bloom::decode(&part(footer.filter, "SSTable filter")?)
            .ok_or_else(|| damaged(footer.filter, "SSTable filter"))?;
        let statistics = SstStatistics::decode(&part(footer.statistics, "SSTable statistics")?)
            .ok_or_else(|| damaged(footer.statistics, "SSTable statistics"))?;
        Ok(SsTable {
            path: path.to_owned(),
            file,
            file_bytes,
            sequence,
            salt: footer.salt,
            id: shared.opened.fetch_add(1, Ordering::Relaxed),
            index,
            filter,
            statistics,
            shared: shared.clone(),
            damaged: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(crate) fn statistics(&self) -> &SstStatistics {
        &self.statistics
    }

    /// Bytes of index and filter, which stay in memory.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        self.index.bytes() + self.filter.bytes()
    }

    /// Whether a block failed its check since the file was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether a key of that token may be here, by token range and filter.
    pub(crate) fn may_hold(&self, token: Token) -> bool {
        let range = &self.statistics;
        let may = token >= range.first && token <= range.last && self.filter.may_hold(token.0);
        let counters = &self.shared.counters;
        let counter = if may { &counters.passed } else { &counters.filtered };
        counter.fetch_add(1, Ordering::Relaxed);
        may
    }

    /// Canonical bytes of a key's record; to be asked only if [`SsTable::may_hold`].
    pub(crate) fn get(&self, token: Token, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let Some(number) = self.index.find(token) else { return Ok(None) };
        self.block(number, true)?.find(token, key).ok_or_else(|| self.report(number))
    }

    /// Reads a block, from the cache if it is there; `keep` puts it there if not.
    fn block(&self, number: usize, keep: bool) -> Result<Block, EngineError> {
        let id = (self.id, number as u32);
        if let Some(block) = self.shared.cache.get(id) {
            return Ok(block);
        }
        let (offset, length) = self.index.place(number).ok_or_else(|| self.report(number))?;
        let stored = read_exact_at(&*self.file, offset, length)
            .map_err(|e| EngineError::io(format!("read {} at byte {offset}", self.path), &e))?;
        let block = envelope::open(&stored.into(), self.salt, offset).and_then(Block::decode);
        let block = block.ok_or_else(|| self.report(number))?;
        if keep {
            self.shared.cache.insert(id, block.clone());
        }
        Ok(block)
    }

    /// Counts a damaged block and makes the error for it.
    fn report(&self, number: usize) -> EngineError {
        let offset = self.index.place(number).map_or(0, |(offset, _)| offset);
        self.damaged.store(true, Ordering::Relaxed);
        self.shared.counters.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(file = %self.path, offset, "a data block is damaged");
        EngineError::damaged(&self.path, offset, "SSTable block")
    }
}
