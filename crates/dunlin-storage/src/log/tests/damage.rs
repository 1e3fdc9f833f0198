//! Damage of the log: told by name and place, and what a scrub saves.

use super::{append, disk, open, tiny};
use crate::error::{EngineError, OpenError};
use crate::fs::memory::Fault;
use crate::fs::{Fs, MemFs, read_file};
use crate::log::frame::{Frame, Records};
use crate::log::segment::{self, SegmentHeader};
use crate::{EngineOptions, LogScrub, scrub_log};

/// A frame of the log, and the numbers in it.
struct Piece {
    path: String,
    from: u64,
    to: u64,
    numbers: Vec<u64>,
}

/// A log of several segments, all of it synced and marked.
fn sound() -> (MemFs, Vec<Piece>) {
    let fs = disk();
    let (log, _) = open(&fs).expect("open");
    let mut number = 1;
    while log.statistics().segments < 4 || number % 9 > 0 {
        for _ in 0..number % 4 + 1 {
            append(&log, number).expect("append");
            number += 1;
        }
        log.commit().expect("commit");
    }
    log.mark().expect("mark");
    let segments: Vec<u64> = log.writer.lock().segments.iter().map(|s| s.id).collect();
    drop(log);
    fs.kill();
    let mut pieces = Vec::new();
    for id in segments {
        let path = segment::path(id);
        let file = read_file(&fs, &path).expect("read");
        let (header, _) = SegmentHeader::decode(&file, id).expect("a header");
        let mut from = header.block_bytes;
        while let Some(frame) = Frame::parse(&file, from as usize, id, header.base + from) {
            let number = |record: &[u8]| u64::from_le_bytes(record[..8].try_into().expect("8 bytes"));
            let numbers = Records::new(&file, &frame).map(|r| number(r.expect("a record").record)).collect();
            let to = from + frame.bytes(header.block_bytes);
            pieces.push(Piece { path: path.clone(), from, to, numbers });
            from = to;
        }
    }
    assert_eq!(pieces.iter().map(|p| p.numbers.len() as u64).sum::<u64>(), number - 1);
    (fs, pieces)
}

fn scrub(fs: &MemFs) -> Result<LogScrub, OpenError> {
    let options = tiny();
    let options = EngineOptions {
        log_segment_bytes: options.segment_bytes,
        log_block_bytes: options.block_bytes,
        ..EngineOptions::small()
    };
    scrub_log(fs, &options)
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// All numbers, but those of pieces that `lost` names.
fn all_but(pieces: &[Piece], lost: impl Fn(&Piece) -> bool) -> Vec<u64> {
    sorted(pieces.iter().filter(|p| !lost(p)).flat_map(|p| p.numbers.clone()).collect())
}

/// The log does not open and says why; then it is scrubbed, opens, and holds `expected`.
fn check_saved(fs: &MemFs, path: &str, expected: &[u64], what: &str) -> LogScrub {
    match open(fs).err() {
        Some(OpenError::Engine(EngineError::Damaged { file, what: told, .. })) => {
            assert!(file == path || file == segment::DIR, "{what}: {file}");
            assert!(told.contains("nodetool scrub"), "{what}: {told}");
        }
        other => panic!("{what}: {other:?}"),
    }
    fs.kill();
    let report = scrub(fs).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.synced_lost && !report.damage.is_empty(), "{what}: {report:?}");
    assert_eq!(report.records, expected.len() as u64, "{what}");
    let (log, replayed) = open(fs).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(sorted(replayed), expected, "{what}");
    append(&log, 1_000_000).expect("append");
    log.commit().expect("commit");
    drop(log);
    fs.crash(1);
    let mut expected = expected.to_vec();
    expected.push(1_000_000);
    assert_eq!(sorted(open(fs).expect("open").1), expected, "{what}");
    fs.kill();
    assert!(scrub(fs).expect("scrub").damage.is_empty(), "{what}: sound now");
    report
}

