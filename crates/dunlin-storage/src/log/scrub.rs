//! Saving what can be read of a damaged log, while no engine has it open.
//!
//! The readable records are written to new segments behind the old ones; then the damaged files are moved
//! to a folder of their own and the sound ones removed. Until the last step the old files stay as they are:
//! a scrub that is cut short can be run again, and records that are then there twice merge into one.

use super::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, LogRecordRef, Records, put_record, seal};
use super::recovery::{Files, read_header, read_segment};
use super::segment::{self, SegmentHeader};
use super::{BLOCK_BYTES_MIN, LogOptions};
use crate::engine::LOCK;
use crate::error::{EngineError, OpenError};
use crate::fs::{AlignedBuffer, Fs, create_dirs};
use crate::manifest;
use crate::options::EngineOptions;
use crate::parallel::Sequential;
use dunlin_types::TableId;
use std::collections::BTreeMap;
use std::io;

/// Where damaged segments are kept.
const DAMAGED_DIR: &str = "commitlog/damaged";

/// Part of the log that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LogDamage {
    /// Path below the data directory, as it was before the scrub.
    pub file: String,
    /// Where the part starts.
    pub offset: u64,
    /// Its length; unknown where a whole file is missing.
    pub bytes: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What [`scrub_log`] found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LogScrub {
    /// Segments that were looked at.
    pub segments: u64,
    /// Records that can be read; after damage, those that were kept.
    pub records: u64,
    /// Parts that were dropped. Empty: the log is sound and nothing was changed.
    pub damage: Vec<LogDamage>,
    /// Where the damaged files are now.
    pub set_aside: Vec<String>,
    /// Synced writes that are in no SSTable may be lost: the node must take a new incarnation before it answers.
    pub synced_lost: bool,
}

/// What was found in one segment.
struct Found {
    id: u64,
    base: Option<u64>,
    frames: Vec<Frame>,
    /// Behind the last frame.
    end: u64,
    length: u64,
}

/// Looks through the log of a data directory that no engine has open. If it is damaged, keeps every record that
/// can be read and sets the damaged files aside under `commitlog/damaged`. Frames of a torn tail, which nobody
/// was told are safe, are no damage. All changes are durable when this returns; after an error or a crash, run
/// it again.
pub fn scrub_log(fs: &dyn Fs, options: &EngineOptions) -> Result<LogScrub, OpenError> {
    let _lock = fs.lock(LOCK).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(format!("{LOCK} is held")),
        _ => EngineError::io(format!("lock {LOCK}"), &e).into(),
    })?;
    let files = Files::list(fs)?;
    let mut scrub = Scrub::new(fs, LogOptions::of(options).rounded());
    for (table, options) in manifest::read_catalog(fs, "")?.unwrap_or_default() {
        let manifest = manifest::read_manifest(fs, &options.dir, table)?;
        scrub.flushed.insert(table, manifest.flushed.0);
    }
    if let Some((&(first, _), &(last, _))) = files.segments.first().zip(files.segments.last()) {
        for id in first..=last {
            let length = files.segments.iter().find_map(|&(present, bytes)| (present == id).then_some(bytes));
            scrub.look_at(id, length, id == last)?;
        }
        scrub.check_start();
    } else if fs.open(manifest::CATALOG, crate::fs::OpenMode::Read).is_ok() {
        scrub.damage(segment::DIR.to_owned(), 0, None, "the log is missing", u64::MAX);
    }
    if !scrub.report.damage.is_empty() {
        scrub.rewrite(&files)?;
    }
    Ok(scrub.report)
}

struct Scrub<'a> {
    fs: &'a dyn Fs,
    options: LogOptions,
    report: LogScrub,
    /// Segments with what counts of them.
    sound: Vec<Found>,
    damaged: Vec<u64>,
    low: u64,
    /// Positions at which damaged parts end.
    lost_to: u64,
    /// Up to where the records of a table are in SSTables, or were forgotten for good.
    flushed: BTreeMap<TableId, u64>,
    file: Vec<u8>,
}

