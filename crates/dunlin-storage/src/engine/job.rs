//! A flush or a merge: what goes in, what comes out, and its parts, which threads work on side by side.
//!
//! A part reads a share of the tokens, in bounded steps, and writes SSTables that count for nothing yet. When the
//! last part has ended, all outputs take the place of the inputs in one change of the manifest.

use super::levels::Levels;
use super::scrub::Salvage;
use super::table::{Change, Frozen, Table};
use crate::compaction::purge::PurgeRule;
use crate::compaction::{Why, ranges};
use crate::entry::{Cursor, Merge};
use crate::error::{EngineError, OpenError};
use crate::fs::Fs;
use crate::log::Log;
use crate::manifest;
use crate::memtable::{MemtableCursor, Place};
use crate::sstable::writer::SstWriter;
use crate::sstable::{FilterHash, SsTable, SstCursor, SstShared};
use dunlin_types::view::RecordView;
use dunlin_types::{Token, TokenRange};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Most parts of a job.
const PARTS_MAX: u64 = 64;

/// What a job is for.
pub(crate) enum Work {
    Flush(Frozen),
    Merge(Why),
}

pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) table: Arc<Table>,
    pub(crate) work: Work,
    /// What the outputs replace.
    pub(crate) inputs: Vec<Arc<SsTable>>,
    pub(crate) output_level: u8,
    /// The inputs only change their level.
    pub(crate) moves: bool,
    /// The rule that entries are dropped by, if any may be.
    purge: Option<Arc<PurgeRule>>,
    pub(crate) bytes_total: u64,
    pub(crate) bytes_done: AtomicU64,
    pub(crate) cancelled: AtomicBool,
    /// Entries that a scrub has kept, and tokens that it could not read.
    pub(crate) entries: AtomicU64,
    pub(crate) lost: Mutex<Vec<TokenRange>>,
    ended: Mutex<Ended>,
}

/// What the parts that have ended leave.
#[derive(Default)]
struct Ended {
    parts_left: usize,
    outputs: Vec<Output>,
    error: Option<EngineError>,
}

/// A finished SSTable that nothing names yet.
struct Output {
    level: u8,
    sequence: u64,
    path: String,
    entries: u64,
    bytes: u64,
}

/// What jobs work with.
pub(crate) struct JobContext<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) log: &'a Log,
    pub(crate) shared: &'a Arc<SstShared>,
    pub(crate) block_bytes: usize,
    pub(crate) step_bytes: u64,
    /// Outputs below level 0 are cut behind so many bytes.
    pub(crate) file_bytes: u64,
}

/// A share of a job.
pub(crate) struct Part {
    pub(crate) job: Arc<Job>,
    inputs: Vec<Arc<SsTable>>,
    /// Tokens to read, in order.
    ranges: VecDeque<TokenRange>,
    level: u8,
    cursor: Option<Box<dyn Cursor>>,
    writer: Option<SstWriter>,
    last: Option<Token>,
    outputs: Vec<Output>,
}

impl Job {
    /// Writes a memtable to level 0.
    pub(crate) fn flush(id: u64, table: Arc<Table>, frozen: Frozen) -> (Arc<Job>, Vec<Part>) {
        let bytes_total = frozen.memtable.bytes();
        let job = Job::new(id, table, Work::Flush(frozen), Vec::new(), 0, bytes_total);
        let job = job.with_parts(1);
        let part = Part::new(&job, Vec::new(), vec![TokenRange::ALL], 0);
        (job, vec![part])
    }

    /// Merges SSTables into a level, or moves them there.
    pub(crate) fn merge(
        id: u64,
        table: Arc<Table>,
        inputs: Vec<Arc<SsTable>>,
        output_level: u8,
        why: Why,
        moves: bool,
        file_bytes: u64,
    ) -> (Arc<Job>, Vec<Part>) {
        let bytes: u64 = inputs.iter().map(|s| s.file_bytes()).sum();
        let mut job = Job::new(id, table, Work::Merge(why), inputs, output_level, bytes);
        if moves {
            job.moves = true;
            return (job.with_parts(0), Vec::new());
        }
        job.purge = job.table.purge();
        let wanted =
            if output_level == 0 { 1 } else { bytes.div_ceil(file_bytes.max(1)).clamp(1, PARTS_MAX) };
        let shares = job.hull().map_or_else(Vec::new, |(first, last)| ranges::split(first, last, wanted));
        let job = job.with_parts(shares.len());
        let parts = shares.into_iter().map(|share| {
            let meets = |s: &&Arc<SsTable>| Levels::meets(s, share);
            let inputs = job.inputs.iter().filter(meets).cloned().collect();
            Part::new(&job, inputs, vec![share], output_level)
        });
        let parts = parts.collect();
        (job, parts)
    }