#[test]
fn a_flipped_bit_costs_one_frame() {
    let (fs, pieces) = sound();
    let before = fs.files();
    let report = scrub(&fs).expect("scrub");
    assert_eq!((report.damage.len(), report.set_aside.len(), report.synced_lost), (0, 0, false));
    let after: Vec<_> = fs.files().into_iter().filter(|(path, _)| !path.ends_with(".lock")).collect();
    assert_eq!(after, before, "a sound log stays as it is");
    let last = pieces.len() - 1;
    for (i, piece) in pieces.iter().enumerate() {
        for offset in [piece.from + 9, piece.from + 20, piece.from + 45, piece.from + 70] {
            let what = format!("{} byte {offset}", piece.path);
            let copy = fs.fork();
            assert!(copy.flip_bit(&piece.path, offset, 1));
            if i == last {
                // The mark itself: nothing says that it was whole, and it holds nothing.
                assert_eq!(sorted(open(&copy).expect("a torn tail").1), all_but(&pieces, |_| false));
                continue;
            }
            let expected = all_but(&pieces, |p| p.from == piece.from && p.path == piece.path);
            let report = check_saved(&copy, &piece.path, &expected, &what);
            let [damage] = &report.damage[..] else { panic!("{what}: {report:?}") };
            assert_eq!((&damage.file, damage.offset), (&piece.path, piece.from), "{what}");
            assert_eq!(damage.bytes, Some(piece.to - piece.from), "{what}");
            assert_eq!(report.set_aside.len(), 1, "{what}");
            assert!(copy.files().iter().any(|(path, _)| path == &report.set_aside[0]), "{what}: kept");
        }
    }
}

#[test]
fn headers_and_whole_segments() {
    let (fs, pieces) = sound();
    let paths: Vec<String> = sorted_paths(&pieces);
    for (i, path) in paths.iter().enumerate() {
        let copy = fs.fork();
        assert!(copy.flip_bit(path, 30, 1));
        check_saved(&copy, path, &all_but(&pieces, |_| false), &format!("header of {path}"));
        if i + 1 < paths.len() {
            let copy = fs.fork();
            copy.remove(path).expect("remove");
            copy.sync_dir(segment::DIR).expect("sync");
            check_saved(&copy, path, &all_but(&pieces, |p| &p.path == path), &format!("without {path}"));
        }
    }
}

fn sorted_paths(pieces: &[Piece]) -> Vec<String> {
    let mut paths: Vec<String> = pieces.iter().map(|p| p.path.clone()).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Two frames side by side, and one in another segment.
#[test]
fn a_scrub_that_is_cut_short_can_be_run_again() {
    let (fs, pieces) = sound();
    let damaged = [2, 3, pieces.len() - 4];
    for &i in &damaged {
        assert!(fs.flip_bit(&pieces[i].path, pieces[i].from + 80, 2));
    }
    let lost = |p: &Piece| damaged.iter().any(|&i| pieces[i].from == p.from && pieces[i].path == p.path);
    let expected = all_but(&pieces, lost);
    let mut stop = 1;
    loop {
        let copy = fs.fork();
        copy.fail_at(copy.operations() + stop, Fault::Stop);
        let first = scrub(&copy);
        if first.is_ok() {
            break;
        }
        copy.crash(stop);
        if let Ok((_, replayed)) = open(&copy) {
            assert_eq!(sorted(replayed), expected, "stop at {stop}: opens with everything or not at all");
        }
        copy.kill();
        scrub(&copy).unwrap_or_else(|e| panic!("stop at {stop}: {e}"));
        let (_, replayed) = open(&copy).unwrap_or_else(|e| panic!("stop at {stop}: {e}"));
        assert_eq!(sorted(replayed), expected, "stop at {stop}");
        stop += 1;
    }
    assert!(stop > 20, "only {stop} operations");
}

#[test]
fn a_torn_tail_is_no_damage() {
    let fs = disk();
    let (log, _) = open(&fs).expect("open");
    for number in 5..9 {
        append(&log, number).expect("append");
        log.commit().expect("commit");
    }
    drop(log);
    fs.kill();
    let tail = fs.files().iter().find(|(path, _)| path == &segment::path(1)).expect("a segment").1 - 512;
    assert!(fs.flip_bit(&segment::path(1), tail + 70, 1));
    let report = scrub(&fs).expect("scrub");
    assert_eq!((report.damage.len(), report.records, report.synced_lost), (0, 3, false), "{report:?}");
    assert_eq!(open(&fs).expect("open").1, [5, 6, 7]);
}
