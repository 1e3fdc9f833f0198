//! Merges: what they drop, what they never drop, how they share threads and give way.

use crate::support::{Driver, TABLES, all, key, latest, table_options, tiny, value};
use dunlin_storage::fs::Fs;
use dunlin_storage::fs::memory::{Fault, OperationKind};
use dunlin_storage::{EngineError, Lane, Strategy, TableOptions, scrub_log};
use dunlin_types::{Micros, Token, TokenRange, Value};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

fn deleted(written: u64) -> dunlin_types::Record {
    latest(Value { written: Micros(written), expires: None, data: None })
}

fn entries(driver: &Driver) -> u64 {
    driver.engine().stats().tables.iter().map(|t| t.sstable_entries).sum()
}

#[test]
fn old_deletions_go_and_nothing_comes_back() {
    for strategy in [Strategy::Leveled, Strategy::Tiered] {
        let mut driver = Driver::new(1, tiny());
        driver.strategy = strategy;
        driver.start().expect("open");
        let put = |driver: &Driver, n, record| {
            let (token, key) = key(n);
            driver.engine().merge(TABLES[0], token, &key, &record, true).expect("write");
        };
        for n in 0..30 {
            put(&driver, n, latest(value(&mut driver.chance.clone(), 10)));
        }
        driver.engine().flush(None).expect("flush");
        (0..30).for_each(|n| put(&driver, n, deleted(20)));
        driver.engine().flush(None).expect("flush");
        driver.counter = 100;
        driver.engine().compact(None).expect("compact");
        assert_eq!(entries(&driver), 30, "without a rule every deletion stays");
        driver.set_purge(79);
        driver.engine().compact(None).expect("compact");
        assert_eq!(entries(&driver), 0, "written before 21");
        assert!(all(driver.engine()).is_empty());
        // The log still has all of it.
        driver.stop(Some(3));
        driver.start().expect("open");
        assert!(all(driver.engine()).is_empty());
    }
}

/// A log that was mended brings nothing back either, and goes on behind all positions of before.
#[test]
fn a_scrubbed_log_brings_nothing_back() {
    for missing in [false, true] {
        let mut driver = Driver::new(1, tiny());
        driver.start().expect("open");
        for n in 0..30 {
            let (token, key) = key(n);
            let record = latest(value(&mut driver.chance.clone(), 10));
            driver.engine().merge(TABLES[0], token, &key, &record, true).expect("write");
        }
        driver.engine().commit().expect("commit");
        driver.engine().delete_range(TABLES[0], TokenRange::ALL).expect("delete");
        driver.maintain();
        driver.stop(Some(3));
        let logs: Vec<_> = driver.fs.files().into_iter().filter(|(path, _)| path.ends_with(".log")).collect();
        for (path, _) in &logs {
            match missing {
                true => driver.fs.remove(path).expect("remove"),
                false => assert!(driver.fs.flip_bit(path, 520, 1)),
            }
        }
        let scrubbed = scrub_log(&driver.fs, &driver.options).expect("scrub");
        assert!(!scrubbed.damage.is_empty(), "missing: {missing}");
        driver.start().expect("open");
        assert!(all(driver.engine()).is_empty(), "missing: {missing}");
        (0..20).for_each(|_| driver.write().expect("write"));
        driver.engine().commit().expect("commit");
        driver.stop(Some(4));
        driver.start().expect("open");
        driver.check_recovered("after a scrub");
        assert!(!driver.certain.is_empty());
    }
}

/// A deletion stays as long as a memtable or another SSTable may hold what it deletes.
#[test]
fn deletions_stay_for_what_they_delete() {
    let mut driver = Driver::new(1, tiny());
    driver.options.compaction.level0_min = 2;
    driver.start().expect("open");
    let (token, name) = key(1);
    let put = |driver: &Driver, record| {
        driver.engine().merge(TABLES[0], token, &name, &record, true).expect("write");
    };
    put(&driver, deleted(20));
    driver.engine().flush(None).expect("flush");
    driver.counter = 100;
    driver.set_purge(50);
    // Older than the deletion, and it comes late.
    put(&driver, latest(Value { written: Micros(10), expires: None, data: Some("old".into()) }));
    driver.engine().compact(None).expect("compact");
    assert_eq!(entries(&driver), 1, "the memtable holds the key");
    driver.engine().flush(None).expect("flush");
    while driver.engine().maintenance(Lane::Compaction).expect("step").worked {}
    driver.engine().compact(None).expect("compact");
    assert_eq!(entries(&driver), 0, "both took part");
    driver.stop(Some(1));
    driver.start().expect("open");
    assert!(all(driver.engine()).is_empty());
}

