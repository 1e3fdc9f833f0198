//! A replica store in memory, with failures to switch on.

use dunlin_replication::store::{Change, Durability, Entry, ReplicaStore, StoreError, Updated};
use dunlin_types::runtime::{BoxFuture, SharedRuntime};
use dunlin_types::{Key, Record, TableId, Token, TokenRange};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub struct MemStore {
    runtime: SharedRuntime,
    records: Mutex<BTreeMap<(TableId, Token, Key), Record>>,
    pub damaged: AtomicBool,
    pub read_only: AtomicBool,
    /// No room for client writes.
    pub full: AtomicBool,
    /// Updates fail after the change was made.
    pub fails_late: AtomicBool,
    /// How long a sync takes, ms.
    pub sync_ms: AtomicU64,
    pub read_ms: AtomicU64,
}

impl MemStore {
    pub fn new(runtime: SharedRuntime) -> MemStore {
        MemStore {
            runtime,
            records: Mutex::default(),
            damaged: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            full: AtomicBool::new(false),
            fails_late: AtomicBool::new(false),
            sync_ms: AtomicU64::new(0),
            read_ms: AtomicU64::new(0),
        }
    }

    pub fn peek(&self, key: &Key) -> Option<Record> {
        let records = self.records.lock().unwrap();
        records.iter().find(|((_, _, k), _)| k == key).map(|(_, record)| record.clone())
    }

    fn durable(&self, durability: Durability) -> BoxFuture<'static, Result<(), StoreError>> {
        let wait = match durability {
            Durability::Synced => self.sync_ms.load(Ordering::SeqCst),
            Durability::Buffered => 0,
        };
        let sleep = self.runtime.sleep(Duration::from_millis(wait));
        Box::pin(async move {
            sleep.await;
            Ok(())
        })
    }

    fn writable(&self) -> Result<(), StoreError> {
        match self.read_only.load(Ordering::SeqCst) {
            true => Err(StoreError::ReadOnly("test".into())),
            false => Ok(()),
        }
    }
}

impl ReplicaStore for MemStore {
    fn takes_client_writes(&self) -> Result<(), StoreError> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(StoreError::DiskFull("test".into())),
            false => Ok(()),
        }
    }

    fn get(
        &self,
        table: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        let found = match self.damaged.load(Ordering::SeqCst) {
            true => Err(StoreError::Damaged("test".into())),
            false => Ok(self.records.lock().unwrap().get(&(table, token, key)).cloned()),
        };
        let sleep = self.runtime.sleep(Duration::from_millis(self.read_ms.load(Ordering::SeqCst)));
        Box::pin(async move {
            sleep.await;
            found
        })
    }

    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        durability: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        if let Err(error) = self.writable() {
            return Box::pin(async { Err(error) });
        }
        let mut records = self.records.lock().unwrap();
        match records.get_mut(&(table, token, key.clone())) {
            Some(old) => old.merge(&record),
            None => drop(records.insert((table, token, key), record)),
        }
        drop(records);
        self.durable(durability)
    }

    fn update(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        change: Change,
        durability: Durability,
    ) -> BoxFuture<'static, Result<Updated, StoreError>> {
        let mut records = self.records.lock().unwrap();
        let old = records.get(&(table, token, key.clone())).cloned();
        let result = self.writable().and_then(|()| change(old).map_err(StoreError::Refused));
        let result = match self.fails_late.load(Ordering::SeqCst) {
            true => Err(StoreError::Overloaded),
            false => result,
        };
        if let Ok(record) = &result {
            records.insert((table, token, key), record.clone());
        }
        drop(records);
        let durable = self.durable(durability);
        Box::pin(async move { Ok(Updated { record: result?, durable }) })
    }

    fn scan(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<(Token, Key)>,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Entry>, StoreError>> {
        let records = self.records.lock().unwrap();
        let mut left = bytes;
        let mut entries = Vec::new();
        for ((id, token, key), record) in records.iter() {
            let place = (*token, key.clone());
            if *id != table || !range.contains(*token) || after.as_ref().is_some_and(|a| place <= *a) {
                continue;
            }
            let size = record.to_bytes().len();
            if entries.len() == limit || (size > left && !entries.is_empty()) {
                break;
            }
            left = left.saturating_sub(size);
            entries.push(Entry { token: *token, key: key.clone(), record: record.clone() });
        }
        let result = match self.damaged.load(Ordering::SeqCst) {
            true => Err(StoreError::Damaged("test".into())),
            false => Ok(entries),
        };
        Box::pin(async move { result })
    }
}
