//! One table: its memtables and SSTables, and how the set of them changes.

use crate::LogPosition;
use crate::error::{EngineError, OpenError};
use crate::fs::Fs;
use crate::log::Log;
use crate::manifest::{self, Manifest};
use crate::memtable::Memtable;
use crate::options::TableOptions;
use crate::sstable::{SsTable, SstShared};
use arc_swap::ArcSwap;
use dunlin_types::schema::Compression;
use dunlin_types::{TableId, Token};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Locks for updates, by token.
const STRIPES: usize = 64;

/// A memtable that takes no more writes.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) memtable: Arc<Memtable>,
    /// No write in it stands in the log behind this.
    pub(crate) end: LogPosition,
}

/// What a reader has to look at, as of one moment. Invariant: every write that was taken and is not in
/// `sstables` is in a memtable.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) active: Arc<Memtable>,
    /// Oldest first.
    pub(crate) frozen: Vec<Frozen>,
    /// By sequence, ascending.
    pub(crate) sstables: Vec<Arc<SsTable>>,
}

/// What the gate's lock guards, besides the order of appends and freezes.
struct Gate {
    dropped: bool,
}

pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) dir: String,
    compression: Mutex<Compression>,
    /// Held shared from the append to the log until the write is in the memtable, and alone to freeze it:
    /// so positions before a freeze are in the frozen memtable and those after it are not.
    gate: RwLock<Gate>,
    state: ArcSwap<State>,
    next_sequence: AtomicU64,
    stripes: [Mutex<()>; STRIPES],
}

impl Table {
    /// Opens a table as its manifest says.
    pub(crate) fn open(
        fs: &dyn Fs,
        id: TableId,
        options: &TableOptions,
        shared: &Arc<SstShared>,
    ) -> Result<Table, OpenError> {
        let manifest = manifest::read_manifest(fs, &options.dir, id)?;
        let mut sstables = Vec::with_capacity(manifest.sstables.len());
        for &(sequence, _) in &manifest.sstables {
            let path = manifest::sstable_path(&options.dir, id, sequence);
            sstables.push(Arc::new(SsTable::open(fs, &path, id, sequence, shared)?));
        }
        Ok(Table::new(id, options, manifest.next_sequence, sstables))
    }

    /// Makes a new table; its manifest is durable when this returns.
    pub(crate) fn create(fs: &dyn Fs, id: TableId, options: &TableOptions) -> Result<Table, EngineError> {
        crate::fs::create_dirs(fs, &options.dir)
            .map_err(|e| EngineError::io(format!("create {}", options.dir), &e))?;
        let next_sequence = 1;
        manifest::write_manifest(fs, &options.dir, id, &Manifest { next_sequence, ..Manifest::default() })?;
        Ok(Table::new(id, options, next_sequence, Vec::new()))
    }

    fn new(id: TableId, options: &TableOptions, next_sequence: u64, sstables: Vec<Arc<SsTable>>) -> Table {
        let state = State { active: Arc::new(Memtable::new()), frozen: Vec::new(), sstables };
        Table {
            id,
            dir: options.dir.clone(),
            compression: Mutex::new(options.compression),
            gate: RwLock::new(Gate { dropped: false }),
            state: ArcSwap::from_pointee(state),
            next_sequence: AtomicU64::new(next_sequence),
            stripes: std::array::from_fn(|_| Mutex::new(())),
        }
    }

    /// What there is to read now.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Lets `write` append to the log and put the write into the memtable it is given. Error: the table was
    /// dropped.
    pub(crate) fn write<R>(
        &self,
        write: impl FnOnce(&Memtable) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let gate = self.gate.read();
        if gate.dropped {
            return Err(EngineError::UnknownTable(self.id));
        }
        write(&self.state.load().active)
    }

    /// No more writes. Returns how many bytes its memtables hold.
    pub(crate) fn retire(&self) -> u64 {
        let mut gate = self.gate.write();
        gate.dropped = true;
        let state = self.state.load();
        state.frozen.iter().map(|f| &f.memtable).chain([&state.active]).map(|m| m.bytes()).sum()
    }

    /// Lets nobody else update keys of that token until the guard is dropped.
    pub(crate) fn lock_updates(&self, token: Token) -> MutexGuard<'_, ()> {
        self.stripes[token.0 as usize % STRIPES].lock()
    }

    pub(crate) fn compression(&self) -> Compression {
        *self.compression.lock()
    }

    pub(crate) fn set_compression(&self, compression: Compression) {
        *self.compression.lock() = compression;
    }

    pub(crate) fn take_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Sets the memtable aside for a flush; false if it is empty.
    pub(crate) fn freeze(&self, log: &Log) -> bool {
        let _gate = self.gate.write();
        let mut state = State::clone(&self.state.load());
        if state.active.is_empty() {
            return false;
        }
        let memtable = std::mem::replace(&mut state.active, Arc::new(Memtable::new()));
        state.frozen.push(Frozen { memtable, end: log.end() });
        self.state.store(Arc::new(state));
        true
    }

    /// Lower bound of the log positions that only memtables hold, as far as it can be seen without a lock;
    /// `None` if they are empty.
    pub(crate) fn unflushed(&self) -> Option<LogPosition> {
        let state = self.state.load();
        let frozen = state.frozen.iter().filter_map(|f| f.memtable.start());
        frozen.chain(state.active.start()).min()
    }

    /// As [`Table::unflushed`], and no append of before the call is on its way to the memtable.
    pub(crate) fn unflushed_exactly(&self) -> Option<LogPosition> {
        let _gate = self.gate.write();
        self.unflushed()
    }

    /// Puts `output` in the place of a frozen memtable and of SSTables: in the manifest, durably, then for
    /// readers. One caller at a time. After an error the manifest may name either; nothing changed for readers.
    pub(crate) fn publish(
        &self,
        fs: &dyn Fs,
        output: Arc<SsTable>,
        flushed: Option<&Arc<Memtable>>,
        inputs: &[u64],
    ) -> Result<(), EngineError> {
        let mut sstables = self.state.load().sstables.clone();
        sstables.retain(|s| !inputs.contains(&s.sequence()));
        sstables.push(output);
        sstables.sort_by_key(|s| s.sequence());
        let manifest = Manifest {
            next_sequence: self.next_sequence.load(Ordering::Relaxed),
            sstables: sstables.iter().map(|s| (s.sequence(), 0)).collect(),
            ..Manifest::default()
        };
        manifest::write_manifest(fs, &self.dir, self.id, &manifest)?;
        let _gate = self.gate.write();
        let mut state = State::clone(&self.state.load());
        state.sstables = sstables;
        state.frozen.retain(|f| flushed.is_none_or(|flushed| !Arc::ptr_eq(&f.memtable, flushed)));
        self.state.store(Arc::new(state));
        Ok(())
    }
}
