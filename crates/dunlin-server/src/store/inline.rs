//! The store of a simulated node: commits take virtual time, everything happens on one thread.

use super::{EngineJob, LocalStore, LostRanges, Meters, Shared, ready, store_error};
use dunlin_replication::store::{
    Change, Durability, Entry, ReplicaStore, StoreError, Updated, WriteObserver,
};
use dunlin_storage::{Engine, Lane};
use dunlin_types::runtime::{BoxFuture, SharedRuntime, TaskHandle};
use dunlin_types::{Key, Record, TableId, Token, TokenRange};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Virtual time of a sync: at least this, and up to as much again at random.
const SYNC_US: u64 = 200;
/// A slow disk, now and then.
const SLOW_SYNC_US: u64 = 20_000;
/// A disk that hardly answers for a while.
const STUCK_SYNC_US: u64 = 1_000_000;
/// How often maintenance looks for work.
const MAINTENANCE_EVERY: Duration = Duration::from_millis(100);

struct Inner {
    shared: Shared,
    runtime: SharedRuntime,
    work: Notify,
}

/// See the module's comment.
pub struct InlineStore {
    inner: Arc<Inner>,
    tasks: [TaskHandle; 2],
}

impl InlineStore {
    /// Starts the tasks over an open engine.
    pub fn start(engine: Engine, lost: Arc<LostRanges>, runtime: SharedRuntime) -> Arc<InlineStore> {
        let inner = Arc::new(Inner {
            shared: Shared::new(Arc::new(engine), lost, runtime.clone()),
            runtime: runtime.clone(),
            work: Notify::new(),
        });
        let tasks = [
            runtime.spawn("store-commit", Box::pin(commit_loop(Arc::clone(&inner)))),
            runtime.spawn("store-maintain", Box::pin(maintenance_loop(Arc::clone(&inner)))),
        ];
        Arc::new(InlineStore { inner, tasks })
    }

    fn shared(&self) -> &Shared {
        &self.inner.shared
    }
}

async fn commit_loop(inner: Arc<Inner>) {
    loop {
        if inner.shared.waiters.count() == 0 {
            inner.work.notified().await;
            continue;
        }
        let base = match inner.runtime.buggify("store_slow_sync") {
            true if inner.runtime.buggify("store_stuck_sync") => STUCK_SYNC_US,
            true => SLOW_SYNC_US,
            false => SYNC_US,
        };
        let took = base + inner.runtime.below(base);
        inner.runtime.sleep(Duration::from_micros(took)).await;
        inner.shared.commit();
        inner.shared.settle();
        inner.runtime.event("store_commit", inner.shared.engine.durable().0, 0);
    }
}

async fn maintenance_loop(inner: Arc<Inner>) {
    loop {
        match inner.shared.engine.maintenance(Lane::Any) {
            Ok(step) if step.worked => {
                inner.runtime.event("store_maintenance", 0, 0);
                inner.runtime.sleep(Duration::from_micros(500)).await;
            }
            Ok(_) => inner.runtime.sleep(MAINTENANCE_EVERY).await,
            Err(error) => {
                tracing::debug!(%error, "background work of the store failed and will be tried again");
                inner.runtime.sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl ReplicaStore for InlineStore {
    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        self.shared().observe(observer);
    }

    fn get(
        &self,
        table: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        self.shared().get(table, token, &key, || self.inner.work.notify_one())
    }

    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        durability: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        self.shared().merge(table, token, &key, &record, durability, || self.inner.work.notify_one())
    }

    fn update(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        change: Change,
        durability: Durability,
    ) -> BoxFuture<'static, Result<Updated, StoreError>> {
        ready(self.shared().update(table, token, &key, change, durability, || self.inner.work.notify_one()))
    }

    fn sync(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        ready(self.shared().engine.commit().map(drop).map_err(store_error))
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
        self.shared().scan(table, range, after, limit, bytes, || self.inner.work.notify_one())
    }
}

impl LocalStore for InlineStore {
    fn engine(&self) -> &Arc<Engine> {
        &self.shared().engine
    }

    fn run(&self, job: EngineJob) -> BoxFuture<'static, Result<(), StoreError>> {
        ready(job(&self.shared().engine).map_err(store_error))
    }

    fn run_long(&self, job: EngineJob) -> BoxFuture<'static, Result<(), StoreError>> {
        self.run(job)
    }

    fn stopping(&self) -> bool {
        *self.shared().closed.read_recursive()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.tasks.iter().for_each(|task| task.abort());
        ready(self.shared().finish())
    }

    fn waiting(&self) -> usize {
        self.shared().waiters.count()
    }

    fn meters(&self) -> &Meters {
        &self.shared().meters
    }
}

impl Drop for InlineStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}
