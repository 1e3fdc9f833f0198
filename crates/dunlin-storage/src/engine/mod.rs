//! The engine: tables over one commit log.

mod background;
mod compact;
mod job;
mod jobs;
mod level_cursor;
mod levels;
mod range_delete;
mod read;
mod scrub;
mod snapshots;
mod stats;
mod table;
mod verify;
mod write;

pub use background::{Lane, Step};
pub use jobs::RunningJob;
pub use scrub::Scrubbed;
pub use stats::{EngineStats, TableStats};
pub use verify::{Damage, Progress, Watch};

use crate::LogPosition;
use crate::error::{EngineError, OpenError};
use crate::fs::{Fs, LockGuard, create_dirs, remove_tree};
use crate::log::frame::LogRecordRef;
use crate::log::{Log, LogOptions, segment};
use crate::manifest::{self, Catalog};
use crate::memtable::ChunkPool;
use crate::options::{EngineOptions, TableOptions};
use crate::snapshot;
use crate::sstable::SstShared;
use arc_swap::ArcSwap;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::view::RecordView;
use dunlin_types::{Record, TableId};
use jobs::Jobs;
use parking_lot::{Condvar, Mutex};
use stats::Counters;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use table::Table;

/// Folder of the tables' folders.
pub(crate) const TABLES: &str = "tables";
/// File that is locked while an engine is open.
pub(crate) const LOCK: &str = "engine.lock";

type Tables = BTreeMap<TableId, Arc<Table>>;

/// The engine of one node. All methods may be called from any thread at any time; none of them waits for
/// another's commit, but for [`Engine::commit`], [`Engine::write_out`], [`Engine::stats`], and writers that
/// have filled the log's buffer.
///
/// Dropping the engine writes nothing: what was not committed is lost, as in a crash of the process.
pub struct Engine {
    fs: Arc<dyn Fs>,
    options: EngineOptions,
    log: Log,
    tables: ArcSwap<Tables>,
    /// Tables as in the catalog file; held while tables come and go. Locked after `jobs`.
    catalog: Mutex<Catalog>,
    jobs: Mutex<Jobs>,
    /// A job has ended, or a part of one waits for a thread.
    changed: Condvar,
    /// Counts calls of [`Engine::interrupt`].
    interrupted: AtomicU64,
    shared: Arc<SstShared>,
    chunks: Arc<ChunkPool>,
    /// Held while snapshots come and go.
    snapshots: Mutex<()>,
    /// Of all memtables.
    memtable_bytes: AtomicU64,
    counters: Counters,
    _lock: Box<dyn LockGuard>,
}

