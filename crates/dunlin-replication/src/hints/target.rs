//! The hints of one target host: what is in files, what is not yet, and the numbers about both.

use super::segment::{self, Hint};
use super::{DIR, HintsDropped};
use bytes::Bytes;
use dunlin_storage::fs::{self, File, Fs, OpenMode};
use dunlin_types::{HostId, Key, Micros, Record, TableId, Token};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// A segment file.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    count: u64,
    bytes: u64,
    oldest: Micros,
    /// Hints at its beginning that were delivered since it was opened for delivery.
    done: u64,
}

/// The segment that is appended to.
pub(super) struct Open {
    number: u64,
    length: u64,
    file: Option<Arc<dyn File>>,
    /// Something in it is not synced.
    dirty: bool,
}

/// Encoded hints that are in no file yet.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    count: u64,
    oldest: Micros,
}

#[derive(Default)]
pub(super) struct Target {
    segments: VecDeque<Segment>,
    open: Option<Open>,
    /// Closed segments that are not synced.
    unsynced: Vec<Arc<dyn File>>,
    pub pending: Vec<u8>,
    pending_count: u64,
    pending_oldest: Micros,
    /// Pending hints that are being written.
    writing: Option<(u64, Micros)>,
    next_number: u64,
    /// Hints kept now, pending ones included.
    pub count: u64,
    pub bytes: u64,
    /// Hints ever kept, those found at the start included.
    pub added: u64,
    pub delivered: u64,
    pub dropped: HintsDropped,
}

impl Target {
    /// What the files of an earlier run hold.
    pub(super) fn load(fs: &dyn Fs, host: HostId) -> io::Result<Target> {
        let mut target = Target::default();
        for entry in fs.list(&directory(host))? {
            let Some(number) =
                entry.name.strip_suffix(".hints").and_then(|n| u64::from_str_radix(n, 16).ok())
            else {
                continue;
            };
            target.next_number = target.next_number.max(number + 1);
            let hints = read(fs, host, number)?;
            let Some(oldest) = hints.iter().map(|h| h.created).min() else {
                fs.remove(&path(host, number))?;
                continue;
            };
            let segment = Segment { number, count: hints.len() as u64, bytes: entry.bytes, oldest, done: 0 };
            target.count += segment.count;
            target.bytes += segment.bytes;
            target.segments.push_back(segment);
        }
        target.added = target.count;
        Ok(target)
    }

    /// When the oldest hint was kept.
    pub(super) fn oldest(&self) -> Option<Micros> {
        let pending = (self.pending_count > 0).then_some(self.pending_oldest);
        let writing = self.writing.map(|(_, oldest)| oldest);
        self.segments.iter().map(|s| s.oldest).chain(writing).chain(pending).min()
    }

    /// Hints that are gone again, delivered or dropped after they were kept. They go in the order they came.
    pub(super) fn removed(&self) -> u64 {
        self.added - self.count
    }

