//! A flush or a compaction under way: entries in, one SSTable out, in bounded steps.

use super::table::{Frozen, Table};
use crate::entry::{Cursor, Merge};
use crate::error::{EngineError, OpenError};
use crate::fs::Fs;
use crate::log::Log;
use crate::manifest;
use crate::memtable::{MemtableCursor, Place};
use crate::sstable::source::SstCursor;
use crate::sstable::writer::SstWriter;
use crate::sstable::{SsTable, SstShared};
use dunlin_types::{Token, TokenRange};
use std::sync::Arc;

/// What a job replaces.
pub(crate) enum Work {
    Flush(Frozen),
    /// Sequence numbers of the inputs.
    Compaction(Vec<u64>),
}

pub(crate) struct Job {
    pub(crate) table: Arc<Table>,
    pub(crate) work: Work,
    source: Merge,
    writer: SstWriter,
    /// A manifest that names the output may be on the disk.
    named: bool,
}

/// What jobs work with.
pub(crate) struct JobContext<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) log: &'a Log,
    pub(crate) shared: &'a Arc<SstShared>,
    pub(crate) block_bytes: usize,
    pub(crate) step_bytes: u64,
}

/// A finished job.
pub(crate) struct Finished {
    pub(crate) bytes: u64,
}

impl Job {
    pub(crate) fn flush(
        context: &JobContext<'_>,
        table: Arc<Table>,
        frozen: Frozen,
    ) -> Result<Job, EngineError> {
        let from = Place { token: TokenRange::ALL.first, after: None };
        let source = MemtableCursor::new(frozen.memtable.clone(), from, Token(u64::MAX), usize::MAX);
        Job::start(context, table, Work::Flush(frozen), vec![Box::new(source)])
    }

    pub(crate) fn compaction(
        context: &JobContext<'_>,
        table: Arc<Table>,
        inputs: Vec<u64>,
    ) -> Result<Job, EngineError> {
        let state = table.state();
        let mut sources: Vec<Box<dyn Cursor>> = Vec::with_capacity(inputs.len());
        for sstable in state.sstables.iter().filter(|s| inputs.contains(&s.sequence())) {
            let from = Place { token: TokenRange::ALL.first, after: None };
            sources.push(Box::new(SstCursor::new(sstable.clone(), from, Token(u64::MAX), false)));
        }
        Job::start(context, table, Work::Compaction(inputs), sources)
    }

    fn start(
        context: &JobContext<'_>,
        table: Arc<Table>,
        work: Work,
        sources: Vec<Box<dyn Cursor>>,
    ) -> Result<Job, EngineError> {
        let source = Merge::new(sources)?;
        let sequence = table.take_sequence();
        let path = manifest::sstable_path(&table.dir, table.id, sequence);
        let writer = SstWriter::create(
            context.fs,
            path,
            table.id,
            sequence,
            table.compression(),
            context.block_bytes,
        )?;
        Ok(Job { table, work, source, writer, named: false })
    }

    /// Goes on for about `step_bytes`. After an error the job must be abandoned.
    pub(crate) fn step(&mut self, context: &JobContext<'_>) -> Result<Option<Finished>, EngineError> {
        let mut done = 0;
        while done < context.step_bytes {
            if !self.source.advance()? {
                return self.finish(context).map(Some);
            }
            done += self.writer.push(self.source.token(), self.source.key(), self.source.record())?;
        }
        Ok(None)
    }

    /// Removes what was written, unless it may count.
    pub(crate) fn abandon(self, fs: &dyn Fs) {
        if !self.named
            && let Err(error) = fs.remove(self.writer.path())
        {
            tracing::warn!(path = self.writer.path(), %error, "an unfinished SSTable was not removed");
        }
    }

    fn finish(&mut self, context: &JobContext<'_>) -> Result<Finished, EngineError> {
        if let Work::Flush(frozen) = &self.work
            && context.log.durable() < frozen.end
        {
            // What survives a crash is a prefix of the log: an SSTable must not run ahead of it.
            context.log.commit()?;
        }
        let bytes = self.writer.finish()?;
        let dir = &self.table.dir;
        context.fs.sync_dir(dir).map_err(|e| EngineError::io(format!("sync {dir}"), &e))?;
        // Reading it back proves index, filter and statistics before anything is given up for it.
        let output = SsTable::open(
            context.fs,
            self.writer.path(),
            self.table.id,
            self.writer.sequence(),
            context.shared,
        )
        .map_err(|e| match e {
            OpenError::Engine(e) => e,
            other => EngineError::damaged(self.writer.path(), 0, other.to_string()),
        })?;
        if output.statistics().entries != self.writer.entries() {
            return Err(EngineError::damaged(self.writer.path(), 0, "SSTable statistics"));
        }
        self.named = true;
        let (flushed, inputs) = match &self.work {
            Work::Flush(frozen) => (Some(&frozen.memtable), &[][..]),
            Work::Compaction(inputs) => (None, &inputs[..]),
        };
        self.table.publish(context.fs, Arc::new(output), flushed, inputs)?;
        for &sequence in inputs {
            let path = manifest::sstable_path(dir, self.table.id, sequence);
            if let Err(error) = context.fs.remove(&path) {
                tracing::warn!(%path, %error, "a compacted SSTable was not removed; the next start will");
            }
        }
        Ok(Finished { bytes })
    }
}
