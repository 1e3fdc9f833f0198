//! A disk in memory that forgets like a real one.
//!
//! It knows, for every file and every name, what is durable and what a crash may take away; the seed of a
//! crash decides what survives, within what POSIX allows and Linux does (Pillai et al. 2014, Rebello et
//! al. 2020): of unsynced writes none, all, a prefix torn at a sector, or any subset of sectors with holes
//! of zeros between; of unsynced names a prefix. Everything is a function of calls and seeds.

mod content;
mod faults;
mod file;
mod names;

pub(crate) use faults::Chance;
pub use faults::{Fault, Hook, Operation, OperationKind, Statistics};

use super::{DirEntry, File, Fs, LockGuard, OpenMode, Space, check_path};
use file::MemFile;
use names::Names;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The simulated disk of one node. Clones share it; it outlives the engines opened on it.
#[derive(Clone, Default)]
pub struct MemFs {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    names: Names,
    /// Grows when the process using the disk ends: older handles and locks are dead.
    epoch: u64,
    locks: BTreeMap<String, u64>,
    lock_next: u64,
    stopped: bool,
    number: u64,
    hook: Option<Hook>,
    planned: BTreeMap<u64, Fault>,
    capacity_bytes: Option<u64>,
    /// Direct writes are not offered.
    cached_only: bool,
    statistics: Statistics,
}

/// Size shown for a disk without a set capacity.
const CAPACITY_SHOWN_BYTES: u64 = 1 << 40;

impl MemFs {
    /// An empty disk.
    pub fn new() -> MemFs {
        MemFs::default()
    }

    /// The power goes: of everything unsynced an allowed part survives, as the seed decides. Handles and
    /// locks of before are dead; the hook and planned faults stay.
    pub fn crash(&self, seed: u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.end_process();
        let mut chance = Chance::new(seed);
        state.statistics.crashes += 1;
        state.statistics.names_lost += state.names.crash(&mut chance);
        for (_, inode) in state.names.files() {
            state.statistics.changes_lost += inode.lock().crash(&mut chance);
        }
    }

    /// The process ends, the operating system lives on: nothing that was written is lost. Handles and locks
    /// of before are dead.
    pub fn kill(&self) {
        self.state.lock().end_process();
    }

    /// The cache forgets clean pages: what a failed sync left unwritten now shows.
    pub fn drop_caches(&self) {
        for (_, inode) in self.state.lock().names.files() {
            inode.lock().drop_cache();
        }
    }

    /// Everything is gone: a new, empty disk in the same place.
    pub fn wipe(&self) {
        let mut state = self.state.lock();
        state.end_process();
        state.names = Names::default();
    }

    /// An independent copy of the disk with what is durable and what is not; without hook and plans.
    pub fn fork(&self) -> MemFs {
        let state = self.state.lock();
        let copy = State {
            names: state.names.fork(),
            number: state.number,
            capacity_bytes: state.capacity_bytes,
            cached_only: state.cached_only,
            ..State::default()
        };
        MemFs { state: Arc::new(Mutex::new(copy)) }
    }

    /// Puts the content of another disk in the place of this one's: a restored snapshot.
    pub fn restore(&self, from: &MemFs) {
        let names = from.state.lock().names.fork();
        let mut state = self.state.lock();
        state.end_process();
        state.names = names;
    }

    /// Asks `hook` about every operation from now on; `None` removes it.
    pub fn set_hook(&self, hook: Option<Hook>) {
        self.state.lock().hook = hook;
    }

    /// Lets the changing operation of that number ([`MemFs::operations`] counts them) meet a fault.
    pub fn fail_at(&self, number: u64, fault: Fault) {
        self.state.lock().planned.insert(number, fault);
    }

    /// Forgets planned faults.
    pub fn clear_faults(&self) {
        self.state.lock().planned.clear();
    }

    /// Changing operations so far, failed ones included.
    pub fn operations(&self) -> u64 {
        self.state.lock().number
    }

    /// Whether a [`Fault::Stop`] has happened since the last crash or kill.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Bounds the sum of all file lengths; writes beyond it come out short and fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Whether files opened from now on for direct writes get them (as at first), or plain ones.
    pub fn set_direct(&self, offered: bool) {
        self.state.lock().cached_only = !offered;
    }

    /// Damages one bit on the medium; `false` if the file has no such byte.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> bool {
        let state = self.state.lock();
        state.names.file(path).is_ok_and(|inode| inode.lock().flip_bit(offset as usize, bit))
    }

    /// Paths and lengths of all files.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state.lock();
        state
            .names
            .files()
            .map(|(path, inode)| (path.to_owned(), inode.lock().bytes().len() as u64))
            .collect()
    }

    /// Whether a crash could lose anything of this file's content.
    pub fn is_dirty(&self, path: &str) -> bool {
        self.state.lock().names.file(path).is_ok_and(|inode| inode.lock().is_dirty())
    }

    /// Counters.
    pub fn statistics(&self) -> Statistics {
        self.state.lock().statistics.clone()
    }
}

