//! Flush, compaction and log housekeeping, as bounded steps that the owner of the engine asks for.

use super::Engine;
use super::job::{Job, JobContext, Part, Work};
use super::jobs::Jobs;
use super::table::Table;
use crate::LogPosition;
use crate::compaction::purge::PurgeRule;
use crate::error::EngineError;
use dunlin_types::TableId;
use parking_lot::MutexGuard;
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
    /// About how many bytes were read and written, for the owner to hold a rate by waiting.
    pub bytes: u64,
}

impl Step {
    pub(crate) const IDLE: Step = Step { worked: false, bytes: 0 };
    const WORKED: Step = Step { worked: true, bytes: 0 };
}

impl Engine {
    /// Does one bounded step of what is due in a lane. Any number of threads may call it at once: they work side
    /// by side on what does not overlap. After an error (a full disk, say) call again later.
    pub fn maintenance(&self, lane: Lane) -> Result<Step, EngineError> {
        if lane != Lane::Compaction && self.log.failure().is_none() {
            let step = self.flush_step()?;
            if step.worked {
                return Ok(step);
            }
            if self.release_log()? || self.log.prepare_spare(self.options.step_bytes)? {
                return Ok(Step::WORKED);
            }
        }
        if lane != Lane::Flush {
            let step = self.compaction_step()?;
            if step.worked {
                return Ok(step);
            }
        }
        if lane != Lane::Compaction && self.log.failure().is_none() {
            self.log.mark()?;
        }
        Ok(Step::IDLE)
    }

    /// Writes the memtable of a table, or of all, to SSTables.
    pub fn flush(&self, table: Option<TableId>) -> Result<(), EngineError> {
        for table in self.selected(table)? {
            table.freeze(&self.log);
            let goal = table.state().frozen.last().map(|f| f.end);
            // Memtables are flushed oldest first; later ones that others freeze meanwhile are not waited for.
            let due = || goal.is_some_and(|goal| table.state().frozen.first().is_some_and(|f| f.end <= goal));
            let mut jobs = self.jobs.lock();
            while due() {
                self.check(&table)?;
                if !jobs.any(|job| job.is_flush() && job.table.id == table.id) {
                    self.start_flush(&mut jobs, &table);
                }
                jobs = self.work_on(jobs, |job| job.is_flush() && job.table.id == table.id)?;
            }
        }
        Ok(())
    }

    /// Ends long calls (flushes, compactions, verification) that run now, after their current step. Background
    /// work just ends when nobody asks for another step.
    pub fn interrupt(&self) {
        self.interrupted.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Sets what may be forgotten of a table; replaces an earlier rule. Without one nothing is.
    pub fn set_purge(&self, table: TableId, rule: PurgeRule) -> Result<(), EngineError> {
        self.table(table)?.set_purge(rule);
        Ok(())
    }

    pub(super) fn selected(&self, table: Option<TableId>) -> Result<Vec<Arc<Table>>, EngineError> {
        match table {
            Some(id) => Ok(vec![self.table(id)?]),
            None => Ok(self.tables.load().values().cloned().collect()),
        }
    }

    /// The error for a table that is gone.
    pub(super) fn check(&self, table: &Arc<Table>) -> Result<(), EngineError> {
        let present = self.tables.load().get(&table.id).is_some_and(|t| Arc::ptr_eq(t, table));
        if present { Ok(()) } else { Err(EngineError::UnknownTable(table.id)) }
    }

    pub(super) fn job_context(&self) -> JobContext<'_> {
        JobContext {
            fs: &*self.fs,
            log: &self.log,
            shared: &self.shared,
            block_bytes: self.options.block_bytes,
            step_bytes: self.options.step_bytes,
            // Parts are cut to the size; a little more is better than a sliver behind it.
            file_bytes: self.options.compaction.file_bytes.saturating_mul(5) / 4,
        }
    }

