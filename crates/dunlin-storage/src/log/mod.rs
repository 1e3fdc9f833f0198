//! The commit log: group commit with two buffers, segments, the mark that tells torn from damaged.
//!
//! Appends go to a buffer under a short lock. One writer at a time swaps the buffer for an empty one and
//! puts it into the file as one [`frame`]; a commit then syncs. Positions are bytes: each frame has its
//! place before it is written, so an append knows at once how far the log must be synced for it.
//!
//! After a failed write or sync the log is closed, under the lock that appends take, and stays closed: the
//! system may have dropped the dirty pages, and a second sync would lie (Rebello et al. 2020).

pub(crate) mod frame;
pub(crate) mod recovery;
pub(crate) mod segment;

use crate::LogPosition;
use crate::error::{EngineError, OpenError};
use crate::fs::{File, Fs};
use dunlin_types::{TableId, Token};
use frame::{FRAME_HEADER_BYTES, FrameHeader, LogRecord, SECTOR_BYTES};
use parking_lot::{Mutex, MutexGuard};
use recovery::Segment;
use segment::SegmentHeader;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A buffer this full is written out by whoever filled it, if nobody writes already.
const WRITE_OUT_BYTES: usize = 256 << 10;
/// A buffer this full makes its writers wait for the file.
const BUFFER_BYTES_MAX: usize = 16 << 20;
/// Longest record; twice that and a key fit into a frame.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// Sizes and switches of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogOptions {
    pub(crate) segment_bytes: u64,
    pub(crate) spares_max: usize,
    /// False only for the planted bug that ignores checksums in recovery.
    pub(crate) checked: bool,
}

pub(crate) struct Log {
    fs: Arc<dyn Fs>,
    options: LogOptions,
    /// Locked before `appender`.
    writer: Mutex<Writer>,
    appender: Mutex<Appender>,
    durable: AtomicU64,
    written: AtomicU64,
}

/// The frame being filled.
struct Appender {
    /// Starts with room for the header.
    buffer: Vec<u8>,
    records: u32,
    /// Position of the buffer's first byte.
    start: u64,
    /// Base of the segment that the frame will go to.
    base: u64,
    closed: Option<Arc<str>>,
}

/// The file being written.
struct Writer {
    file: Arc<dyn File>,
    /// Oldest first; the last one is being written.
    segments: VecDeque<Segment>,
    spares: Vec<u64>,
    /// Kept for the next swap.
    buffer: Vec<u8>,
    unsynced: bool,
    /// The highest position that a frame on disk says was synced.
    marked: u64,
    /// End of the last frame with records.
    records_end: u64,
    low: u64,
    statistics: LogStatistics,
}

/// An append that went well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Appended {
    pub(crate) position: LogPosition,
    /// Bytes that wait in the buffer: pass them to [`Log::relieve`].
    pub(crate) buffered: usize,
}

/// Counters of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogStatistics {
    /// Segment files.
    pub segments: u64,
    /// Bytes of frames in them.
    pub bytes: u64,
    /// Syncs of the file.
    pub syncs: u64,
    /// Frames written since the start.
    pub frames: u64,
    /// Bytes written since the start, headers and padding included.
    pub bytes_written: u64,
    /// Records replayed at the start.
    pub records_recovered: u64,
    /// Segments made from spare files.
    pub segments_reused: u64,
}

