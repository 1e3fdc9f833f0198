//! One stored record on its way between memtable, SSTables and readers.

use crate::LogPosition;
use crate::error::EngineError;
use bytes::Bytes;
use dunlin_types::{Record, Token};

/// A record under its key, in canonical bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    pub(crate) key: Bytes,
    pub(crate) record: Bytes,
    /// Of the last synced write; zero once it is in an SSTable.
    pub(crate) position: LogPosition,
}

impl Entry {
    pub(crate) fn place(&self) -> (Token, &[u8]) {
        (self.token, &self.key)
    }
}

/// Decodes canonical bytes that passed a checksum; `file` names them if they are wrong all the same.
pub(crate) fn decode(record: &Bytes, file: &str, offset: u64) -> Result<Record, EngineError> {
    Record::decode(record).map_err(|e| EngineError::damaged(file, offset + e.offset as u64, e.what))
}

/// Gives entries in (token, key) order, each place once.
pub(crate) trait Source: Send {
    /// The next one; `None` at the end, and for ever after.
    fn next(&mut self) -> Result<Option<Entry>, EngineError>;
}

/// Joins sources: the same place in several of them becomes one merged entry.
pub(crate) struct Merge {
    sources: Vec<(Option<Entry>, Box<dyn Source>)>,
}

impl Merge {
    /// Reads the first entry of every source.
    pub(crate) fn new(sources: Vec<Box<dyn Source>>) -> Result<Merge, EngineError> {
        let mut merge = Merge { sources: Vec::with_capacity(sources.len()) };
        for mut source in sources {
            merge.sources.push((source.next()?, source));
        }
        Ok(merge)
    }
}

impl Source for Merge {
    fn next(&mut self) -> Result<Option<Entry>, EngineError> {
        let heads = self.sources.iter().enumerate().filter_map(|(i, (head, _))| Some((i, head.as_ref()?)));
        let Some((first, _)) = heads.min_by(|(_, a), (_, b)| a.place().cmp(&b.place())) else {
            return Ok(None);
        };
        let Some(mut entry) = self.advance(first)? else { return Ok(None) };
        let mut merged: Option<Record> = None;
        // `min_by` gives the first of equals, so the others stand behind it.
        for i in first + 1..self.sources.len() {
            if self.sources[i].0.as_ref().is_none_or(|head| head.place() != entry.place()) {
                continue;
            }
            let Some(other) = self.advance(i)? else { continue };
            entry.position = entry.position.max(other.position);
            if other.record == entry.record && merged.is_none() {
                continue;
            }
            let other = decode(&other.record, "a record to be merged", 0)?;
            match &mut merged {
                Some(record) => record.merge(&other),
                None => {
                    let mut record = decode(&entry.record, "a record to be merged", 0)?;
                    record.merge(&other);
                    merged = Some(record);
                }
            }
        }
        if let Some(record) = merged {
            entry.record = record.to_bytes();
        }
        Ok(Some(entry))
    }
}

impl Merge {
    fn advance(&mut self, i: usize) -> Result<Option<Entry>, EngineError> {
        let (head, source) = &mut self.sources[i];
        let next = source.next()?;
        Ok(std::mem::replace(head, next))
    }
}
