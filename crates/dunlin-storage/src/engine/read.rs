//! Reads: of one key, of a range.

use super::Engine;
use super::level_cursor::LevelCursor;
use super::levels::Levels;
use super::table::State;
use crate::compaction::LEVEL_MAX;
use crate::entry::{Cursor, Merge, decode, join_into};
use crate::error::EngineError;
use crate::memtable::{MemtableCursor, Place};
use crate::sstable::{FilterHash, SstCursor};
use crate::{Found, FoundBytes, LogPosition, RangeDigest, Scanned};
use bytes::Bytes;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::view::RecordView;
use dunlin_types::{Hlc, Key, Record, TableId, Token, TokenRange};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What memtables are called where a file would be named.
const MEMTABLE: &str = "the memtable";

impl Engine {
    /// The record of a key as of now, and from when on it may be shown.
    pub fn get(&self, table: TableId, token: Token, key: &Key) -> Result<Option<Found>, EngineError> {
        let Some(found) = self.get_bytes(table, token, key.as_bytes())? else { return Ok(None) };
        let record = decode(&found.record, MEMTABLE, 0)?;
        Ok(Some(Found { record, visible_at: found.visible_at }))
    }

    /// As [`Engine::get`], without building the record.
    pub fn get_bytes(
        &self,
        table: TableId,
        token: Token,
        key: &[u8],
    ) -> Result<Option<FoundBytes>, EngineError> {
        let tables = self.tables.load();
        let table = tables.get(&table).ok_or(EngineError::UnknownTable(table))?;
        let found = gather(&table.state(), token, key)?;
        Ok(found.map(|(record, position)| FoundBytes { record, visible_at: self.visible_at(position) }))
    }