impl Engine {
    /// Opens the data directory and replays the log. Everything found is durable when this returns.
    pub fn open(fs: Arc<dyn Fs>, options: EngineOptions) -> Result<Engine, OpenError> {
        for dir in [segment::DIR, TABLES] {
            create_dirs(&*fs, dir).map_err(|e| EngineError::io(format!("create {dir}"), &e))?;
        }
        let lock = fs.lock(LOCK).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked(format!("{LOCK} is held")),
            _ => EngineError::io(format!("lock {LOCK}"), &e).into(),
        })?;
        let shared = Arc::new(SstShared::new(options.block_cache_bytes, options.block_bytes));
        let chunks = Arc::new(ChunkPool::new(options.memtable_bytes));
        // A restore that was begun is ended first; its log is empty.
        let restored = snapshot::resume(&*fs)?;
        let catalog = manifest::read_catalog(&*fs, "")?;
        // As a table's manifest: records of tables that it does not name are given up.
        fs.sync_dir("").map_err(|e| EngineError::io("sync the data directory", &e))?;
        let mut tables = Tables::new();
        for (&id, table) in catalog.iter().flatten() {
            tables.insert(id, Arc::new(Table::open(&*fs, id, table, &shared, &chunks)?));
        }
        let (log, memtable_bytes) = open_log(&fs, &options, &tables, catalog.is_some() && !restored)?;
        if restored {
            snapshot::end(&*fs)?;
        }
        if catalog.is_none() {
            manifest::write_catalog(&*fs, &Catalog::new())?;
        }
        let catalog = catalog.unwrap_or_default();
        let engine = Engine {
            fs,
            options,
            log,
            tables: ArcSwap::from_pointee(tables),
            catalog: Mutex::new(catalog),
            jobs: Mutex::default(),
            changed: Condvar::new(),
            interrupted: AtomicU64::new(0),
            shared,
            chunks,
            snapshots: Mutex::default(),
            memtable_bytes: AtomicU64::new(memtable_bytes),
            counters: Counters::default(),
            _lock: lock,
        };
        if let Err(error) = engine.remove_leftovers() {
            tracing::warn!(%error, "leftover files were not removed");
        }
        Ok(engine)
    }

    /// Creates a table; one of that id that exists already keeps its data and folder and takes the new
    /// options. Durable when this returns. The id of a dropped table must not be used again.
    pub fn create_table(&self, id: TableId, options: TableOptions) -> Result<(), EngineError> {
        let mut catalog = self.catalog.lock();
        let present = self.tables.load().get(&id).cloned();
        let mut changed = catalog.clone();
        let table = match present {
            Some(table) => {
                let Some(entry) = changed.get_mut(&id) else { return Ok(()) };
                let kept = TableOptions { dir: entry.dir.clone(), ..options.clone() };
                if *entry == kept {
                    return Ok(());
                }
                *entry = kept;
                table
            }
            None => {
                let table = Arc::new(Table::create(&*self.fs, id, &options, &self.chunks)?);
                changed.insert(id, options.clone());
                table
            }
        };
        self.replace_catalog(&mut catalog, changed)?;
        table.set_options(&options);
        self.change_tables(|tables| {
            tables.insert(id, table);
        });
        Ok(())
    }

    /// Forgets a table and removes its files; nothing happens if there is none. Durable when this returns.
    pub fn drop_table(&self, id: TableId) -> Result<(), EngineError> {
        let mut jobs = self.jobs.lock();
        let mut catalog = self.catalog.lock();
        let Some(table) = self.tables.load().get(&id).cloned() else { return Ok(()) };
        let mut changed = catalog.clone();
        changed.remove(&id);
        self.replace_catalog(&mut catalog, changed)?;
        self.change_tables(|tables| {
            tables.remove(&id);
        });
        let unwanted = jobs.cancel(|job| job.table.id == id);
        let held = table.retire();
        self.memtable_bytes.fetch_sub(held, Ordering::Relaxed);
        drop((catalog, jobs));
        self.end_cancelled(unwanted)?;
        if let Err(error) = self.remove_files_of(&table) {
            tracing::warn!(table = %id, %error, "files of a dropped table were not removed; the next start will");
        }
        Ok(())
    }

    /// Tables that exist.
    pub fn tables(&self) -> Vec<TableId> {
        self.tables.load().keys().copied().collect()
    }

    /// Writes to the log what was appended before the call and syncs it; returns the new [`Engine::durable`].
    /// Calls that overlap share a sync.
    pub fn commit(&self) -> Result<LogPosition, EngineError> {
        self.log.commit()
    }

    /// Writes to the log what was appended before the call, without a sync; returns the new
    /// [`Engine::written`]. What buffered writes wait for. Waits for a running sync.
    pub fn write_out(&self) -> Result<LogPosition, EngineError> {
        self.log.write_out()
    }

    /// Everything up to here survives a crash.
    pub fn durable(&self) -> LogPosition {
        self.log.durable()
    }

    /// Everything up to here was handed to the operating system.
    pub fn written(&self) -> LogPosition {
        self.log.written()
    }

    /// Why no more writes are taken, if so: what is not durable by now never will be, and reads whose
    /// `visible_at` lies behind [`Engine::durable`] have to fail.
    pub fn failure(&self) -> Option<String> {
        self.log.failure()
    }

    pub(crate) fn table(&self, id: TableId) -> Result<Arc<Table>, EngineError> {
        self.tables.load().get(&id).cloned().ok_or(EngineError::UnknownTable(id))
    }

    /// After an error the file may be the new one all the same, and a table dropped there would lose its later
    /// writes at the next start: the old catalog is put back, or no more writes are taken.
    fn replace_catalog(&self, catalog: &mut Catalog, changed: Catalog) -> Result<(), EngineError> {
        if let Err(error) = manifest::write_catalog(&*self.fs, &changed) {
            if let Err(again) = manifest::write_catalog(&*self.fs, catalog) {
                self.log.shut(format!("the catalog cannot be written: {again}"));
            }
            return Err(error);
        }
        *catalog = changed;
        Ok(())
    }

    /// Called with the catalog locked.
    fn change_tables(&self, change: impl FnOnce(&mut Tables)) {
        let mut tables = Tables::clone(&self.tables.load());
        change(&mut tables);
        self.tables.store(Arc::new(tables));
    }

    /// Of a dropped table. Jobs that still run have theirs removed when they end.
    fn remove_files_of(&self, table: &Table) -> io::Result<()> {
        // Nobody makes a table in the folder meanwhile.
        let _catalog = self.catalog.lock();
        let _unchanging = table.lock_sstables();
        for entry in self.fs.list(&table.dir)? {
            if manifest::table_of(&entry.name) == Some(table.id) {
                self.fs.remove(&format!("{}/{}", table.dir, entry.name))?;
            }
        }
        // A table of the same name may have been made meanwhile: it stays.
        let shared = self.tables.load().values().any(|other| other.id != table.id && other.dir == table.dir);
        if !shared && self.fs.list(&table.dir)?.is_empty() {
            self.fs.remove_dir(&table.dir)?;
        }
        Ok(())
    }

    /// Removes what unfinished flushes, compactions and drops left behind.
    fn remove_leftovers(&self) -> io::Result<()> {
        remove_tree(&*self.fs, snapshot::REPLACED)?;
        for (name, counts) in snapshot::folders(&*self.fs)? {
            if !counts {
                remove_tree(&*self.fs, &snapshot::folder(&name))?;
            }
        }
        let catalog = self.catalog.lock();
        for keyspace in self.fs.list(TABLES)?.into_iter().filter(|e| e.is_dir) {
            let keyspace = format!("{TABLES}/{}", keyspace.name);
            for dir in self.fs.list(&keyspace)?.into_iter().filter(|e| e.is_dir) {
                let dir = format!("{keyspace}/{}", dir.name);
                for entry in self.fs.list(&dir)?.into_iter().filter(|e| !e.is_dir) {
                    let Some(id) = manifest::table_of(&entry.name) else { continue };
                    let path = format!("{dir}/{}", entry.name);
                    let known = catalog.get(&id).is_some_and(|options| options.dir == dir);
                    let counts = known
                        && self.tables.load().get(&id).is_some_and(|table| {
                            let state = table.state();
                            path == manifest::manifest_path(&dir, id)
                                || state.sstables.iter().any(|(_, s)| s.path() == path)
                        });
                    if !counts {
                        self.fs.remove(&path)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Replays the log into the tables' memtables. Returns the bytes they hold then.
fn open_log(
    fs: &Arc<dyn Fs>,
    options: &EngineOptions,
    tables: &Tables,
    expected: bool,
) -> Result<(Log, u64), OpenError> {
    let checked = options.planted != Some(PlantedBug::LogUnchecked);
    let log_options = LogOptions::of(options);
    let held = AtomicU64::new(0);
    let take = |logged: &LogRecordRef<'_>| {
        let Some(table) = tables.get(&logged.table) else {
            // Of a table that was dropped since: the catalog is durable before a table takes writes.
            return if expected {
                Ok(())
            } else {
                Err(EngineError::damaged(
                    manifest::CATALOG,
                    0,
                    "the catalog is missing, but the log has records",
                ))
            };
        };
        // The frame's checksum was right: what is looked at is whether this build can read the record.
        let checked_record = match checked {
            true => RecordView::parse(logged.record).map(drop),
            false => Record::decode_slice(logged.record).map(drop),
        };
        match checked_record {
            Ok(()) => {}
            Err(_) if !checked => return Ok(()),
            Err(e) => return Err(EngineError::damaged(segment::DIR, logged.position, e.what)),
        }
        let position = LogPosition(logged.position - 1);
        let grown = table.write(|memtable| {
            memtable.merge(logged.token, logged.key, logged.record, position, LogPosition::default())
        })?;
        held.fetch_add(grown, Ordering::Relaxed);
        Ok(())
    };
    // What was flushed may have been forgotten since, by a purge or a range delete: it must not come back.
    let flushed: BTreeMap<TableId, u64> = tables.iter().map(|(id, t)| (*id, t.flushed().0)).collect();
    let needed = |table, position| flushed.get(&table).is_none_or(|flushed| position > *flushed);
    let log = Log::open(fs.clone(), log_options, expected, &*options.parallel, &needed, &take)?;
    if let Some(table) = tables.values().find(|t| t.flushed() > log.end()) {
        let path = manifest::manifest_path(&table.dir, table.id);
        return Err(EngineError::damaged(path, 0, "the log ends before what was flushed").into());
    }
    Ok((log, held.into_inner()))
}
