//! Threads against the end of a store.
#![allow(clippy::disallowed_methods, reason = "the store's own threads are under test")]

use super::{LocalStore, ThreadedStore, table_options};
use crate::runtime::TokioRuntime;
use dunlin_replication::store::{Durability, ReplicaStore};
use dunlin_storage::fs::MemFs;
use dunlin_storage::{Engine, EngineOptions};
use dunlin_types::record::Latest;
use dunlin_types::runtime::SharedRuntime;
use dunlin_types::schema::{Compression, ConflictMode, GC_GRACE_DEFAULT_S, KeyType, ValueType};
use dunlin_types::{HostId, Key, Micros, Record, TableDef, TableId, Token, Value};
use futures::FutureExt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

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
    let store = ThreadedStore::start(engine, fs.clone(), &runtime).unwrap();
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