    /// Records of a token range in (token, key) order, strictly after `after`: at most `limit` of them, and
    /// about `bytes` bytes (always one if there is any).
    pub fn scan(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<(Token, &Key)>,
        limit: usize,
        bytes: usize,
    ) -> Result<Scanned, EngineError> {
        let mut scanned = Scanned::default();
        let (mut used, mut failed) = (0, None);
        let after = after.map(|(token, key)| (token, key.as_bytes()));
        scanned.visible_at = self.visit(table, range, after, limit, |token, key, record| {
            let length = key.len() + record.len();
            if scanned.entries.len() >= limit || (used + length > bytes && !scanned.entries.is_empty()) {
                scanned.more = true;
                return ControlFlow::Break(());
            }
            used += length;
            match built(key, record) {
                Ok((key, record)) => scanned.entries.push((token, key, record)),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(scanned), Err)
    }

    /// Shows keys and canonical records of a token range, in (token, key) order, strictly after `after`, until
    /// `show` breaks; `expected` is about how many it will take. What is shown is one state of the SSTables;
    /// flushes and compactions that end meanwhile change nothing. Returns as [`Found::visible_at`], for all that
    /// was shown.
    pub fn visit(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<(Token, &[u8])>,
        expected: usize,
        mut show: impl FnMut(Token, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<LogPosition, EngineError> {
        let state = self.table(table)?.state();
        let from = match after {
            Some((token, key)) if token >= range.first => {
                Place { token, after: Some(Bytes::copy_from_slice(key)) }
            }
            _ => Place { token: range.first, after: None },
        };
        let mut position = LogPosition::default();
        let mut cursor = Merge::new(cursors(&state, &from, range.last, expected))?;
        while cursor.advance()? {
            if show(cursor.token(), cursor.key(), cursor.record()).is_break() {
                break;
            }
            position = position.max(cursor.position());
        }
        Ok(self.visible_at(position))
    }

    /// What a token range holds, durable or not, as one digest (BLAKE3 over tokens, keys and records in order).
    pub fn digest(&self, table: TableId, range: TokenRange) -> Result<RangeDigest, EngineError> {
        let mut hasher = blake3::Hasher::new();
        let (mut entries, mut bytes) = (0, 0);
        self.visit(table, range, None, usize::MAX, |token, key, record| {
            hasher.update(&token.0.to_le_bytes());
            hasher.update(&(key.len() as u32).to_le_bytes());
            hasher.update(key);
            hasher.update(&(record.len() as u32).to_le_bytes());
            hasher.update(record);
            entries += 1;
            bytes += (key.len() + record.len()) as u64;
            ControlFlow::Continue(())
        })?;
        Ok(RangeDigest { entries, bytes, digest: hasher.finalize().into() })
    }

    fn visible_at(&self, position: LogPosition) -> LogPosition {
        if position <= self.log.durable() || self.options.planted == Some(PlantedBug::VisibleBeforeSync) {
            return LogPosition::default();
        }
        position
    }
}

fn built(key: &[u8], record: &[u8]) -> Result<(Key, Record), EngineError> {
    let both = Bytes::from([key, record].concat());
    let found =
        Key::new(both.slice(..key.len())).map_err(|e| EngineError::damaged(MEMTABLE, 0, e.to_string()))?;
    Ok((found, decode(&both.slice(key.len()..), MEMTABLE, 0)?))
}

fn cursors(state: &Arc<State>, from: &Place, last: Token, expected: usize) -> Vec<Box<dyn Cursor>> {
    let mut cursors: Vec<Box<dyn Cursor>> = Vec::with_capacity(8);
    let memtables = std::iter::once(&state.active).chain(state.frozen.iter().map(|f| &f.memtable));
    for memtable in memtables.filter(|m| !m.is_empty()) {
        cursors.push(Box::new(MemtableCursor::new(memtable.clone(), from.clone(), last, expected)));
    }
    let range = TokenRange { first: from.token, last };
    for sstable in state.sstables.level0().iter().filter(|s| Levels::meets(s, range)) {
        cursors.push(Box::new(SstCursor::new(sstable.clone(), from.clone(), last, true)));
    }
    for level in 1..=usize::from(LEVEL_MAX) {
        if let Some(cursor) = LevelCursor::new(state, level, from, last) {
            cursors.push(Box::new(cursor));
        }
    }
    cursors
}

/// What is known of a key so far.
#[derive(Default)]
struct Gathered {
    /// The first copy found, as it is stored.
    first: Option<Bytes>,
    /// What it is together with further ones.
    joined: Option<Vec<u8>>,
    scratch: Vec<u8>,
    position: LogPosition,
}

impl Gathered {
    fn held(&self) -> Option<&[u8]> {
        self.joined.as_deref().or(self.first.as_deref())
    }

    fn add(&mut self, record: &[u8], file: &str) -> Result<(), EngineError> {
        match (&mut self.joined, &self.first) {
            (Some(joined), _) => join_into(joined, record, &mut self.scratch, file)?,
            (None, Some(first)) => {
                let mut joined = first.to_vec();
                join_into(&mut joined, record, &mut self.scratch, file)?;
                self.joined = Some(joined);
            }
            (None, None) => self.first = Some(Bytes::copy_from_slice(record)),
        }
        Ok(())
    }

    /// When a last_write_wins record was written: an SSTable whose writes are all older cannot change it.
    fn outranks(&self, written_max: Hlc) -> bool {
        let latest = self.held().filter(|record| record.first() == Some(&Record::LATEST));
        latest
            .and_then(|record| RecordView::parse(record).ok())
            .is_some_and(|view| view.written_max > written_max)
    }
}

/// Joins everything stored under a key; the position is that of the last synced write in a memtable.
pub(crate) fn gather(
    state: &State,
    token: Token,
    key: &[u8],
) -> Result<Option<(Bytes, LogPosition)>, EngineError> {
    let mut found = Gathered::default();
    let memtables = std::iter::once(&state.active).chain(state.frozen.iter().rev().map(|f| &f.memtable));
    for memtable in memtables {
        let added = memtable.get(token, key, |record, position| {
            found.position = found.position.max(position);
            found.add(record, MEMTABLE)
        });
        added.transpose()?;
    }
    let hash = FilterHash::new(token);
    for sstable in state.sstables.covering(token) {
        if !sstable.may_hold(token, hash) || found.outranks(sstable.statistics().written_max) {
            continue;
        }
        sstable.get_with(token, key, |record| found.add(record, sstable.path()))?.transpose()?;
    }
    let position = found.position;
    Ok(found.joined.map(Bytes::from).or(found.first).map(|record| (record, position)))
}
