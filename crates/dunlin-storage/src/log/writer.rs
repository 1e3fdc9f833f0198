//! The two sides of the log's buffers: appends fill one while a writer takes the other to the file.

use super::frame::{self, FRAME_HEADER_BYTES, FrameHeader};
use super::recovery::Segment;
use super::segment::{self, SegmentFile, SegmentHeader};
use super::statistics::Counters;
use super::{BUFFER_BYTES_MAX, Log, LogOptions};
use crate::error::EngineError;
use crate::fs::AlignedBuffer;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where a file that is not prepared grows under synced writes, it grows by so much, so that most of them
/// find written space.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

/// The frame being filled.
pub(super) struct Appender {
    /// Starts with room for the header.
    pub(super) buffer: AlignedBuffer,
    pub(super) records: u32,
    /// Position of the buffer's first byte.
    pub(super) start: u64,
    /// Base of the segment that the frame will go to.
    pub(super) base: u64,
    /// Number of the batch: those who wait for a sync wait for that of their batch.
    pub(super) batch: u64,
    pub(super) closed: Option<Arc<str>>,
}

/// The file being written.
pub(super) struct Writer {
    pub(super) file: SegmentFile,
    /// Oldest first; the last one is being written.
    pub(super) segments: VecDeque<Segment>,
    pub(super) spares: Vec<u64>,
    /// Kept for the next swap.
    pub(super) buffer: AlignedBuffer,
    /// Checksum of the last frame, or of the segment's header.
    pub(super) chain: u64,
    /// The highest position that a frame on disk says was synced.
    pub(super) marked: u64,
    /// End of the last frame with records.
    pub(super) records_end: u64,
    pub(super) low: u64,
    /// Number of the last batch taken to be synced.
    pub(super) batch: u64,
    /// Frames of this segment that were written and synced in one go, and the others.
    pub(super) frames_synced: u64,
    pub(super) frames_buffered: u64,
}

/// How far a frame has to get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// Handed to the operating system.
    Written,
    /// Safe from a crash.
    Durable,
}

impl Appender {
    pub(super) fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    pub(super) fn check(&self) -> Result<(), EngineError> {
        if self.closed.is_some() { Err(self.refusal()) } else { Ok(()) }
    }

    pub(super) fn refusal(&self) -> EngineError {
        EngineError::LogClosed(self.closed.as_ref().map_or_else(String::new, |reason| reason.to_string()))
    }
}

impl LogOptions {
    /// Length to which files are written before they become segments: the last frame of a segment may stand
    /// over its end.
    pub(super) fn file_bytes(&self) -> u64 {
        (self.segment_bytes + self.segment_bytes / 64).next_multiple_of(self.block_bytes)
    }

    fn growth_bytes(&self) -> u64 {
        (self.segment_bytes / 64).clamp(self.block_bytes, GROWTH_BYTES_MAX).next_multiple_of(self.block_bytes)
    }
}

impl Log {
    /// Writes the buffer as a frame; with `always`, even without records. Everything written before is as safe
    /// as `reach` says when this returns.
    pub(super) fn write_buffer(
        &self,
        writer: &mut Writer,
        always: bool,
        reach: Reach,
    ) -> Result<(), EngineError> {
        if let Some(frame) = self.take_buffer(writer, always, reach)? {
            let current = writer.segments.back().map_or(0, |s| s.end);
            if frame.start != current {
                self.roll(writer, current)?;
            }
            self.write_frame(writer, &frame, reach)?;
        }
        if reach == Reach::Durable && writer.file.unsynced { self.sync(writer) } else { Ok(()) }
    }

    /// Takes the appenders' buffer and gives them the other one.
    fn take_buffer(
        &self,
        writer: &mut Writer,
        always: bool,
        reach: Reach,
    ) -> Result<Option<Taken>, EngineError> {
        let mut appender = self.appender.lock();
        appender.check()?;
        if reach == Reach::Durable {
            writer.batch = appender.batch;
            appender.batch += 1;
        }
        if appender.records == 0 && !always {
            return Ok(None);
        }
        let taken = Taken { start: appender.start, records: appender.records };
        std::mem::swap(&mut appender.buffer, &mut writer.buffer);
        appender.buffer.clear();
        if appender.buffer.capacity() > 2 * BUFFER_BYTES_MAX {
            appender.buffer = AlignedBuffer::new();
        }
        appender.buffer.resize(FRAME_HEADER_BYTES);
        appender.records = 0;
        let payload = writer.buffer.len() - FRAME_HEADER_BYTES;
        appender.start = taken.start + frame::frame_bytes(payload, self.options.block_bytes);
        if appender.start - appender.base >= self.options.segment_bytes {
            appender.base = appender.start;
            appender.start += self.options.block_bytes;
        }
        Ok(Some(taken))
    }

