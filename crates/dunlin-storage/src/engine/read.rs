//! Reads: of one key, of a range.

use super::Engine;
use super::table::State;
use crate::entry::{Merge, Source, decode};
use crate::error::EngineError;
use crate::memtable::{MemtableSource, Place};
use crate::sstable::source::SstSource;
use crate::{Found, LogPosition, Scanned};
use bytes::Bytes;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::{Key, Record, TableId, Token, TokenRange};

/// What memtables are called where a file would be named.
const MEMTABLE: &str = "the memtable";

impl Engine {
    /// The record of a key as of now, and from when on it may be shown.
    pub fn get(&self, table: TableId, token: Token, key: &Key) -> Result<Option<Found>, EngineError> {
        let state = self.table(table)?.state();
        let (record, position) = gather(&state, token, key.as_bytes())?;
        Ok(record.map(|record| Found { record, visible_at: self.visible_at(position) }))
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
        let state = self.table(table)?.state();
        let mut scanned = Scanned::default();
        let place = |_: ()| match after {
            Some((token, key)) if token >= range.first => Place { token, after: Some(key.bytes().clone()) },
            _ => Place { token: range.first, after: None },
        };
        let mut sources: Vec<Box<dyn Source>> =
            Vec::with_capacity(1 + state.frozen.len() + state.sstables.len());
        sources.push(Box::new(MemtableSource::new(state.active.clone(), place(()), range.last)));
        for frozen in &state.frozen {
            sources.push(Box::new(MemtableSource::new(frozen.memtable.clone(), place(()), range.last)));
        }
        for sstable in &state.sstables {
            sources.push(Box::new(SstSource::new(sstable.clone(), place(()), range.last, true)));
        }
        let mut merge = Merge::new(sources)?;
        let (mut used, mut position) = (0, LogPosition::default());
        while let Some(entry) = merge.next()? {
            let length = entry.key.len() + entry.record.len();
            if scanned.entries.len() >= limit || (used + length > bytes && !scanned.entries.is_empty()) {
                scanned.more = true;
                break;
            }
            used += length;
            position = position.max(entry.position);
            let key = Key::new(entry.key).map_err(|e| EngineError::damaged(MEMTABLE, 0, e.to_string()))?;
            scanned.entries.push((entry.token, key, decode(&entry.record, MEMTABLE, 0)?));
        }
        scanned.visible_at = self.visible_at(position);
        Ok(scanned)
    }

    fn visible_at(&self, position: LogPosition) -> LogPosition {
        if position <= self.log.durable() || self.options.planted == Some(PlantedBug::VisibleBeforeSync) {
            return LogPosition::default();
        }
        position
    }
}

/// Joins everything stored under a key; the position is that of the last synced write in a memtable.
pub(crate) fn gather(
    state: &State,
    token: Token,
    key: &[u8],
) -> Result<(Option<Record>, LogPosition), EngineError> {
    let mut found: Option<Record> = None;
    let mut position = LogPosition::default();
    let memtables = std::iter::once(&state.active).chain(state.frozen.iter().rev().map(|f| &f.memtable));
    for (record, at) in memtables.filter_map(|m| m.get(token, key)) {
        position = position.max(at);
        join(&mut found, &record, MEMTABLE)?;
    }
    for sstable in state.sstables.iter().rev() {
        if let Some(Record::Latest(latest)) = &found
            && sstable.statistics().written_max < latest.value.written
        {
            continue;
        }
        if let Some(record) = sstable.get(token, key)? {
            join(&mut found, &record, sstable.path())?;
        }
    }
    Ok((found, position))
}

fn join(found: &mut Option<Record>, record: &Bytes, file: &str) -> Result<(), EngineError> {
    let record = decode(record, file, 0)?;
    match found {
        Some(found) => found.merge(&record),
        None => *found = Some(record),
    }
    Ok(())
}
