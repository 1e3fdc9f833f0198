//! Reading the log back.
//!
//! Invariant: what a later frame or segment header says was synced must be there whole; anything else in
//! it is damage. Behind the last such mark lie only writes of the last commit or so: read as far as they
//! are whole, then copied to a new file, because the pages they were read from may never have reached the
//! disk.
//!
//! One segment is in memory at a time. Its frames are checked by all workers; then every worker walks over
//! all of them and applies the records of its own range of tokens, so that records of one key stay in order.

use super::LogOptions;
use super::frame::{FRAME_HEADER_BYTES, Frame, LogRecordRef, Records, put_record};
use super::segment::{self, HEADER_BYTES, LogFile, SegmentHeader};
use crate::error::{EngineError, OpenError};
use crate::fs::{Fs, OpenMode};
use crate::parallel::Parallel;
use dunlin_types::{TableId, Token};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the operator can do about damage; part of every such error.
const REMEDY: &str = "with the node stopped, `nodetool scrub` sets the damaged segment aside and keeps every \
                      record that can be read; the node then has to take a new incarnation";

/// Files are read in pieces of this size.
const READ_BYTES: usize = 1 << 20;

/// A segment that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) base: u64,
    /// Position behind its last frame.
    pub(crate) end: u64,
    /// Of the file.
    pub(crate) length: u64,
}

/// What recovery found, besides the records.
#[derive(Default)]
pub(crate) struct Recovered {
    /// Oldest first.
    pub(crate) segments: Vec<Segment>,
    pub(crate) spares: Vec<u64>,
    /// Records of frames not known to be synced, as one payload, and how many they are.
    pub(crate) tail: Vec<u8>,
    pub(crate) tail_records: u32,
    /// Everything before this is known to be synced.
    pub(crate) synced: u64,
    /// No byte at or above this position was ever used.
    pub(crate) unused: u64,
    pub(crate) low: u64,
    pub(crate) records: u64,
}

/// What recovery works with.
pub(crate) struct Replay<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) options: &'a LogOptions,
    pub(crate) parallel: &'a dyn Parallel,
    /// Whether a table needs the record that ends at a position: if not, an SSTable holds it, or it was
    /// forgotten for good and must not come back.
    pub(crate) needed: &'a (dyn Fn(TableId, u64) -> bool + Sync),
    pub(crate) take: &'a (dyn Fn(&LogRecordRef<'_>) -> Result<(), EngineError> + Sync),
}

/// One segment, read.
struct Scan<'a> {
    header: SegmentHeader,
    frames: Vec<Frame>,
    /// Where the frames end: the first byte that is not part of a whole one.
    end: u64,
    /// As much of it as counts.
    file: &'a [u8],
    /// Length of the whole file.
    length: u64,
}

/// The files of the log's folder.
#[derive(Default)]
pub(super) struct Files {
    /// Segments by id, with their lengths.
    pub(super) segments: Vec<(u64, u64)>,
    pub(super) spares: Vec<(u64, u64)>,
    pub(super) temporary: Vec<String>,
}

impl Files {
    pub(super) fn list(fs: &dyn Fs) -> Result<Files, EngineError> {
        let mut files = Files::default();
        for entry in fs.list(segment::DIR).map_err(|e| EngineError::io("list the log", &e))? {
            match segment::parse_name(&entry.name) {
                Some(LogFile::Segment(id)) => files.segments.push((id, entry.bytes)),
                Some(LogFile::Spare(id)) => files.spares.push((id, entry.bytes)),
                Some(LogFile::Temporary) => files.temporary.push(format!("{}/{}", segment::DIR, entry.name)),
                None => {}
            }
        }
        Ok(files)
    }
}