impl<'a> Scrub<'a> {
    fn new(fs: &'a dyn Fs, options: LogOptions) -> Scrub<'a> {
        Scrub {
            fs,
            options,
            report: LogScrub::default(),
            sound: Vec::new(),
            damaged: Vec::new(),
            low: 0,
            lost_to: 0,
            flushed: BTreeMap::new(),
            file: Vec::new(),
        }
    }

    fn damage(&mut self, file: String, offset: u64, bytes: Option<u64>, what: &str, end: u64) {
        tracing::warn!(%file, offset, what, "damage in the commit log");
        self.lost_to = self.lost_to.max(end);
        self.report.damage.push(LogDamage { file, offset, bytes, what: what.to_owned() });
    }

    /// Reads a segment and says what is wrong with it.
    fn look_at(&mut self, id: u64, length: Option<u64>, last: bool) -> Result<(), OpenError> {
        let path = segment::path(id);
        let Some(length) = length else {
            self.damage(path, 0, None, "the segment is missing", u64::MAX);
            return Ok(());
        };
        self.report.segments += 1;
        let damage_before = self.report.damage.len();
        read_segment(self.fs, id, length, &Sequential, &mut self.file)?;
        let header = match SegmentHeader::decode(&self.file, id) {
            Ok((header, _)) => Some(header),
            Err(OpenError::Engine(e)) => {
                // Without it nobody knows what else should be there.
                self.damage(path.clone(), 0, Some(BLOCK_BYTES_MIN), &e.to_string(), u64::MAX);
                None
            }
            Err(e) => return Err(e),
        };
        let (mut found, gaps) = look_for_frames(&self.file, id, header.as_ref());
        let marked = found.frames.iter().map(|f| f.header.synced).max().unwrap_or_default();
        // What follows a gap counts if the gap was synced once, and then the gap is damage.
        let must_reach =
            if last { None } else { read_header(self.fs, id + 1).ok().map(|(h, _)| h.previous_end) };
        let synced = must_reach.unwrap_or(marked);
        let base = found.base.unwrap_or_default();
        let mut valid_end = must_reach.unwrap_or(u64::MAX);
        for (from, to) in gaps {
            if base + from >= synced {
                valid_end = valid_end.min(base + from);
                break;
            }
            self.damage(path.clone(), from, Some(to - from), "frames that are not whole", base + to);
        }
        found.frames.retain(|frame| frame.header.position < valid_end);
        if let Some(frame) = found.frames.last() {
            found.end =
                frame.header.position + frame.bytes(header.map_or(BLOCK_BYTES_MIN, |h| h.block_bytes));
        }
        let low = found.frames.iter().map(|f| f.header.low).max().unwrap_or_default();
        self.low = self.low.max(low).max(header.map_or(0, |h| h.low));
        self.report.records += found.frames.iter().map(|f| u64::from(f.header.records)).sum::<u64>();
        if self.report.damage.len() > damage_before {
            self.damaged.push(id);
        }
        self.sound.push(found);
        Ok(())
    }

    /// The first segment must not start behind what is in SSTables.
    fn check_start(&mut self) {
        if let Some(base) = self.sound.first().and_then(|found| found.base)
            && base > self.low
        {
            let what = format!("segments from position {} to {base} are missing", self.low);
            self.damage(segment::DIR.to_owned(), 0, None, &what, u64::MAX);
        }
    }

    fn rewrite(&mut self, files: &Files) -> Result<(), OpenError> {
        self.report.synced_lost = self.lost_to > self.low;
        let fs = self.fs;
        let failed = |what: String| move |e: io::Error| EngineError::io(what, &e);
        let unused = self.sound.iter().filter_map(|f| Some(f.base? + f.length)).max().unwrap_or_default();
        // A write at or before such a position would not be replayed.
        let unused = self.flushed.values().copied().max().unwrap_or_default().max(unused);
        let low = unused.next_multiple_of(self.options.block_bytes);
        let mut new = NewLog {
            fs,
            options: self.options,
            id: files.segments.last().map_or(1, |(id, _)| id + 1),
            base: low,
            low,
            previous_end: self.sound.last().map_or(0, |found| found.end),
            payload: Vec::new(),
            records: 0,
            created: 0,
        };
        let mut file = std::mem::take(&mut self.file);
        for found in &self.sound {
            read_segment(fs, found.id, found.length, &Sequential, &mut file)?;
            for frame in &found.frames {
                // At its new place a record that is not needed would look as if it were.
                let needed =
                    |r: &LogRecordRef<'_>| self.flushed.get(&r.table).is_none_or(|f| r.position > *f);
                let (mut payload, mut records) = (Vec::with_capacity(frame.payload.len()), 0);
                for record in Records::new(&file, frame).map_while(Result::ok).filter(needed) {
                    put_record(&mut payload, record.table, record.token, record.key, record.record);
                    records += 1;
                }
                new.push(&payload, records)?;
            }
        }
        new.finish()?;
        // From here on the new segments hold everything. Oldest first: what is left is always a log.
        create_dirs(fs, DAMAGED_DIR).map_err(failed(format!("create {DAMAGED_DIR}")))?;
        for &(id, _) in &files.segments {
            let path = segment::path(id);
            if self.damaged.contains(&id) {
                let aside = format!("{DAMAGED_DIR}/{id:016x}.log");
                fs.rename(&path, &aside).map_err(failed(format!("move {path}")))?;
                // A crash may have left both names to the file: then the rename did nothing.
                match fs.remove(&path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    other => other.map_err(failed(format!("remove {path}")))?,
                }
                self.report.set_aside.push(aside);
                fs.sync_dir(DAMAGED_DIR).map_err(failed(format!("sync {DAMAGED_DIR}")))?;
            } else {
                fs.remove(&path).map_err(failed(format!("remove {path}")))?;
            }
            fs.sync_dir(segment::DIR).map_err(failed(format!("sync {}", segment::DIR)))?;
        }
        Ok(())
    }
}

/// Finds all whole frames, and the gaps between them (offsets in the file).
fn look_for_frames(file: &[u8], id: u64, header: Option<&SegmentHeader>) -> (Found, Vec<(u64, u64)>) {
    // Without a header every possible place is looked at, and the first frame tells the base.
    let block_bytes = header.map_or(BLOCK_BYTES_MIN, |h| h.block_bytes);
    let mut base = header.map(|h| h.base);
    let mut chain = crate::checksum::u64_at(file, 0).filter(|_| header.is_some());
    let (mut frames, mut gaps) = (Vec::new(), Vec::new());
    let (mut at, mut whole_to) = (block_bytes, block_bytes);
    while at < file.len() as u64 {
        let found = Frame::parse_anywhere(file, at as usize, id)
            .filter(|frame| base.is_none_or(|base| frame.header.position == base + at))
            .filter(|frame| frame.is_whole(file));
        let Some(frame) = found else {
            at += block_bytes;
            continue;
        };
        // The chain tells, not the distance: without a header the padding of frames is unknown.
        if chain.is_some_and(|chain| chain != frame.header.previous) {
            gaps.push((whole_to, at));
        }
        base.get_or_insert(frame.header.position - at);
        chain = Some(frame.checksum);
        at += frame.bytes(block_bytes);
        whole_to = at;
        frames.push(frame);
    }
    // What follows the last frame is a gap if something says that it was synced.
    gaps.push((whole_to, file.len() as u64));
    let end = base.unwrap_or_default() + block_bytes;
    let length = file.len() as u64;
    (Found { id, base, frames, end, length }, gaps)
}

/// The segments that take the place of the old ones.
struct NewLog<'a> {
    fs: &'a dyn Fs,
    options: LogOptions,
    id: u64,
    base: u64,
    low: u64,
    previous_end: u64,
    payload: Vec<u8>,
    records: u32,
    created: u64,
}

