//! The store of a real node, on threads: one commits, one flushes and keeps the log short, some compact, one
//! does what operators ask for.
// This file implements the seam behind which threads live.
#![allow(clippy::disallowed_methods)]

use super::pacer::{Load, Pacer};
use super::{EngineJob, LocalStore, LostRanges, Meters, Shared, ready, store_error};
use dunlin_replication::store::{
    Change, Durability, Entry, ReplicaStore, StoreError, Updated, WriteObserver,
};
use dunlin_storage::fs::Fs;
use dunlin_storage::{Engine, Lane};
use dunlin_types::runtime::{BoxFuture, SharedRuntime, TaskHandle};
use dunlin_types::{Key, Record, TableId, Token, TokenRange};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How often background threads look for work that nobody announced.
const MAINTENANCE_EVERY: Duration = Duration::from_millis(200);
/// Rest after an error of background work.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Jobs that wait for one thread.
const JOBS_MAX: usize = 64;

/// Sizes and rates of the store's threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadOptions {
    /// Threads that compact; at least one is started.
    pub compaction_threads: usize,
    /// Bytes a second that they write together; 0 is without limit.
    pub compaction_bytes_per_second: u64,
    /// A flush is looked for each time that the log has grown by so much.
    pub flush_every_bytes: u64,
    /// As [`dunlin_storage::CompactionOptions::level0_max`].
    pub level0_max: usize,
}

/// A bell with memory: a ring before the wait is not lost.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    condition: Condvar,
}

impl Bell {
    fn ring(&self) {
        let mut rung = self.rung.lock();
        if !*rung {
            *rung = true;
            self.condition.notify_one();
        }
    }

    fn wait(&self) {
        let mut rung = self.rung.lock();
        while !*rung {
            self.condition.wait(&mut rung);
        }
        *rung = false;
    }

    fn wait_for(&self, most: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.condition.wait_for(&mut rung, most);
        }
        *rung = false;
    }
}

type Job = (EngineJob, oneshot::Sender<Result<(), StoreError>>);

/// Jobs for one thread, with its bell.
#[derive(Default)]
struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    bell: Bell,
}

impl Jobs {
    fn add(&self, job: EngineJob) -> BoxFuture<'static, Result<(), StoreError>> {
        let (answer, receiver) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            if queue.len() >= JOBS_MAX {
                return ready(Err(StoreError::Overloaded));
            }
            queue.push_back((job, answer));
        }
        self.bell.ring();
        Box::pin(async move { receiver.await.unwrap_or(Err(StoreError::Overloaded)) })
    }

    /// Runs the next one; false if there is none.
    fn run_next(&self, engine: &Engine) -> bool {
        let Some((job, answer)) = self.queue.lock().pop_front() else { return false };
        // Whoever asked may be gone.
        let _ = answer.send(job(engine).map_err(store_error));
        true
    }

    fn refuse(&self) {
        for (_, answer) in self.queue.lock().drain(..) {
            let _ = answer.send(Err(StoreError::ReadOnly("the store is closed".into())));
        }
    }
}

struct Workers {
    shared: Shared,
    options: ThreadOptions,
    /// Rung after a commit.
    committed: Notify,
    fs: Arc<dyn Fs>,
    commit: Bell,
    /// Of the thread that flushes.
    flush: Jobs,
    /// Of the thread that works for operators.
    long: Jobs,
    /// One for each thread that compacts.
    compact: Vec<Bell>,
    pacer: Mutex<Pacer>,
    stopping: AtomicBool,
}

/// See the module's comment. Dropping it stops the threads without a last commit.
pub struct ThreadedStore {
    workers: Arc<Workers>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    settler: TaskHandle,
}

