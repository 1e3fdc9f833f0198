//! Writes: log first, then memtable.

use super::Engine;
use super::read::gather;
use super::table::Table;
use crate::LogPosition;
use crate::entry::decode;
use crate::error::{EngineError, UpdateError};
use dunlin_types::view::RecordView;
use dunlin_types::{Key, Record, TableId, Token};
use std::cell::RefCell;
use std::sync::atomic::Ordering;

/// A thread keeps a buffer for canonical bytes up to this size.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Engine {
    /// Joins a record into what is stored. The write is durable once [`Engine::durable`] reaches the position,
    /// and is with the operating system once [`Engine::written`] does. `synced` says for which of the two the
    /// caller waits: readers are made to wait for synced writes only.
    ///
    /// After an error nothing was applied, nor will be after a restart.
    pub fn merge(
        &self,
        table: TableId,
        token: Token,
        key: &Key,
        record: &Record,
        synced: bool,
    ) -> Result<LogPosition, EngineError> {
        let table = self.table(table)?;
        self.admit(&table)?;
        self.put(&table, token, key.as_bytes(), record, synced)
    }

    /// As [`Engine::merge`], of a record in canonical bytes.
    pub fn merge_bytes(
        &self,
        table: TableId,
        token: Token,
        key: &[u8],
        record: &[u8],
        synced: bool,
    ) -> Result<LogPosition, EngineError> {
        check(key, record)?;
        let tables = self.tables.load();
        let table = tables.get(&table).ok_or(EngineError::UnknownTable(table))?;
        self.admit(table)?;
        self.put_bytes(table, token, key, record, synced)
    }

    /// Reads, changes and writes a record; updates of one key happen one after the other. The change gets
    /// the record as of now (durable or not: the new write's position is later in the log); what it returns is
    /// joined into what is stored. Returns the record as the change made it and its position.
    pub fn update<E>(
        &self,
        table: TableId,
        token: Token,
        key: &Key,
        change: impl FnOnce(Option<Record>) -> Result<Record, E>,
        synced: bool,
    ) -> Result<(Record, LogPosition), UpdateError<E>> {
        let table = self.table(table)?;
        self.admit(&table)?;
        let _updates = table.lock_updates(token);
        let present = match gather(&table.state(), token, key.as_bytes())? {
            Some((record, _)) => Some(decode(&record, "the record to be changed", 0)?),
            None => None,
        };
        let record = change(present).map_err(UpdateError::Refused)?;
        let position = self.put(&table, token, key.as_bytes(), &record, synced)?;
        Ok((record, position))
    }

    /// Refuses writes, before anything is applied, while flushes or merges do not keep up.
    fn admit(&self, table: &Table) -> Result<(), EngineError> {
        let bytes = self.memtable_bytes.load(Ordering::Relaxed);
        if bytes >= self.options.memtables_bytes_max {
            return Err(EngineError::Overloaded { bytes });
        }
        table.admit(&self.options.compaction)
    }

    fn put(
        &self,
        table: &Table,
        token: Token,
        key: &[u8],
        record: &Record,
        synced: bool,
    ) -> Result<LogPosition, EngineError> {
        SCRATCH.with_borrow_mut(|bytes| {
            bytes.clear();
            record.encode(bytes);
            let put = self.put_bytes(table, token, key, bytes, synced);
            if bytes.capacity() > SCRATCH_BYTES_MAX {
                *bytes = Vec::new();
            }
            put
        })
    }

    fn put_bytes(
        &self,
        table: &Table,
        token: Token,
        key: &[u8],
        record: &[u8],
        synced: bool,
    ) -> Result<LogPosition, EngineError> {
        let appended = table.write(|memtable| {
            let appended = self.log.append(table.id, token, key, record)?;
            let visible = if synced { appended.position } else { LogPosition::default() };
            let logged = LogPosition(appended.position.0 - 1);
            let grown = memtable.merge(token, key, record, logged, visible).inspect_err(|error| {
                // It is in the log, so it must not be said that it was not applied.
                self.log.shut(format!("a record could not be joined: {error}"));
            })?;
            if grown > 0 {
                self.memtable_bytes.fetch_add(grown, Ordering::Relaxed);
            }
            Ok::<_, EngineError>(appended)
        })?;
        // The record is in the memtable: if the buffer cannot be written out, the log is closed, and whoever
        // waits for the position learns it. An error here would say that nothing was applied.
        let _ = self.log.relieve(appended.buffered);
        Ok(appended.position)
    }
}

/// What is stored must be readable.
fn check(key: &[u8], record: &[u8]) -> Result<(), EngineError> {
    if key.is_empty() || key.len() > usize::from(u16::MAX) {
        return Err(EngineError::Malformed { what: "a key has 1 to 65535 bytes", offset: 0 });
    }
    let checked = match record.first() {
        Some(&Record::LATEST) => RecordView::parse(record).map(drop),
        _ => Record::decode_slice(record).map(drop),
    };
    checked.map_err(|e| EngineError::Malformed { what: e.what, offset: e.offset })
}
