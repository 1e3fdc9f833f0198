//! The hints of one target host: what is in files, what is not yet, and the numbers about both.

use super::pending::{Encoded, Pending, Place};
use super::segment::{self, Hint};
use super::{DIR, HintsDropped};
use bytes::Bytes;
use dunlin_storage::fs::{self, File, Fs, OpenMode};
use dunlin_types::{HostId, Micros};
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
    progress: Progress,
}

/// How far the delivery of a segment is. Its hints go in the order of their places.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Everything up to this place is done.
    pub done: Option<Place>,
    pub delivered: u64,
    pub moved: u64,
    pub gc_grace: u64,
    pub table: u64,
}

/// The segment that is appended to.
pub(super) struct Open {
    number: u64,
    length: u64,
    file: Option<Arc<dyn File>>,
    /// Something in it is not synced.
    dirty: bool,
}

#[derive(Default)]
pub(super) struct Target {
    segments: VecDeque<Segment>,
    open: Option<Open>,
    /// Closed segments that are not synced.
    unsynced: Vec<Arc<dyn File>>,
    pub pending: Pending,
    /// Pending hints that are being written.
    writing: Option<(u64, Micros)>,
    next_number: u64,
    /// Hints kept now, pending ones included.
    pub count: u64,
    pub bytes: u64,
    /// Hints ever kept, those found at the start included.
    pub added: u64,
    pub delivered: u64,
    pub moved: u64,
    pub dropped: HintsDropped,
    /// Whether an operator stopped their delivery.
    pub paused: bool,
    /// Bytes a second that the target granted last, while something is delivered.
    pub rate_bytes: Option<u64>,
}

impl Progress {
    /// Hints that are done, however.
    fn total(&self) -> u64 {
        self.delivered + self.moved + self.gc_grace + self.table
    }
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
            let segment = Segment {
                number,
                count: hints.len() as u64,
                bytes: entry.bytes,
                oldest,
                progress: Progress::default(),
            };
            target.count += segment.count;
            target.bytes += segment.bytes;
            target.segments.push_back(segment);
        }
        target.added = target.count;
        Ok(target)
    }

    /// When the oldest hint was kept.
    pub(super) fn oldest(&self) -> Option<Micros> {
        let writing = self.writing.map(|(_, oldest)| oldest);
        self.segments.iter().map(|s| s.oldest).chain(writing).chain(self.pending.oldest()).min()
    }

    /// Hints that are gone again, delivered or dropped after they were kept. They go in the order they came.
    pub(super) fn removed(&self) -> u64 {
        self.added - self.count
    }

    pub(super) fn has_segments(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Takes a new hint into memory.
    pub(super) fn push(&mut self, hint: Hint) {
        let before = self.pending.bytes();
        if self.pending.add(hint) {
            self.count += 1;
            self.added += 1;
        }
        self.bytes = (self.bytes + self.pending.bytes()).saturating_sub(before);
    }

    /// Hands out what is to be written, and where.
    pub(super) fn take_pending(&mut self) -> (Open, Encoded) {
        let pending = self.pending.take();
        if pending.count > 0 {
            self.writing = Some((pending.count, pending.oldest));
        }
        let open = self.open.take().unwrap_or_else(|| {
            self.next_number += 1;
            Open { number: self.next_number - 1, length: 0, file: None, dirty: false }
        });
        (open, pending)
    }

    /// Takes back the segment after a write.
    pub(super) fn put_open(&mut self, open: Open, pending: Encoded, segment_bytes: u64) {
        self.writing = None;
        if pending.count > 0 {
            let bytes = pending.bytes.len() as u64;
            self.bytes = (self.bytes + bytes).saturating_sub(pending.estimate);
            match self.segments.back_mut().filter(|s| s.number == open.number) {
                Some(segment) => {
                    segment.count += pending.count;
                    segment.bytes += bytes;
                    segment.oldest = segment.oldest.min(pending.oldest);
                }
                None => self.segments.push_back(Segment {
                    number: open.number,
                    count: pending.count,
                    bytes,
                    oldest: pending.oldest,
                    progress: Progress::default(),
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
    pub(super) fn lose(&mut self, pending: Encoded) {
        self.writing = None;
        self.count -= pending.count;
        self.bytes = self.bytes.saturating_sub(pending.estimate);
        self.dropped.failed += pending.count;
    }

    /// The oldest segment, closed for appending, with how far its delivery is.
    pub(super) fn first_segment(&mut self) -> Option<(u64, Progress)> {
        let (number, progress) = self.segments.front().map(|s| (s.number, s.progress.clone()))?;
        if let Some(open) = self.open.take_if(|open| open.number == number) {
            self.close(open);
        }
        Some((number, progress))
    }

    /// Notes how far the delivery of the oldest segment is.
    pub(super) fn set_progress(&mut self, number: u64, progress: &Progress) {
        if let Some(segment) = self.segments.front_mut().filter(|s| s.number == number) {
            segment.progress = progress.clone();
        }
    }

    /// Removes the oldest segment, all of whose hints that can be read are done.
    pub(super) fn remove_first(&mut self, fs: &dyn Fs, host: HostId, number: u64, progress: &Progress) {
        let Some(segment) = self.segments.pop_front_if(|s| s.number == number) else { return };
        self.count -= segment.count;
        self.bytes = self.bytes.saturating_sub(segment.bytes);
        self.delivered += progress.delivered;
        self.moved += progress.moved;
        self.dropped.gc_grace += progress.gc_grace;
        self.dropped.table += progress.table;
        self.dropped.damaged += segment.count.saturating_sub(progress.total());
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
    pending: &Encoded,
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
    if sync && open.dirty {
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