/// Merges happen for that reason alone.
#[test]
fn purges_start_by_themselves() {
    for strategy in [Strategy::Leveled, Strategy::Tiered] {
        let mut driver = Driver::new(2, tiny());
        driver.strategy = strategy;
        driver.start().expect("open");
        for n in 0..60 {
            let (token, key) = key(n);
            let expires = (n % 3 == 0).then_some(Micros(1_000));
            let data = (n % 3 != 1).then(|| "value".into());
            let value = Value { written: Micros(900 + n), expires, data };
            driver.engine().merge(TABLES[0], token, &key, &latest(value), true).expect("write");
        }
        driver.engine().flush(None).expect("flush");
        driver.counter = 5_000;
        driver.maintain();
        assert_eq!(entries(&driver), 60, "no rule yet");
        driver.set_purge(3_000);
        driver.maintain();
        assert_eq!(entries(&driver), 20, "those that are neither deleted nor expired");
        let merges = driver.engine().stats().compactions;
        driver.counter = 5_001;
        driver.set_purge(2_990);
        driver.maintain();
        assert_eq!(driver.engine().stats().compactions, merges, "there is nothing more to gain");
    }
}

#[test]
fn levels_are_disjoint_and_survive() {
    let mut driver = Driver::new(4, tiny());
    driver.keys = 2_000;
    driver.options.log_bytes_max = 1 << 20;
    driver.start().expect("open");
    for _ in 0..4_000 {
        driver.write().expect("write");
        driver.engine().maintenance(Lane::Any).expect("step");
    }
    driver.maintain();
    let stats = driver.engine().stats();
    assert!(
        stats.tables.iter().all(|t| t.sstables > t.sstables_level0 + 4 && t.bytes_pending == 0),
        "{stats:?}"
    );
    assert!(stats.tables.iter().all(|t| t.bytes_compacted > t.bytes_flushed / 2), "{stats:?}");
    assert!(stats.running.is_empty());
    driver.engine().commit().expect("commit");
    driver.settle_durable();
    driver.check_reads();
    driver.stop(Some(9));
    driver.start().expect("open");
    let again = driver.engine().stats();
    let levels = |s: &dunlin_storage::EngineStats| {
        s.tables.iter().map(|t| (t.sstables, t.sstables_level0)).collect::<Vec<_>>()
    };
    assert_eq!(levels(&again), levels(&stats), "levels are kept");
    driver.check_recovered("levels");
}

/// The strategy of a table may change at any time.
#[test]
fn strategies_change() {
    let mut driver = Driver::new(5, tiny());
    driver.start().expect("open");
    for round in 0..8 {
        let compaction = if round % 2 == 0 { Strategy::Tiered } else { Strategy::Leveled };
        for table in TABLES {
            let options = TableOptions { compaction, ..table_options(table) };
            driver.engine().create_table(table, options).expect("change");
        }
        (0..150).for_each(|_| driver.write().expect("write"));
        driver.maintain();
        driver.check_reads();
    }
}

#[test]
fn writes_are_refused_while_merges_do_not_keep_up() {
    let mut driver = Driver::new(6, tiny());
    driver.options.compaction.level0_max = 5;
    driver.options.compaction.frozen_max = 3;
    driver.start().expect("open");
    let refused = (0..5_000).find_map(|_| {
        driver.engine().maintenance(Lane::Flush).expect("step");
        driver.write().err()
    });
    assert!(matches!(refused, Some(EngineError::Overloaded { bytes }) if bytes > 0), "{refused:?}");
    assert_eq!(driver.engine().stats().tables.iter().map(|t| t.sstables_level0).max(), Some(5));
    for _ in 0..100 {
        driver.maintain();
        (0..10).for_each(|_| driver.write().expect("they keep up"));
    }
    driver.engine().commit().expect("commit");
    driver.settle_durable();
    driver.check_reads();
}

#[test]
fn merges_wait_for_space_and_say_so_once() {
    let mut driver = Driver::new(7, tiny());
    driver.start().expect("open");
    let flushes = |driver: &mut Driver| {
        for _ in 0..6 {
            (0..20).for_each(|_| driver.write().expect("write"));
            driver.engine().flush(None).expect("flush");
        }
    };
    flushes(&mut driver);
    let used: u64 = driver.fs.files().iter().map(|(_, bytes)| bytes).sum();
    driver.fs.set_capacity(Some(used + 2_000));
    for _ in 0..5 {
        assert!(!driver.engine().maintenance(Lane::Compaction).expect("put off").worked);
    }
    assert_eq!(driver.engine().stats().compactions_put_off, 2, "once for each table");
    assert!(matches!(driver.engine().compact(None), Err(EngineError::DiskFull(_))));
    driver.check_reads();
    driver.fs.set_capacity(None);
    driver.maintain();
    assert!(driver.engine().stats().compactions > 0);
    driver.settle_durable();
    driver.check_reads();
}