/// Reads all segments in order and hands every record to `take`.
pub(crate) fn recover(replay: &Replay<'_>) -> Result<Recovered, OpenError> {
    let fs = replay.fs;
    let mut found = Recovered::default();
    let files = Files::list(fs)?;
    let remove = |path: &str| fs.remove(path).map_err(|e| EngineError::io(format!("remove {path}"), &e));
    files.temporary.iter().try_for_each(|path| remove(path))?;
    for &(id, bytes) in &files.spares {
        // A shorter one comes from times of other settings.
        if bytes >= replay.options.segment_bytes {
            found.spares.push(id);
        } else {
            remove(&segment::spare_path(id))?;
        }
    }
    let ids: Vec<u64> = files.segments.iter().map(|(id, _)| *id).collect();
    let Some((&first, &last)) = ids.first().zip(ids.last()) else { return Ok(found) };
    if let Some(missing) =
        (first..=last).zip(&ids).find_map(|(expected, &id)| (expected != id).then_some(expected))
    {
        return Err(damaged(segment::path(missing), 0, "log segment is missing"));
    }
    let total: u64 = files.segments.iter().map(|(_, bytes)| bytes).sum();
    let mut header = read_header(fs, first)?;
    let (first_base, mut done) = (header.0.base, 0);
    let mut file = Vec::new();
    for &(id, bytes) in &files.segments {
        let next = if id < last { Some(read_header(fs, id + 1)?) } else { None };
        let valid_end = next.map(|(next, _)| next.previous_end);
        // What stands behind the last frame that counts need not be read; in the last segment it must be.
        let needed = valid_end.map_or(bytes, |end| end.saturating_sub(header.0.base).min(bytes));
        read_segment(fs, id, needed, replay.parallel, &mut file)?;
        let scan = replay.scan(header, &file, bytes);
        check_end(&scan, valid_end, replay.options.checked)?;
        replay.apply(&scan, valid_end, &mut found)?;
        done += bytes;
        tracing::info!(
            segment = id,
            bytes = done,
            of = total,
            records = found.records,
            "replaying the commit log"
        );
        let Some(next) = next else { break };
        header = next;
    }
    if first_base > found.low {
        let what = format!(
            "log segments up to position {first_base} are missing, only those below {} may be",
            found.low
        );
        return Err(damaged(segment::DIR.to_owned(), 0, &what));
    }
    Ok(found)
}

fn damaged(path: String, offset: u64, what: &str) -> OpenError {
    EngineError::damaged(path, offset, format!("{what}; {REMEDY}")).into()
}

/// Reads a segment's header; also returns its checksum.
pub(super) fn read_header(fs: &dyn Fs, id: u64) -> Result<(SegmentHeader, u64), OpenError> {
    let path = segment::path(id);
    let mut bytes = [0; HEADER_BYTES];
    let got = fs.open(&path, OpenMode::Read).and_then(|file| file.read_at(0, &mut bytes));
    let got = got.map_err(|e| EngineError::io(format!("read {path}"), &e))?;
    SegmentHeader::decode(&bytes[..got], id).map_err(|e| match e {
        OpenError::Engine(EngineError::Damaged { file, offset, what }) => damaged(file, offset, &what),
        other => other,
    })
}

/// Reads the first `length` bytes of a segment into a vector that is used again and again. Cold files are read
/// faster by several at once.
pub(super) fn read_segment(
    fs: &dyn Fs,
    id: u64,
    length: u64,
    parallel: &dyn Parallel,
    file: &mut Vec<u8>,
) -> Result<(), EngineError> {
    let path = segment::path(id);
    let failed = |e: std::io::Error| EngineError::io(format!("read {path}"), &e);
    let opened = fs.open(&path, OpenMode::Read).map_err(failed)?;
    let length = usize::try_from(length).map_err(std::io::Error::other).map_err(failed)?;
    if file.capacity() < length {
        // Zeros that the system gives are cheaper than written ones.
        *file = vec![0; length];
    } else {
        file.resize(length, 0);
    }
    let (workers, failure) = (parallel.workers(), Mutex::new(None));
    let chunks: Vec<Mutex<&mut [u8]>> = file.chunks_mut(READ_BYTES).map(Mutex::new).collect();
    parallel.run(&|worker| {
        for (i, chunk) in chunks.iter().enumerate().skip(worker).step_by(workers) {
            let mut chunk = chunk.lock();
            let result = opened.read_at((i * READ_BYTES) as u64, &mut chunk).and_then(|got| {
                let short = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                if got < chunk.len() { Err(short()) } else { Ok(()) }
            });
            if let Err(e) = result {
                *failure.lock() = Some(e);
                break;
            }
        }
    });
    failure.into_inner().map_or(Ok(()), |e| Err(failed(e)))
}

/// Tells a torn tail from damage: nothing before a position that was once synced may be missing.
fn check_end(scan: &Scan<'_>, must_reach: Option<u64>, checked: bool) -> Result<(), OpenError> {
    let Scan { header, end, file, .. } = scan;
    let id = header.id;
    let synced = must_reach.unwrap_or_else(|| {
        // The last segment: marks may stand in whole frames behind the broken one.
        let from = (end - header.base) as usize;
        (from..file.len())
            .step_by(header.block_bytes as usize)
            .filter_map(|at| Frame::parse(file, at, id, header.base + at as u64))
            .filter(|frame| !checked || frame.is_whole(file))
            .map(|frame| frame.header.synced)
            .max()
            .unwrap_or_default()
    });
    if *end < synced {
        let what = format!("log frame, synced data up to position {synced} follows");
        return Err(damaged(segment::path(id), end - header.base, &what));
    }
    Ok(())
}

