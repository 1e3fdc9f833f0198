//! The commit log: one for all tables, group commit, recycled segments.
//!
//! Appends go to a buffer under a short lock. One writer at a time swaps the buffer for an empty one and
//! puts it into the file as one [`frame`]: appends go on while it syncs. Positions are bytes: each frame has
//! its place before it is written, so an append knows at once how far the log must be synced for it.
//! [`group`] decides who writes; [`segment`] how: a commit is one direct, synced write into space that was
//! written before, wherever the file system can do that. [`recovery`] reads the log back, [`scrub`] saves
//! what can be read of a damaged one.
//!
//! After a failed write or sync the log is closed, under the lock that appends take, and stays closed: the
//! system may have dropped the dirty pages, and a second sync would lie (Rebello et al. 2020).

pub(crate) mod frame;
mod group;
mod housekeeping;
pub(crate) mod recovery;
pub(crate) mod scrub;
pub(crate) mod segment;
mod statistics;
mod writer;

pub use statistics::LogStatistics;

use crate::LogPosition;
use crate::error::{EngineError, OpenError};
use crate::fs::{AlignedBuffer, Fs};
use crate::options::EngineOptions;
use crate::parallel::Parallel;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::{TableId, Token};
use frame::{FRAME_HEADER_BYTES, FrameHeader, LogRecordRef, RECORD_OVERHEAD_BYTES_MAX};
use group::Group;
use housekeeping::Housekeeping;
use parking_lot::Mutex;
use recovery::{Recovered, Replay, Segment};
use segment::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, SegmentHeader};
use statistics::Counters;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use writer::{Appender, Reach, Writer};

/// A buffer this full is written out by whoever filled it, if nobody writes already.
const WRITE_OUT_BYTES: usize = 256 << 10;
/// A buffer this full makes its writers wait for the file.
const BUFFER_BYTES_MAX: usize = 16 << 20;
/// Longest record; twice that and a key fit into a frame.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// Longest segment, so that its records fit into one frame.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Sizes and switches of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogOptions {
    pub(crate) segment_bytes: u64,
    /// Alignment of frames. A disk that asks for more gets no direct writes.
    pub(crate) block_bytes: u64,
    pub(crate) spares_max: usize,
    /// False only for the planted bug that ignores checksums in recovery.
    pub(crate) checked: bool,
}

impl LogOptions {
    /// What of the engine's options is the log's.
    pub(crate) fn of(options: &EngineOptions) -> LogOptions {
        LogOptions {
            segment_bytes: options.log_segment_bytes,
            block_bytes: options.log_block_bytes,
            spares_max: options.log_spares_max,
            checked: options.planted != Some(PlantedBug::LogUnchecked),
        }
    }

    /// With sizes within their bounds.
    fn rounded(self) -> LogOptions {
        let block_bytes = self.block_bytes.clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX).next_power_of_two();
        let segment_bytes = self.segment_bytes.clamp(2 * block_bytes, SEGMENT_BYTES_MAX);
        LogOptions { block_bytes, segment_bytes, ..self }
    }
}

pub(crate) struct Log {
    fs: Arc<dyn Fs>,
    options: LogOptions,
    /// Locked before `writer`.
    housekeeping: Mutex<Housekeeping>,
    /// Locked before `appender`.
    writer: Mutex<Writer>,
    appender: Mutex<Appender>,
    group: Group,
    durable: AtomicU64,
    written: AtomicU64,
    is_closed: AtomicBool,
    counters: Counters,
    records_recovered: u64,
    direct: bool,
}

/// An append that went well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Appended {
    pub(crate) position: LogPosition,
    /// Bytes that wait in the buffer: pass them to [`Log::relieve`].
    pub(crate) buffered: usize,
}

