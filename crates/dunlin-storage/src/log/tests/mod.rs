//! The log alone, over simulated and real disks.

mod damage;

use super::frame::LogRecordRef;
use super::{Log, LogOptions, segment};
use crate::LogPosition;
use crate::error::{EngineError, OpenError};
use crate::fs::memory::{Chance, Fault, OperationKind};
use crate::fs::{Fs, MemFs, OsFs, create_dirs};
use crate::parallel::{Parallel, Sequential, Threads};
use dunlin_types::{TableId, Token};
use parking_lot::Mutex;
use std::io::ErrorKind;
use std::sync::Arc;

fn tiny() -> LogOptions {
    LogOptions { segment_bytes: 4 << 10, block_bytes: 512, spares_max: 2, checked: true }
}

/// Opens the log. Records are numbers; returns those that were replayed, with what stands in their keys checked.
fn open_with(
    fs: &Arc<dyn Fs>,
    options: LogOptions,
    parallel: &dyn Parallel,
) -> Result<(Log, Vec<u64>), OpenError> {
    let replayed = Mutex::new(Vec::new());
    let take = |record: &LogRecordRef<'_>| {
        let number = u64::from_le_bytes(record.record[..8].try_into().expect("8 bytes"));
        assert_eq!(record.token, token(number));
        assert_eq!(record.key, number.to_be_bytes());
        assert_eq!(record.record.len(), 8 + padding(number));
        replayed.lock().push(number);
        Ok(())
    };
    let log = Log::open(fs.clone(), options, false, parallel, &|_, _| true, &take)?;
    Ok((log, replayed.into_inner()))
}

fn open(fs: &MemFs) -> Result<(Log, Vec<u64>), OpenError> {
    open_with(&shared(fs), tiny(), &Sequential)
}