impl State {
    fn end_process(&mut self) {
        self.epoch += 1;
        self.locks.clear();
        self.stopped = false;
    }

    /// Counts the operation and asks for faults. `Ok(Some(kind))` means: fail, after doing a part of it.
    fn begin(&mut self, kind: OperationKind, path: &str, bytes: u64) -> io::Result<Option<io::ErrorKind>> {
        if self.stopped {
            return Err(power_is_off());
        }
        if kind.is_change() {
            self.number += 1;
        }
        *self.statistics.operations.entry(kind).or_default() += 1;
        let operation = Operation { number: self.number, kind, path, bytes };
        let planned = if kind.is_change() { self.planned.remove(&self.number) } else { None };
        let fault = planned.or_else(|| self.hook.as_mut().and_then(|hook| hook(&operation)));
        self.statistics.faults += u64::from(fault.is_some());
        match fault {
            None => Ok(None),
            Some(Fault::Error(error)) => Ok(Some(error)),
            Some(Fault::Stop) => {
                self.stopped = true;
                Err(power_is_off())
            }
        }
    }

    /// As [`State::begin`], for operations that fail without having done anything.
    fn begin_whole(&mut self, kind: OperationKind, path: &str) -> io::Result<()> {
        match self.begin(kind, path, 0)? {
            Some(error) => Err(io::Error::new(error, format!("injected: {kind:?} of {path:?}"))),
            None => Ok(()),
        }
    }

    /// A file of several names counts once.
    fn used_bytes(&self) -> u64 {
        let files: BTreeMap<_, _> = self
            .names
            .files()
            .map(|(_, inode)| (Arc::as_ptr(inode), inode.lock().bytes().len() as u64))
            .collect();
        files.values().sum()
    }

    /// How far a file may grow.
    fn room(&self, length: u64, wanted: u64) -> u64 {
        match self.capacity_bytes {
            Some(capacity) if wanted > length => {
                wanted.min(length + capacity.saturating_sub(self.used_bytes()))
            }
            _ => wanted,
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

impl Fs for MemFs {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        check_path(path)?;
        let mut state = self.state.lock();
        let creates = match mode {
            OpenMode::Read | OpenMode::Write | OpenMode::Direct => false,
            OpenMode::CreateNew | OpenMode::Truncate => true,
        };
        state.begin_whole(if creates { OperationKind::Create } else { OperationKind::Open }, path)?;
        let inode = match mode {
            OpenMode::Read | OpenMode::Write | OpenMode::Direct => state.names.file(path)?.clone(),
            OpenMode::CreateNew => state.names.create(path)?,
            OpenMode::Truncate => match state.names.file(path) {
                Ok(inode) => {
                    inode.lock().set_length(0);
                    inode.clone()
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => state.names.create(path)?,
                Err(e) => return Err(e),
            },
        };
        Ok(Arc::new(MemFile {
            fs: self.clone(),
            path: path.to_owned(),
            inode,
            writable: mode != OpenMode::Read,
            direct: mode == OpenMode::Direct && !state.cached_only,
            epoch: state.epoch,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_path(from)?;
        check_path(to)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::Rename, to)?;
        state.names.rename(from, to)
    }

    fn hard_link(&self, from: &str, to: &str) -> io::Result<()> {
        check_path(from)?;
        check_path(to)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::HardLink, to)?;
        state.names.hard_link(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::Remove, path)?;
        state.names.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::RemoveDir, path)?;
        state.names.remove_dir(path)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::CreateDir, path)?;
        state.names.create_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        check_path(path)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::List, path)?;
        state.names.list(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::SyncDir, path)?;
        state.names.sync_dir(path)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn LockGuard>> {
        check_path(path)?;
        let mut state = self.state.lock();
        state.begin_whole(OperationKind::Lock, path)?;
        match state.names.file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => drop(state.names.create(path)?),
            other => drop(other?),
        }
        if state.locks.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        state.lock_next += 1;
        let id = state.lock_next;
        state.locks.insert(path.to_owned(), id);
        Ok(Box::new(MemLock { fs: self.clone(), path: path.to_owned(), id }))
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.state.lock();
        if state.stopped {
            return Err(power_is_off());
        }
        let total_bytes = state.capacity_bytes.unwrap_or(CAPACITY_SHOWN_BYTES);
        Ok(Space { total_bytes, free_bytes: total_bytes.saturating_sub(state.used_bytes()) })
    }
}

struct MemLock {
    fs: MemFs,
    path: String,
    id: u64,
}

impl LockGuard for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut state = self.fs.state.lock();
        if state.locks.get(&self.path) == Some(&self.id) {
            state.locks.remove(&self.path);
        }
    }
}