impl Log {
    /// Recovers the log, handing every record to `take` (of one key, in order; of others, from the threads of
    /// `parallel`), and opens a new segment. Everything that was recovered is durable when this returns.
    /// `expected`: an empty log is an error. `needed` tells which records `take` has to see: see [`Replay`].
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        options: LogOptions,
        expected: bool,
        parallel: &dyn Parallel,
        needed: &(dyn Fn(TableId, u64) -> bool + Sync),
        take: &(dyn Fn(&LogRecordRef<'_>) -> Result<(), EngineError> + Sync),
    ) -> Result<Log, OpenError> {
        let options = options.rounded();
        let block_bytes = options.block_bytes;
        let mut found = recovery::recover(&Replay { fs: &*fs, options: &options, parallel, needed, take })?;
        if expected && found.segments.is_empty() {
            return Err(EngineError::damaged(segment::DIR, 0, "the log is missing").into());
        }
        let id = found.segments.last().map_or(1, |s| s.id + 1);
        let base = found.unused.next_multiple_of(block_bytes);
        let header = SegmentHeader { id, base, previous_end: found.synced, low: found.low, block_bytes };
        let mut blocks = AlignedBuffer::new();
        let mut chain = header.encode(&mut blocks);
        let mut end = base + block_bytes;
        if found.tail_records > 0 {
            chain = append_tail(&mut blocks, &mut found, &header, chain);
            end = base + blocks.len() as u64;
        } else {
            // A start that a crash ended may have put a tail into the same spare, behind the very same header.
            blocks.resize(2 * block_bytes as usize);
        }
        let file = segment::create(&*fs, &header, &blocks, found.spares.pop())?;
        let direct = file.is_direct();
        let mut segments = VecDeque::from(found.segments);
        segments.push_back(Segment { id, base, end, length: file.length });
        let mut buffer = AlignedBuffer::new();
        buffer.resize(FRAME_HEADER_BYTES);
        let log = Log {
            fs,
            options,
            housekeeping: Mutex::new(Housekeeping::new(&found.spares)),
            writer: Mutex::new(Writer {
                file,
                segments,
                spares: found.spares,
                buffer: AlignedBuffer::new(),
                chain,
                marked: base + block_bytes,
                records_end: end,
                low: found.low,
                batch: 0,
                frames_synced: 0,
                frames_buffered: 0,
            }),
            appender: Mutex::new(Appender { buffer, records: 0, start: end, base, batch: 0, closed: None }),
            group: Group::default(),
            durable: AtomicU64::new(end),
            written: AtomicU64::new(end),
            is_closed: AtomicBool::new(false),
            counters: Counters::default(),
            records_recovered: found.records,
            direct,
        };
        log.count_segments(&log.writer.lock());
        Ok(log)
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
        let room = appender.buffer.room(RECORD_OVERHEAD_BYTES_MAX + key.len() + record.len());
        frame::put_record(room, table, token, key, record);
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
            self.write_buffer(&mut writer, false, Reach::Written)?;
        }
        Ok(())
    }

    /// Writes what was appended before the call, without a sync.
    pub(crate) fn write_out(&self) -> Result<LogPosition, EngineError> {
        let mut writer = self.writer.lock();
        self.write_buffer(&mut writer, false, Reach::Written)?;
        Ok(self.written())
    }

    /// Writes and syncs what was appended before the call. Callers that wait for one another share a sync, and
    /// one of them does it.
    pub(crate) fn commit(&self) -> Result<LogPosition, EngineError> {
        let (wanted, batch) = {
            let appender = self.appender.lock();
            appender.check()?;
            (if appender.records > 0 { appender.end() } else { appender.start }, appender.batch)
        };
        let done = || self.durable().0 >= wanted || self.is_closed.load(Ordering::Acquire);
        if let Some(lead) = self.group.lead_or_wait(batch, done) {
            let mut writer = self.writer.lock();
            self.write_buffer(&mut writer, false, Reach::Durable)?;
            let batch = writer.batch;
            drop(writer);
            lead.finish(batch);
        } else if self.durable().0 < wanted {
            self.appender.lock().check()?;
        }
        Ok(self.durable())
    }

    /// Writes the synced position down if no frame says it yet, so that damage of the last commits can be
    /// told from a torn tail. Returns whether there was need.
    pub(crate) fn mark(&self) -> Result<bool, EngineError> {
        let mut writer = self.writer.lock();
        let needed = writer.marked < writer.records_end && writer.records_end <= self.durable().0;
        if needed {
            // Synced, although nobody needs that: the next commit finds nothing unsynced, and can be direct.
            self.write_buffer(&mut writer, true, Reach::Durable)?;
        }
        Ok(needed)
    }

    /// Position where the oldest kept segment ends, if it is closed: what must be flushed to free it.
    pub(crate) fn oldest_end(&self) -> Option<LogPosition> {
        let writer = self.writer.lock();
        let closed = writer.segments.len() > 1;
        writer.segments.front().filter(|_| closed).map(|s| LogPosition(s.end))
    }

    pub(crate) fn statistics(&self) -> LogStatistics {
        LogStatistics {
            bytes_waiting: (self.appender.lock().buffer.len() - FRAME_HEADER_BYTES) as u64,
            records_recovered: self.records_recovered,
            direct: self.direct,
            ..self.counters.snapshot()
        }
    }

    /// Takes no more appends: what the log relies on has failed.
    pub(crate) fn shut(&self, reason: String) {
        self.close(reason);
    }
}

/// Appends the records that no mark covers as one frame of the new segment; returns its checksum.
fn append_tail(blocks: &mut AlignedBuffer, found: &mut Recovered, header: &SegmentHeader, chain: u64) -> u64 {
    let start = blocks.len();
    let tail = std::mem::take(&mut found.tail);
    blocks.resize(start + FRAME_HEADER_BYTES);
    blocks.extend_from_slice(&tail);
    blocks.resize(blocks.len().next_multiple_of(header.block_bytes as usize));
    let position = header.base + header.block_bytes;
    let header = FrameHeader {
        segment: header.id,
        position,
        previous: chain,
        synced: position,
        low: found.low,
        records: found.tail_records,
    };
    frame::seal(&mut blocks[start..], tail.len(), &header)
}

#[cfg(test)]
mod tests;