impl ThreadedStore {
    /// Starts the threads over an open engine.
    pub fn start(
        engine: Engine,
        fs: Arc<dyn Fs>,
        lost: Arc<LostRanges>,
        runtime: &SharedRuntime,
        options: ThreadOptions,
    ) -> io::Result<Arc<ThreadedStore>> {
        let workers = Arc::new(Workers {
            shared: Shared::new(Arc::new(engine), lost, runtime.clone()),
            options,
            committed: Notify::new(),
            fs,
            commit: Bell::default(),
            flush: Jobs::default(),
            long: Jobs::default(),
            compact: (0..options.compaction_threads.max(1)).map(|_| Bell::default()).collect(),
            pacer: Mutex::new(Pacer::new(options.compaction_bytes_per_second)),
            stopping: AtomicBool::new(false),
        });
        let start = |name: String, work: fn(&Workers, usize), number: usize| {
            let workers = Arc::clone(&workers);
            Builder::new().name(name).spawn(move || work(&workers, number))
        };
        let mut threads = vec![
            start("dunlin-commit".into(), |workers, _| workers.commit_loop(), 0)?,
            start("dunlin-flush".into(), |workers, _| workers.flush_loop(), 0)?,
            start("dunlin-operate".into(), |workers, _| workers.long_loop(), 0)?,
        ];
        for number in 0..workers.compact.len() {
            threads.push(start(format!("dunlin-comp-{number}"), Workers::compaction_loop, number)?);
        }
        // One wake of the runtime for all writes of a commit: woken one by one from another thread, each
        // would cost a system call.
        let settler = Arc::clone(&workers);
        let settle = async move {
            loop {
                settler.committed.notified().await;
                settler.shared.settle();
            }
        };
        let settler = runtime.spawn("store-settle", Box::pin(settle));
        Ok(Arc::new(ThreadedStore { workers, threads: Mutex::new(threads), settler }))
    }

    fn shared(&self) -> &Shared {
        &self.workers.shared
    }
}

impl Workers {
    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// While a commit runs, new writes gather for the next one: batches grow with load, and an idle node
    /// does not wait.
    fn commit_loop(&self) {
        while !self.stopping() {
            match self.shared.commit() {
                true => {
                    self.committed.notify_one();
                    if self.shared.has_grown(self.options.flush_every_bytes) {
                        self.flush.bell.ring();
                    }
                }
                false => {
                    // Others move the log on too: a flush commits it, a writer empties a full buffer. Whoever
                    // came to wait at that moment has nobody else to wake him.
                    if self.shared.some_reached() {
                        self.committed.notify_one();
                    }
                    self.commit.wait();
                }
            }
        }
    }

    /// Flushes are never held back: memory and log depend on them.
    fn flush_loop(&self) {
        while !self.stopping() {
            if self.flush.run_next(&self.shared.engine) {
                continue;
            }
            match self.shared.engine.maintenance(Lane::Flush) {
                Ok(step) if step.worked => {
                    self.compact.iter().for_each(Bell::ring);
                    continue;
                }
                Ok(_) => {}
                Err(error) => self.note_failure("flushing", &error, &self.flush.bell),
            }
            self.look_at_disk();
            self.flush.bell.wait_for(MAINTENANCE_EVERY);
        }
        self.flush.refuse();
    }

    fn compaction_loop(&self, number: usize) {
        let bell = &self.compact[number];
        while !self.stopping() {
            match self.shared.engine.maintenance(Lane::Compaction) {
                Ok(step) if step.worked => self.rest(step.bytes, bell),
                Ok(_) => bell.wait_for(MAINTENANCE_EVERY),
                Err(error) => self.note_failure("compacting", &error, bell),
            }
        }
    }

    /// Holds the rate after a step of that many bytes.
    fn rest(&self, bytes: u64, bell: &Bell) {
        let clock = &self.shared.runtime;
        self.pacer.lock().charge(clock.mono(), bytes, &self.load());
        while !self.stopping() {
            let load = self.load();
            let rest = self.pacer.lock().rest(clock.mono(), &load);
            if rest.is_zero() {
                return;
            }
            bell.wait_for(rest);
        }
    }

