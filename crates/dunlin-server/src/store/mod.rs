//! `ReplicaStore` over the engine: the part that production and simulation share.
//!
//! Changes go into the engine's log buffer and memtable on the caller's thread, which is quick; a
//! *committer* then makes them durable, many at a time, and wakes those who wait. [`threaded`] runs it on a
//! thread of its own, [`inline`] on virtual time. Reads run on the caller's thread.
//!
//! Thin as yet: a read that misses the caches blocks its runtime for the time of a disk read.

pub mod inline;
mod lost;
mod meters;
mod pacer;
#[cfg(test)]
mod tests;
pub mod threaded;
mod waiters;

use dunlin_replication::store::{Change, Durability, Entry, StoreError, Updated, WriteObserver};
use dunlin_storage::{Engine, EngineError, LogPosition, Strategy, TableOptions, UpdateError};
use dunlin_types::runtime::{BoxFuture, SharedRuntime};
use dunlin_types::schema::Compaction;
use dunlin_types::{Key, Record, TableDef, TableId, Token, TokenRange};
use meters::Average;
use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use waiters::{Goal, Waiters};

pub use inline::InlineStore;
pub(crate) use lost::overlaps;
pub use lost::{LostMark, LostRanges};
pub use meters::Meters;
pub use threaded::{ThreadOptions, ThreadedStore};

/// What the node needs of its store beyond `ReplicaStore`.
pub trait LocalStore: dunlin_replication::store::ReplicaStore {
    /// The engine.
    fn engine(&self) -> &Arc<Engine>;

    /// Runs something on the engine that takes a moment (a flush, statistics) off the caller's thread.
    fn run(&self, job: EngineJob) -> BoxFuture<'static, Result<(), StoreError>>;

    /// The same for what may take hours (a full compaction, a scrub): one after the other, beside everything
    /// else. The job should end early once [`LocalStore::stopping`].
    fn run_long(&self, job: EngineJob) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Whether the store is being closed.
    fn stopping(&self) -> bool;

    /// Makes everything durable and stops the workers; no write may come after. `Ok` if all of it is safe.
    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Writes that wait to become durable.
    fn waiting(&self) -> usize;

    /// What is measured of commits.
    fn meters(&self) -> &Meters;
}

/// Something long to do with the engine.
pub type EngineJob = Box<dyn FnOnce(&Engine) -> Result<(), EngineError> + Send>;

/// What both stores have.
struct Shared {
    engine: Arc<Engine>,
    runtime: SharedRuntime,
    lost: Arc<LostRanges>,
    waiters: Waiters,
    meters: Meters,
    /// How long commits took lately.
    sync: Average,
    /// The log's position when a flush was last looked for.
    looked_at: AtomicU64,
    /// Fuller than clients may make it.
    disk_full: AtomicBool,
    /// No more writes: the node is about to end. Held for reading by a write until it is in the log, so
    /// that the last commit has all of them.
    closed: RwLock<bool>,
    /// Why nothing becomes durable any more.
    failed: OnceLock<StoreError>,
    /// Who is told of writes.
    observer: OnceLock<Arc<dyn WriteObserver>>,
}

