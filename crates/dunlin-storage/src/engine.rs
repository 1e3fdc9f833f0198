//! The engine: tables over one commit log.

use crate::error::{EngineError, OpenError, UpdateError};
use crate::fs::Fs;
use crate::options::{EngineOptions, TableOptions};
use crate::{Found, LogPosition, Scanned};
use dunlin_types::{Key, Record, TableId, Token, TokenRange};
use std::sync::Arc;

/// The engine of one node. All methods may be called from any thread at any time.
pub struct Engine {
    _fs: Arc<dyn Fs>,
}

fn building<T>() -> Result<T, EngineError> {
    Err(EngineError::LogClosed("the engine is not built yet".into()))
}

impl Engine {
    /// Opens the data directory and replays the log. Everything found is durable when this returns.
    pub fn open(fs: Arc<dyn Fs>, _options: EngineOptions) -> Result<Engine, OpenError> {
        Ok(Engine { _fs: fs })
    }

    /// Creates a table; one of that id that exists already keeps its data and takes the new options
    /// (its folder never changes). Durable when this returns.
    pub fn create_table(&self, _table: TableId, _options: TableOptions) -> Result<(), EngineError> {
        building()
    }

    /// Forgets a table and removes its files; nothing happens if there is none. Durable when this returns.
    pub fn drop_table(&self, _table: TableId) -> Result<(), EngineError> {
        building()
    }

    /// Tables that exist.
    pub fn tables(&self) -> Vec<TableId> {
        Vec::new()
    }

    /// The record of a key as of now, and from when on it may be shown.
    pub fn get(&self, _table: TableId, _token: Token, _key: &Key) -> Result<Option<Found>, EngineError> {
        building()
    }

    /// Joins a record into what is stored. The write is durable once [`Engine::durable`] reaches the position,
    /// and is with the operating system once [`Engine::written`] does. `synced` says for which of the two the
    /// caller waits: readers are made to wait for synced writes only.
    pub fn merge(
        &self,
        _table: TableId,
        _token: Token,
        _key: &Key,
        _record: &Record,
        _synced: bool,
    ) -> Result<LogPosition, EngineError> {
        building()
    }

    /// Reads, changes and writes a record; updates of one key happen one after the other. The change gets
    /// the record as of now (durable or not: the new write's position is later in the log). Returns the record
    /// as written and its position.
    pub fn update<E>(
        &self,
        _table: TableId,
        _token: Token,
        _key: &Key,
        _change: impl FnOnce(Option<Record>) -> Result<Record, E>,
        _synced: bool,
    ) -> Result<(Record, LogPosition), UpdateError<E>> {
        Err(UpdateError::Engine(EngineError::LogClosed("the engine is not built yet".into())))
    }

    /// Records of a token range in (token, key) order, strictly after `after`: at most `limit` of them, and
    /// about `bytes` bytes (always one if there is any).
    pub fn scan(
        &self,
        _table: TableId,
        _range: TokenRange,
        _after: Option<(Token, &Key)>,
        _limit: usize,
        _bytes: usize,
    ) -> Result<Scanned, EngineError> {
        building()
    }

    /// Writes to the log what was appended before the call and syncs it; returns the new [`Engine::durable`].
    pub fn commit(&self) -> Result<LogPosition, EngineError> {
        building()
    }

    /// Writes to the log what was appended before the call, without a sync; returns the new
    /// [`Engine::written`]. What buffered writes wait for.
    pub fn write_out(&self) -> Result<LogPosition, EngineError> {
        building()
    }

    /// Everything up to here survives a crash.
    pub fn durable(&self) -> LogPosition {
        LogPosition::default()
    }

    /// Everything up to here was handed to the operating system.
    pub fn written(&self) -> LogPosition {
        LogPosition::default()
    }

    /// Why no more writes are taken, if so: what is not durable by now never will be.
    pub fn failure(&self) -> Option<String> {
        None
    }

    /// Writes the memtable of a table, or of all, to SSTables.
    pub fn flush(&self, _table: Option<TableId>) -> Result<(), EngineError> {
        building()
    }

    /// Merges all SSTables of a table, or of all, into one each.
    pub fn compact(&self, _table: Option<TableId>) -> Result<(), EngineError> {
        building()
    }

    /// Does one bounded step of what is due (flush, compaction, log housekeeping). `Ok(true)`: there is more
    /// to do at once. After an error (a full disk, say) call again later.
    pub fn maintenance(&self) -> Result<bool, EngineError> {
        building()
    }
}