impl Log {
    /// Recovers the log, handing every record to `take`, and opens a new segment. Everything that was
    /// recovered is durable when this returns. `expected`: an empty log is an error.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        options: LogOptions,
        expected: bool,
        take: &mut dyn FnMut(LogRecord) -> Result<(), EngineError>,
    ) -> Result<Log, OpenError> {
        let mut found = recovery::recover(&*fs, options.checked, take)?;
        if expected && found.segments.is_empty() {
            return Err(EngineError::damaged(segment::DIR, 0, "the log is missing").into());
        }
        let id = found.segments.last().map_or(1, |s| s.id + 1);
        let base = found.unused;
        let header = SegmentHeader { id, base, previous_end: found.synced, low: found.low };
        let mut end = base + SECTOR_BYTES;
        let mut tail = Vec::new();
        if found.tail_records > 0 {
            tail.resize(FRAME_HEADER_BYTES, 0);
            tail.append(&mut found.tail);
            let frame = FrameHeader {
                segment: id,
                position: end,
                synced: end,
                low: found.low,
                records: found.tail_records,
            };
            frame::seal(&mut tail, &frame);
            end += tail.len() as u64;
        }
        let file = segment::create(&*fs, &header, &tail, found.spares.pop())?;
        let mut segments = VecDeque::from(found.segments);
        segments.push_back(Segment { id, base, end });
        let statistics = LogStatistics { records_recovered: found.records, ..LogStatistics::default() };
        Ok(Log {
            fs,
            options,
            writer: Mutex::new(Writer {
                file,
                segments,
                spares: found.spares,
                buffer: Vec::new(),
                unsynced: false,
                marked: base + SECTOR_BYTES,
                records_end: end,
                low: found.low,
                statistics,
            }),
            appender: Mutex::new(Appender {
                buffer: vec![0; FRAME_HEADER_BYTES],
                records: 0,
                start: end,
                base,
                closed: None,
            }),
            durable: AtomicU64::new(end),
            written: AtomicU64::new(end),
        })
    }

    /// Puts a record into the buffer. It is durable once [`Log::durable`] reaches the position returned.
    pub(crate) fn append(
        &self,
        table: TableId,
        token: Token,
        key: &[u8],
        record: &[u8],
    ) -> Result<Appended, EngineError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(EngineError::RecordTooLong { bytes: record.len() as u64 });
        }
        let mut appender = self.appender.lock();
        appender.check()?;
        if appender.buffer.len() > RECORD_BYTES_MAX {
            return Err(EngineError::Overloaded { bytes: appender.buffer.len() as u64 });
        }
        frame::put_record(&mut appender.buffer, table, token, key, record);
        appender.records += 1;
        Ok(Appended { position: LogPosition(appender.end()), buffered: appender.buffer.len() })
    }

    /// Where the next append will at least end.
    pub(crate) fn end(&self) -> LogPosition {
        LogPosition(self.appender.lock().end())
    }

    pub(crate) fn durable(&self) -> LogPosition {
        LogPosition(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn written(&self) -> LogPosition {
        LogPosition(self.written.load(Ordering::Acquire))
    }

    /// Why the log is closed, if it is.
    pub(crate) fn failure(&self) -> Option<String> {
        self.appender.lock().closed.as_ref().map(|reason| reason.to_string())
    }

    /// Called after an append, with no lock held: writes the buffer out if it has grown long.
    pub(crate) fn relieve(&self, buffered: usize) -> Result<(), EngineError> {
        if buffered >= BUFFER_BYTES_MAX {
            self.write_out()?;
        } else if buffered >= WRITE_OUT_BYTES
            && let Some(mut writer) = self.writer.try_lock()
        {
            self.write_buffer(&mut writer, false)?;
        }
        Ok(())
    }

    /// Writes what was appended before the call, without a sync.
    pub(crate) fn write_out(&self) -> Result<LogPosition, EngineError> {
        let mut writer = self.writer.lock();
        self.write_buffer(&mut writer, false)?;
        Ok(self.written())
    }

    /// Writes and syncs what was appended before the call. Callers that wait for one another share a sync.
    pub(crate) fn commit(&self) -> Result<LogPosition, EngineError> {
        let wanted = {
            let appender = self.appender.lock();
            appender.check()?;
            if appender.records > 0 { appender.end() } else { appender.start }
        };
        let mut writer = self.writer.lock();
        if self.durable().0 < wanted {
            self.write_buffer(&mut writer, false)?;
            self.sync(&mut writer)?;
        }
        Ok(self.durable())
    }

    /// Writes the synced position down if no frame says it yet, so that damage of the last commits can be
    /// told from a torn tail. Returns whether there was need.
    pub(crate) fn mark(&self) -> Result<bool, EngineError> {
        let mut writer = self.writer.lock();
        let needed = writer.marked < writer.records_end && writer.records_end <= self.durable().0;
        if needed {
            self.write_buffer(&mut writer, true)?;
        }
        Ok(needed)
    }

    /// Position where the oldest kept segment ends, if it is closed: what must be flushed to free it.
    pub(crate) fn oldest_end(&self) -> Option<LogPosition> {
        let writer = self.writer.lock();
        let closed = writer.segments.len() > 1;
        writer.segments.front().filter(|_| closed).map(|s| LogPosition(s.end))
    }

    /// Everything before `low` is in SSTables: segments below it are kept as spares or removed. Returns
    /// whether any was.
    pub(crate) fn release(&self, low: LogPosition) -> Result<bool, EngineError> {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let closed = writer.segments.len() - 1;
        let free = writer.segments.iter().take(closed).take_while(|s| s.end <= low.0).count();
        if free == 0 {
            return Ok(false);
        }
        // A synced frame must say that the segments may be missing before they are.
        writer.low = writer.low.max(low.0);
        self.write_buffer(writer, true)?;
        self.sync(writer)?;
        for _ in 0..free {
            let Some(oldest) = writer.segments.front().copied() else { break };
            self.discard(writer, oldest)?;
            writer.segments.pop_front();
        }
        Ok(true)
    }

    pub(crate) fn statistics(&self) -> LogStatistics {
        let writer = self.writer.lock();
        LogStatistics {
            segments: writer.segments.len() as u64,
            bytes: writer.segments.iter().map(|s| s.end - s.base).sum(),
            ..writer.statistics
        }
    }

    /// Takes no more appends: what the log relies on has failed.
    pub(crate) fn shut(&self, reason: String) {
        self.close(reason);
    }

    fn discard(&self, writer: &mut Writer, oldest: Segment) -> Result<(), EngineError> {
        let path = segment::path(oldest.id);
        let reuse = writer.spares.len() < self.options.spares_max
            && oldest.end - oldest.base >= self.options.segment_bytes;
        let attempt = || {
            if reuse {
                self.fs.rename(&path, &segment::spare_path(oldest.id))?;
            } else {
                self.fs.remove(&path)?;
            }
            // In order: a gap between segments is damage. And a spare must not be found under its old name.
            self.fs.sync_dir(segment::DIR)
        };
        attempt().map_err(|e| EngineError::io(format!("release log segment {path}"), &e))?;
        if reuse {
            writer.spares.push(oldest.id);
        }
        Ok(())
    }

    /// Writes the buffer as a frame; with `always`, even without records.
    fn write_buffer(&self, writer: &mut Writer, always: bool) -> Result<(), EngineError> {
        let (start, records) = {
            let mut appender = self.appender.lock();
            appender.check()?;
            if appender.records == 0 && !always {
                return Ok(());
            }
            let (start, records) = (appender.start, appender.records);
            std::mem::swap(&mut appender.buffer, &mut writer.buffer);
            appender.buffer.clear();
            appender.buffer.resize(FRAME_HEADER_BYTES, 0);
            appender.records = 0;
            appender.start = start + frame::frame_bytes(writer.buffer.len() - FRAME_HEADER_BYTES);
            if appender.start - appender.base >= self.options.segment_bytes {
                appender.base = appender.start;
                appender.start += SECTOR_BYTES;
            }
            (start, records)
        };
        let current = writer.segments.back().map_or(0, |s| s.end);
        if start != current {
            self.roll(writer, current)?;
        }
        let Some(segment) = writer.segments.back_mut() else { return Ok(()) };
        let synced = self.durable().0;
        let header = FrameHeader { segment: segment.id, position: start, synced, low: writer.low, records };
        frame::seal(&mut writer.buffer, &header);
        if let Err(e) = writer.file.write_at(start - segment.base, &writer.buffer) {
            return Err(self.close(format!("writing {} failed: {e}", segment::path(segment.id))));
        }
        segment.end = start + writer.buffer.len() as u64;
        writer.unsynced = true;
        writer.marked = synced;
        if records > 0 {
            writer.records_end = segment.end;
        }
        writer.statistics.frames += 1;
        writer.statistics.bytes_written += writer.buffer.len() as u64;
        self.written.store(segment.end, Ordering::Release);
        if writer.buffer.capacity() > 2 * BUFFER_BYTES_MAX {
            writer.buffer = Vec::new();
        }
        Ok(())
    }

    /// Syncs the full segment and starts the next one behind it.
    fn roll(&self, writer: &mut Writer, base: u64) -> Result<(), EngineError> {
        self.sync(writer)?;
        let id = writer.segments.back().map_or(1, |s| s.id + 1);
        let header = SegmentHeader { id, base, previous_end: base, low: writer.low };
        let spare = writer.spares.pop();
        writer.statistics.segments_reused += u64::from(spare.is_some());
        match segment::create(&*self.fs, &header, &[], spare) {
            Ok(file) => {
                writer.file = file;
                writer.segments.push_back(Segment { id, base, end: base + SECTOR_BYTES });
                Ok(())
            }
            Err(e) => Err(self.close(e.to_string())),
        }
    }

    fn sync(&self, writer: &mut Writer) -> Result<(), EngineError> {
        if !writer.unsynced {
            return Ok(());
        }
        if let Err(e) = writer.file.sync() {
            let id = writer.segments.back().map_or(0, |s| s.id);
            return Err(self.close(format!("syncing {} failed: {e}", segment::path(id))));
        }
        writer.unsynced = false;
        writer.statistics.syncs += 1;
        self.durable.store(self.written().0, Ordering::Release);
        Ok(())
    }

    fn close(&self, reason: String) -> EngineError {
        let mut appender: MutexGuard<'_, Appender> = self.appender.lock();
        tracing::error!(%reason, "the commit log is closed, no more writes are taken");
        appender.closed.get_or_insert_with(|| reason.into());
        appender.refusal()
    }
}

impl Appender {
    fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    fn check(&self) -> Result<(), EngineError> {
        if self.closed.is_some() { Err(self.refusal()) } else { Ok(()) }
    }

    fn refusal(&self) -> EngineError {
        EngineError::LogClosed(self.closed.as_ref().map_or_else(String::new, |reason| reason.to_string()))
    }
}