/// Merges whose operations fail leave nothing behind and can be done again.
#[test]
fn failed_merges_leave_nothing() {
    for error in [ErrorKind::StorageFull, ErrorKind::Other] {
        for at in 1.. {
            let mut driver = Driver::new(8, tiny());
            driver.start().expect("open");
            for _ in 0..5 {
                (0..20).for_each(|_| driver.write().expect("write"));
                driver.engine().flush(None).expect("flush");
            }
            driver.settle_durable();
            driver.fs.fail_at(driver.fs.operations() + at, Fault::Error(error));
            let result = driver.engine().compact(None);
            if driver.fs.statistics().faults == 0 {
                assert!(result.is_ok() && at > 12, "only {at} operations");
                break;
            }
            driver.check_reads();
            assert!(driver.engine().stats().running.is_empty());
            driver.engine().compact(None).expect("again");
            driver.check_reads();
            driver.stop(Some(at));
            driver.start().expect("open");
            driver.check_recovered(&format!("{error:?} at {at}"));
            let sstables = driver.fs.files().iter().filter(|(path, _)| path.ends_with(".sst")).count() as u64;
            let named: u64 = driver.engine().stats().tables.iter().map(|t| t.sstables).sum();
            assert_eq!(sstables, named, "{error:?} at {at}");
        }
    }
}

/// A range delete is all or nothing, wherever the power goes.
#[test]
fn range_deletes_are_whole() {
    let range = TokenRange { first: Token(u64::MAX / 5), last: Token(u64::MAX / 5 * 3) };
    let (mut before, mut after) = (0, 0);
    for at in 1.. {
        let mut driver = Driver::new(10, tiny());
        driver.keys = 60;
        driver.start().expect("open");
        (0..150).for_each(|_| driver.write().expect("write"));
        driver.maintain();
        (0..30).for_each(|_| driver.write().expect("write"));
        driver.engine().commit().expect("commit");
        driver.settle_durable();
        let mut kept = driver.now();
        kept.retain(|place, _| place.0 != TABLES[0] || !range.contains(place.1));
        driver.fs.fail_at(driver.fs.operations() + at, Fault::Stop);
        let done = driver.engine().delete_range(TABLES[0], range).is_ok();
        if done && !driver.fs.is_stopped() {
            assert!(all(driver.engine()) == kept && at > 12, "only {at} operations");
            break;
        }
        driver.stop(Some(at));
        driver.start().expect("open");
        if all(driver.engine()) == kept {
            after += 1;
            driver.certain = kept;
        } else {
            before += 1;
            assert!(!done, "at {at}");
        }
        driver.check_recovered(&format!("at {at}"));
    }
    assert!(before > 5 && after > 0, "{before} before, {after} after");
}

#[test]
fn cleanup_keeps_what_it_is_told_to() {
    let mut driver = Driver::new(11, tiny());
    driver.start().expect("open");
    (0..200).for_each(|_| driver.write().expect("write"));
    let keep = [
        TokenRange { first: Token(0), last: Token(u64::MAX / 4) },
        TokenRange { first: Token(u64::MAX / 2), last: Token(u64::MAX / 4 * 3) },
    ];
    assert!(!driver.engine().cleanup(TABLES[1], &|| None).expect("cleanup"), "nobody knows");
    driver.check_reads();
    assert!(driver.engine().cleanup(TABLES[1], &|| Some(keep.to_vec())).expect("cleanup"));
    driver.settle_durable();
    driver.certain.retain(|place, _| place.0 != TABLES[1] || keep.iter().any(|r| r.contains(place.1)));
    driver.check_reads();
    assert!(driver.engine().cleanup(TABLES[1], &|| Some(Vec::new())).expect("cleanup"));
    driver.certain.retain(|place, _| place.0 != TABLES[1]);
    driver.check_reads();
    assert_eq!(driver.engine().stats().tables[1].sstables, 0);
    driver.stop(Some(2));
    driver.start().expect("open");
    driver.check_recovered("cleanup");
}

