//! The store of a real node: one thread commits, one does maintenance.
// This file implements the seam behind which threads live.
#![allow(clippy::disallowed_methods)]

use super::{EngineJob, LocalStore, Shared, ready, store_error};
use dunlin_replication::store::{Change, Durability, Entry, ReplicaStore, StoreError, Updated};
use dunlin_storage::{Engine, Lane};
use dunlin_storage::fs::Fs;
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

/// How often maintenance looks for work that nobody announced.
const MAINTENANCE_EVERY: Duration = Duration::from_millis(200);
/// Jobs that wait for the maintenance thread.
const JOBS_MAX: usize = 64;

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

struct Workers {
    shared: Shared,
    /// Rung after a commit.
    committed: Notify,
    fs: Arc<dyn Fs>,
    commit: Bell,
    maintain: Bell,
    jobs: Mutex<VecDeque<Job>>,
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
    pub fn start(engine: Engine, fs: Arc<dyn Fs>, runtime: &SharedRuntime) -> io::Result<Arc<ThreadedStore>> {
        let workers = Arc::new(Workers {
            shared: Shared::new(Arc::new(engine)),
            committed: Notify::new(),
            fs,
            commit: Bell::default(),
            maintain: Bell::default(),
            jobs: Mutex::new(VecDeque::new()),
            stopping: AtomicBool::new(false),
        });
        let committer = Arc::clone(&workers);
        let maintainer = Arc::clone(&workers);
        let threads = vec![
            Builder::new().name("dunlin-commit".into()).spawn(move || committer.commit_loop())?,
            Builder::new().name("dunlin-maintain".into()).spawn(move || maintainer.maintenance_loop())?,
        ];
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
                true => self.committed.notify_one(),
                false => self.commit.wait(),
            }
        }
    }

    fn maintenance_loop(&self) {
        while !self.stopping() {
            if let Some((job, answer)) = self.take_job() {
                let _ = answer.send(job(&self.shared.engine).map_err(store_error));
                continue;
            }
            match self.shared.engine.maintenance(Lane::Any) {
                Ok(step) if step.worked => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "background work of the store failed and will be tried again");
                    self.maintain.wait_for(Duration::from_secs(1));
                }
            }
            self.look_at_disk();
            self.maintain.wait_for(MAINTENANCE_EVERY);
        }
        for (_, answer) in self.jobs.lock().drain(..) {
            let _ = answer.send(Err(StoreError::ReadOnly("the store is closed".into())));
        }
    }

    fn take_job(&self) -> Option<Job> {
        self.jobs.lock().pop_front()
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
        self.commit.ring();
        self.maintain.ring();
    }
}

impl ReplicaStore for ThreadedStore {
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
        let (answer, receiver) = oneshot::channel();
        {
            let mut jobs = self.workers.jobs.lock();
            if jobs.len() >= JOBS_MAX || self.workers.stopping() {
                return ready(Err(StoreError::Overloaded));
            }
            jobs.push_back((job, answer));
        }
        self.workers.maintain.ring();
        Box::pin(async move { receiver.await.unwrap_or(Err(StoreError::Overloaded)) })
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
}

impl Drop for ThreadedStore {
    fn drop(&mut self) {
        self.settler.abort();
        self.workers.stop();
    }
}
