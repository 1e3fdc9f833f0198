//! Segments that nobody needs any more, and files for new ones.

use super::recovery::Segment;
use super::segment::{self, SegmentFile};
use super::statistics::Counters;
use super::writer::Reach;
use super::{Log, LogOptions};
use crate::LogPosition;
use crate::error::EngineError;
use crate::fs::{AlignedBuffer, Fs, OpenMode};
use std::io;

/// Most that one step writes of a file being prepared: a commit that comes meanwhile waits for it.
const STEP_BYTES_MAX: u64 = 256 << 10;
/// Ids of prepared files start here, so that they are never those of segments.
const PREPARED: u64 = 1 << 63;

/// State of the housekeeping; whoever works on it holds it, the log goes on.
#[derive(Default)]
pub(super) struct Housekeeping {
    preparing: Option<Preparing>,
    /// Number of the last prepared file.
    last: u64,
}

/// A file that is being written with zeros.
struct Preparing {
    id: u64,
    file: SegmentFile,
    zeros: AlignedBuffer,
}

impl Housekeeping {
    pub(super) fn new(spares: &[u64]) -> Housekeeping {
        let last = spares.iter().filter(|&&id| id >= PREPARED).max().map_or(0, |id| id - PREPARED);
        Housekeeping { preparing: None, last }
    }
}

impl Log {
    /// Everything before `low` is in SSTables: segments below it are kept as spares or removed. Returns
    /// whether any was.
    pub(crate) fn release(&self, low: LogPosition) -> Result<bool, EngineError> {
        let _keeping = self.housekeeping.lock();
        let free: Vec<Segment> = {
            let mut writer = self.writer.lock();
            let writer = &mut *writer;
            let closed = writer.segments.len() - 1;
            let free: Vec<_> =
                writer.segments.iter().take(closed).take_while(|s| s.end <= low.0).copied().collect();
            if free.is_empty() {
                return Ok(false);
            }
            // A synced frame must say that the segments may be missing before they are. Nothing stands between
            // a segment and the next, which begins further behind it after a restart.
            let kept = writer.segments.get(free.len()).map_or(0, |s| s.base);
            writer.low = writer.low.max(low.0).max(kept);
            self.write_buffer(writer, true, Reach::Durable)?;
            free
        };
        for segment in free {
            // Without the writer's lock: commits go on.
            let spares = self.counters.snapshot().spares;
            let kept =
                segment.length >= self.options.segment_bytes && spares < self.options.spares_max as u64;
            discard(&*self.fs, segment.id, kept).map_err(|e| {
                EngineError::io(format!("release log segment {}", segment::path(segment.id)), &e)
            })?;
            let mut writer = self.writer.lock();
            writer.segments.pop_front();
            if kept {
                writer.spares.push(segment.id);
            }
            self.count_segments(&writer);
        }
        Ok(true)
    }

    /// Goes on with writing a file for the next segment, by about so many bytes, if one will be needed: syncing
    /// into space that was written before takes half the time. Returns whether there was something to do. After
    /// an error (a full disk, say) the file is given up; a later call starts again.
    pub(crate) fn prepare_spare(&self, step_bytes: u64) -> Result<bool, EngineError> {
        let mut keeping = self.housekeeping.lock();
        if keeping.preparing.is_none() && !self.wants_spare() {
            return Ok(false);
        }
        let result = self.prepare_step(&mut keeping, step_bytes);
        if result.is_err()
            && let Some(preparing) = keeping.preparing.take()
        {
            // If it stays, the next start removes it.
            let _ = self.fs.remove(&segment::temporary_path(preparing.id));
        }
        result.map_err(|e| EngineError::io("prepare a log segment", &e))?;
        Ok(true)
    }

    /// One is enough, and only where writers wait for syncs.
    pub(super) fn wants_spare(&self) -> bool {
        let writer = self.writer.lock();
        let used = writer.segments.back().map_or(0, |s| s.end - s.base);
        writer.spares.is_empty()
            && self.options.spares_max > 0
            && used >= self.options.segment_bytes / 4
            && writer.frames_synced > writer.frames_buffered
    }

    fn prepare_step(&self, keeping: &mut Housekeeping, step_bytes: u64) -> io::Result<()> {
        let options: &LogOptions = &self.options;
        let preparing = match &mut keeping.preparing {
            Some(preparing) => preparing,
            none => {
                keeping.last += 1;
                let id = PREPARED | keeping.last;
                let path = segment::temporary_path(id);
                let file = SegmentFile::open(&*self.fs, &path, OpenMode::Truncate, options.block_bytes)?;
                let mut zeros = AlignedBuffer::new();
                zeros.resize(STEP_BYTES_MAX.min(step_bytes).next_multiple_of(options.block_bytes) as usize);
                none.insert(Preparing { id, file, zeros })
            }
        };
        let file = &mut preparing.file;
        let step = (options.file_bytes() - file.length).min(preparing.zeros.len() as u64);
        file.fill(file.length, &preparing.zeros[..step as usize])?;
        Counters::add(&self.counters.bytes_written, step);
        if file.length < options.file_bytes() {
            return Ok(());
        }
        // Not in the order of anything: if the name is lost, so is the spare.
        file.sync()?;
        self.fs.rename(&segment::temporary_path(preparing.id), &segment::spare_path(preparing.id))?;
        let mut writer = self.writer.lock();
        writer.spares.push(preparing.id);
        self.count_segments(&writer);
        keeping.preparing = None;
        Ok(())
    }
}

/// Renames a segment to a spare, or removes it. A segment that an earlier attempt renamed already is fine.
fn discard(fs: &dyn Fs, id: u64, kept: bool) -> io::Result<()> {
    let path = segment::path(id);
    let result = if kept { fs.rename(&path, &segment::spare_path(id)) } else { fs.remove(&path) };
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    // In order: a gap between segments is damage. And a spare must not be found under its old name.
    fs.sync_dir(segment::DIR)
}