    /// Rewrites SSTables one by one, each on its level, without the entries of some token ranges.
    pub(crate) fn range_delete(
        id: u64,
        table: Arc<Table>,
        inputs: Vec<(u8, Arc<SsTable>)>,
        kept: &[TokenRange],
    ) -> (Arc<Job>, Vec<Part>) {
        let rewritten: Vec<_> = inputs
            .iter()
            .map(|(level, s)| {
                let kept = ranges::within(kept, s.statistics().first, s.statistics().last);
                (*level, s.clone(), kept)
            })
            .filter(|(_, _, kept)| !kept.is_empty())
            .collect();
        let bytes = rewritten.iter().map(|(_, s, _)| s.file_bytes()).sum();
        let inputs = inputs.into_iter().map(|(_, s)| s).collect();
        let job = Job::new(id, table, Work::Merge(Why::RangeDelete), inputs, 0, bytes);
        let job = job.with_parts(rewritten.len());
        let part = |(level, sstable, kept)| Part::new(&job, vec![sstable], kept, level);
        let parts = rewritten.into_iter().map(part).collect();
        (job, parts)
    }

    /// Rewrites damaged SSTables one by one, each on its level.
    pub(crate) fn scrub(
        id: u64,
        table: Arc<Table>,
        inputs: Vec<(u8, Arc<SsTable>)>,
    ) -> (Arc<Job>, Vec<Part>) {
        let bytes = inputs.iter().map(|(_, s)| s.file_bytes()).sum();
        let all = inputs.iter().map(|(_, s)| s.clone()).collect();
        let job = Job::new(id, table, Work::Merge(Why::Scrub), all, 0, bytes).with_parts(inputs.len());
        let part = |(level, s)| Part::new(&job, vec![s], vec![TokenRange::ALL], level);
        let parts = inputs.into_iter().map(part).collect();
        (job, parts)
    }

