//! Flush, compaction and log housekeeping, as bounded steps that the owner of the engine asks for.

use super::Engine;
use super::job::{Job, JobContext, Work};
use super::table::Table;
use crate::LogPosition;
use crate::compaction::purge::PurgeRule;
use crate::compaction::{Candidate, choose};
use crate::error::EngineError;
use crate::options::Strategy;
use dunlin_types::TableId;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which work a thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Whatever is due: flushes first.
    Any,
    /// Flushes and the housekeeping of the log, so that no compaction holds them up.
    Flush,
    /// Compactions.
    Compaction,
}

/// What a call of [`Engine::maintenance`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// There may be more to do at once; if not, come again when something was written.
    pub worked: bool,
    /// About how many bytes were written, for the owner to hold a rate by waiting.
    pub bytes: u64,
}

/// Jobs under way: one of each kind, so that a long compaction never holds up a flush.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) flush: Option<Job>,
    pub(crate) compaction: Option<Job>,
}

impl Engine {
    /// Writes the memtable of a table, or of all, to SSTables.
    pub fn flush(&self, table: Option<TableId>) -> Result<(), EngineError> {
        for table in self.selected(table)? {
            table.freeze(&self.log);
            let goal = table.state().frozen.last().map(|f| f.end);
            // Memtables are flushed oldest first; later ones that others freeze meanwhile are not waited for.
            while goal.is_some_and(|goal| table.state().frozen.first().is_some_and(|f| f.end <= goal)) {
                let mut jobs = self.jobs.lock();
                if !self.tables.load().contains_key(&table.id) {
                    return Err(EngineError::UnknownTable(table.id));
                }
                if jobs.flush.is_none() {
                    self.start_flush(&mut jobs, &table)?;
                }
                self.step_flush(&mut jobs)?;
            }
        }
        Ok(())
    }

    /// Merges all SSTables of a table, or of all, into one each. Memtables are not flushed before.
    pub fn compact(&self, table: Option<TableId>) -> Result<(), EngineError> {
        for table in self.selected(table)? {
            let mut jobs = self.jobs.lock();
            while jobs.compaction.is_some() {
                self.step_compaction(&mut jobs)?;
            }
            let inputs: Vec<u64> = table.state().sstables.iter().map(|s| s.sequence()).collect();
            if inputs.len() < 2 || !self.tables.load().contains_key(&table.id) {
                continue;
            }
            jobs.compaction = Some(Job::compaction(&self.job_context(), table, inputs)?);
            while jobs.compaction.is_some() {
                self.step_compaction(&mut jobs)?;
            }
        }
        Ok(())
    }

    /// Sets what may be forgotten of a table; replaces an earlier rule. Without one nothing is.
    pub fn set_purge(&self, table: TableId, _rule: PurgeRule) -> Result<(), EngineError> {
        self.table(table).map(drop)
    }

    /// Does one bounded step of what is due in a lane. Any number of threads may call it at once: they work side
    /// by side on what does not overlap. After an error (a full disk, say) call again later.
    pub fn maintenance(&self, lane: Lane) -> Result<Step, EngineError> {
        let worked = self.work(lane)?;
        Ok(Step { worked, bytes: if worked { self.options.step_bytes } else { 0 } })
    }

    fn work(&self, lane: Lane) -> Result<bool, EngineError> {
        let mut jobs = self.jobs.lock();
        if lane != Lane::Compaction && self.log.failure().is_none() {
            if jobs.flush.is_none() {
                self.freeze_due();
                let tables = self.tables.load_full();
                let oldest =
                    tables.values().filter(|t| !t.state().frozen.is_empty()).min_by_key(|t| t.unflushed());
                if let Some(table) = oldest {
                    self.start_flush(&mut jobs, table)?;
                }
            }
            if jobs.flush.is_some() {
                self.step_flush(&mut jobs)?;
                return Ok(true);
            }
            if self.release_log()? || self.log.prepare_spare(self.options.step_bytes)? {
                return Ok(true);
            }
        }
        if lane != Lane::Flush && jobs.compaction.is_none() {
            self.start_compaction(&mut jobs)?;
        }
        if lane != Lane::Flush && jobs.compaction.is_some() {
            self.step_compaction(&mut jobs)?;
            return Ok(true);
        }
        if lane != Lane::Compaction && self.log.failure().is_none() {
            self.log.mark()?;
        }
        Ok(false)
    }

