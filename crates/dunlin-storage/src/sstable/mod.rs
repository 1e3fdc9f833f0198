//! SSTables: immutable files of entries in (token, key) order, read by block.
//!
//! Opening reads the footer alone, which has the statistics; index and filter are read when they are first
//! asked for and stay in memory. Every part is checked when it is read from the disk. Damage does not keep
//! the engine from starting: what cannot be answered for certain is an error that names file and offset.

mod block;
mod cache;
mod counter;
mod cursor;
mod filter;
mod footer;
pub mod fuzzing;
mod index;
mod part;
pub mod probe;
mod search;
mod statistics;
#[cfg(test)]
mod tests;
pub(crate) mod verify;
pub(crate) mod writer;

pub(crate) use cache::BlockCache;
pub(crate) use cursor::SstCursor;
pub(crate) use filter::FilterHash;
pub(crate) use statistics::SstStatistics;

use crate::error::{EngineError, OpenError};
use crate::fs::{File, Fs, OpenMode};
use block::Block;
use cache::Pins;
use counter::Counter;
use dunlin_types::{TableId, Token, TokenRange};
use filter::Filter;
use footer::{FOOTER_BYTES, Footer, Place};
use index::Index;
use parking_lot::Mutex;
use part::Part;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Counters of reads from SSTables, shared by all of an engine.
#[derive(Default)]
pub(crate) struct ReadCounters {
    /// Lookups that a filter ended.
    pub(crate) filtered: Counter,
    /// Lookups that a filter let pass.
    pub(crate) passed: Counter,
    /// Places that failed their check.
    pub(crate) damaged: AtomicU64,
}

/// What all SSTables of an engine share.
pub(crate) struct SstShared {
    pub(crate) cache: BlockCache,
    pub(crate) counters: ReadCounters,
    /// Numbers for [`cache::BlockId`].
    pub(crate) opened: AtomicU64,
}

impl SstShared {
    pub(crate) fn new(cache_bytes: u64, block_bytes: usize) -> SstShared {
        SstShared {
            cache: BlockCache::new(cache_bytes, block_bytes),
            counters: ReadCounters::default(),
            opened: AtomicU64::new(0),
        }
    }
}

/// What is read at first use.
struct Parts {
    /// `None`: it is damaged, and no key of the token range can be read.
    index: Option<Index>,
    /// `None`: it is damaged, and every key may be there.
    filter: Option<Filter>,
    pins: Arc<Pins>,
}

pub(crate) struct SsTable {
    path: String,
    file: Arc<dyn File>,
    file_bytes: u64,
    sequence: u64,
    /// `None`: it is damaged, and nothing can be read.
    footer: Option<Footer>,
    statistics: SstStatistics,
    id: u64,
    parts: OnceLock<Parts>,
    /// Held while `parts` are read.
    loading: Mutex<()>,
    shared: Arc<SstShared>,
    damaged: AtomicBool,
    /// What is damaged, by offset.
    damages: Mutex<BTreeMap<u64, &'static str>>,
}

impl SsTable {
    /// Opens a file that a manifest names. A damaged footer is no error, but marks the SSTable as damaged; a
    /// missing file is one, and so is one of another version.
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
        let mut bytes = [0; FOOTER_BYTES];
        let footer = match file.read_at(footer_at, &mut bytes) {
            Ok(_) => match Footer::decode(&bytes, path, footer_at) {
                Ok(footer) => Some(footer).filter(|f| f.table == table && f.sequence == sequence),
                Err(e @ OpenError::Version { .. }) => return Err(e),
                Err(_) => None,
            },
            Err(error) => {
                tracing::error!(file = %path, offset = footer_at, %error, "the footer cannot be read");
                None
            }
        };
        let opened = SsTable {
            path: path.to_owned(),
            file,
            file_bytes,
            sequence,
            statistics: footer.map_or_else(SstStatistics::unknown, |footer| footer.statistics),
            footer,
            id: shared.opened.fetch_add(1, Ordering::Relaxed),
            parts: OnceLock::new(),
            loading: Mutex::new(()),
            shared: shared.clone(),
            damaged: AtomicBool::new(false),
            damages: Mutex::default(),
        };
        if footer.is_none() {
            opened.damage(footer_at, FOOTER);
        }
        Ok(opened)
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

