//! Damage is found, and what is left is kept.

use crate::crash::workload;
use crate::support::{Driver, Rows, TABLES, all, tiny};
use dunlin_storage::fs::MemFs;
use dunlin_storage::fs::memory::Fault;
use dunlin_storage::{EngineError, Progress};
use dunlin_types::{Token, TokenRange};
use std::ops::ControlFlow;

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A stopped node and its rows, all of them in SSTables.
fn directory() -> (MemFs, Rows) {
    let mut driver = Driver::new(22, tiny());
    driver.start().expect("open");
    workload(&mut driver).expect("runs");
    driver.engine().flush(None).expect("flush");
    driver.maintain();
    let rows = driver.now();
    driver.stop(Some(1));
    (driver.fs, rows)
}

fn open(fs: MemFs) -> Driver {
    let mut driver = Driver::on(fs, 22, tiny());
    driver.start().expect("open");
    driver
}

#[test]
fn sound_tables_are_sound() {
    let (fs, rows) = directory();
    let driver = open(fs);
    for table in TABLES {
        let (mut calls, mut last) = (0, None);
        let mut watch = |progress: Progress| {
            calls += 1;
            assert!(progress.file.starts_with("tables/") && progress.bytes_done <= progress.bytes_total);
            last = Some((progress.bytes_done, progress.bytes_total));
            ControlFlow::Continue(())
        };
        assert_eq!(driver.engine().verify(table, &mut watch), Ok(Vec::new()));
        let (done, total) = last.expect("there is something");
        assert!(done == total && calls > 1);
        let stop = driver.engine().verify(table, &mut |_| ControlFlow::Break(()));
        assert_eq!(stop, Err(EngineError::Interrupted));
        let scrubbed = driver.engine().scrub(table, &mut go_on).expect("nothing to do");
        assert_eq!(scrubbed, dunlin_storage::Scrubbed::default());
    }
    assert_eq!(all(driver.engine()), rows);
}

/// Flips bits all over the SSTables: a scrub leaves every row outside the ranges it says are lost, of the newest
/// version there.
#[test]
fn what_can_be_read_is_kept() {
    let (fs, rows) = directory();
    let (mut lost_something, mut scrubs) = (0, 0);
    for (path, bytes) in fs.files().into_iter().filter(|(path, _)| path.ends_with(".sst")) {
        for offset in (0..bytes).step_by((bytes / 12).max(1) as usize | 1) {
            let copy = fs.fork();
            assert!(copy.flip_bit(&path, offset, (offset % 8) as u8));
            let mut driver = open(copy);
            let table = if path.contains("/t11/") { TABLES[0] } else { TABLES[1] };
            let found = driver.engine().verify(table, &mut go_on).expect("verify");
            if found.is_empty() {
                assert_eq!(all(driver.engine()), rows, "{path} byte {offset} is of no meaning");
                continue;
            }
            assert!(found.iter().all(|d| d.file == path), "{found:?}");
            let scrubbed = driver.engine().scrub(table, &mut go_on).expect("scrub");
            scrubs += 1;
            assert_eq!((scrubbed.rewritten, scrubbed.set_aside.len()), (1, 1));
            assert!(
                driver
                    .fs
                    .files()
                    .iter()
                    .any(|(kept, length)| *kept == scrubbed.set_aside[0] && *length == bytes)
            );
            let is_lost = |token: Token| scrubbed.lost.iter().any(|r: &TokenRange| r.contains(token));
            lost_something += u32::from(!scrubbed.lost.is_empty());
            let check = |driver: &Driver| {
                let kept = all(driver.engine());
                for (place, record) in rows.iter().filter(|(p, _)| p.0 != table || !is_lost(p.1)) {
                    assert_eq!(kept.get(place), Some(record), "{path} byte {offset}: {:?}", scrubbed.lost);
                }
                assert!(kept.keys().all(|place| rows.contains_key(place)));
            };
            check(&driver);
            assert_eq!(driver.engine().verify(table, &mut go_on), Ok(Vec::new()), "{path} byte {offset}");
            driver.maintain();
            driver.engine().compact(None).expect("sound again");
            check(&driver);
            driver.stop(Some(offset));
            driver.start().expect("open");
            check(&driver);
        }
    }
    assert!(scrubs > 30 && lost_something > 10, "{scrubs} scrubs, {lost_something} lost something");
}

#[test]
fn a_scrub_is_whole_or_has_not_happened() {
    let (fs, _) = directory();
    let (path, bytes) = fs.files().into_iter().find(|(path, _)| path.ends_with(".sst")).expect("one");
    assert!(fs.flip_bit(&path, bytes / 3, 1));
    let table = if path.contains("/t11/") { TABLES[0] } else { TABLES[1] };
    let rows_of = |driver: &Driver| driver.engine().scrub(table, &mut go_on).map(|_| all(driver.engine()));
    let after = rows_of(&open(fs.fork())).expect("scrub");
    for at in 1.. {
        let mut driver = open(fs.fork());
        driver.fs.fail_at(driver.fs.operations() + at, Fault::Stop);
        let done = driver.engine().scrub(table, &mut go_on).is_ok();
        if done && !driver.fs.is_stopped() {
            assert!(at > 10, "only {at} operations");
            break;
        }
        driver.stop(Some(at));
        driver.start().expect("open");
        assert_eq!(rows_of(&driver), Ok(after.clone()), "at {at}");
    }
}