    /// For long calls: one step of a job, by this thread or another. Fails if it was interrupted meanwhile.
    pub(super) fn work_on<'a>(
        &'a self,
        mut jobs: MutexGuard<'a, Jobs>,
        wanted: impl Fn(&Job) -> bool,
    ) -> Result<MutexGuard<'a, Jobs>, EngineError> {
        let before = self.interrupted.load(Ordering::Relaxed);
        match jobs.take(wanted) {
            Some(part) => {
                drop(jobs);
                self.step_part(part)?;
                jobs = self.jobs.lock();
            }
            None => self.changed.wait(&mut jobs),
        }
        if self.interrupted.load(Ordering::Relaxed) != before {
            return Err(EngineError::Interrupted);
        }
        Ok(jobs)
    }

    /// One step of a part that was taken from the jobs.
    pub(super) fn step_part(&self, mut part: Part) -> Result<Step, EngineError> {
        match part.step(&self.job_context()) {
            Ok((bytes, false)) => {
                let mut jobs = self.jobs.lock();
                if part.job.cancelled.load(Ordering::Relaxed) {
                    drop(jobs);
                    self.end_part(part, Err(EngineError::Interrupted))?;
                } else {
                    jobs.put_back(part);
                    self.changed.notify_all();
                }
                Ok(Step { worked: true, bytes })
            }
            Ok((bytes, true)) => {
                self.end_part(part, Ok(()))?;
                Ok(Step { worked: true, bytes })
            }
            Err(EngineError::Interrupted) => {
                self.end_part(part, Err(EngineError::Interrupted))?;
                Ok(Step::WORKED)
            }
            Err(error) => {
                let table = part.job.table.clone();
                self.end_part(part, Err(error.clone()))?;
                // The folder of a table that was dropped meanwhile may be gone.
                if self.check(&table).is_err() { Ok(Step::WORKED) } else { Err(error) }
            }
        }
    }

    /// Notes that a part has ended, and ends the job if it was the last one, or if it failed.
    pub(super) fn end_part(&self, part: Part, result: Result<(), EngineError>) -> Result<(), EngineError> {
        let job = part.job.clone();
        let failed = result.is_err();
        if job.end_part(part, result) {
            return self.conclude(&job);
        }
        if failed {
            let rest = self.jobs.lock().cancel(|j| j.id == job.id);
            self.end_cancelled(rest)?;
        }
        Ok(())
    }

    /// Ends parts that [`Jobs::cancel`] gave.
    pub(super) fn end_cancelled(&self, parts: Vec<Part>) -> Result<(), EngineError> {
        parts.into_iter().try_for_each(|part| self.end_part(part, Err(EngineError::Interrupted)))
    }

    /// Ends a job none of whose parts is left.
    pub(super) fn conclude(&self, job: &Arc<Job>) -> Result<(), EngineError> {
        let result = job.conclude(&self.job_context());
        if let Ok(bytes) = &result {
            let counters = &self.counters;
            let (jobs, written) = match &job.work {
                Work::Flush(frozen) => {
                    self.memtable_bytes.fetch_sub(frozen.memtable.bytes(), Ordering::Relaxed);
                    (&counters.flushes, &counters.bytes_flushed)
                }
                Work::Merge(_) => (&counters.compactions, &counters.bytes_compacted),
            };
            jobs.fetch_add(1, Ordering::Relaxed);
            written.fetch_add(*bytes, Ordering::Relaxed);
            job.table.count_written(job.is_flush(), *bytes);
        }
        self.jobs.lock().remove(job);
        self.changed.notify_all();
        if self.check(&job.table).is_err() {
            // It was dropped under the job, whose files were still there then.
            if let Err(error) = self.remove_files_of(&job.table) {
                tracing::warn!(table = %job.table.id, %error, "files of a dropped table were not removed");
            }
            return Ok(());
        }
        match result {
            Ok(_) | Err(EngineError::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn flush_step(&self) -> Result<Step, EngineError> {
        self.freeze_due();
        let part = {
            let mut jobs = self.jobs.lock();
            match jobs.take(Job::is_flush) {
                Some(part) => Some(part),
                None => {
                    let tables = self.tables.load_full();
                    let idle = |t: &&Arc<Table>| {
                        !t.state().frozen.is_empty() && !jobs.any(|j| j.is_flush() && j.table.id == t.id)
                    };
                    if let Some(table) = tables.values().filter(idle).min_by_key(|t| t.unflushed()) {
                        self.start_flush(&mut jobs, table);
                    }
                    jobs.take(Job::is_flush)
                }
            }
        };
        part.map_or(Ok(Step::IDLE), |part| self.step_part(part))
    }

    /// Called while no flush of the table is under way: its memtables are flushed oldest first.
    fn start_flush(&self, jobs: &mut Jobs, table: &Arc<Table>) {
        if let Some(frozen) = table.state().frozen.first() {
            let id = jobs.next_id();
            jobs.add(Job::flush(id, table.clone(), frozen.clone()));
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
            && oldest.state().frozen.is_empty()
        {
            oldest.freeze(&self.log);
        }
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