    /// If the footer is damaged: as if any key might be here.
    pub(crate) fn statistics(&self) -> &SstStatistics {
        &self.statistics
    }

    /// Bytes of index and filter, which stay in memory once they were read.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        let Some(parts) = self.parts.get() else { return 0 };
        let index = parts.index.as_ref().map_or(0, Index::bytes);
        index + parts.filter.as_ref().map_or(0, Filter::bytes) + parts.pins.bytes()
    }

    /// Whether the statistics could be read.
    pub(crate) fn knows_its_range(&self) -> bool {
        *self.statistics() != SstStatistics::unknown()
    }

    /// Whether any part failed its check since the file was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether a key of that token may be here, by token range and filter. True if that cannot be read: then
    /// [`SsTable::get_with`] tells why.
    #[inline]
    pub(crate) fn may_hold(&self, token: Token, hash: FilterHash) -> bool {
        let may = self.statistics.covers(token) && self.filter().is_none_or(|filter| filter.may_hold(hash));
        let counters = &self.shared.counters;
        let counter = if may { &counters.passed } else { &counters.filtered };
        counter.add();
        may
    }

    /// Shows the canonical bytes of a key's record to `show`, where they lie in the cache; `None` if the key is
    /// not here. To be asked only if [`SsTable::may_hold`].
    #[inline]
    pub(crate) fn get_with<R>(
        &self,
        token: Token,
        key: &[u8],
        show: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, EngineError> {
        let parts = self.parts()?;
        let Some(number) = self.index_of(parts)?.find(token) else { return Ok(None) };
        let search = |bytes: &[u8]| {
            let found = Block::parse(bytes).and_then(|block| block.find(token, key));
            found.map(|record| record.map(show)).ok_or_else(|| self.damaged_block(number))
        };
        match self.shared.cache.with_pinned(&parts.pins, (self.id, number as u32), search) {
            Ok(found) => found,
            Err(search) => search(&match self.cached(number) {
                Some(block) => block,
                None => self.read_block(number)?,
            }),
        }
    }

    /// Reads index and filter, if that was not done yet. Error: one of them or the footer is damaged.
    pub(crate) fn prove(&self) -> Result<(), EngineError> {
        self.index()?;
        match (self.filter(), &self.footer) {
            (None, Some(footer)) => Err(self.damage(footer.filter.offset, FILTER)),
            _ => Ok(()),
        }
    }

    #[inline]
    fn parts(&self) -> Result<&Parts, EngineError> {
        match self.parts.get() {
            Some(parts) => Ok(parts),
            None => self.load(),
        }
    }

    #[inline]
    fn filter(&self) -> Option<&Filter> {
        self.parts().ok()?.filter.as_ref()
    }

    #[inline]
    fn index(&self) -> Result<&Index, EngineError> {
        self.index_of(self.parts()?)
    }

    #[inline]
    fn index_of<'a>(&self, parts: &'a Parts) -> Result<&'a Index, EngineError> {
        parts.index.as_ref().ok_or_else(|| match &self.footer {
            Some(footer) => self.damage(footer.index.offset, INDEX),
            None => self.damage(self.file_bytes.saturating_sub(FOOTER_BYTES as u64), FOOTER),
        })
    }

    /// Reads index and filter. Error: the system cannot read them; damage is kept in mind instead.
    #[cold]
    fn load(&self) -> Result<&Parts, EngineError> {
        let _guard = self.loading.lock();
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        let (mut index, mut filter) = (None, None);
        if let Some(footer) = &self.footer {
            index = self.read_part(footer.index, INDEX, |raw| Index::decode(raw, footer.index.offset))?;
            filter = self.read_part(footer.filter, FILTER, Filter::decode)?;
        }
        let pins = Arc::new(Pins::new(index.as_ref().map_or(0, Index::blocks)));
        Ok(self.parts.get_or_init(|| Parts { index, filter, pins }))
    }

    /// Reads and decodes a part that is stored plain; `None` if it is damaged.
    fn read_part<T>(
        &self,
        place: Place,
        what: &'static str,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, EngineError> {
        let length = usize::try_from(place.bytes).map_err(|_| self.damage(place.offset, what))?;
        let mut bytes = vec![0; length];
        self.read_at(place.offset, &mut bytes)?;
        let part = Part::check(&bytes, self.salt(), place.offset);
        let decoded = part.and_then(|part| part.plain()).and_then(decode);
        if decoded.is_none() {
            self.damage(place.offset, what);
        }
        Ok(decoded)
    }

    /// A block, if it is in the cache.
    #[inline]
    fn cached(&self, number: usize) -> Option<Arc<[u8]>> {
        self.shared.cache.get(&self.parts().ok()?.pins, (self.id, number as u32))
    }

    /// Reads a block from the file and puts it into the cache.
    #[cold]
    fn read_block(&self, number: usize) -> Result<Arc<[u8]>, EngineError> {
        let (offset, length) = self.index()?.place(number).ok_or_else(|| self.damaged_block(number))?;
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        if let Some(fresh) = Arc::get_mut(&mut bytes) {
            self.read_at(offset, fresh)?;
        }
        let damaged = || self.damaged_block(number);
        let part = Part::check(&bytes, self.salt(), offset).ok_or_else(damaged)?;
        // A plain block is the front of what was read: it stays where it is.
        let block = if part.plain().is_some() { Some(bytes) } else { unpacked(&part) };
        block.and_then(|block| self.keep(number, block)).ok_or_else(damaged)
    }

    /// Puts a block that was read into the cache; `None` if it is none.
    fn keep(&self, number: usize, block: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let pins = &self.parts().ok()?.pins;
        self.shared.cache.insert(pins, (self.id, number as u32), block.clone()).then_some(block)
    }

    fn salt(&self) -> u64 {
        self.footer.map_or(0, |footer| footer.salt)
    }

    /// Fills `bytes` from the file. A file that ends before is damaged.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), EngineError> {
        match self.file.read_at(offset, bytes) {
            Ok(read) if read == bytes.len() => Ok(()),
            Ok(read) => Err(self.damage(offset + read as u64, "end of file")),
            Err(e) => Err(EngineError::io(format!("read {} at byte {offset}", self.path), &e)),
        }
    }

    /// Tokens that are in a block if they are here at all.
    fn block_range(&self, number: usize) -> TokenRange {
        let SstStatistics { first, last, .. } = self.statistics;
        let Ok(index) = self.index() else { return TokenRange { first, last } };
        let next = index.first(number + 1).and_then(|next| next.0.checked_sub(1));
        TokenRange { first: index.first(number).unwrap_or(first), last: next.map_or(last, Token) }
    }

    fn damaged_block(&self, number: usize) -> EngineError {
        let place = self.parts.get().and_then(|parts| parts.index.as_ref()?.place(number));
        self.damage(place.map_or(0, |(offset, _)| offset), "SSTable block")
    }

    /// The error for damage; it is counted and logged once for each place.
    #[cold]
    fn damage(&self, offset: u64, what: &'static str) -> EngineError {
        self.damaged.store(true, Ordering::Relaxed);
        if self.damages.lock().insert(offset, what).is_none() {
            self.shared.counters.damaged.fetch_add(1, Ordering::Relaxed);
            tracing::error!(file = %self.path, offset, what, "an SSTable is damaged");
        }
        EngineError::damaged(&self.path, offset, what)
    }
}

/// The raw bytes of a part.
fn unpacked(part: &Part<'_>) -> Option<Arc<[u8]>> {
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, part.raw_bytes()).collect();
    part.unpack(Arc::get_mut(&mut bytes)?)?;
    Some(bytes)
}

const FOOTER: &str = "SSTable footer";
const INDEX: &str = "SSTable index";
const FILTER: &str = "SSTable filter";
