//! Dunlin's engine, in two modes: bare bytes, and records as a replica keeps them.

use super::{Asynchronous, BACKGROUND, BLOCK_BYTES, Settings, Store, record};
use crate::data::Key;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use dunlin_storage::engine::Lane;
use dunlin_storage::fs::OsFs;
use dunlin_storage::options::Strategy;
use dunlin_storage::parallel::Threads;
use dunlin_storage::{Engine, EngineError, EngineOptions, LogPosition, TableOptions, UpdateError};
use dunlin_types::record::SiblingSet;
use dunlin_types::schema::Compression;
use dunlin_types::{Actor, Generation, HostId, Key as KeyBytes, Micros, Record};
use dunlin_types::{TableId, Token, TokenRange, Value};
use siphasher::sip::SipHasher24;
use std::cell::RefCell;
use std::convert::Infallible;
use std::hash::Hasher;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How writes and reads are done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A `last_write_wins` record whose bytes are made once; token: the number of the key.
    Bare,
    /// A version vector set, read and written as a coordinator does; token: SipHash-2-4 of the key.
    Replica,
}

const TABLE: TableId = TableId(1);
/// Key of the SipHash.
const PARTITIONER: [u8; 16] = [7; 16];
const ACTOR: Actor = Actor { host: HostId([9; 16]), generation: Generation(1) };
/// When a refused writer tries again.
const PAUSE: Duration = Duration::from_micros(500);
/// How often an idle worker looks for work: each look of the flush lane may write the log's low-water mark.
const IDLE: Duration = Duration::from_millis(5);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub struct Dunlin {
    engine: Arc<Engine>,
    mode: Mode,
    /// Write times and counters of versions.
    clock: AtomicU64,
    workers: Workers,
    committer: Committer,
}

impl Dunlin {
    pub fn open(dir: &Path, settings: Settings, mode: Mode) -> Result<Dunlin> {
        let memtables = settings.memtable_bytes * 4;
        let options = EngineOptions {
            memtable_bytes: settings.memtable_bytes,
            memtables_bytes_max: memtables,
            log_bytes_max: memtables * 2,
            block_bytes: BLOCK_BYTES,
            block_cache_bytes: settings.cache_bytes,
            parallel: Arc::new(Threads::available()),
            ..EngineOptions::default()
        };
        let engine = Arc::new(Engine::open(Arc::new(OsFs::new(dir)?), options)?);
        let table = TableOptions {
            dir: "tables/bench/kv".to_owned(),
            compression: Compression::Lz4,
            compaction: Strategy::Leveled,
        };
        engine.create_table(TABLE, table)?;
        // Later than those of an earlier process: counters of versions are never used twice.
        let clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
        let workers = Workers::start(&engine)?;
        let committer = Committer::start(&engine)?;
        Ok(Dunlin { engine, mode, clock: AtomicU64::new(clock), workers, committer })
    }

