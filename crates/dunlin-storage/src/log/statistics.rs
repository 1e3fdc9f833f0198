//! What the log counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LogStatistics {
    /// Segment files.
    pub segments: u64,
    /// Bytes of frames in them.
    pub bytes: u64,
    /// Bytes in the buffer, not yet handed to the operating system.
    pub bytes_waiting: u64,
    /// Files ready to become segments, already written.
    pub spares: u64,
    /// Commits that went to the disk: each may stand for many writes.
    pub syncs: u64,
    /// Frames written since the start.
    pub frames: u64,
    /// Records in them. Divided by `frames`: the mean batch.
    pub records: u64,
    /// Records of the largest frame.
    pub frame_records_max: u64,
    /// Bytes written since the start, headers and padding included, and the zeros of prepared files.
    pub bytes_written: u64,
    /// Records replayed at the start.
    pub records_recovered: u64,
    /// Segments made from spare files.
    pub segments_reused: u64,
    /// Whether commits bypass the system's cache.
    pub direct: bool,
}

/// Counters of events, to be read without a lock.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) frame_records_max: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) segments_reused: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) spares: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(counter: &AtomicU64, value: u64) {
        counter.store(value, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> LogStatistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStatistics {
            segments: get(&self.segments),
            bytes: get(&self.bytes),
            spares: get(&self.spares),
            syncs: get(&self.syncs),
            frames: get(&self.frames),
            records: get(&self.records),
            frame_records_max: get(&self.frame_records_max),
            bytes_written: get(&self.bytes_written),
            segments_reused: get(&self.segments_reused),
            ..LogStatistics::default()
        }
    }
}