    fn selected(&self, table: Option<TableId>) -> Result<Vec<Arc<Table>>, EngineError> {
        match table {
            Some(id) => Ok(vec![self.table(id)?]),
            None => Ok(self.tables.load().values().cloned().collect()),
        }
    }

    fn job_context(&self) -> JobContext<'_> {
        JobContext {
            fs: &*self.fs,
            log: &self.log,
            shared: &self.shared,
            block_bytes: self.options.block_bytes,
            step_bytes: self.options.step_bytes,
        }
    }

    /// Freezes memtables that are large enough, and the one that keeps the log long.
    fn freeze_due(&self) {
        let tables = self.tables.load();
        for table in tables.values() {
            if table.state().active.bytes() >= self.options.memtable_bytes {
                table.freeze(&self.log);
            }
        }
        let held = self.memtable_bytes.load(Ordering::Relaxed);
        if held >= self.options.memtables_bytes_max / 2
            && let Some(largest) = tables.values().max_by_key(|t| t.state().active.bytes())
            && tables.values().all(|t| t.state().frozen.is_empty())
        {
            largest.freeze(&self.log);
        }
        if self.log.statistics().bytes > self.options.log_bytes_max
            && let Some(oldest) =
                tables.values().filter(|t| t.unflushed().is_some()).min_by_key(|t| t.unflushed())
        {
            oldest.freeze(&self.log);
        }
    }

    fn start_flush(&self, jobs: &mut Jobs, table: &Arc<Table>) -> Result<(), EngineError> {
        if let Some(frozen) = table.state().frozen.first() {
            jobs.flush = Some(Job::flush(&self.job_context(), table.clone(), frozen.clone())?);
        }
        Ok(())
    }

    fn step_flush(&self, jobs: &mut Jobs) -> Result<(), EngineError> {
        let Some(mut job) = jobs.flush.take() else { return Ok(()) };
        match job.step(&self.job_context()) {
            Ok(None) => jobs.flush = Some(job),
            Ok(Some(finished)) => {
                if let Work::Flush(frozen) = &job.work {
                    self.memtable_bytes.fetch_sub(frozen.memtable.bytes(), Ordering::Relaxed);
                }
                self.counters.flushes.fetch_add(1, Ordering::Relaxed);
                self.counters.bytes_flushed.fetch_add(finished.bytes, Ordering::Relaxed);
            }
            Err(e) => {
                job.abandon(&*self.fs);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Starts the first merge that any table wants.
    fn start_compaction(&self, jobs: &mut Jobs) -> Result<(), EngineError> {
        for table in self.tables.load().values() {
            let state = table.state();
            let sound = state.sstables.iter().filter(|s| !s.is_damaged());
            let candidates: Vec<Candidate> = sound
                .map(|s| Candidate {
                    sequence: s.sequence(),
                    level: 0,
                    bytes: s.file_bytes(),
                    first: s.statistics().first,
                    last: s.statistics().last,
                    entries: s.statistics().entries,
                    purgeable: 0,
                    damaged: false,
                    busy: false,
                })
                .collect();
            if let Some(choice) = choose(&candidates, Strategy::Tiered, &self.options.compaction) {
                jobs.compaction = Some(Job::compaction(&self.job_context(), table.clone(), choice.inputs)?);
                break;
            }
        }
        Ok(())
    }

    fn step_compaction(&self, jobs: &mut Jobs) -> Result<(), EngineError> {
        let Some(mut job) = jobs.compaction.take() else { return Ok(()) };
        match job.step(&self.job_context()) {
            Ok(None) => jobs.compaction = Some(job),
            Ok(Some(finished)) => {
                self.counters.compactions.fetch_add(1, Ordering::Relaxed);
                self.counters.bytes_compacted.fetch_add(finished.bytes, Ordering::Relaxed);
            }
            Err(e) => {
                job.abandon(&*self.fs);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Gives up log segments that no memtable needs any more; false if there are none.
    fn release_log(&self) -> Result<bool, EngineError> {
        let Some(oldest_end) = self.log.oldest_end() else { return Ok(false) };
        let tables = self.tables.load_full();
        if tables.values().filter_map(|t| t.unflushed()).any(|unflushed| unflushed < oldest_end) {
            return Ok(false);
        }
        // In this order: an append that `end` does not cover lies behind it, and one that it covers is in a
        // memtable by the time the table is asked.
        let end: LogPosition = self.log.end();
        let tables = self.tables.load_full();
        let low = tables.values().filter_map(|t| t.unflushed_exactly()).fold(end, LogPosition::min);
        self.log.release(low)
    }
}
