//! Snapshots are taken, listed, cleared and restored, through crashes and faults.

use crate::crash::workload;
use crate::support::{Driver, Rows, all, tiny};
use dunlin_storage::fs::memory::Fault;
use dunlin_storage::fs::{Fs, MemFs, read_file};
use dunlin_storage::snapshot::{RESTORED, restore};
use dunlin_storage::{EngineError, OpenError};
use dunlin_types::Micros;
use std::io::ErrorKind;

/// A stopped node with a snapshot "s", the rows of the snapshot, and different ones of now.
fn with_snapshot(seed: u64) -> (Driver, Rows, Rows) {
    let mut driver = Driver::new(seed, tiny());
    driver.start().expect("open");
    workload(&mut driver).expect("runs");
    (0..10).for_each(|_| driver.write().expect("write"));
    let taken = driver.engine().snapshot("s", Micros(77)).expect("snapshot");
    driver.settle_durable();
    let then = driver.now();
    assert_eq!(all(driver.engine()), then, "everything before the call is in it");
    assert_eq!(driver.engine().snapshots(), Ok(vec![taken.clone()]));
    assert!(taken.created == Micros(77) && taken.tables.len() == 2 && taken.tables[0].bytes() > 0);
    workload(&mut driver).expect("runs");
    driver.engine().commit().expect("commit");
    driver.settle_durable();
    let now = driver.now();
    assert_ne!(then, now);
    driver.stop(Some(seed));
    (driver, then, now)
}

#[test]
fn restored_content_is_that_of_the_snapshot() {
    for seed in 0..4 {
        let (mut driver, then, _) = with_snapshot(seed);
        restore(&driver.fs, "s").expect("restore");
        assert_eq!(read_file(&driver.fs, RESTORED).expect("a mark for the node"), b"s");
        driver.fs.crash(seed);
        driver.certain = then;
        driver.start().expect("open");
        driver.check_recovered("restored");
        driver.check_reads();
        // Life goes on, and the log is the new one.
        (0..40).for_each(|_| driver.write().expect("write"));
        driver.engine().commit().expect("commit");
        driver.stop(Some(seed));
        driver.start().expect("open");
        driver.check_recovered("and again");
        driver.maintain();
        driver.engine().compact(None).expect("compact");
        driver.check_reads();
        assert_eq!(driver.engine().snapshots().expect("list").len(), 1, "it can be restored again");
        assert!(
            !driver.fs.files().iter().any(|(path, _)| path.starts_with("replaced") || path == "restoring")
        );
    }
}

#[test]
fn snapshots_have_names_and_go() {
    let mut driver = Driver::new(1, tiny());
    driver.start().expect("open");
    (0..20).for_each(|_| driver.write().expect("write"));
    let engine = driver.engine();
    assert_eq!(engine.snapshots(), Ok(Vec::new()));
    for name in ["", ".a", "a/b", "..", "a b", &"x".repeat(65)] {
        assert!(matches!(engine.snapshot(name, Micros(1)), Err(EngineError::Refused(_))), "{name:?}");
        assert!(matches!(engine.clear_snapshot(name), Err(EngineError::Refused(_))), "{name:?}");
    }
    engine.snapshot("b", Micros(1)).expect("snapshot");
    engine.snapshot("a-1_x.y", Micros(2)).expect("snapshot");
    assert!(matches!(engine.snapshot("b", Micros(3)), Err(EngineError::Refused(_))));
    let names = || engine.snapshots().expect("list").into_iter().map(|s| s.name).collect::<Vec<_>>();
    assert_eq!(names(), ["a-1_x.y", "b"]);
    assert!(matches!(restore(&driver.fs, "b"), Err(OpenError::Locked(_))), "the engine is open");
    engine.clear_snapshot("b").expect("clear");
    assert!(matches!(engine.clear_snapshot("b"), Err(EngineError::Refused(_))));
    assert_eq!(names(), ["a-1_x.y"]);
    assert!(!driver.fs.files().iter().any(|(path, _)| path.starts_with("snapshots/b")));
    driver.stop(None);
    assert!(matches!(restore(&driver.fs, "b"), Err(OpenError::Engine(EngineError::Refused(_)))));
}