fn shared(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

/// A disk with the log's folder.
fn disk() -> MemFs {
    let fs = MemFs::new();
    create_dirs(&fs, segment::DIR).expect("create");
    fs
}

fn token(number: u64) -> Token {
    Token(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Some records are longer than a block, a few longer than a segment.
fn padding(number: u64) -> usize {
    match number % 37 {
        0 => 5_000,
        1..5 => 700,
        n => n as usize,
    }
}

fn append(log: &Log, number: u64) -> Result<LogPosition, EngineError> {
    let mut record = number.to_le_bytes().to_vec();
    record.resize(8 + padding(number), 7);
    let appended = log.append(TableId(1), token(number), &number.to_be_bytes(), &record)?;
    Ok(appended.position)
}

/// What the log must hold: numbers with their positions, oldest first.
struct Model {
    records: Vec<(u64, LogPosition)>,
    next: u64,
}

impl Model {
    /// What was replayed is one piece of what was there, and has everything that was promised. What is missing
    /// must stay away for ever.
    fn check(&mut self, replayed: &[u64], durable: LogPosition, low: LogPosition, what: &str) {
        let numbers: Vec<u64> = self.records.iter().map(|(number, _)| *number).collect();
        let start = replayed.first().map_or(numbers.len(), |first| {
            numbers
                .binary_search(first)
                .unwrap_or_else(|_| panic!("{what}: {first} was never there, or gone"))
        });
        let found = numbers.get(start..start + replayed.len());
        assert_eq!(found, Some(replayed), "{what}: not one piece of {numbers:?}");
        let needed = |position: LogPosition| position > low && position <= durable;
        for (i, (number, position)) in self.records.iter().enumerate() {
            let kept = (start..start + replayed.len()).contains(&i);
            assert!(kept || !needed(*position), "{what}: {number} is lost");
        }
        // They moved: those of the tail have new positions, and all are durable.
        self.records = replayed.iter().map(|number| (*number, LogPosition(1))).collect();
    }
}

/// A random life of a log, cut short at changing operation `stop` by `fault`; false if it ended before.
fn life(seed: u64, direct: bool, stop: u64, fault: Fault) -> bool {
    let fs = disk();
    fs.set_direct(direct);
    let what = format!("seed {seed}, direct {direct}, {fault:?} at {stop}");
    let mut chance = Chance::new(seed);
    let mut model = Model { records: Vec::new(), next: 1 };
    let (mut durable, mut low) = (LogPosition(0), LogPosition(0));
    let stop = fs.operations() + stop;
    fs.fail_at(stop, fault);
    for _ in 0..5 {
        if let Ok((log, replayed)) = open(&fs) {
            model.check(&replayed, durable, low, &what);
            (durable, low) = (log.durable(), LogPosition(0));
            for _ in 0..60 {
                let result = step(&log, &mut chance, &mut model, &mut low);
                durable = durable.max(log.durable());
                if result.is_err() {
                    break;
                }
            }
            durable = log.durable();
        }
        match chance.below(4) {
            0 => fs.kill(),
            1 => {
                fs.kill();
                fs.drop_caches();
            }
            _ => fs.crash(chance.random()),
        }
    }
    let met = fs.operations() >= stop;
    fs.clear_faults();
    let (_, replayed) = open(&fs).unwrap_or_else(|e| panic!("{what}: {e}"));
    model.check(&replayed, durable, low, &what);
    met
}

fn step(log: &Log, chance: &mut Chance, model: &mut Model, low: &mut LogPosition) -> Result<(), EngineError> {
    match chance.below(12) {
        0..6 => {
            let position = append(log, model.next)?;
            model.records.push((model.next, position));
            model.next += 1;
        }
        6 | 7 => drop(log.commit()?),
        8 => drop(log.write_out()?),
        9 => drop(log.prepare_spare(700)?),
        10 => drop(log.mark()?),
        _ => {
            // All that is durable, or some of it, is in SSTables.
            let to = LogPosition(log.durable().0.saturating_sub(chance.below(6_000)));
            *low = to.max(*low);
            log.release(to)?;
        }
    }
    Ok(())
}

#[test]
fn nothing_is_lost_and_nothing_old_comes_back() {
    let faults = [Fault::Stop, Fault::Error(ErrorKind::Other), Fault::Error(ErrorKind::StorageFull)];
    for (seed, direct) in (0..24).map(|seed| (seed, seed % 3 != 0)) {
        let mut stop = 1 + seed % 5;
        while life(seed, direct, stop, faults[(stop % 3) as usize]) {
            stop += 5;
        }
        assert!(stop > 60, "seed {seed}: only {stop} operations");
    }
}

/// Power fails while a recovered tail is copied to a spare; the next start finds less of the tail. What the
/// spare holds of the first attempt must not count.
#[test]
fn a_tail_that_was_given_up_stays_away() {
    let mut given_up = 0;
    for seed in 0..400 {
        let fs = disk();
        let (log, _) = open(&fs).expect("open");
        for number in 1..200 {
            append(&log, number).expect("append");
            if number % 10 == 0 {
                log.commit().expect("commit");
            }
        }
        log.release(log.durable()).expect("release");
        log.mark().expect("mark");
        drop(log);
        fs.kill();
        // Nothing is synced in this segment, and its file is as long as it will ever be: with or without the
        // tail, the next one begins with the same bytes.
        let (log, _) = open(&fs).expect("open");
        assert_eq!(log.statistics().spares, 1);
        let tail = 200;
        append(&log, tail).expect("append");
        log.write_out().expect("write");
        drop(log);
        fs.kill();
        // The attempt: everything but the new name of the file.
        fs.set_hook(Some(Box::new(|operation| {
            (operation.kind == OperationKind::Rename && operation.path.ends_with(".log"))
                .then_some(Fault::Stop)
        })));
        assert!(open(&fs).is_err());
        fs.set_hook(None);
        fs.crash(seed);
        let (log, replayed) = open(&fs).expect("open");
        drop(log);
        fs.kill();
        let (_, again) = open(&fs).expect("open");
        assert_eq!(again, replayed, "seed {seed}");
        given_up += u32::from(replayed.last() != Some(&tail));
    }
    assert!(given_up > 50, "the tail was lost {given_up} times only");
}

#[test]
fn a_lone_commit_is_one_write_of_one_block() {
    for direct in [true, false] {
        let fs = disk();
        fs.set_direct(direct);
        let options = LogOptions { segment_bytes: 1 << 20, ..tiny() };
        let (log, _) = open_with(&shared(&fs), options, &Sequential).expect("open");
        assert_eq!(log.statistics().direct, direct);
        for number in 5..10 {
            append(&log, number).expect("append");
            log.commit().expect("commit");
        }
        let count = || {
            let statistics = fs.statistics();
            let of = |kind| statistics.operations.get(&kind).copied().unwrap_or_default();
            (of(OperationKind::Write), of(OperationKind::Sync), fs.operations(), statistics.bytes_written)
        };
        let (writes, syncs, operations, bytes) = count();
        append(&log, 11).expect("append");
        log.commit().expect("commit");
        assert_eq!(count(), (writes + 1, syncs + 1, operations + 2, bytes + 512));
        log.commit().expect("nothing to commit");
        assert_eq!(count(), (writes + 1, syncs + 1, operations + 2, bytes + 512));
    }
}

#[test]
fn files_are_prepared_and_used() {
    let fs = disk();
    let (log, _) = open(&fs).expect("open");
    assert!(!log.prepare_spare(1 << 20).expect("nothing to do"), "nobody needs one yet");
    let mut number = 1;
    while log.statistics().segments == 1 {
        append(&log, number).expect("append");
        log.commit().expect("commit");
        number += 1;
        while log.prepare_spare(600).expect("prepare") {}
        if log.statistics().segments == 1 && log.statistics().bytes > 1_100 {
            assert_eq!(log.statistics().spares, 1);
        }
    }
    assert_eq!(log.statistics().segments_reused, 1);
    let prepared = fs.files().into_iter().find(|(path, _)| path == &segment::path(2)).expect("a segment").1;
    assert!(prepared >= tiny().segment_bytes, "{prepared}");
    // A full disk is no harm, and what was begun is removed.
    while !log.wants_spare() {
        append(&log, number).expect("append");
        log.commit().expect("commit");
        number += 1;
    }
    let used: u64 = fs.files().iter().map(|(_, bytes)| bytes).sum();
    fs.set_capacity(Some(used + 1_000));
    let mut result = Ok(true);
    while result == Ok(true) {
        result = log.prepare_spare(600);
    }
    assert!(matches!(result, Err(EngineError::DiskFull(_))), "{result:?}");
    assert!(fs.files().iter().all(|(path, _)| !path.ends_with(".tmp")));
    assert_eq!(log.failure(), None);
}

#[test]
fn committers_share_syncs_and_all_are_served() {
    let dir = tempfile::tempdir().expect("a folder");
    let fs = OsFs::new(dir.path()).expect("a folder");
    fs.create_dir(segment::DIR).expect("create");
    let options = LogOptions { segment_bytes: 256 << 10, ..tiny() };
    let fs: Arc<dyn Fs> = Arc::new(fs);
    let (log, _) = open_with(&fs, options, &Sequential).expect("open");
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..100 {
                    let position = append(log, 1 + thread * 1_000 + n).expect("append");
                    let durable = log.commit().expect("commit");
                    assert!(durable >= position && log.durable() >= position);
                    if n % 30 == 0 {
                        log.mark().expect("mark");
                        log.prepare_spare(1 << 20).expect("prepare");
                    }
                }
            });
        }
    });
    let statistics = log.statistics();
    assert!(statistics.syncs < 1_600 && statistics.records == 1_600, "{statistics:?}");
    assert!(statistics.frame_records_max > 1 && statistics.bytes_waiting == 0, "{statistics:?}");
    drop(log);
    let (_, mut replayed) = open_with(&fs, options, &Threads::new(3)).expect("open");
    replayed.sort_unstable();
    let expected: Vec<u64> =
        (0..16).flat_map(|thread| (0..100).map(move |n| 1 + thread * 1_000 + n)).collect();
    assert_eq!(replayed, expected);
}

