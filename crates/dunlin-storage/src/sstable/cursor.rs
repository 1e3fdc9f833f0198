//! Reading an SSTable in order.

use super::block::{EntryPlace, Shape};
use super::part::Part;
use super::{SsTable, unpacked};
use crate::entry::Cursor;
use crate::error::EngineError;
use crate::memtable::Place;
use dunlin_types::{Token, TokenRange};
use std::sync::Arc;

/// How much is read from the file at once: by a compaction, and by a scan that has gone on for a while.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// Blocks that one scan may put into the cache; what it reads beyond would only drive out what others need.
const KEPT_BLOCKS_MAX: usize = 64;

/// Entries of an SSTable from a place to a token, lent from the block they lie in.
pub(crate) struct SstCursor {
    table: Arc<SsTable>,
    from: Place,
    last: Token,
    /// Blocks still to be read.
    blocks: Option<std::ops::Range<usize>>,
    /// Looks into the cache, and puts so many blocks there.
    keep: Option<usize>,
    /// Ranges that could not be read; `None`: damage is an error.
    lost: Option<Vec<TokenRange>>,
    held: Held,
    number: usize,
    shape: Shape,
    /// Next entry of the block.
    next: usize,
    current: EntryPlace,
    /// Keys of a block with a prefix are put together here.
    key: Vec<u8>,
    prefix: usize,
    window: Window,
    /// A block that had to be decompressed.
    raw: Vec<u8>,
}

/// Where the bytes of the current block are.
enum Held {
    Cached(Arc<[u8]>),
    /// In `window`.
    Window(std::ops::Range<usize>),
    /// In `raw`.
    Raw,
}

/// A piece of the file.
struct Window {
    bytes: Vec<u8>,
    /// Offset in the file, and length that is filled.
    offset: u64,
    filled: usize,
    /// How much to read at least next time.
    ahead: usize,
}

impl Window {
    /// Where bytes of the file lie in the window.
    fn find(&self, offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.filled).then_some(start..end)
    }
}

impl SstCursor {
    /// `keep`: blocks are looked for in the cache, and the first ones that are read go there. Otherwise the
    /// file is read in large pieces.
    pub(crate) fn new(table: Arc<SsTable>, from: Place, last: Token, keep: bool) -> SstCursor {
        let ahead = if keep { 0 } else { READ_AHEAD_BYTES };
        let blocks = if last < from.token { Some(0..0) } else { None };
        SstCursor {
            table,
            from,
            last,
            blocks,
            keep: keep.then_some(KEPT_BLOCKS_MAX),
            lost: None,
            held: Held::Raw,
            number: 0,
            shape: Shape::default(),
            next: 0,
            current: EntryPlace::default(),
            key: Vec::new(),
            prefix: 0,
            window: Window { bytes: Vec::new(), offset: 0, filled: 0, ahead },
            raw: Vec::new(),
        }
    }

    /// Reads everything that can be read: damage is not an error, but adds to [`SstCursor::lost`].
    pub(crate) fn salvage(table: Arc<SsTable>) -> SstCursor {
        let from = Place { token: Token(0), after: None };
        let mut cursor = SstCursor::new(table, from, Token(u64::MAX), false);
        // One block at a time: a sector that cannot be read costs no more than its block.
        cursor.window.ahead = 0;
        cursor.lost = Some(Vec::new());
        cursor
    }

    /// Token ranges that could not be read so far, in order.
    pub(crate) fn lost(&self) -> &[TokenRange] {
        self.lost.as_deref().unwrap_or_default()
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.held {
            Held::Cached(block) => block,
            Held::Window(range) => self.window.bytes.get(range.clone()).unwrap_or_default(),
            Held::Raw => &self.raw,
        }
    }

    /// The next block, if there is one, becomes the current one.
    fn next_block(&mut self) -> Result<bool, EngineError> {
        let table = self.table.clone();
        if self.blocks.is_none() {
            self.blocks = Some(self.first_blocks(&table)?);
        }
        while let Some(number) = self.blocks.as_mut().and_then(|blocks| blocks.next()) {
            match self.hold(&table, number) {
                Ok(()) => {
                    let mut key = std::mem::take(&mut self.key);
                    let block = self.shape.of(self.bytes());
                    key.clear();
                    key.extend_from_slice(block.prefix());
                    let next = block.first_at(self.from.token);
                    (self.number, self.next, self.prefix, self.key) = (number, next, key.len(), key);
                    return Ok(true);
                }
                Err(error) => self.lose(number, error)?,
            }
        }
        Ok(false)
    }

