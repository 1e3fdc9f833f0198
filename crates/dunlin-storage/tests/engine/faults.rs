//! Every changing operation fails once, in every way; and reads fail.

use crate::crash::workload;
use crate::support::{Driver, TABLES, all, key, latest, tiny, try_all, value};
use dunlin_storage::fs::memory::{Fault, OperationKind};
use dunlin_storage::{Engine, EngineError, Lane};
use dunlin_types::{Micros, Value};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lets operation `at` fail, goes on as long as possible, restarts in some way, checks. False: it never came.
fn fail_at(seed: u64, at: u64, error: ErrorKind) -> bool {
    let mut driver = Driver::new(seed, tiny());
    driver.fs.fail_at(at, Fault::Error(error));
    let what = format!("seed {seed}, {error:?} at {at}");
    let failed = driver.start().is_err();
    if failed {
        driver.start().unwrap_or_else(|e| panic!("{what}: the fault is over: {e}"));
    }
    // Going on would hide what the log lost, and a manifest that names what is gone: half of the times only.
    let goes_on = at % 4 < 2;
    let mut errors = 0;
    for _ in 0..if goes_on { 4 } else { 1 } {
        match workload(&mut driver) {
            Ok(()) => break,
            Err(_) => errors += 1,
        }
    }
    if driver.fs.statistics().faults == 0 {
        return false;
    }
    if driver.engine().failure().is_some() {
        assert!(errors > 0, "{what}");
        assert!(matches!(driver.write(), Err(EngineError::LogClosed(_))), "{what}");
        assert!(driver.engine().commit().is_err(), "{what}: a failed sync is never tried again");
    } else {
        // Whatever failed, failed alone: nothing is lost or stuck.
        driver.engine().commit().expect("commit");
        driver.settle_durable();
        assert_eq!(all(driver.engine()), driver.now(), "{what}");
        if goes_on {
            driver.engine().flush(None).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
    }
    match at % 3 {
        0 => driver.stop(None),
        1 => driver.stop(Some(seed ^ at)),
        _ => {
            driver.stop(None);
            driver.fs.drop_caches();
        }
    }
    driver.start().unwrap_or_else(|e| panic!("{what}: {e}"));
    driver.check_recovered(&what);
    // What was recovered is durable, although its pages may never have been written before.
    driver.stop(Some(at));
    driver.start().unwrap_or_else(|e| panic!("{what}: {e}"));
    driver.check_recovered(&what);
    true
}

#[test]
fn every_operation_fails_once() {
    for (seed, error) in [(1, ErrorKind::StorageFull), (2, ErrorKind::Other)] {
        let mut at = 1;
        while fail_at(seed, at, error) {
            at += 1;
        }
        assert!(at > 150, "only {at} operations");
    }
}

#[test]
fn reads_that_fail_are_errors_and_pass() {
    let mut driver = Driver::new(3, tiny());
    driver.options.block_cache_bytes = 0;
    driver.start().expect("open");
    workload(&mut driver).expect("runs");
    let rows = driver.now();
    let (reads, failing) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
    driver.fs.set_hook(Some(Box::new({
        let (reads, failing) = (reads.clone(), failing.clone());
        move |operation| {
            let is_read = operation.kind == OperationKind::Read;
            let n = if is_read { reads.fetch_add(1, Ordering::Relaxed) } else { return None };
            (n == failing.load(Ordering::Relaxed)).then_some(Fault::Error(ErrorKind::Other))
        }
    })));
    let mut failed = 0;
    for n in 0..40 {
        failing.store(reads.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        match try_all(driver.engine()) {
            Ok(found) => assert_eq!(found, rows),
            Err(e) => {
                assert!(matches!(e, EngineError::Io { .. }), "{e}");
                failed += 1;
            }
        }
    }
    assert!(failed > 10);
    // Opening fails cleanly too, and works afterwards.
    driver.stop(None);
    let open = || Engine::open(Arc::new(driver.fs.clone()), tiny());
    for n in 0..100 {
        failing.store(reads.load(Ordering::Relaxed) + n, Ordering::Relaxed);
        if let Ok(engine) = open() {
            assert!(
                try_all(&engine).is_ok_and(|found| found == rows)
                    || failing.load(Ordering::Relaxed) < reads.load(Ordering::Relaxed)
            );
        }
        driver.fs.kill();
    }
    failing.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(all(&open().expect("opens")), rows);
}

#[test]
fn a_full_disk_stops_flushes_not_reads() {
    let mut driver = Driver::new(4, tiny());
    driver.start().expect("open");
    for _ in 0..60 {
        driver.write().expect("write");
    }
    driver.engine().commit().expect("commit");
    driver.settle_durable();
    let used: u64 = driver.fs.files().iter().map(|(_, bytes)| bytes).sum();
    driver.fs.set_capacity(Some(used + 700));
    assert!(matches!(driver.engine().flush(None), Err(EngineError::DiskFull(_))));
    assert!(
        driver.engine().maintenance(Lane::Any).is_err() || driver.engine().maintenance(Lane::Any).is_err()
    );
    driver.check_reads();
    driver.fs.set_capacity(None);
    driver.engine().flush(None).expect("there is room again");
    assert_eq!(driver.engine().failure(), None);
    driver.stop(Some(1));
    driver.start().expect("open");
    driver.check_recovered("after a full disk");
    driver.check_reads();
}

#[test]
fn too_much_unflushed_is_refused() {
    let mut driver = Driver::new(5, tiny());
    driver.options.memtables_bytes_max = 20 << 10;
    driver.start().expect("open");
    let mut refused = false;
    for _ in 0..2_000 {
        match driver.write() {
            Ok(()) => {}
            Err(EngineError::Overloaded { bytes }) => {
                assert!(bytes >= 20 << 10);
                refused = true;
                break;
            }
            Err(e) => panic!("{e}"),
        }
        driver.keys = 1_000;
    }
    assert!(refused);
    driver.maintain();
    driver.write().expect("there is room again");
    let (token, key) = key(1);
    let record = latest(value(&mut driver.chance, 1));
    driver.engine().merge(TABLES[0], token, &key, &record, false).expect("write");
}

#[test]
fn a_refused_write_is_nowhere() {
    // So long that the writer itself takes the buffer to the file, which fails.
    let mut driver = Driver::new(6, tiny());
    driver.start().expect("open");
    driver.fs.set_hook(Some(Box::new(|operation| {
        let log = operation.kind == OperationKind::Write && operation.path.starts_with("commitlog");
        log.then_some(Fault::Error(ErrorKind::Other))
    })));
    let (token, key) = key(1);
    let long = latest(Value { written: Micros(1), expires: None, data: Some(vec![b'x'; 400 << 10].into()) });
    let change = |_| Ok::<_, std::convert::Infallible>(long.clone());
    let engine = driver.engine();
    match engine.update(TABLES[0], token, &key, change, true) {
        // Written so far as anybody knows: it fails when it is waited for.
        Ok((_, position)) => assert!(engine.commit().is_err() && engine.durable() < position),
        Err(error) => assert!(engine.get(TABLES[0], token, &key).expect("reads go on").is_none(), "{error}"),
    }
    let refused = engine.merge(TABLES[0], token, &key, &long, true);
    assert!(matches!(refused, Err(EngineError::LogClosed(_))), "closed from the beginning: {refused:?}");
}
