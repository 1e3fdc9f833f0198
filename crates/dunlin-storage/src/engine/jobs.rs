//! Jobs under way, and which part a thread takes next.

use super::job::{Job, Part, Work};
use crate::compaction::{Candidate, Why};
use dunlin_types::TableId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A flush or a merge under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunningJob {
    /// Grows with every job of this engine: tells jobs apart, and when one was first seen.
    pub id: u64,
    /// Of which table.
    pub table: TableId,
    /// `None`: a flush.
    pub why: Option<Why>,
    /// SSTables that are merged.
    pub inputs: u64,
    /// Level of the output.
    pub output_level: u8,
    /// Bytes read so far.
    pub bytes_done: u64,
    /// Bytes to read, about.
    pub bytes_total: u64,
}

/// Invariant: a part is in `waiting` or in the hands of one thread.
#[derive(Default)]
pub(crate) struct Jobs {
    last_id: u64,
    pub(crate) running: Vec<Arc<Job>>,
    /// Begun parts first.
    waiting: VecDeque<Part>,
    /// Tables whose next merge waits for space.
    pub(crate) put_off: Vec<TableId>,
}

impl Jobs {
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn add(&mut self, (job, parts): (Arc<Job>, Vec<Part>)) -> Arc<Job> {
        self.running.push(job.clone());
        self.waiting.extend(parts);
        job
    }

    /// A part that nobody works on.
    pub(crate) fn take(&mut self, wanted: impl Fn(&Job) -> bool) -> Option<Part> {
        let at = self.waiting.iter().position(|part| wanted(&part.job))?;
        self.waiting.remove(at)
    }

    pub(crate) fn put_back(&mut self, part: Part) {
        self.waiting.push_front(part);
    }

    pub(crate) fn remove(&mut self, job: &Arc<Job>) {
        self.running.retain(|j| !Arc::ptr_eq(j, job));
    }

    pub(crate) fn any(&self, wanted: impl Fn(&Job) -> bool) -> bool {
        self.running.iter().any(|job| wanted(job))
    }

    /// Stops jobs: parts that others work on end after their step, the rest is for the caller to end.
    pub(crate) fn cancel(&mut self, unwanted: impl Fn(&Job) -> bool) -> Vec<Part> {
        self.running.iter().filter(|j| unwanted(j)).for_each(|j| j.cancelled.store(true, Ordering::Relaxed));
        std::iter::from_fn(|| self.take(&unwanted)).collect()
    }

    /// Marks what jobs work on, and adds what they will put out.
    pub(crate) fn mark_busy(&self, table: TableId, candidates: &mut Vec<Candidate>) {
        for job in self.running.iter().filter(|j| j.table.id == table && !j.is_flush()) {
            candidates.iter_mut().filter(|c| job.takes(c.sequence)).for_each(|c| c.busy = true);
            candidates.extend(job.hull().map(|(first, last)| Candidate {
                sequence: u64::MAX,
                level: job.output_level,
                bytes: 0,
                first,
                last,
                entries: 0,
                purgeable: 0,
                damaged: false,
                busy: true,
            }));
        }
    }

    pub(crate) fn report(&self) -> Vec<RunningJob> {
        let report = |job: &Arc<Job>| RunningJob {
            id: job.id,
            table: job.table.id,
            why: match job.work {
                Work::Flush(_) => None,
                Work::Merge(why) => Some(why),
            },
            inputs: job.inputs.len() as u64,
            output_level: job.output_level,
            bytes_done: job.bytes_done.load(Ordering::Relaxed).min(job.bytes_total),
            bytes_total: job.bytes_total,
        };
        self.running.iter().map(report).collect()
    }
}