    /// Goes on without a block, if that is allowed.
    fn lose(&mut self, number: usize, error: EngineError) -> Result<(), EngineError> {
        let Some(lost) = &mut self.lost else {
            // Asked again, it fails again: nothing is left out.
            self.shape = Shape::default();
            if let Some(blocks) = &mut self.blocks {
                blocks.start = number;
            }
            return Err(error);
        };
        let range = self.table.block_range(number);
        match lost.last_mut() {
            Some(before) if before.last.0.checked_add(1) == Some(range.first.0) => before.last = range.last,
            _ => lost.push(range),
        }
        Ok(())
    }

    fn first_blocks(&mut self, table: &SsTable) -> Result<std::ops::Range<usize>, EngineError> {
        let statistics = table.statistics();
        if self.last < statistics.first || self.from.token > statistics.last {
            return Ok(0..0);
        }
        match table.index() {
            Ok(index) => {
                let first = index.find(self.from.token).unwrap_or(0);
                Ok(first..index.find(self.last).map_or(0, |last| last + 1))
            }
            Err(error) => {
                let Some(lost) = &mut self.lost else { return Err(error) };
                lost.push(TokenRange { first: statistics.first, last: statistics.last });
                Ok(0..0)
            }
        }
    }

    /// Makes a block the current one.
    fn hold(&mut self, table: &SsTable, number: usize) -> Result<(), EngineError> {
        if self.keep.is_some()
            && let Some(block) = table.cached(number)
        {
            self.shape = Shape::parse(&block).ok_or_else(|| table.damaged_block(number))?;
            self.held = Held::Cached(block);
            return Ok(());
        }
        let range = self.read(table, number)?;
        let offset = self.window.offset + range.start as u64;
        let damaged = || table.damaged_block(number);
        let stored = self.window.bytes.get(range.clone()).unwrap_or_default();
        let part = Part::check(stored, table.salt(), offset).ok_or_else(damaged)?;
        if let Some(kept) = self.keep.as_mut().filter(|kept| **kept > 0) {
            *kept -= 1;
            let block = unpacked(&part).and_then(|block| table.keep(number, block));
            self.held = Held::Cached(block.ok_or_else(damaged)?);
        } else if part.plain().is_some() {
            self.held = Held::Window(range);
        } else {
            self.raw.resize(part.raw_bytes(), 0);
            part.unpack(&mut self.raw).ok_or_else(damaged)?;
            self.held = Held::Raw;
        }
        self.shape = Shape::parse(self.bytes()).ok_or_else(damaged)?;
        Ok(())
    }

    /// Has a block's part in the window; returns where.
    fn read(&mut self, table: &SsTable, number: usize) -> Result<std::ops::Range<usize>, EngineError> {
        let index = table.index()?;
        let (offset, length) = index.place(number).ok_or_else(|| table.damaged_block(number))?;
        if let Some(range) = self.window.find(offset, length) {
            return Ok(range);
        }
        let window = &mut self.window;
        let last = self.blocks.as_ref().map_or(number, |blocks| blocks.end.saturating_sub(1));
        let end = index.whole_blocks(number, last, window.ahead);
        let filled = usize::try_from(end - offset).map_err(|_| table.damaged_block(number))?;
        if window.bytes.len() < filled {
            window.bytes.resize(filled, 0);
        }
        window.filled = 0;
        table.read_at(offset, &mut window.bytes[..filled])?;
        (window.offset, window.filled) = (offset, filled);
        if self.lost.is_none() {
            // A scan that goes on reads more and more at once.
            window.ahead = (filled * 2).min(READ_AHEAD_BYTES);
        }
        Ok(0..length)
    }
}

impl Cursor for SstCursor {
    fn advance(&mut self) -> Result<bool, EngineError> {
        loop {
            while self.next < self.shape.count() {
                let block = self.shape.of(self.bytes());
                let Some(place) = block.entry(self.next) else {
                    self.lose(self.number, self.table.damaged_block(self.number))?;
                    break;
                };
                if place.token > self.last {
                    self.blocks = Some(0..0);
                    break;
                }
                self.next += 1;
                self.current = place;
                if self.prefix > 0 {
                    let mut key = std::mem::take(&mut self.key);
                    key.truncate(self.prefix);
                    key.extend_from_slice(&self.bytes()[place.suffix..place.record]);
                    self.key = key;
                }
                if !self.from.excludes(place.token, self.key()) {
                    return Ok(true);
                }
            }
            self.shape = Shape::default();
            if !self.next_block()? {
                return Ok(false);
            }
        }
    }

    fn token(&self) -> Token {
        self.current.token
    }

    #[inline]
    fn key(&self) -> &[u8] {
        if self.prefix > 0 { &self.key } else { &self.bytes()[self.current.suffix..self.current.record] }
    }

    #[inline]
    fn record(&self) -> &[u8] {
        &self.bytes()[self.current.record..self.current.end]
    }
}