impl NewLog<'_> {
    fn push(&mut self, payload: &[u8], records: u32) -> Result<(), EngineError> {
        if self.records > 0 && (self.payload.len() + payload.len()) as u64 > self.options.segment_bytes {
            self.create()?;
        }
        self.payload.extend_from_slice(payload);
        self.records += records;
        Ok(())
    }

    /// One segment of one frame.
    fn create(&mut self) -> Result<(), EngineError> {
        let block_bytes = self.options.block_bytes;
        let (id, base, low) = (self.id, self.base, self.low);
        let mut blocks = AlignedBuffer::new();
        let header = SegmentHeader { id, base, previous_end: self.previous_end, low, block_bytes };
        let previous = header.encode(&mut blocks);
        let start = blocks.len();
        blocks.resize(start + FRAME_HEADER_BYTES);
        blocks.extend_from_slice(&self.payload);
        blocks.resize(blocks.len().next_multiple_of(block_bytes as usize));
        let position = base + block_bytes;
        let frame =
            FrameHeader { segment: id, position, previous, synced: position, low, records: self.records };
        seal(&mut blocks[start..], self.payload.len(), &frame);
        segment::create(self.fs, &header, &blocks, None)?;
        self.payload.clear();
        self.records = 0;
        self.id += 1;
        self.base += blocks.len() as u64;
        self.previous_end = self.base;
        self.created += 1;
        Ok(())
    }

    /// There is at least one segment, were it empty: a log that is missing is damage.
    fn finish(&mut self) -> Result<(), EngineError> {
        if self.records > 0 || self.created == 0 { self.create() } else { Ok(()) }
    }
}
