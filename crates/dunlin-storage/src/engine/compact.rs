//! Which merge is next, and whether it may start.

use super::Engine;
use super::background::Step;
use super::job::{Job, Part, Work};
use super::jobs::Jobs;
use super::table::Table;
use crate::compaction::{Candidate, Choice, LEVEL_MAX, Why, choose, pending_bytes};
use crate::error::EngineError;
use crate::options::Strategy;
use crate::sstable::{SsTable, SstStatistics};
use dunlin_types::{Micros, TableId, TokenRange};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a thread that merges does next.
enum Next {
    Part(Part),
    /// A job without parts.
    Conclude(Arc<Job>),
    Nothing,
}

impl Engine {
    /// Merges all SSTables of a table, or of all, into as few as there may be. Memtables are not flushed before.
    /// Other merges of the table are given up for it. Fails if an SSTable is damaged: scrub it first.
    pub fn compact(&self, table: Option<TableId>) -> Result<(), EngineError> {
        for table in self.selected(table)? {
            let inputs = |table: &Table| {
                let all: Vec<_> = table.state().sstables.iter().map(|(_, s)| s.clone()).collect();
                let level = if table.strategy() == Strategy::Leveled { LEVEL_MAX } else { 0 };
                (all, level)
            };
            self.run_alone(&table, |jobs, table| {
                let (all, level) = inputs(table);
                if all.is_empty() || (all.len() == 1 && table.purge().is_none()) {
                    return Ok(None);
                }
                self.check_space(all.iter().map(|s| s.file_bytes()).sum())?;
                let id = jobs.next_id();
                let file_bytes = self.options.compaction.file_bytes;
                Ok(Some(Job::merge(id, table.clone(), all, level, Why::Asked, false, file_bytes)))
            })?;
        }
        Ok(())
    }

    /// Gives up the merges of a table, starts the one that `start` makes and waits until it has ended;
    /// returns it.
    pub(super) fn run_alone(
        &self,
        table: &Arc<Table>,
        start: impl FnOnce(&mut Jobs, &Arc<Table>) -> Result<Option<(Arc<Job>, Vec<Part>)>, EngineError>,
    ) -> Result<Option<Arc<Job>>, EngineError> {
        let merge = |job: &Job| !job.is_flush() && job.table.id == table.id;
        let mut jobs = self.jobs.lock();
        // Another such call is waited for, not given up.
        let asked = |job: &Job| {
            merge(job) && matches!(job.work, Work::Merge(Why::Asked | Why::RangeDelete | Why::Scrub))
        };
        loop {
            let unwanted = jobs.cancel(|job| merge(job) && !asked(job));
            if !unwanted.is_empty() {
                drop(jobs);
                self.end_cancelled(unwanted)?;
                jobs = self.jobs.lock();
            } else if jobs.any(merge) {
                jobs = self.work_on(jobs, asked)?;
            } else {
                break;
            }
        }
        self.check(table)?;
        let Some((job, parts)) = start(&mut jobs, table)? else { return Ok(None) };
        let at_once = parts.is_empty();
        let job = jobs.add((job, parts));
        if at_once {
            drop(jobs);
            self.conclude(&job)?;
            return Ok(Some(job));
        }
        while jobs.any(|j| j.id == job.id) {
            match self.work_on(jobs, |j| j.id == job.id) {
                Ok(guard) => jobs = guard,
                Err(error) => {
                    let rest = self.jobs.lock().cancel(|j| j.id == job.id);
                    self.end_cancelled(rest)?;
                    return Err(error);
                }
            }
        }
        drop(jobs);
        job.error().map_or(Ok(Some(job)), Err)
    }

    pub(super) fn compaction_step(&self) -> Result<Step, EngineError> {
        match self.next_merge()? {
            Next::Part(part) => self.step_part(part),
            Next::Conclude(job) => {
                self.conclude(&job)?;
                Ok(Step { worked: true, bytes: 0 })
            }
            Next::Nothing => Ok(Step::IDLE),
        }
    }

    fn next_merge(&self) -> Result<Next, EngineError> {
        let merge = |job: &Job| !job.is_flush();
        let mut jobs = self.jobs.lock();
        let mut tables: Vec<_> = self.tables.load().values().cloned().collect();
        tables.sort_by_key(|t| std::cmp::Reverse(t.state().sstables.level0().len()));
        let is_level0 = |job: &Job| matches!(job.work, Work::Merge(Why::Level0));
        let pressed = |t: &Arc<Table>, jobs: &Jobs| {
            t.state().sstables.level0().len() * 2 >= self.options.compaction.level0_max
                && !jobs.any(|j| is_level0(j) && j.table.id == t.id)
        };
        // What is begun is ended first, unless writes would have to wait for something else.
        if !tables.first().is_some_and(|t| pressed(t, &jobs))
            && let Some(part) = jobs.take(merge)
        {
            return Ok(Next::Part(part));
        }
        for table in tables {
            let candidates = self.candidates(&table, &jobs);
            let Some(choice) = choose(&candidates, table.strategy(), &self.options.compaction) else {
                continue;
            };
            let Some(job) = self.start_merge(&mut jobs, &table, &choice)? else { continue };
            return Ok(match jobs.take(|j| j.id == job.id) {
                Some(part) => Next::Part(part),
                None => Next::Conclude(job),
            });
        }
        Ok(jobs.take(merge).map_or(Next::Nothing, Next::Part))
    }