impl Replay<'_> {
    /// Finds the frames of a segment, up to the first that is not whole.
    fn scan<'a>(&self, (header, mut chain): (SegmentHeader, u64), file: &'a [u8], length: u64) -> Scan<'a> {
        let checked = self.options.checked;
        let mut frames: Vec<Frame> = Vec::new();
        let mut at = header.block_bytes;
        while let Some(frame) = Frame::parse(file, at as usize, header.id, header.base + at)
            && (!checked || frame.header.previous == chain)
        {
            at += frame.bytes(header.block_bytes);
            chain = frame.checksum;
            frames.push(frame);
        }
        if checked {
            let broken = AtomicUsize::new(frames.len());
            let workers = self.parallel.workers();
            self.parallel.run(&|worker| {
                for (i, frame) in frames.iter().enumerate().skip(worker).step_by(workers) {
                    if i >= broken.load(Ordering::Relaxed) {
                        break;
                    }
                    if !frame.is_whole(file) {
                        broken.fetch_min(i, Ordering::Relaxed);
                    }
                }
            });
            frames.truncate(broken.into_inner());
            at = frames.last().map_or(header.block_bytes, |f| f.at as u64 + f.bytes(header.block_bytes));
        }
        Scan { header, frames, end: header.base + at, file, length }
    }

    fn apply(&self, scan: &Scan<'_>, valid_end: Option<u64>, found: &mut Recovered) -> Result<(), OpenError> {
        let Scan { header, end, file, length, .. } = scan;
        let end = valid_end.map_or(*end, |valid| valid.min(*end));
        let count = scan.frames.partition_point(|frame| frame.header.position < end);
        let frames = &scan.frames[..count];
        self.apply_records(scan, frames)?;
        found.low = found.low.max(header.low);
        found.synced = header.base + header.block_bytes;
        for frame in frames {
            found.low = found.low.max(frame.header.low);
            found.synced = found.synced.max(frame.header.synced);
        }
        for frame in frames {
            found.records += u64::from(frame.header.records);
            if valid_end.is_none() && frame.header.position >= found.synced {
                // At its new place a record that is not needed would look as if it were.
                for record in Records::new(file, frame).map_while(Result::ok) {
                    if (self.needed)(record.table, record.position) {
                        put_record(&mut found.tail, record.table, record.token, record.key, record.record);
                        found.tail_records += 1;
                    }
                }
            }
        }
        found.segments.push(Segment { id: header.id, base: header.base, end, length: *length });
        found.unused = (header.base + length).max(end);
        Ok(())
    }

    /// Hands the records to `take`, each to the worker of its token.
    fn apply_records(&self, scan: &Scan<'_>, frames: &[Frame]) -> Result<(), EngineError> {
        let failed = AtomicBool::new(false);
        let failure: Mutex<Option<(u64, EngineError)>> = Mutex::new(None);
        let workers = self.parallel.workers();
        self.parallel.run(&|worker| {
            for frame in frames {
                if failed.load(Ordering::Relaxed) {
                    break;
                }
                if let Err(error) = self.apply_frame(scan, frame, worker, workers) {
                    failed.store(true, Ordering::Relaxed);
                    let mut failure = failure.lock();
                    let position = frame.header.position;
                    if failure.as_ref().is_none_or(|(first, _)| position < *first) {
                        *failure = Some((position, error));
                    }
                }
            }
        });
        failure.into_inner().map_or(Ok(()), |(_, error)| Err(error))
    }

    fn apply_frame(
        &self,
        scan: &Scan<'_>,
        frame: &Frame,
        worker: usize,
        workers: usize,
    ) -> Result<(), EngineError> {
        for record in Records::new(scan.file, frame) {
            match record {
                Ok(record) if worker_of(record.token, workers) != worker => {}
                Ok(record) if (self.needed)(record.table, record.position) => (self.take)(&record)?,
                Ok(_) => {}
                Err(_) if !self.options.checked => break,
                Err(e) => {
                    let offset = (frame.at + FRAME_HEADER_BYTES + e.offset) as u64;
                    return Err(EngineError::damaged(segment::path(scan.header.id), offset, e.what));
                }
            }
        }
        Ok(())
    }
}

/// Workers have contiguous ranges of tokens, as the memtable's shards have: they seldom meet.
fn worker_of(token: Token, workers: usize) -> usize {
    ((u128::from(token.0) * workers as u128) >> 64) as usize
}
