//! Threads against the end of a store.
#![allow(clippy::disallowed_methods, reason = "the store's own threads are under test")]

use super::{LocalStore, LostRanges, ThreadOptions, ThreadedStore, table_options};
use crate::runtime::TokioRuntime;
use dunlin_replication::store::{Durability, ReplicaStore};
use dunlin_storage::fs::MemFs;
use dunlin_storage::{Engine, EngineOptions};
use dunlin_types::record::Latest;
use dunlin_types::runtime::SharedRuntime;
use dunlin_types::schema::{Compaction, Compression, ConflictMode, GC_GRACE_DEFAULT_S, KeyType, ValueType};
use dunlin_types::{HostId, Key, Micros, Record, TableDef, TableId, Token, Value};
use futures::FutureExt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn lost(fs: &Arc<MemFs>) -> Arc<LostRanges> {
    Arc::new(LostRanges::open(fs.clone()).unwrap())
}

fn options() -> ThreadOptions {
    ThreadOptions {
        compaction_threads: 2,
        compaction_bytes_per_second: 0,
        flush_every_bytes: 16 << 10,
        level0_max: 48,
    }
}

fn table() -> TableDef {
    TableDef {
        id: TableId(1),
        keyspace: "ks".into(),
        name: "t".into(),
        key_column: "k".into(),
        key_type: KeyType::Text,
        value_column: "v".into(),
        value_type: ValueType::Text,
        conflicts: ConflictMode::LastWriteWins,
        default_time_to_live_s: 0,
        gc_grace_s: GC_GRACE_DEFAULT_S,
        compression: Compression::None,
        compaction: Compaction::default(),
        speculative_retry: "none".into(),
        comment: String::new(),
    }
}

#[test]
fn a_write_under_way_at_the_end_is_durable_or_refused() {
    let fs = Arc::new(MemFs::new());
    let engine = Engine::open(fs.clone(), EngineOptions::small()).unwrap();
    engine.create_table(TableId(1), table_options(&table())).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = tokio.enter();
    let runtime: SharedRuntime = Arc::new(TokioRuntime::new());
    let store = ThreadedStore::start(engine, fs.clone(), lost(&fs), &runtime, options()).unwrap();
    let (token, key) = (Token(7), Key::new("k").unwrap());
    let value = Value { written: Micros(1), expires: None, data: Some("v".into()) };
    let record = Record::Latest(Latest { host: HostId([1; 16]), value });
    let ((inside, is_inside), (go, may_go)) = (mpsc::channel(), mpsc::channel::<()>());
    let writer = std::thread::spawn({
        let (store, key, record) = (store.clone(), key.clone(), record.clone());
        move || {
            let change = move |_| {
                inside.send(()).unwrap();
                may_go.recv().unwrap();
                Ok(record)
            };
            let update = store.update(TableId(1), token, key, Box::new(change), Durability::Synced);
            update.now_or_never().unwrap().is_ok()
        }
    });
    is_inside.recv().unwrap();
    let closer = std::thread::spawn(move || store.close().now_or_never().unwrap().is_ok());
    std::thread::sleep(Duration::from_millis(100));
    go.send(()).unwrap();
    assert!(closer.join().unwrap(), "everything is safe");
    let written = writer.join().unwrap();
    fs.crash(1);
    let engine = Engine::open(fs, EngineOptions::small()).unwrap();
    let found = engine.get(TableId(1), token, &key).unwrap().map(|f| f.record);
    assert_eq!(found, written.then_some(record), "what was sent to others under this node's dots is here");
}

#[test]
fn full_memtables_are_flushed_and_sstables_merged_beside_a_long_job() {
    let fs = Arc::new(MemFs::new());
    let engine = Engine::open(fs.clone(), EngineOptions::small()).unwrap();
    engine.create_table(TableId(1), table_options(&table())).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime: SharedRuntime = Arc::new(TokioRuntime::new());
    let store = {
        let _entered = tokio.enter();
        ThreadedStore::start(engine, fs.clone(), lost(&fs), &runtime, options()).unwrap()
    };
    // A long job holds up neither flushes nor compactions, nor short jobs.
    let (end, ended) = mpsc::channel::<()>();
    let long = store.run_long(Box::new(move |_| {
        let _ = ended.recv();
        Ok(())
    }));
    tokio.block_on(async {
        let body = "v".repeat(1000);
        for i in 0..1_000u64 {
            let key = Key::new(format!("{i}")).unwrap();
            let value = Value { written: Micros(i + 1), expires: None, data: Some(body.clone().into()) };
            let record = Record::Latest(Latest { host: HostId([1; 16]), value });
            let token = Token(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            store.merge(TableId(1), token, key, record, Durability::Buffered).await.unwrap();
            if i % 100 == 99 {
                store.run(Box::new(|engine| engine.flush(None))).await.unwrap();
            }
        }
        let stats = || store.engine().stats();
        while stats().compactions == 0 {
            runtime.sleep(Duration::from_millis(5)).await;
        }
        assert!(stats().flushes > 1, "{:?}", stats());
        end.send(()).unwrap();
        long.await.unwrap();
        store.close().await.unwrap();
        assert!(store.stopping());
        assert!(store.run_long(Box::new(|_| Ok(()))).await.is_err());
    });
}
