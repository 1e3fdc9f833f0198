//! Bits flip in data that was synced: the right value or an error that names the place, never a wrong value
//! and never a silent gap.

use crate::crash::workload;
use crate::support::{Driver, Rows, TABLES, key, latest, tiny, try_all};
use dunlin_storage::fs::{Fs, MemFs};
use dunlin_storage::{Engine, EngineError, Lane, OpenError};
use dunlin_types::{Micros, Value};
use std::sync::Arc;

/// A data directory with all kinds of files, and its rows.
fn directory() -> (MemFs, Rows) {
    let mut driver = Driver::new(11, tiny());
    driver.start().expect("open");
    workload(&mut driver).expect("runs");
    for _ in 0..30 {
        driver.write().expect("write");
    }
    driver.engine().flush(None).expect("flush");
    for _ in 0..30 {
        driver.write().expect("write");
        driver.engine().commit().expect("commit");
    }
    driver.maintain();
    let rows = driver.now();
    driver.stop(Some(3));
    (driver.fs, rows)
}

fn open(fs: &MemFs) -> Result<Engine, OpenError> {
    Engine::open(Arc::new(fs.clone()), tiny())
}

/// True if the damage at `path` was noticed.
fn check(fs: &MemFs, path: &str, offset: u64, rows: &Rows) -> bool {
    let named = |e: &EngineError| match e {
        // Without its last frame the log does not know that its oldest segments may be missing.
        EngineError::Damaged { file, .. } if file == "commitlog" => {
            assert!(path.starts_with("commitlog/"), "byte {offset}")
        }
        EngineError::Damaged { file, .. } => assert_eq!(file, path, "byte {offset}"),
        e => panic!("{path} byte {offset}: {e}"),
    };
    let engine = match open(fs) {
        Ok(engine) => engine,
        Err(OpenError::Engine(e)) => {
            named(&e);
            return true;
        }
        Err(OpenError::Version { file, .. }) => {
            assert_eq!(file, path);
            return true;
        }
        Err(e) => panic!("{path} byte {offset}: {e}"),
    };
    let mut noticed = false;
    match try_all(&engine) {
        Ok(found) => assert_eq!(&found, rows, "{path} byte {offset}"),
        Err(e) => {
            named(&e);
            noticed = true;
        }
    }
    for ((table, token, key), record) in rows.iter().step_by(3) {
        match engine.get(*table, *token, key) {
            Ok(found) => assert_eq!(found.map(|f| f.record).as_ref(), Some(record), "{path} byte {offset}"),
            Err(e) => named(&e),
        }
    }
    let counted = engine.stats().damaged_blocks > 0;
    assert!(counted || !noticed);
    if noticed {
        assert!(engine.compact(None).is_err(), "damage is not compacted away");
    }
    // A damaged filter keeps no answer back, but it counts.
    if counted {
        assert!(engine.stats().tables.iter().any(|t| t.sstables_damaged > 0));
    }
    counted
}

#[test]
fn flipped_bits_are_noticed_or_harmless() {
    let (fs, rows) = directory();
    let (mut noticed, mut flipped) = (0, 0);
    for (path, bytes) in fs.files() {
        if path.ends_with(".lock") || path.ends_with(".spare") {
            continue;
        }
        let step = (bytes / 150).max(1) | 1;
        let mut noticed_here = 0;
        for offset in (0..bytes).step_by(step as usize) {
            let copy = fs.fork();
            assert!(copy.flip_bit(&path, offset, (offset % 8) as u8));
            noticed_here += u32::from(check(&copy, &path, offset, &rows));
            flipped += 1;
        }
        assert!(noticed_here > 0, "no damage noticed in {path}");
        noticed += noticed_here;
    }
    assert!(flipped > 800 && noticed > flipped / 3, "{noticed} of {flipped}");
}

#[test]
fn missing_files_are_noticed() {
    let (fs, _) = directory();
    for (path, _) in fs.files() {
        if path.ends_with(".lock") || path.ends_with(".spare") {
            continue;
        }
        let copy = fs.fork();
        copy.remove(&path).expect("remove");
        let newest = fs.files().iter().filter(|(p, _)| p.ends_with(".log")).map(|(p, _)| p.clone()).max();
        match open(&copy) {
            Err(OpenError::Engine(EngineError::Damaged { .. })) => {}
            // Nothing behind the newest segment tells of it.
            Ok(_) if Some(&path) == newest.as_ref() => {}
            other => panic!("{path}: {:?}", other.err()),
        }
    }
}

#[test]
fn cut_files_are_noticed() {
    let (fs, rows) = directory();
    for (path, bytes) in fs.files() {
        if path.ends_with(".lock") || path.ends_with(".spare") || path.ends_with(".log") {
            continue;
        }
        for length in [0, 1, bytes / 2, bytes - 1] {
            let copy = fs.fork();
            copy.open(&path, dunlin_storage::fs::OpenMode::Write)
                .expect("open")
                .set_length(length)
                .expect("cut");
            assert!(check(&copy, &path, length, &rows), "{path} cut to {length}");
        }
    }
}

/// The last commit, with no frame behind it yet, cannot be told from a torn one; the mark that maintenance
/// writes when nothing else is due changes that.
#[test]
fn marks_protect_the_last_commit() {
    for marked in [false, true] {
        let mut driver = Driver::new(12, tiny());
        driver.start().expect("open");
        let (token, key) = key(1);
        let value = Value { written: Micros(1), expires: None, data: Some("value".into()) };
        driver.engine().merge(TABLES[0], token, &key, &latest(value), true).expect("write");
        driver.engine().commit().expect("commit");
        if marked {
            driver.maintain();
            assert!(
                !driver.engine().maintenance(Lane::Any).expect("maintenance").worked,
                "one mark is enough"
            );
        }
        let log = "commitlog/0000000000000001.log";
        let length = driver.fs.files().iter().find(|(path, _)| path == log).expect("a segment").1;
        assert_eq!(length, if marked { 1_536 } else { 1_024 });
        driver.stop(None);
        assert!(driver.fs.flip_bit(log, 512 + 80, 3));
        match open(&driver.fs) {
            Ok(engine) => assert!(!marked && try_all(&engine).expect("scan").is_empty()),
            Err(OpenError::Engine(EngineError::Damaged { file, offset, .. })) => {
                assert!(marked && file == log && offset == 512);
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn an_sstable_that_cannot_say_what_it_holds_drives_no_other_out_of_its_level() {
    let mut driver = Driver::new(41, tiny());
    driver.keys = 400;
    driver.start().expect("open");
    for n in 0..1500 {
        driver.write().expect("write");
        if n % 50 == 49 {
            driver.maintain();
        }
    }
    driver.settle_durable();
    driver.stop(None);
    let sstables: Vec<(String, u64)> =
        driver.fs.files().into_iter().filter(|(path, _)| path.ends_with(".sst")).collect();
    let sound = driver.fs.fork();
    let engine = Engine::open(Arc::new(sound), tiny()).expect("open");
    let before = engine.level0_max();
    drop(engine);
    // Of the table with most SSTables, one below level 0: the last ones are flushes.
    let (path, bytes) = &sstables[sstables.len() / 2];
    assert!(driver.fs.flip_bit(path, bytes - 20, 3), "the footer is the end of the file");
    driver.start().expect("open");
    let stats = driver.engine().stats();
    assert_eq!(stats.tables.iter().map(|t| t.sstables_damaged).sum::<u64>(), 1);
    assert!(stats.tables.iter().all(|t| t.sstables as usize > before + 2), "{stats:?}");
    assert!(driver.engine().level0_max() <= before + 1, "the damaged one alone");
}
