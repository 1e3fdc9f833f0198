//! Reading the log back.
//!
//! Invariant: what a later frame or segment header says was synced must be there whole; anything else in
//! it is damage. Behind the last such mark lie only writes of the last commit or so: read as far as they
//! are whole, then copied to a new file, because the pages they were read from may never have reached the
//! disk.

use super::frame::{self, FRAME_HEADER_BYTES, FrameHeader, LogRecord, SECTOR_BYTES};
use super::segment::{self, LogFile, SegmentHeader};
use crate::error::{EngineError, OpenError};
use crate::fs::{Fs, read_file};
use bytes::Bytes;
use dunlin_types::codec::Reader;
use std::ops::Range;

/// A segment that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) base: u64,
    /// Position behind its last frame.
    pub(crate) end: u64,
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

/// One segment, read.
struct Scan {
    header: SegmentHeader,
    frames: Vec<(FrameHeader, Range<usize>)>,
    /// Where the frames end: the first byte that is not part of a whole one.
    end: u64,
    file: Bytes,
}

/// Reads all segments in order and hands every record to `take`.
pub(crate) fn recover(
    fs: &dyn Fs,
    checked: bool,
    take: &mut dyn FnMut(LogRecord) -> Result<(), EngineError>,
) -> Result<Recovered, OpenError> {
    let mut found = Recovered::default();
    let mut ids = Vec::new();
    for entry in fs.list(segment::DIR).map_err(|e| EngineError::io("list the log", &e))? {
        match segment::parse_name(&entry.name) {
            Some(LogFile::Segment(id)) => ids.push(id),
            Some(LogFile::Spare(id)) => found.spares.push(id),
            Some(LogFile::Temporary) => {
                let path = format!("{}/{}", segment::DIR, entry.name);
                fs.remove(&path).map_err(|e| EngineError::io(format!("remove {path}"), &e))?;
            }
            None => {}
        }
    }
    let Some((&first, &last)) = ids.first().zip(ids.last()) else { return Ok(found) };
    if let Some(missing) =
        (first..=last).zip(&ids).find_map(|(expected, &id)| (expected != id).then_some(expected))
    {
        return Err(EngineError::damaged(segment::path(missing), 0, "log segment is missing").into());
    }
    let mut scan = read(fs, first, checked)?;
    let first_base = scan.header.base;
    for id in first..=last {
        let next = if id < last { Some(read(fs, id + 1, checked)?) } else { None };
        check_end(&scan, next.as_ref().map(|n| n.header.previous_end), checked)?;
        replay(&scan, next.as_ref().map(|n| n.header.previous_end), &mut found, checked, take)?;
        let Some(next) = next else { break };
        scan = next;
    }
    if first_base > found.low {
        let what = format!(
            "log segments up to position {first_base} are missing, only those below {} may be",
            found.low
        );
        return Err(EngineError::damaged(segment::DIR, 0, what).into());
    }
    Ok(found)
}

fn read(fs: &dyn Fs, id: u64, checked: bool) -> Result<Scan, OpenError> {
    let path = segment::path(id);
    let file = Bytes::from(read_file(fs, &path).map_err(|e| EngineError::io(format!("read {path}"), &e))?);
    let header = SegmentHeader::decode(&file, id)?;
    let mut frames = Vec::new();
    let mut at = SECTOR_BYTES;
    while let Some((frame, payload)) = frame::parse(&file, at as usize, id, header.base + at, checked) {
        at += frame::frame_bytes(payload.len());
        frames.push((frame, payload));
    }
    Ok(Scan { header, frames, end: header.base + at, file })
}

/// Tells a torn tail from damage: nothing before a position that was once synced may be missing.
fn check_end(scan: &Scan, must_reach: Option<u64>, checked: bool) -> Result<(), OpenError> {
    let Scan { header, end, file, .. } = scan;
    let id = header.id;
    let synced = must_reach.unwrap_or_else(|| {
        // The last segment: marks may stand in whole frames behind the broken one.
        let from = (end - header.base) as usize;
        (from..file.len())
            .step_by(SECTOR_BYTES as usize)
            .filter_map(|at| frame::parse(file, at, id, header.base + at as u64, checked))
            .map(|(frame, _)| frame.synced)
            .max()
            .unwrap_or_default()
    });
    if *end < synced {
        let what = format!("log frame, synced data up to position {synced} follows");
        return Err(EngineError::damaged(segment::path(id), end - header.base, what).into());
    }
    Ok(())
}

fn replay(
    scan: &Scan,
    valid_end: Option<u64>,
    found: &mut Recovered,
    checked: bool,
    take: &mut dyn FnMut(LogRecord) -> Result<(), EngineError>,
) -> Result<(), OpenError> {
    let Scan { header, frames, end, file } = scan;
    found.low = found.low.max(header.low);
    found.synced = header.base + SECTOR_BYTES;
    let end = valid_end.map_or(*end, |valid| valid.min(*end));
    let frames: Vec<_> = frames.iter().take_while(|(frame, _)| frame.position < end).collect();
    for (frame, _) in &frames {
        found.low = found.low.max(frame.low);
        found.synced = found.synced.max(frame.synced);
    }
    for (frame, payload) in frames {
        let bytes = file.slice(payload.clone());
        let mut reader = Reader::new(&bytes);
        for _ in 0..frame.records {
            match frame::read_record(&mut reader, frame.position) {
                Ok(record) => take(record)?,
                Err(_) if !checked => break,
                Err(e) => {
                    let offset = frame.position - header.base + (FRAME_HEADER_BYTES + e.offset) as u64;
                    return Err(EngineError::damaged(segment::path(header.id), offset, e.what).into());
                }
            }
        }
        found.records += u64::from(frame.records);
        if valid_end.is_none() && frame.position >= found.synced {
            found.tail.extend_from_slice(&bytes);
            found.tail_records += frame.records;
        }
    }
    found.segments.push(Segment { id: header.id, base: header.base, end });
    found.unused = (header.base + file.len() as u64).max(end).next_multiple_of(SECTOR_BYTES);
    Ok(())
}