/// Many threads, both lanes, long calls, tables that go, and interruptions, at once.
#[test]
fn threads_share_the_work() {
    let mut driver = Driver::new(12, tiny());
    driver.keys = 500;
    driver.options.log_bytes_max = 4 << 20;
    driver.start().expect("open");
    let engine = driver.engine.take().expect("open");
    let ended = AtomicBool::new(false);
    let fine = |result: Result<(), EngineError>| match result {
        Ok(()) | Err(EngineError::Interrupted | EngineError::UnknownTable(_)) => {}
        Err(error) => panic!("{error}"),
    };
    std::thread::scope(|scope| {
        for lane in [Lane::Flush, Lane::Flush, Lane::Compaction, Lane::Compaction, Lane::Any] {
            let (engine, ended) = (&engine, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    engine.maintenance(lane).expect("step");
                }
            });
        }
        let (engine, ended) = (&engine, &ended);
        // One after the other, all in one folder.
        let extra = |round: u64| dunlin_types::TableId(0x3300 + round);
        scope.spawn(move || {
            for round in 0..12u64 {
                let extra = extra(round);
                let options = TableOptions { dir: "tables/ks/t33".into(), ..table_options(extra) };
                engine.create_table(extra, options).expect("create");
                for n in 0..100 {
                    let (token, key) = key(n);
                    engine.merge(extra, token, &key, &deleted(n + round), false).expect("write");
                    if n % 30 == 0 {
                        fine(engine.flush(Some(extra)));
                    }
                }
                engine.drop_table(extra).expect("drop");
                engine.interrupt();
            }
        });
        scope.spawn(move || {
            for round in 0..10 {
                match round % 3 {
                    0 => fine(engine.compact(None)),
                    1 => fine(engine.delete_range(extra(round), TokenRange::ALL)),
                    _ => fine(engine.snapshot(&format!("s{round}"), Micros(1)).map(drop)),
                }
            }
        });
        for n in 0..8_000u64 {
            let (token, key) = key(n % 500);
            let record = latest(Value { written: Micros(n), expires: None, data: Some("v".into()) });
            while let Err(error) = engine.merge(TABLES[0], token, &key, &record, true) {
                assert!(matches!(error, EngineError::Overloaded { .. }), "{error}");
                std::thread::yield_now();
            }
            if n % 50 == 0 {
                engine.commit().expect("commit");
            }
        }
        fine(engine.flush(None));
        ended.store(true, Ordering::Relaxed);
    });
    // What the threads had begun and not ended.
    while engine.maintenance(Lane::Any).expect("step").worked {}
    engine.compact(None).expect("compact");
    assert!(engine.stats().running.is_empty());
    let check = |engine: &dunlin_storage::Engine| {
        for n in 7_500..8_000u64 {
            let (token, key) = key(n % 500);
            let found = engine.get(TABLES[0], token, &key).expect("get").expect("there");
            assert_eq!(found.record.written_max(), Micros(n));
        }
    };
    check(&engine);
    drop(engine);
    driver.fs.crash(1);
    driver.start().expect("open");
    check(driver.engine());
    let gone = |path: &str| !path.starts_with("tables/") || !path.contains("/t33/");
    assert!(driver.fs.files().iter().all(|(path, _)| gone(path)), "the table is gone");
}

/// A flush goes on while a merge is under way, and a dropped table's merge ends.
#[test]
fn flushes_do_not_wait_for_merges() {
    let mut driver = Driver::new(13, tiny());
    driver.options.step_bytes = 64;
    driver.start().expect("open");
    for _ in 0..5 {
        (0..30).for_each(|_| driver.write().expect("write"));
        driver.engine().flush(None).expect("flush");
    }
    assert!(driver.engine().maintenance(Lane::Compaction).expect("step").worked);
    let running = driver.engine().stats().running;
    assert!(running.len() == 1 && running[0].bytes_total > running[0].bytes_done, "{running:?}");
    (0..30).for_each(|_| driver.write().expect("write"));
    let flushed = driver.engine().stats().flushes;
    driver.engine().flush(None).expect("flush");
    assert!(driver.engine().stats().flushes > flushed);
    assert_eq!(driver.engine().stats().running.len(), 1, "the merge is where it was");
    driver.engine().drop_table(running[0].table).expect("drop");
    assert!(driver.engine().stats().running.is_empty());
    let created = driver.fs.statistics().operations[&OperationKind::Create];
    assert!(
        created > 0
            && !driver
                .fs
                .files()
                .iter()
                .any(|(path, _)| path.contains(&format!("/t{:x}/", running[0].table.0)))
    );
}