    fn new(
        id: u64,
        table: Arc<Table>,
        work: Work,
        inputs: Vec<Arc<SsTable>>,
        output_level: u8,
        bytes_total: u64,
    ) -> Job {
        Job {
            id,
            table,
            work,
            inputs,
            output_level,
            moves: false,
            purge: None,
            bytes_total,
            bytes_done: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            entries: AtomicU64::new(0),
            lost: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    fn with_parts(mut self, parts: usize) -> Arc<Job> {
        self.ended.get_mut().parts_left = parts;
        Arc::new(self)
    }

    pub(crate) fn is_flush(&self) -> bool {
        matches!(self.work, Work::Flush(_))
    }

    /// The tokens that inputs and outputs lie between.
    pub(crate) fn hull(&self) -> Option<(Token, Token)> {
        let first = self.inputs.iter().map(|s| s.statistics().first).min()?;
        Some((first, self.inputs.iter().map(|s| s.statistics().last).max()?))
    }

    pub(crate) fn takes(&self, sequence: u64) -> bool {
        self.inputs.iter().any(|s| s.sequence() == sequence)
    }

    /// Why the job failed, if it did.
    pub(crate) fn error(&self) -> Option<EngineError> {
        self.ended.lock().error.clone()
    }

    /// Whether an older version of a key could lie anywhere but in the inputs: then its tombstone has to stay.
    fn held_elsewhere(&self, token: Token, key: &[u8]) -> bool {
        let hash = FilterHash::new(token);
        // One state: what is written is in it, in a memtable or an SSTable, whatever is flushed meanwhile.
        let state = self.table.state();
        let memtables = std::iter::once(&state.active).chain(state.frozen.iter().map(|f| &f.memtable));
        memtables.into_iter().any(|m| m.get(token, key, |_, _| ()).is_some())
            || state.sstables.covering(token).any(|s| !self.takes(s.sequence()) && s.may_hold(token, hash))
    }

    /// A part has ended. True if it was the last one: the caller goes on with [`Job::conclude`].
    pub(crate) fn end_part(&self, part: Part, result: Result<(), EngineError>) -> bool {
        let mut ended = self.ended.lock();
        ended.outputs.extend(part.into_outputs());
        ended.parts_left -= 1;
        if let Err(error) = result {
            self.cancelled.store(true, Ordering::Relaxed);
            ended.error.get_or_insert(error);
        }
        ended.parts_left == 0
    }

    /// Puts the outputs in the place of the inputs; or removes them, if a part has failed. Returns how many bytes
    /// were written.
    pub(crate) fn conclude(&self, context: &JobContext<'_>) -> Result<u64, EngineError> {
        let (outputs, error) = {
            let mut ended = self.ended.lock();
            (std::mem::take(&mut ended.outputs), ended.error.clone())
        };
        let prepared = match error {
            Some(error) => Err(error),
            None => self.prepare(context, &outputs),
        };
        let result = match prepared {
            Ok(opened) => self.publish(context, opened).inspect_err(|_| {
                // Unless the manifest came to name them after all: then they are kept, and so are the inputs.
                let manifest = manifest::read_manifest(context.fs, &self.table.dir, self.table.id);
                let unnamed = |o: &&Output| match &manifest {
                    Ok(manifest) => manifest.sstables.iter().all(|&(sequence, _)| sequence != o.sequence),
                    Err(_) => false,
                };
                outputs.iter().filter(unnamed).for_each(|o| discard(context.fs, &o.path));
            }),
            Err(error) => {
                outputs.iter().for_each(|o| discard(context.fs, &o.path));
                Err(error)
            }
        };
        if let Err(error) = result {
            self.ended.lock().error.get_or_insert_with(|| error.clone());
            return Err(error);
        }
        Ok(outputs.iter().map(|o| o.bytes).sum())
    }

    /// Makes the outputs durable and opens them.
    fn prepare(
        &self,
        context: &JobContext<'_>,
        outputs: &[Output],
    ) -> Result<Vec<(u8, Arc<SsTable>)>, EngineError> {
        if let Work::Flush(frozen) = &self.work
            && context.log.durable() < frozen.end
        {
            // What survives a crash is a prefix of the log: an SSTable must not run ahead of it.
            context.log.commit()?;
        }
        let Job { table, .. } = self;
        if !outputs.is_empty() {
            let dir = &table.dir;
            context.fs.sync_dir(dir).map_err(|e| EngineError::io(format!("sync {dir}"), &e))?;
        }
        let mut opened = Vec::with_capacity(outputs.len());
        for Output { level, sequence, path, entries, .. } in outputs {
            // Reading it back proves index, filter and statistics before anything is given up for it.
            let sstable = SsTable::open(context.fs, path, table.id, *sequence, context.shared);
            let sstable = sstable.map_err(|e| match e {
                OpenError::Engine(e) => e,
                other => EngineError::damaged(path, 0, other.to_string()),
            })?;
            sstable.prove()?;
            if sstable.statistics().entries != *entries {
                return Err(EngineError::damaged(path, 0, "SSTable statistics"));
            }
            opened.push((*level, Arc::new(sstable)));
        }
        if self.moves {
            opened.extend(self.inputs.iter().map(|s| (self.output_level, s.clone())));
        }
        Ok(opened)
    }

    fn publish(&self, context: &JobContext<'_>, outputs: Vec<(u8, Arc<SsTable>)>) -> Result<(), EngineError> {
        let flushed = match &self.work {
            Work::Flush(frozen) => Some(frozen),
            Work::Merge(_) => None,
        };
        let purged = self.purge.as_deref();
        self.table.publish(context.fs, Change { outputs, inputs: &self.inputs, flushed, purged })
    }
}

impl Part {
    fn new(job: &Arc<Job>, inputs: Vec<Arc<SsTable>>, ranges: Vec<TokenRange>, level: u8) -> Part {
        Part {
            job: job.clone(),
            inputs,
            ranges: ranges.into(),
            level,
            cursor: None,
            writer: None,
            last: None,
            outputs: Vec::new(),
        }
    }

    /// Goes on for about `step_bytes`; returns how many were read and whether the part has ended. After an error it
    /// must not be stepped again.
    pub(crate) fn step(&mut self, context: &JobContext<'_>) -> Result<(u64, bool), EngineError> {
        let mut done = 0;
        while done < context.step_bytes {
            if self.job.cancelled.load(Ordering::Relaxed) {
                return Err(EngineError::Interrupted);
            }
            let Some(mut cursor) = self.cursor.take() else {
                let Some(range) = self.ranges.pop_front() else {
                    self.finish_output(context)?;
                    return Ok((done, true));
                };
                self.cursor = Some(self.open(range)?);
                continue;
            };
            if self.run(context, &mut *cursor, &mut done)? {
                self.cursor = Some(cursor);
            }
        }
        Ok((done, false))
    }

    /// Takes entries until the step is full (true) or there are none (false).
    fn run(
        &mut self,
        context: &JobContext<'_>,
        cursor: &mut dyn Cursor,
        done: &mut u64,
    ) -> Result<bool, EngineError> {
        let start = *done;
        while *done < context.step_bytes {
            if !cursor.advance()? {
                self.count(*done - start);
                return Ok(false);
            }
            let (token, key, record) = (cursor.token(), cursor.key(), cursor.record());
            if self.drops(token, key, record)? {
                *done += (key.len() + record.len()) as u64;
                continue;
            }
            let full = |w: &SstWriter| w.stored_bytes() >= context.file_bytes && self.last != Some(token);
            if self.level > 0 && self.writer.as_ref().is_some_and(full) {
                self.finish_output(context)?;
            }
            self.last = Some(token);
            let writer = match &mut self.writer {
                Some(writer) => writer,
                None => self.writer.insert(create(&self.job.table, context)?),
            };
            *done += writer.push(token, key, record)?;
        }
        self.count(*done - start);
        Ok(true)
    }

    fn count(&self, bytes: u64) {
        self.job.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether an entry may be forgotten.
    fn drops(&self, token: Token, key: &[u8], record: &[u8]) -> Result<bool, EngineError> {
        let Some(rule) = &self.job.purge else { return Ok(false) };
        let view = RecordView::parse(record)
            .map_err(|e| EngineError::damaged("a record to be merged", e.offset as u64, e.what))?;
        Ok(rule.allows(token, &view) && !self.job.held_elsewhere(token, key))
    }

    fn open(&self, range: TokenRange) -> Result<Box<dyn Cursor>, EngineError> {
        let from = Place { token: range.first, after: None };
        if let Work::Flush(frozen) = &self.job.work {
            return Ok(Box::new(MemtableCursor::new(frozen.memtable.clone(), from, range.last, usize::MAX)));
        }
        let cursor = |s: &Arc<SsTable>| SstCursor::new(s.clone(), from.clone(), range.last, false);
        if let [single] = &self.inputs[..]
            && self.job.salvages()
        {
            let cursor = SstCursor::salvage(single.clone());
            return Ok(Box::new(Salvage { cursor, job: self.job.clone(), told: false }));
        }
        if let [single] = &self.inputs[..] {
            return Ok(Box::new(cursor(single)));
        }
        let cursors = self.inputs.iter().map(|s| Box::new(cursor(s)) as Box<dyn Cursor>);
        Ok(Box::new(Merge::new(cursors.collect())?))
    }

    fn finish_output(&mut self, context: &JobContext<'_>) -> Result<(), EngineError> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let finished = writer.finish();
        let (path, sequence) = (writer.path().to_owned(), writer.sequence());
        let bytes = finished.inspect_err(|_| discard(context.fs, &path))?;
        self.outputs.push(Output { level: self.level, sequence, path, entries: writer.entries(), bytes });
        Ok(())
    }

    /// What it has written; the unfinished one is finished as it is, to be discarded with the others.
    fn into_outputs(self) -> impl Iterator<Item = Output> {
        let unfinished = self.writer.map(|writer| Output {
            level: self.level,
            sequence: writer.sequence(),
            path: writer.path().to_owned(),
            entries: 0,
            bytes: 0,
        });
        self.outputs.into_iter().chain(unfinished)
    }
}

fn create(table: &Table, context: &JobContext<'_>) -> Result<SstWriter, EngineError> {
    let sequence = table.take_sequence();
    let path = manifest::sstable_path(&table.dir, table.id, sequence);
    SstWriter::create(context.fs, path, table.id, sequence, table.compression(), context.block_bytes)
}

fn discard(fs: &dyn Fs, path: &str) {
    if let Err(error) = fs.remove(path) {
        tracing::warn!(path, %error, "an unfinished SSTable was not removed; the next start will");
    }
}