#[test]
fn everybody_who_waits_learns_of_a_failure() {
    for failing in 1..30 {
        let fs = disk();
        let (log, _) = open(&fs).expect("open");
        fs.fail_at(fs.operations() + failing, Fault::Error(ErrorKind::Other));
        let refused = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (log, refused) = (&log, &refused);
                scope.spawn(move || {
                    for n in 0..20 {
                        let Ok(position) = append(log, 40 + thread * 1_000 + n * 37) else { break };
                        match log.commit() {
                            Ok(durable) => assert!(durable >= position),
                            Err(e) => {
                                assert!(matches!(e, EngineError::LogClosed(_)), "{e}");
                                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                });
            }
        });
        assert!(refused.into_inner() > 0);
        assert!(log.failure().is_some_and(|reason| reason.contains("commitlog/")));
        assert!(matches!(append(&log, 2), Err(EngineError::LogClosed(_))));
        assert!(matches!(log.commit(), Err(EngineError::LogClosed(_))), "never tried again");
    }
}

#[test]
fn replay_on_threads_keeps_the_order_of_a_key() {
    let fs = disk();
    let (log, _) = open(&fs).expect("open");
    for round in 0..60u64 {
        for key in 0..10 {
            log.append(TableId(1), token(key), &[key as u8], &round.to_le_bytes()).expect("append");
        }
        log.commit().expect("commit");
    }
    drop(log);
    for workers in [1, 2, 3, 16] {
        fs.kill();
        let seen: Mutex<Vec<(u8, u64)>> = Mutex::default();
        let take = |record: &LogRecordRef<'_>| {
            let round = u64::from_le_bytes(record.record.try_into().expect("8 bytes"));
            seen.lock().push((record.key[0], round));
            Ok(())
        };
        let log =
            Log::open(shared(&fs), tiny(), true, &Threads::new(workers), &|_, _| true, &take).expect("open");
        assert_eq!(log.statistics().records_recovered, 600);
        let seen = seen.into_inner();
        for key in 0..10 {
            let rounds: Vec<u64> = seen.iter().filter(|(k, _)| *k == key).map(|(_, round)| *round).collect();
            assert_eq!(rounds, (0..60).collect::<Vec<u64>>());
        }
    }
    // The first failure in the log's order is the one that is told.
    fs.kill();
    let fail = |record: &LogRecordRef<'_>| Err(EngineError::damaged("x", record.position, ""));
    let Err(error) = Log::open(shared(&fs), tiny(), true, &Threads::new(1), &|_, _| true, &fail) else {
        panic!("it fails");
    };
    assert_eq!(error, EngineError::damaged("x", 603, "").into());
}