    fn write_frame(&self, writer: &mut Writer, frame: &Taken, reach: Reach) -> Result<(), EngineError> {
        let Some(segment) = writer.segments.back_mut() else { return Ok(()) };
        let synced = self.durable().0;
        let header = FrameHeader {
            segment: segment.id,
            position: frame.start,
            previous: writer.chain,
            synced,
            low: writer.low,
            records: frame.records,
        };
        let payload = writer.buffer.len() - FRAME_HEADER_BYTES;
        let bytes = frame::frame_bytes(payload, self.options.block_bytes);
        writer.chain = frame::seal(&mut writer.buffer, payload, &header);
        let offset = frame.start - segment.base;
        // Zeros behind the frame: padding, and in a file that grows room for the next frames.
        let grown = (offset + bytes).next_multiple_of(self.options.growth_bytes());
        let grows = reach == Reach::Durable
            && offset + bytes > writer.file.length
            && grown <= self.options.file_bytes();
        let written = if grows { grown - offset } else { bytes };
        writer.buffer.resize(written as usize);
        let one_go = reach == Reach::Durable && !writer.file.unsynced;
        let result = match reach {
            Reach::Durable if one_go => writer.file.write_synced(offset, &writer.buffer),
            _ => writer.file.write(offset, &writer.buffer),
        };
        if let Err(e) = result {
            return Err(self.close(format!("writing {} failed: {e}", segment::path(segment.id))));
        }
        segment.end = frame.start + bytes;
        segment.length = writer.file.length;
        writer.marked = synced;
        if frame.records > 0 {
            writer.records_end = segment.end;
        }
        self.written.store(segment.end, Ordering::Release);
        if one_go {
            writer.frames_synced += 1;
            Counters::add(&self.counters.syncs, 1);
            self.durable.store(segment.end, Ordering::Release);
        } else {
            writer.frames_buffered += 1;
        }
        Counters::add(&self.counters.frames, 1);
        Counters::add(&self.counters.records, u64::from(frame.records));
        Counters::add(&self.counters.bytes_written, written);
        self.counters.frame_records_max.fetch_max(u64::from(frame.records), Ordering::Relaxed);
        self.count_segments(writer);
        Ok(())
    }

    /// Syncs the full segment and starts the next one behind it.
    fn roll(&self, writer: &mut Writer, base: u64) -> Result<(), EngineError> {
        self.sync(writer)?;
        let id = writer.segments.back().map_or(1, |s| s.id + 1);
        let block_bytes = self.options.block_bytes;
        let header = SegmentHeader { id, base, previous_end: base, low: writer.low, block_bytes };
        let spare = writer.spares.pop();
        let mut block = AlignedBuffer::new();
        let chain = header.encode(&mut block);
        match segment::create(&*self.fs, &header, &block, spare) {
            Ok(file) => {
                writer.segments.push_back(Segment { id, base, end: base + block_bytes, length: file.length });
                writer.file = file;
                writer.chain = chain;
                (writer.frames_synced, writer.frames_buffered) = (0, 0);
                Counters::add(&self.counters.segments_reused, u64::from(spare.is_some()));
                Counters::add(&self.counters.bytes_written, block_bytes);
                self.count_segments(writer);
                Ok(())
            }
            Err(e) => Err(self.close(e.to_string())),
        }
    }

    /// Syncs what was written without it.
    fn sync(&self, writer: &mut Writer) -> Result<(), EngineError> {
        if !writer.file.unsynced {
            return Ok(());
        }
        if let Err(e) = writer.file.sync() {
            let id = writer.segments.back().map_or(0, |s| s.id);
            return Err(self.close(format!("syncing {} failed: {e}", segment::path(id))));
        }
        Counters::add(&self.counters.syncs, 1);
        self.durable.store(self.written().0, Ordering::Release);
        Ok(())
    }

    pub(super) fn count_segments(&self, writer: &Writer) {
        Counters::set(&self.counters.segments, writer.segments.len() as u64);
        Counters::set(&self.counters.bytes, writer.segments.iter().map(|s| s.end - s.base).sum());
        Counters::set(&self.counters.spares, writer.spares.len() as u64);
    }

    /// Takes no more appends, for ever: under the lock that they take, so that none slips through.
    pub(super) fn close(&self, reason: String) -> EngineError {
        let mut appender = self.appender.lock();
        tracing::error!(%reason, "the commit log is closed, no more writes are taken");
        appender.closed.get_or_insert_with(|| reason.into());
        self.is_closed.store(true, Ordering::Release);
        appender.refusal()
    }
}

/// What was taken from the appenders, besides the bytes.
struct Taken {
    start: u64,
    records: u32,
}
