//! One table: its memtables and SSTables, and how the set of them changes.

use super::levels::Levels;
use crate::LogPosition;
use crate::compaction::purge::PurgeRule;
use crate::error::{EngineError, OpenError};
use crate::fs::Fs;
use crate::log::Log;
use crate::manifest::{self, Manifest};
use crate::memtable::{ChunkPool, Memtable};
use crate::options::{CompactionOptions, Strategy, TableOptions};
use crate::sstable::{SsTable, SstShared};
use arc_swap::ArcSwap;
use dunlin_types::schema::Compression;
use dunlin_types::{Micros, TableId, Token, TokenRange};
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::BTreeMap;
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
    pub(crate) sstables: Levels,
}

/// How the SSTables of a table change.
pub(crate) struct Change<'a> {
    /// With their levels. One that is an input too is only moved.
    pub(crate) outputs: Vec<(u8, Arc<SsTable>)>,
    /// Taken out, and removed.
    pub(crate) inputs: &'a [Arc<SsTable>],
    /// The memtable that the outputs hold: the oldest one.
    pub(crate) flushed: Option<&'a Frozen>,
    /// The rule by which entries were left out.
    pub(crate) purged: Option<&'a PurgeRule>,
}

/// What the gate's lock guards, besides the order of appends and freezes.
struct Gate {
    dropped: bool,
}

pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) dir: String,
    options: Mutex<TableOptions>,
    purge: Mutex<Option<Arc<PurgeRule>>>,
    /// Held while the set of SSTables changes or is copied: the position up to which all was flushed.
    flushed: Mutex<LogPosition>,
    /// Of SSTables that a merge under a purge rule has written: the latest time of that rule in their range.
    purged: Mutex<BTreeMap<u64, Micros>>,
    pub(crate) bytes_flushed: AtomicU64,
    pub(crate) bytes_compacted: AtomicU64,
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
        chunks: &Arc<ChunkPool>,
    ) -> Result<Table, OpenError> {
        let manifest = manifest::read_manifest(fs, &options.dir, id)?;
        // Recovery gives up records of the log for what this manifest says. It may be seen and not be durable yet:
        // the process may have ended between the two.
        let dir = &options.dir;
        fs.sync_dir(dir).map_err(|e| EngineError::io(format!("sync {dir}"), &e))?;
        let mut sstables = Vec::with_capacity(manifest.sstables.len());
        for &(sequence, level) in &manifest.sstables {
            let path = manifest::sstable_path(&options.dir, id, sequence);
            sstables.push((level, Arc::new(SsTable::open(fs, &path, id, sequence, shared)?)));
        }
        Ok(Table::new(id, options, &manifest, Levels::new(sstables), chunks))
    }

    /// Makes a new table; its manifest is durable when this returns.
    pub(crate) fn create(
        fs: &dyn Fs,
        id: TableId,
        options: &TableOptions,
        chunks: &Arc<ChunkPool>,
    ) -> Result<Table, EngineError> {
        crate::fs::create_dirs(fs, &options.dir)
            .map_err(|e| EngineError::io(format!("create {}", options.dir), &e))?;
        let manifest = Manifest { next_sequence: 1, ..Manifest::default() };
        manifest::write_manifest(fs, &options.dir, id, &manifest)?;
        Ok(Table::new(id, options, &manifest, Levels::default(), chunks))
    }

    fn new(
        id: TableId,
        options: &TableOptions,
        manifest: &Manifest,
        sstables: Levels,
        chunks: &Arc<ChunkPool>,
    ) -> Table {
        let state = State { active: Arc::new(Memtable::new(chunks)), frozen: Vec::new(), sstables };
        Table {
            id,
            dir: options.dir.clone(),
            options: Mutex::new(options.clone()),
            purge: Mutex::default(),
            flushed: Mutex::new(manifest.flushed),
            purged: Mutex::default(),
            bytes_flushed: AtomicU64::new(0),
            bytes_compacted: AtomicU64::new(0),
            gate: RwLock::new(Gate { dropped: false }),
            state: ArcSwap::from_pointee(state),
            next_sequence: AtomicU64::new(manifest.next_sequence),
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

    /// Refuses writes while too many memtables wait to be flushed, or too many SSTables to be merged.
    pub(crate) fn admit(&self, options: &CompactionOptions) -> Result<(), EngineError> {
        let state = self.state.load();
        if state.frozen.len() >= options.frozen_max {
            return Err(EngineError::Overloaded {
                bytes: state.frozen.iter().map(|f| f.memtable.bytes()).sum(),
            });
        }
        let level0 = state.sstables.level0();
        if level0.len() < options.level0_max {
            return Ok(());
        }
        // Damaged ones wait for a scrub, not for a merge.
        let sound = || level0.iter().filter(|s| !s.is_damaged());
        if sound().count() < options.level0_max {
            return Ok(());
        }
        Err(EngineError::Overloaded { bytes: sound().map(|s| s.file_bytes()).sum() })
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
        self.options.lock().compression
    }

    pub(crate) fn strategy(&self) -> Strategy {
        self.options.lock().compaction
    }

    /// Takes new options; the folder stays.
    pub(crate) fn set_options(&self, options: &TableOptions) {
        let mut present = self.options.lock();
        *present = TableOptions { dir: present.dir.clone(), ..options.clone() };
    }

    pub(crate) fn purge(&self) -> Option<Arc<PurgeRule>> {
        self.purge.lock().clone()
    }

    pub(crate) fn set_purge(&self, rule: PurgeRule) {
        *self.purge.lock() = Some(Arc::new(rule));
    }

    /// Under which time an SSTable was last purged.
    pub(crate) fn purged(&self, sequence: u64) -> Option<Micros> {
        self.purged.lock().get(&sequence).copied()
    }

    /// Keeps the set of SSTables as it is, and their files, until the guard is dropped.
    pub(crate) fn lock_sstables(&self) -> MutexGuard<'_, LogPosition> {
        self.flushed.lock()
    }

    /// Counts bytes that a flush, or a merge, has written.
    pub(crate) fn count_written(&self, flush: bool, bytes: u64) {
        let counter = if flush { &self.bytes_flushed } else { &self.bytes_compacted };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Everything of the table that the log holds up to here is in SSTables.
    pub(crate) fn flushed(&self) -> LogPosition {
        *self.flushed.lock()
    }

    pub(crate) fn take_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// No SSTable has this sequence number or a higher one.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::Relaxed)
    }

    /// Sets the memtable aside for a flush; false if it is empty.
    pub(crate) fn freeze(&self, log: &Log) -> bool {
        let _gate = self.gate.write();
        let mut state = State::clone(&self.state.load());
        if state.active.is_empty() {
            return false;
        }
        let successor = Arc::new(state.active.successor());
        let memtable = std::mem::replace(&mut state.active, successor);
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

    /// Changes the set of SSTables: in the manifest, durably, then for readers; then removes the inputs. After an
    /// error the manifest may name either set; nothing changed for readers.
    pub(crate) fn publish(&self, fs: &dyn Fs, change: Change<'_>) -> Result<(), EngineError> {
        let mut flushed = self.flushed.lock();
        let Change { outputs, inputs, .. } = change;
        let taken = |sequence| inputs.iter().any(|s| s.sequence() == sequence);
        let kept = outputs.iter().map(|(_, s)| s.sequence()).collect::<Vec<_>>();
        let present = self.state.load();
        let rest = present.sstables.iter().filter(|(_, s)| !taken(s.sequence()));
        let mut sstables: Vec<_> = rest.map(|(level, s)| (level, s.clone())).chain(outputs).collect();
        sstables.sort_by_key(|(_, s)| s.sequence());
        let manifest = Manifest {
            next_sequence: self.next_sequence.load(Ordering::Relaxed),
            flushed: change.flushed.map_or(*flushed, |f| f.end.max(*flushed)),
            sstables: sstables.iter().map(|(level, s)| (s.sequence(), *level)).collect(),
        };
        if self.gate.read().dropped {
            return Err(EngineError::UnknownTable(self.id));
        }
        manifest::write_manifest(fs, &self.dir, self.id, &manifest)?;
        *flushed = manifest.flushed;
        self.note_purged(&sstables, &kept, change.purged);
        {
            let gate = self.gate.write();
            if gate.dropped {
                // Whoever dropped the table has counted its memtables as gone.
                return Err(EngineError::UnknownTable(self.id));
            }
            let mut state = State::clone(&self.state.load());
            state.sstables = Levels::new(sstables);
            let keep =
                |f: &Frozen| change.flushed.is_none_or(|done| !Arc::ptr_eq(&f.memtable, &done.memtable));
            state.frozen.retain(keep);
            self.state.store(Arc::new(state));
        }
        // Still under the lock: a snapshot must find what the manifest names.
        for input in inputs.iter().filter(|s| !kept.contains(&s.sequence())) {
            if let Err(error) = fs.remove(input.path()) {
                tracing::warn!(path = input.path(), %error, "a compacted SSTable was not removed; the next start will");
            }
        }
        Ok(())
    }

    fn note_purged(&self, sstables: &[(u8, Arc<SsTable>)], outputs: &[u64], rule: Option<&PurgeRule>) {
        let mut purged = self.purged.lock();
        purged.retain(|sequence, _| sstables.iter().any(|(_, s)| s.sequence() == *sequence));
        for (_, sstable) in sstables.iter().filter(|(_, s)| outputs.contains(&s.sequence())) {
            let range = TokenRange { first: sstable.statistics().first, last: sstable.statistics().last };
            if let Some(at) = rule.and_then(|rule| rule.latest(range)) {
                purged.insert(sstable.sequence(), at);
            }
        }
    }
}