    fn token(&self, key: &Key) -> Token {
        match self.mode {
            Mode::Bare => Token(key.number),
            Mode::Replica => {
                let mut hasher = SipHasher24::new_with_key(&PARTITIONER);
                hasher.write(&key.text);
                Token(hasher.finish())
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn write(&self, key: &Key, value: &[u8], synced: bool) -> Result<u64> {
        loop {
            let result = match self.mode {
                Mode::Bare => self.merge(key, value, synced),
                Mode::Replica => self.update(key, value, synced),
            };
            match result {
                Err(EngineError::Overloaded { .. }) => std::thread::sleep(PAUSE),
                result => return Ok(result?.0),
            }
        }
    }

    fn merge(&self, key: &Key, value: &[u8], synced: bool) -> Result<LogPosition, EngineError> {
        SCRATCH.with_borrow_mut(|bytes| {
            record::encode(self.now(), value, bytes);
            self.engine.merge_bytes(TABLE, self.token(key), &key.text, bytes, synced)
        })
    }

    /// A client that has read the key and overwrites what it saw.
    fn update(&self, key: &Key, value: &[u8], synced: bool) -> Result<LogPosition, EngineError> {
        let change = |present: Option<Record>| {
            // Taken while the key is locked: counters of a key must grow.
            let now = self.now();
            let data = Some(Bytes::copy_from_slice(value));
            let value = Value { written: Micros(now), expires: None, data };
            let mut set = match present {
                Some(Record::Siblings(set)) => set,
                _ => SiblingSet::default(),
            };
            let seen = set.seen().clone();
            set.write(&seen, ACTOR, now, value);
            Ok::<_, Infallible>(Record::Siblings(set))
        };
        let bytes = key_bytes(key)?;
        match self.engine.update(TABLE, self.token(key), &bytes, change, synced) {
            Ok((_, position)) => Ok(position),
            Err(UpdateError::Engine(error)) => Err(error),
            Err(UpdateError::Refused(never)) => match never {},
        }
    }

    /// Shows the value of a record; false if it has none, or several.
    fn show(&self, record: &Bytes, show: &mut dyn FnMut(&[u8])) -> Result<bool> {
        match self.mode {
            Mode::Bare => Ok(record::value(record).inspect(|value| show(value)).is_some()),
            Mode::Replica => {
                let record = Record::decode(record)?;
                Ok(match record.visible(Micros(0)).as_slice() {
                    [value] => value.data.as_ref().inspect(|data| show(data)).is_some(),
                    _ => false,
                })
            }
        }
    }
}

fn key_bytes(key: &Key) -> Result<KeyBytes, EngineError> {
    KeyBytes::new(Bytes::copy_from_slice(&key.text)).map_err(|error| EngineError::Refused(error.to_string()))
}

impl Store for Dunlin {
    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        self.write(key, value, false).map(drop)
    }

    fn put_durable(&self, key: &Key, value: &[u8]) -> Result<()> {
        let position = self.write(key, value, true)?;
        while self.engine.durable().0 < position {
            self.engine.commit()?;
        }
        Ok(())
    }

    fn get(&self, key: &Key, show: &mut dyn FnMut(&[u8])) -> Result<bool> {
        match self.engine.get_bytes(TABLE, self.token(key), &key.text)? {
            Some(found) => self.show(&found.record, show),
            None => Ok(false),
        }
    }

    fn scan(&self, from: &Key, limit: usize, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<usize> {
        let range = TokenRange { first: self.token(from), last: Token(u64::MAX) };
        let (mut count, mut failed) = (0, Ok(true));
        self.engine.visit(TABLE, range, None, limit, |_, key, record| {
            failed = match self.mode {
                Mode::Bare => Ok(record::value(record).inspect(|value| show(key, value)).is_some()),
                Mode::Replica => self.show(&Bytes::copy_from_slice(record), &mut |value| show(key, value)),
            };
            count += 1;
            if count == limit || !matches!(failed, Ok(true)) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        ensure!(failed?, "a scan met a key without a value");
        Ok(count)
    }

    fn count(&self) -> Result<u64> {
        let mut count = 0;
        self.engine.visit(TABLE, TokenRange::ALL, None, usize::MAX, |_, _, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    fn write_out(&self) -> Result<()> {
        Ok(self.engine.write_out().map(drop)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.engine.flush(Some(TABLE))?)
    }

    fn settle(&self) -> Result<()> {
        self.workers.settle()
    }

    fn compact(&self) -> Result<()> {
        self.engine.compact(Some(TABLE))?;
        self.settle()
    }

    fn is_log(&self, file: &str) -> bool {
        file.ends_with(".log") || file.contains("commitlog")
    }

    fn asynchronous(&self) -> Option<&dyn Asynchronous> {
        Some(self)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.write_out()?;
        self.committer.stop()?;
        self.workers.stop()
    }
}

impl Asynchronous for Dunlin {
    fn submit(&self, key: &Key, value: &[u8]) -> Result<u64> {
        let position = self.write(key, value, true)?;
        self.committer.ask(position);
        Ok(position)
    }

    fn durable(&self) -> Result<u64> {
        if let Some(why) = self.engine.failure() {
            bail!("the log is closed: {why}");
        }
        Ok(self.engine.durable().0)
    }

    fn wait(&self, seen: u64) -> Result<()> {
        self.committer.wait(&self.engine, seen)
    }
}

/// What each worker does.
const LANES: [Lane; BACKGROUND] = [Lane::Flush, Lane::Compaction];

/// Threads that do maintenance, as a node's do.
struct Workers {
    shared: Arc<WorkerState>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct WorkerState {
    stop: AtomicBool,
    /// Rounds in which a worker found nothing to do.
    idle: [AtomicU64; BACKGROUND],
    failure: Mutex<Option<String>>,
}

impl Workers {
    fn start(engine: &Arc<Engine>) -> Result<Workers> {
        let shared = Arc::new(WorkerState::default());
        let mut threads = Vec::new();
        for (worker, lane) in LANES.into_iter().enumerate() {
            let (engine, shared) = (Arc::clone(engine), Arc::clone(&shared));
            threads.push(Builder::new().name("maintenance".to_owned()).spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    match engine.maintenance(lane) {
                        Ok(step) if step.worked => continue,
                        Ok(_) => {
                            shared.idle[worker].fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(IDLE);
                        }
                        Err(error) => {
                            *shared.failure.lock().unwrap_or_else(PoisonError::into_inner) =
                                Some(error.to_string());
                            return;
                        }
                    }
                }
            })?);
        }
        Ok(Workers { shared, threads })
    }

    /// Waits until every worker has twice found nothing to do.
    fn settle(&self) -> Result<()> {
        let rounds = |i: usize| self.shared.idle[i].load(Ordering::Relaxed);
        for _ in 0..2 {
            for worker in 0..self.threads.len() {
                let before = rounds(worker);
                while rounds(worker) < before + 2 {
                    self.check()?;
                    std::thread::sleep(PAUSE);
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match &*self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => bail!("maintenance: {error}"),
            None => Ok(()),
        }
    }

    fn stop(self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.check()?;
        self.threads.into_iter().try_for_each(|t| t.join().map_err(|_| anyhow!("a worker panicked")))
    }
}

/// The thread that commits for clients that do not wait, as a node's does: while one commit runs, writes gather
/// for the next.
struct Committer {
    shared: Arc<CommitState>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct CommitState {
    asked: AtomicU64,
    stop: AtomicBool,
    done: Mutex<u64>,
    changed: Condvar,
}

impl Committer {
    fn start(engine: &Arc<Engine>) -> Result<Committer> {
        let shared = Arc::new(CommitState::default());
        let (engine, state) = (Arc::clone(engine), Arc::clone(&shared));
        let thread = Builder::new().name("commit".to_owned()).spawn(move || {
            while !state.stop.load(Ordering::Relaxed) {
                if state.asked.load(Ordering::Acquire) <= engine.durable().0 {
                    std::thread::park();
                    continue;
                }
                let failed = engine.commit().is_err();
                *state.done.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                state.changed.notify_all();
                if failed {
                    return;
                }
            }
        })?;
        Ok(Committer { shared, thread })
    }

    fn ask(&self, position: u64) {
        self.shared.asked.fetch_max(position, Ordering::Release);
        self.thread.thread().unpark();
    }

    fn wait(&self, engine: &Engine, seen: u64) -> Result<()> {
        let mut done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        while engine.durable().0 <= seen && engine.failure().is_none() {
            done = self.shared.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn stop(self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().map_err(|_| anyhow!("the committer panicked")).context("stopping")
    }
}