impl Shared {
    fn new(engine: Arc<Engine>, lost: Arc<LostRanges>, runtime: SharedRuntime) -> Shared {
        Shared {
            engine,
            runtime,
            lost,
            waiters: Waiters::default(),
            meters: Meters::default(),
            sync: Average::default(),
            looked_at: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            closed: RwLock::new(false),
            failed: OnceLock::new(),
            observer: OnceLock::new(),
        }
    }

    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        let _ = self.observer.set(observer);
    }

    /// A write is about to be applied.
    fn taking(&self, table: TableId, token: Token, record: &Record) {
        if let Some(observer) = self.observer.get() {
            observer.taking(table, token, record);
        }
    }

    /// A write was applied.
    fn taken(&self, table: TableId, token: Token, record: &Record) {
        if let Some(observer) = self.observer.get() {
            observer.taken(table, token, record);
        }
    }

    /// A write may go into the log while this is held.
    fn enter(&self) -> Result<RwLockReadGuard<'_, bool>, StoreError> {
        let closed = self.closed.read_recursive();
        match *closed {
            true => Err(StoreError::ReadOnly("this node is stopping".into())),
            false => Ok(closed),
        }
    }

    fn takes_client_writes(&self) -> Result<(), StoreError> {
        match self.disk_full.load(Ordering::Relaxed) {
            true => {
                let why = "the disk is 95 % full: client writes stop, everything else goes on";
                Err(StoreError::DiskFull(why.into()))
            }
            false => Ok(()),
        }
    }

    /// Takes no more writes; waits for those that are on their way into the log.
    fn shut(&self) {
        *self.closed.write() = true;
    }

    /// Takes no more writes and makes those taken durable.
    fn finish(&self) -> Result<(), StoreError> {
        self.shut();
        let last = self.engine.commit().map(drop).map_err(store_error);
        if let Err(error) = &last {
            let _ = self.failed.set(error.clone());
        }
        self.settle();
        last
    }

    /// Ends when the position is durable, or with the system, as asked. `wake` rouses the committer.
    fn wait(
        &self,
        position: LogPosition,
        goal: Goal,
        wake: impl Fn(),
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let reached = match goal {
            Goal::Durable => self.engine.durable(),
            Goal::Written => self.engine.written(),
        };
        if reached >= position {
            return ready(Ok(()));
        }
        let Some(waiting) = self.waiters.add(position, goal) else {
            return ready(Err(StoreError::Overloaded));
        };
        // After a failure nobody else will come to say so.
        match self.failed.get() {
            Some(_) => self.settle(),
            None => wake(),
        }
        Box::pin(async move {
            waiting.await.unwrap_or_else(|_| Err(StoreError::ReadOnly("the store is closed".into())))
        })
    }

    fn get(
        &self,
        table: TableId,
        token: Token,
        key: &Key,
        wake: impl Fn(),
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        match self.engine.get(table, token, key) {
            Ok(None) => ready(Ok(None)),
            Ok(Some(found)) if found.visible_at <= self.engine.durable() => ready(Ok(Some(found.record))),
            Ok(Some(found)) => {
                let wait = self.wait(found.visible_at, Goal::Durable, wake);
                Box::pin(async move { wait.await.map(|()| Some(found.record)) })
            }
            Err(error) => ready(Err(store_error(error))),
        }
    }

    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: &Key,
        record: &Record,
        durability: Durability,
        wake: impl Fn(),
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let _entered = match self.enter() {
            Ok(entered) => entered,
            Err(error) => return ready(Err(error)),
        };
        let goal = Goal::from(durability);
        self.taking(table, token, record);
        match self.engine.merge(table, token, key, record, goal == Goal::Durable) {
            Ok(position) => {
                self.taken(table, token, record);
                self.wait(position, goal, wake)
            }
            Err(error) => ready(Err(store_error(error))),
        }
    }

    fn update(
        &self,
        table: TableId,
        token: Token,
        key: &Key,
        change: Change,
        durability: Durability,
        wake: impl Fn(),
    ) -> Result<Updated, StoreError> {
        let _entered = self.enter()?;
        // A write without a context supersedes what is held here, which must be all there is.
        self.lost.check(table, TokenRange { first: token, last: token })?;
        self.takes_client_writes()?;
        let goal = Goal::from(durability);
        let change = |present| change(present).inspect(|record| self.taking(table, token, record));
        match self.engine.update(table, token, key, change, goal == Goal::Durable) {
            Ok((record, position)) => {
                self.taken(table, token, &record);
                Ok(Updated { record, durable: self.wait(position, goal, wake) })
            }
            Err(UpdateError::Refused(error)) => Err(StoreError::Refused(error)),
            Err(UpdateError::Engine(error)) => Err(store_error(error)),
        }
    }

    fn scan(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<(Token, Key)>,
        limit: usize,
        bytes: usize,
        wake: impl Fn(),
    ) -> BoxFuture<'static, Result<Vec<Entry>, StoreError>> {
        let after = after.as_ref().map(|(token, key)| (*token, key));
        let scanned = match self.engine.scan(table, range, after, limit, bytes) {
            Ok(scanned) => scanned,
            Err(error) => return ready(Err(store_error(error))),
        };
        let entry = |(token, key, record)| Entry { token, key, record };
        let entries: Vec<Entry> = scanned.entries.into_iter().map(entry).collect();
        if scanned.visible_at <= self.engine.durable() {
            return ready(Ok(entries));
        }
        let wait = self.wait(scanned.visible_at, Goal::Durable, wake);
        Box::pin(async move { wait.await.map(|()| entries) })
    }

    /// Whether somebody waits for what is reached already.
    fn some_reached(&self) -> bool {
        self.waiters.reached(self.engine.durable(), self.engine.written())
    }

    /// One round of the committer: makes durable what is waited for. Whether there was anything to do;
    /// [`Shared::settle`] then wakes those who waited.
    fn commit(&self) -> bool {
        let goal = self.waiters.most_wanted(self.engine.durable(), self.engine.written());
        let done = match goal.filter(|_| self.failed.get().is_none()) {
            Some(Goal::Durable) => {
                let started = self.runtime.mono();
                let done = self.engine.commit().map(drop);
                let took = self.runtime.mono().since(started);
                self.meters.sync_seconds.observe(took.as_secs_f64());
                self.sync.take(took);
                done
            }
            Some(Goal::Written) => self.engine.write_out().map(drop),
            None => return false,
        };
        if let Err(error) = done {
            tracing::error!(%error, "the commit log failed: this node takes no more writes until it is started again");
            let _ = self.failed.set(store_error(error));
        }
        true
    }

    /// Whether the log has grown by that much since this last said so: memtables may be full.
    fn has_grown(&self, bytes: u64) -> bool {
        let now = self.engine.written().0;
        let before = self.looked_at.load(Ordering::Relaxed);
        now.saturating_sub(before) >= bytes
            && self.looked_at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Wakes those whose writes are where they have to be; all of them after a failure.
    fn settle(&self) {
        let served = self.waiters.complete(self.engine.durable(), self.engine.written());
        if served > 0 {
            self.meters.batch.observe(served as f64);
        }
        if let Some(error) = self.failed.get() {
            self.waiters.fail(error);
        }
    }
}

/// What the engine has to know of a table.
pub fn table_options(def: &TableDef) -> TableOptions {
    TableOptions {
        dir: format!("tables/{}/{}", def.keyspace, def.name),
        compression: def.compression,
        compaction: match def.compaction {
            Compaction::Leveled => Strategy::Leveled,
            Compaction::Tiered => Strategy::Tiered,
        },
    }
}

/// How full level 0 of the fullest table is, in percent of what makes writes be refused.
fn level0_percent(engine: &Engine, level0_max: usize) -> u64 {
    (engine.level0_max() * 100 / level0_max.max(1)) as u64
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

/// The engine's error as the seam names it.
pub(crate) fn store_error(error: EngineError) -> StoreError {
    match error {
        EngineError::UnknownTable(table) => StoreError::UnknownTable(table),
        EngineError::LogClosed(reason) => StoreError::ReadOnly(reason),
        EngineError::Overloaded { .. } => StoreError::Overloaded,
        EngineError::DiskFull(what) => StoreError::DiskFull(what),
        other => StoreError::Damaged(other.to_string()),
    }
}