/// Power goes, or an operation fails, at each operation of a snapshot.
#[test]
fn a_snapshot_is_whole_or_not_there() {
    for fault in [None, Some(ErrorKind::StorageFull), Some(ErrorKind::Other)] {
        let mut taken = 0;
        for at in 1.. {
            let mut driver = Driver::new(at, tiny());
            driver.start().expect("open");
            (0..60).for_each(|_| driver.write().expect("write"));
            driver.engine().commit().expect("commit");
            driver.settle_durable();
            driver.fs.fail_at(driver.fs.operations() + at, fault.map_or(Fault::Stop, Fault::Error));
            let result = driver.engine().snapshot("s", Micros(1));
            if driver.fs.statistics().faults == 0 && !driver.fs.is_stopped() {
                assert!(at > 25, "only {at} operations");
                break;
            }
            if fault.is_some() && driver.engine().failure().is_none() {
                let listed = driver.engine().snapshots().expect("list").len();
                assert!(result.is_ok() || listed == 0, "at {at}: {result:?}");
                driver.check_reads();
            }
            driver.stop(Some(at));
            driver.start().expect("open");
            driver.check_recovered(&format!("{fault:?} at {at}"));
            let rows = driver.now();
            let whole = driver.engine().snapshots().expect("list").len() == 1;
            assert!(whole || result.is_err(), "at {at}");
            let left = driver.fs.files().iter().filter(|(path, _)| path.starts_with("snapshots")).count();
            assert!(whole || left == 0, "{left} files are left, {fault:?} at {at}");
            if whole {
                taken += 1;
                driver.stop(None);
                restore(&driver.fs, "s").expect("restore");
                driver.start().expect("open");
                driver.certain = rows;
                driver.check_recovered("restored");
            }
        }
        assert!(fault.is_some() || taken > 0, "the last operation makes it count");
    }
}

/// Power goes at each operation of a restore, and of the opening behind it.
#[test]
fn a_restore_is_whole_or_has_not_begun() {
    for (again, power) in [(false, true), (true, true), (true, false)] {
        let (driver, then, now) = with_snapshot(5);
        let (mut old, mut new) = (0, 0);
        for at in 1.. {
            let mut copy = Driver::on(driver.fs.fork(), 5, tiny());
            copy.fs.fail_at(copy.fs.operations() + at, Fault::Stop);
            let restored = restore(&copy.fs, "s").is_ok() && copy.start().is_ok();
            if restored && !copy.fs.is_stopped() {
                assert!(at > 60, "only {at} operations");
                break;
            }
            copy.engine = None;
            if power {
                copy.fs.crash(at)
            } else {
                copy.fs.kill()
            }
            // The next attempt may be cut short too; then the engine ends it, or the operator.
            copy.fs.fail_at(copy.fs.operations() + 1 + at % 23, Fault::Stop);
            if again && at % 2 == 0 {
                let _ = restore(&copy.fs, "s");
            } else {
                let _ = copy.start();
            }
            copy.engine = None;
            copy.fs.crash(at + 1);
            copy.fs.clear_faults();
            let marked = read_file(&copy.fs, RESTORED).is_ok();
            copy.start().unwrap_or_else(|e| panic!("at {at}: {e}"));
            let rows = all(copy.engine());
            assert!(rows == now || (rows == then && marked), "at {at}: neither old nor new");
            if rows == now { old += 1 } else { new += 1 }
        }
        assert!(old > 0 && new > 30, "{old} old, {new} new");
    }
}

#[test]
fn damage_in_a_snapshot_is_noticed_before_anything_changes() {
    let (driver, _, now) = with_snapshot(6);
    for (path, bytes) in driver.fs.files().into_iter().filter(|(path, _)| path.starts_with("snapshots/")) {
        let copy: MemFs = driver.fs.fork();
        assert!(copy.flip_bit(&path, bytes / 3, 2));
        // The live SSTable is the same file as long as the table has not rewritten it.
        let found = restore(&copy, "s");
        assert!(
            matches!(&found, Err(OpenError::Engine(EngineError::Damaged { file, .. })) if *file == path),
            "{path}: {found:?}"
        );
        let missing = driver.fs.fork();
        missing.remove(&path).expect("remove");
        let found = restore(&missing, "s");
        assert!(found.is_err(), "{path} is missing");
        let mut copy = Driver::on(missing, 6, tiny());
        copy.start().expect("nothing was changed");
        assert!(all(copy.engine()) == now && read_file(&copy.fs, RESTORED).is_err());
    }
}