    /// `None`: there is no room for it now.
    fn start_merge(
        &self,
        jobs: &mut Jobs,
        table: &Arc<Table>,
        choice: &Choice,
    ) -> Result<Option<Arc<Job>>, EngineError> {
        let state = table.state();
        let chosen = state.sstables.iter().filter(|(_, s)| choice.inputs.contains(&s.sequence()));
        let inputs: Vec<Arc<SsTable>> = chosen.map(|(_, s)| s.clone()).collect();
        let bytes = inputs.iter().map(|s| s.file_bytes()).sum();
        if !choice.moves
            && let Err(error) = self.check_space(bytes)
        {
            let EngineError::DiskFull(_) = error else { return Err(error) };
            if !jobs.put_off.contains(&table.id) {
                tracing::warn!(table = %table.id, bytes, %error, "a compaction is put off until there is room");
                jobs.put_off.push(table.id);
                self.counters.compactions_put_off.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(None);
        }
        jobs.put_off.retain(|id| *id != table.id);
        let (id, file_bytes) = (jobs.next_id(), self.options.compaction.file_bytes);
        let Choice { output_level, why, moves, .. } = *choice;
        Ok(Some(jobs.add(Job::merge(id, table.clone(), inputs, output_level, why, moves, file_bytes))))
    }

    /// Whether so many bytes can be written and a margin is left.
    pub(super) fn check_space(&self, bytes: u64) -> Result<(), EngineError> {
        let space = self.fs.space().map_err(|e| EngineError::io("ask for free space", &e))?;
        let needed = bytes.saturating_add(self.options.compaction.margin_bytes);
        if space.free_bytes >= needed {
            return Ok(());
        }
        let free = space.free_bytes;
        Err(EngineError::DiskFull(format!("{needed} bytes are needed for a compaction, {free} are free")))
    }

    fn candidates(&self, table: &Table, jobs: &Jobs) -> Vec<Candidate> {
        let state = table.state();
        let rule = table.purge();
        let candidate = |(level, sstable): (u8, &Arc<SsTable>)| {
            let statistics = sstable.statistics();
            let range = TokenRange { first: statistics.first, last: statistics.last };
            let before = rule.as_ref().and_then(|rule| rule.latest(range));
            Candidate {
                sequence: sstable.sequence(),
                level,
                bytes: sstable.file_bytes(),
                first: range.first,
                last: range.last,
                entries: statistics.entries,
                purgeable: before.map_or(0, |b| purgeable(statistics, table.purged(sstable.sequence()), b)),
                damaged: sstable.is_damaged(),
                busy: false,
            }
        };
        let mut candidates: Vec<_> = state.sstables.iter().map(candidate).collect();
        jobs.mark_busy(table.id, &mut candidates);
        candidates
    }

    /// Bytes of a table that wait to be merged.
    pub(super) fn pending_bytes(&self, table: &Table, jobs: &Jobs) -> u64 {
        pending_bytes(&self.candidates(table, jobs), table.strategy(), &self.options.compaction)
    }
}

/// Estimates how many entries a merge can drop that one under an earlier rule could not: as if write times and times
/// of expiry were spread evenly.
fn purgeable(statistics: &SstStatistics, tried: Option<Micros>, before: Micros) -> u64 {
    let share = |first: Micros, last: Micros, at: Micros| -> u128 {
        let (done, span) = (at.0.saturating_sub(first.0), last.0.saturating_sub(first.0).saturating_add(1));
        u128::from(done.min(span)) * 1_000 / u128::from(span)
    };
    let tombstones_only = statistics.gone == statistics.tombstones;
    let first = if tombstones_only { statistics.tombstone_written_min } else { statistics.written_min };
    let old = |at| {
        share(first, statistics.written_max, at).min(share(
            statistics.gone_at_min,
            statistics.gone_at_max,
            at,
        ))
    };
    let share = old(before).saturating_sub(tried.map_or(0, old));
    (u128::from(statistics.gone) * share / 1_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_what_may_go() {
        let micros = Micros;
        let tombstones = SstStatistics {
            entries: 1_000,
            tombstones: 500,
            gone: 500,
            written_min: micros(0),
            tombstone_written_min: micros(1_000),
            written_max: micros(1_999),
            gone_at_min: micros(0),
            gone_at_max: micros(0),
            ..SstStatistics::new()
        };
        for (tried, before, expected) in [
            (None, 1_000, 0),
            (None, 1_500, 250),
            (None, 2_000, 500),
            (None, u64::MAX, 500),
            (Some(1_500), 2_000, 250),
            (Some(2_000), 9_000, 0),
        ] {
            assert_eq!(
                purgeable(&tombstones, tried.map(micros), micros(before)),
                expected,
                "{tried:?} {before}"
            );
        }
        let expiring = SstStatistics {
            tombstones: 0,
            gone_at_min: micros(10_000),
            gone_at_max: micros(19_999),
            ..tombstones
        };
        for (before, expected) in [(10_000, 0), (15_000, 250), (20_000, 500)] {
            assert_eq!(purgeable(&expiring, None, micros(before)), expected, "{before}");
        }
        assert_eq!(purgeable(&SstStatistics::new(), None, micros(5)), 0);
    }
}