    fn load(&self) -> Load {
        Load {
            waiting: self.shared.waiters.count(),
            sync: self.shared.sync.get(),
            level0_percent: super::level0_percent(&self.shared.engine, self.options.level0_max),
        }
    }

    /// What operators ask for, one after the other.
    fn long_loop(&self) {
        while !self.stopping() {
            if !self.long.run_next(&self.shared.engine) {
                self.long.bell.wait();
            }
        }
        self.long.refuse();
    }

    fn note_failure(&self, doing: &str, error: &dunlin_storage::EngineError, bell: &Bell) {
        tracing::warn!(%error, "{doing} failed and will be tried again");
        bell.wait_for(RETRY_AFTER);
    }

    fn look_at_disk(&self) {
        if let Ok(space) = self.fs.space() {
            let full = space.free_bytes < space.total_bytes / 20;
            if self.shared.disk_full.swap(full, Ordering::Relaxed) != full {
                match full {
                    true => tracing::error!(
                        free_bytes = space.free_bytes,
                        "the disk is 95 % full: client writes are refused"
                    ),
                    false => tracing::info!(free_bytes = space.free_bytes, "the disk has room again"),
                }
            }
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.shared.engine.interrupt();
        self.commit.ring();
        self.flush.bell.ring();
        self.long.bell.ring();
        self.compact.iter().for_each(Bell::ring);
    }
}

impl ReplicaStore for ThreadedStore {
    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        self.shared().observe(observer);
    }

    fn get(
        &self,
        table: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        self.shared().get(table, token, &key, || self.workers.commit.ring())
    }

    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        durability: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        self.shared().merge(table, token, &key, &record, durability, || self.workers.commit.ring())
    }

    fn update(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        change: Change,
        durability: Durability,
    ) -> BoxFuture<'static, Result<Updated, StoreError>> {
        ready(self.shared().update(table, token, &key, change, durability, || self.workers.commit.ring()))
    }

    fn sync(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.run(Box::new(|engine| engine.commit().map(drop)))
    }

    fn takes_client_writes(&self) -> Result<(), StoreError> {
        self.shared().takes_client_writes()
    }

    fn serves(&self, table: TableId, range: TokenRange) -> Result<(), StoreError> {
        self.shared().lost.check(table, range)
    }

    fn scan(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<(Token, Key)>,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Entry>, StoreError>> {
        self.shared().scan(table, range, after, limit, bytes, || self.workers.commit.ring())
    }
}

impl LocalStore for ThreadedStore {
    fn engine(&self) -> &Arc<Engine> {
        &self.shared().engine
    }

    fn run(&self, job: EngineJob) -> BoxFuture<'static, Result<(), StoreError>> {
        match self.workers.stopping() {
            true => ready(Err(StoreError::ReadOnly("the store is closed".into()))),
            false => self.workers.flush.add(job),
        }
    }

    fn run_long(&self, job: EngineJob) -> BoxFuture<'static, Result<(), StoreError>> {
        match self.workers.stopping() {
            true => ready(Err(StoreError::ReadOnly("the store is closed".into()))),
            false => self.workers.long.add(job),
        }
    }

    fn stopping(&self) -> bool {
        self.workers.stopping()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.shared().shut();
        self.workers.stop();
        let threads: Vec<JoinHandle<()>> = self.threads.lock().drain(..).collect();
        for thread in threads {
            if thread.join().is_err() {
                return ready(Err(StoreError::ReadOnly("a thread of the store panicked".into())));
            }
        }
        ready(self.shared().finish())
    }

    fn waiting(&self) -> usize {
        self.shared().waiters.count()
    }

    fn meters(&self) -> &Meters {
        &self.shared().meters
    }
}

impl Drop for ThreadedStore {
    fn drop(&mut self) {
        self.settler.abort();
        self.workers.stop();
    }
}
