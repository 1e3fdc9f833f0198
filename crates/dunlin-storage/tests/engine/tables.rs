//! Tables come and go; engines exclude each other; threads share one.

use crate::support::{Driver, TABLES, all, key, latest, table_options, tiny, value};
use dunlin_storage::fs::OsFs;
use dunlin_storage::{Engine, EngineError, EngineOptions, Lane, OpenError, UpdateError};
use dunlin_types::record::{Latest, SiblingSet};
use dunlin_types::{Actor, Context, Generation, HostId, Micros, Record, TableId, Value};
use std::sync::Arc;

#[test]
fn dropped_tables_stay_dropped() {
    let mut driver = Driver::new(1, tiny());
    driver.start().expect("open");
    for _ in 0..100 {
        driver.write().expect("write");
    }
    driver.engine().flush(None).expect("flush");
    for _ in 0..20 {
        driver.write().expect("write");
    }
    driver.engine().commit().expect("commit");
    driver.engine().drop_table(TABLES[0]).expect("drop");
    driver.engine().drop_table(TABLES[0]).expect("nothing happens");
    let (token, key) = key(1);
    let record = latest(value(&mut driver.chance, 1));
    let unknown = EngineError::UnknownTable(TABLES[0]);
    assert_eq!(driver.engine().merge(TABLES[0], token, &key, &record, true), Err(unknown.clone()));
    assert_eq!(driver.engine().get(TABLES[0], token, &key), Err(unknown.clone()));
    assert_eq!(driver.engine().flush(Some(TABLES[0])), Err(unknown));
    assert!(!driver.fs.files().iter().any(|(path, _)| path.contains("/t11/")));
    driver.fs.crash(5);
    let engine = Engine::open(Arc::new(driver.fs.clone()), tiny()).expect("open");
    assert_eq!(engine.tables(), [TABLES[1]]);
    // Another table of the same name has the same folder and another id.
    let again = TableId(0x33);
    engine.create_table(again, table_options(TABLES[0])).expect("create");
    assert_eq!(engine.get(again, token, &key), Ok(None));
    engine.merge(again, token, &key, &record, true).expect("write");
    engine.flush(None).expect("flush");
    drop(engine);
    let engine = Engine::open(Arc::new(driver.fs.clone()), tiny()).expect("open");
    assert_eq!(engine.get(again, token, &key).expect("get").map(|f| f.record), Some(record));
}

/// TRUNCATE makes the new table before it drops the old one; both have the table's folder.
#[test]
fn a_dropped_table_leaves_the_folder_to_its_successor() {
    let mut driver = Driver::new(1, tiny());
    driver.start().expect("open");
    let again = TableId(0x33);
    driver.engine().create_table(again, table_options(TABLES[0])).expect("create");
    driver.engine().drop_table(TABLES[0]).expect("drop");
    let (token, key) = key(1);
    let record = latest(value(&mut driver.chance, 1));
    driver.engine().merge(again, token, &key, &record, true).expect("write");
    driver.engine().flush(None).expect("flush");
    assert_eq!(driver.engine().get(again, token, &key).expect("get").map(|f| f.record), Some(record));
}

#[test]
fn one_engine_at_a_time() {
    let mut driver = Driver::new(1, tiny());
    driver.start().expect("open");
    let open = || Engine::open(Arc::new(driver.fs.clone()), tiny());
    assert!(matches!(open(), Err(OpenError::Locked(_))));
    driver.engine = None;
    assert!(open().is_ok());
}

#[test]
fn refused_updates_change_nothing() {
    let mut driver = Driver::new(1, tiny());
    driver.start().expect("open");
    let (token, key) = key(1);
    let refused = driver.engine().update(TABLES[0], token, &key, |_| Err("no"), true);
    assert_eq!(refused, Err(UpdateError::Refused("no")));
    assert_eq!(driver.engine().get(TABLES[0], token, &key), Ok(None));
}

#[test]
fn the_log_is_released_and_reused() {
    let mut driver = Driver::new(9, tiny());
    driver.start().expect("open");
    for n in 0..900 {
        driver.write().expect("write");
        if n % 5 == 0 {
            driver.engine().commit().expect("commit");
            driver.maintain();
        }
    }
    let stats = driver.engine().stats();
    assert!(stats.log.bytes <= 40 << 10, "{stats:?}");
    assert!(stats.log.segments_reused > 3, "{stats:?}");
    assert!(stats.flushes > 5 && stats.compactions > 1, "{stats:?}");
    assert!(stats.tables.iter().all(|t| t.sstables < 12 && t.sstable_entries > 0), "{stats:?}");
    driver.settle_durable();
    driver.check_reads();
}

/// On a real disk, with a committer, a worker and four writers at once.
#[test]
fn threads_share_an_engine() {
    let dir = tempfile::tempdir().expect("a folder");
    let fs = Arc::new(OsFs::new(dir.path()).expect("open"));
    let options =
        EngineOptions { log_segment_bytes: 64 << 10, memtable_bytes: 48 << 10, ..EngineOptions::small() };
    let engine = Engine::open(fs.clone(), options.clone()).expect("open");
    TABLES.iter().for_each(|&t| engine.create_table(t, table_options(t)).expect("create"));
    let writing = std::sync::atomic::AtomicUsize::new(4);
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let (engine, writing) = (&engine, &writing);
            scope.spawn(move || {
                let actor = Actor { host: HostId([writer; 16]), generation: Generation(1) };
                for n in 1..=400u64 {
                    let (token, key) = key(n % 50);
                    let value =
                        Value { written: Micros(n), expires: None, data: Some(vec![writer; 20].into()) };
                    let add = |present: Option<Record>| {
                        let mut set = match present {
                            Some(Record::Siblings(set)) => set,
                            _ => SiblingSet::default(),
                        };
                        // Only its own earlier write is superseded.
                        let mut own = Context::new();
                        own.advance(actor, n);
                        set.write(&own, actor, n, value.clone());
                        Ok::<_, ()>(Record::Siblings(set))
                    };
                    engine.update(TABLES[1], token, &key, add, true).expect("update");
                    let record = Record::Latest(Latest { host: actor.host, value: value.clone() });
                    let position = engine.merge(TABLES[0], token, &key, &record, true).expect("merge");
                    if n % 20 == 0 {
                        assert!(engine.commit().expect("commit") >= position);
                    }
                }
                writing.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        scope.spawn(|| {
            while writing.load(std::sync::atomic::Ordering::SeqCst) > 0 {
                engine.flush(None).expect("flush");
                while engine.maintenance(Lane::Any).expect("maintenance").worked {}
            }
        });
    });
    engine.commit().expect("commit");
    let check = |engine: &Engine| {
        let rows = all(engine);
        assert_eq!(rows.len(), 100);
        for ((table, _, _), record) in &rows {
            match record {
                Record::Siblings(set) => assert!(*table == TABLES[1] && set.values().len() == 4),
                Record::Latest(latest) => assert_eq!(latest.host, HostId([3; 16])),
            }
        }
        rows
    };
    let rows = check(&engine);
    drop(engine);
    let engine = Engine::open(fs, options).expect("open");
    assert_eq!(check(&engine), rows);
}