/// With the block size and lengths of real use.
#[test]
fn real_files_keep_what_they_were_given() {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    for dir in [tempfile::tempdir(), in_memory].into_iter().flatten() {
        let fs = OsFs::new(dir.path()).expect("a folder");
        fs.create_dir(segment::DIR).expect("create");
        let fs: Arc<dyn Fs> = Arc::new(fs);
        let options =
            LogOptions { segment_bytes: 256 << 10, block_bytes: 4096, spares_max: 2, checked: true };
        let mut expected: Vec<u64> = Vec::new();
        for round in 0..3 {
            let (log, replayed) = open_with(&fs, options, &Sequential).expect("open");
            assert_eq!(replayed, expected);
            for n in 0..200 {
                let number = 1 + round * 1_000 + n;
                append(&log, number).expect("append");
                expected.push(number);
                match n % 5 {
                    0..3 => drop(log.commit().expect("commit")),
                    3 => drop(log.write_out().expect("write")),
                    _ => while log.prepare_spare(64 << 10).expect("prepare") {},
                }
            }
            log.commit().expect("commit");
            assert!(log.statistics().segments_reused > 0);
            if round == 1 {
                log.release(log.durable()).expect("release");
                assert_eq!(log.statistics().segments, 1);
                expected.clear();
                let (fs, options) = (fs.clone(), options);
                drop(log);
                expected.extend(open_with(&fs, options, &Sequential).expect("open").1);
            }
        }
    }
}