    pub(super) fn has_segments(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Takes a new hint into memory.
    pub(super) fn push(&mut self, now: Micros, table: TableId, token: Token, key: &Key, record: &Record) {
        let before = self.pending.len();
        segment::put_hint(&mut self.pending, now, table, token, key, record);
        if self.pending_count == 0 {
            self.pending_oldest = now;
        }
        self.pending_count += 1;
        self.count += 1;
        self.added += 1;
        self.bytes += (self.pending.len() - before) as u64;
    }

    /// Hands out what is to be written, and where.
    pub(super) fn take_pending(&mut self) -> (Open, Pending) {
        let bytes = std::mem::take(&mut self.pending);
        let count = std::mem::take(&mut self.pending_count);
        let pending = Pending { bytes, count, oldest: self.pending_oldest };
        if count > 0 {
            self.writing = Some((count, self.pending_oldest));
        }
        let open = self.open.take().unwrap_or_else(|| {
            self.next_number += 1;
            Open { number: self.next_number - 1, length: 0, file: None, dirty: false }
        });
        (open, pending)
    }

    /// Takes back the segment after a write.
    pub(super) fn put_open(&mut self, open: Open, pending: Pending, segment_bytes: u64) {
        self.writing = None;
        if pending.count > 0 {
            let bytes = pending.bytes.len() as u64;
            match self.segments.back_mut().filter(|s| s.number == open.number) {
                Some(segment) => {
                    segment.count += pending.count;
                    segment.bytes += bytes;
                }
                None => self.segments.push_back(Segment {
                    number: open.number,
                    count: pending.count,
                    bytes,
                    oldest: pending.oldest,
                    done: 0,
                }),
            }
        }
        if open.length < segment_bytes && open.file.is_some() {
            self.open = Some(open);
        } else {
            self.close(open);
        }
    }

    fn close(&mut self, open: Open) {
        if open.dirty {
            self.unsynced.extend(open.file);
        }
    }

    /// Closed segments that a sync of everything has to reach too.
    pub(super) fn take_unsynced(&mut self) -> Vec<Arc<dyn File>> {
        std::mem::take(&mut self.unsynced)
    }

    /// A write failed: its hints are lost, and the segment is left as it is.
    pub(super) fn lose(&mut self, pending: Pending) {
        self.writing = None;
        self.count -= pending.count;
        self.bytes = self.bytes.saturating_sub(pending.bytes.len() as u64);
        self.dropped.disk += pending.count;
    }

    /// The oldest segment, closed for appending, with how many of its hints were delivered already.
    pub(super) fn first_segment(&mut self) -> Option<(u64, u64)> {
        let (number, done) = self.segments.front().map(|s| (s.number, s.done))?;
        if let Some(open) = self.open.take_if(|open| open.number == number) {
            self.close(open);
        }
        Some((number, done))
    }

    /// Notes that so many hints at the front of the segment need no more work.
    pub(super) fn set_done(&mut self, number: u64, done: u64) {
        if let Some(segment) = self.segments.front_mut().filter(|s| s.number == number) {
            segment.done = done;
        }
    }

    /// Removes the oldest segment; `read` of its hints could be read back, `expired` of them were dropped.
    pub(super) fn remove_first(&mut self, fs: &dyn Fs, host: HostId, number: u64, read: u64, expired: u64) {
        let Some(segment) = self.segments.pop_front_if(|s| s.number == number) else { return };
        self.count -= segment.count;
        self.bytes = self.bytes.saturating_sub(segment.bytes);
        self.delivered += read.saturating_sub(expired);
        self.dropped.expired += expired;
        self.dropped.damaged += segment.count.saturating_sub(read);
        remove_file(fs, host, number);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, fs: &dyn Fs, host: HostId) {
        for segment in self.segments.drain(..) {
            remove_file(fs, host, segment.number);
        }
        self.open = None;
        self.unsynced.clear();
        self.pending.clear();
        self.pending_count = 0;
        self.count = 0;
        self.bytes = 0;
    }
}

fn remove_file(fs: &dyn Fs, host: HostId, number: u64) {
    if let Err(error) = fs.remove(&path(host, number)) {
        tracing::warn!(target = %host, %error, "a delivered hint segment could not be removed");
    }
}

/// Appends pending hints to the open segment, creating it if need be.
pub(super) fn append(
    fs: &dyn Fs,
    host: HostId,
    open: &mut Open,
    pending: &Pending,
    sync: bool,
) -> io::Result<()> {
    if pending.bytes.is_empty() && open.file.is_none() {
        return Ok(());
    }
    let file = match &open.file {
        Some(file) => Arc::clone(file),
        None => {
            let directory = directory(host);
            fs::create_dirs(fs, &directory)?;
            let file = fs.open(&path(host, open.number), OpenMode::CreateNew)?;
            file.write_at(0, &segment::header(host))?;
            fs.sync_dir(&directory)?;
            open.length = segment::HEADER_BYTES as u64;
            open.file = Some(Arc::clone(&file));
            file
        }
    };
    file.write_at(open.length, &pending.bytes)?;
    open.length += pending.bytes.len() as u64;
    open.dirty |= !pending.bytes.is_empty();
    if sync {
        file.sync()?;
        open.dirty = false;
    }
    Ok(())
}

/// The hints of a segment, up to damage.
pub(super) fn read(fs: &dyn Fs, host: HostId, number: u64) -> io::Result<Vec<Hint>> {
    let bytes = Bytes::from(fs::read_file(fs, &path(host, number))?);
    if !segment::check_header(&bytes, host) {
        return Ok(Vec::new());
    }
    Ok(segment::Hints::new(bytes).collect())
}

fn directory(host: HostId) -> String {
    format!("{DIR}/{host}")
}

fn path(host: HostId, number: u64) -> String {
    format!("{DIR}/{host}/{number:016x}.hints")
}
