//! Pure trackers: replies go in; enough, hopeless, who differs and who needs repair come out.

use super::level::{Mask, Need, Needs};
use crate::message::RecordDigest;
use dunlin_types::Record;
use smallvec::SmallVec;

/// How a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Neither enough yet, nor hopeless.
    Pending,
    /// Every need is met.
    Enough,
    /// Some need cannot be met any more.
    Impossible,
}

/// Counts the replicas that did what was asked against the needs of a level.
#[derive(Clone, Debug)]
pub struct Tally {
    needs: Needs,
    done: Mask,
    failed: Mask,
}

impl Tally {
    /// Nothing came yet.
    pub fn new(needs: Needs) -> Tally {
        Tally { needs, done: 0, failed: 0 }
    }

    /// Replica `index` did it. A success stands, whatever comes later.
    pub fn add_success(&mut self, index: usize) {
        self.done |= 1 << index;
        self.failed &= !self.done;
    }

    /// Replica `index` will not do it.
    pub fn add_failure(&mut self, index: usize) {
        self.failed |= 1 << index & !self.done;
    }

    /// Replica `index` is asked again: what it said no longer counts.
    pub fn reopen(&mut self, index: usize) {
        self.done &= !(1 << index);
        self.failed &= !(1 << index);
    }

    /// The same needs, with nothing done.
    pub fn emptied(&self) -> Tally {
        Tally::new(self.needs.clone())
    }

    /// Those that did it.
    pub fn done(&self) -> Mask {
        self.done
    }

    /// Those that will not.
    pub fn failed(&self) -> Mask {
        self.failed
    }

    /// How the needs stand.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::Enough;
        for need in &self.needs {
            if reach(need, self.done) < need.required {
                progress = Progress::Pending;
                if reach(need, !self.failed) < need.required {
                    return Progress::Impossible;
                }
            }
        }
        progress
    }

    /// Whether every need could be met by these replicas alone.
    pub fn possible_with(&self, replicas: Mask) -> bool {
        self.needs.iter().all(|need| reach(need, replicas) >= need.required)
    }

    /// (required, received) of the need that fell furthest short of `replicas`, for an error's text.
    pub fn shortfall(&self, replicas: Mask) -> (u32, u32) {
        let short = |need: &Need| i64::from(need.required) - i64::from(reach(need, replicas));
        let worst = self.needs.iter().max_by_key(|need| short(need));
        worst.map_or((0, 0), |need| (need.required, reach(need, replicas)))
    }

    /// The fewest of `candidates`, in order of index as listed, that would meet every need together
    /// with those that did it already.
    pub fn choose(&self, candidates: impl IntoIterator<Item = usize>) -> Mask {
        let mut chosen: Mask = 0;
        for index in candidates {
            let bit = 1 << index;
            let useful =
                |need: &Need| need.members & bit != 0 && reach(need, self.done | chosen) < need.required;
            if (self.done | chosen) & bit == 0 && self.needs.iter().any(useful) {
                chosen |= bit;
            }
        }
        chosen
    }
}

fn reach(need: &Need, replicas: Mask) -> u32 {
    (need.members & replicas).count_ones()
}

/// What a replica said to a read.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// Its copy.
    Record(Option<Record>),
    /// Its copy's digest.
    Digest(RecordDigest),
}

/// What to do next in a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadStep {
    /// Wait for more replies.
    Wait,
    /// Enough replies and all the same; one of them is the record.
    Agreed,
    /// Enough replies, but whole records are missing: ask these replicas again for them.
    Fetch(Mask),
    /// Enough replies, all of them whole records that differ: merge and repair.
    Differ,
    /// It cannot be met any more.
    Impossible,
}

/// Gathers the replies of one read.
#[derive(Clone, Debug)]
pub struct ReadTracker {
    tally: Tally,
    replies: SmallVec<[(usize, Reply); 3]>,
}

impl ReadTracker {
    /// Nothing came yet.
    pub fn new(needs: Needs) -> ReadTracker {
        ReadTracker { tally: Tally::new(needs), replies: SmallVec::new() }
    }

    /// The counts alone.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// A replica answered. A later answer of the same replica takes the place of the earlier.
    pub fn add_reply(&mut self, index: usize, reply: Reply) {
        self.replies.retain(|r| r.0 != index);
        self.replies.push((index, reply));
        self.tally.add_success(index);
    }

    /// A replica will not answer. What it said before no longer counts.
    pub fn add_failure(&mut self, index: usize) {
        self.refetch(index);
        self.tally.add_failure(index);
    }

    /// A replica is asked again, for its record: what it said before no longer counts.
    pub fn refetch(&mut self, index: usize) {
        self.replies.retain(|r| r.0 != index);
        self.tally.reopen(index);
    }

    /// What to do now.
    pub fn step(&self) -> ReadStep {
        match self.tally.progress() {
            Progress::Pending => return ReadStep::Wait,
            Progress::Impossible => return ReadStep::Impossible,
            Progress::Enough => {}
        }
        let same = self.all_same();
        let mut fetch = self.digest_only();
        let whole = self.replies.iter().any(|r| matches!(r.1, Reply::Record(_)));
        match (same, whole) {
            (true, true) => return ReadStep::Agreed,
            (true, false) => fetch &= fetch.wrapping_neg(),
            (false, _) => {}
        }
        if fetch == 0 { ReadStep::Differ } else { ReadStep::Fetch(fetch) }
    }

    fn all_same(&self) -> bool {
        let Some(((_, first), rest)) = self.replies.split_first() else { return true };
        if rest.is_empty() {
            return true;
        }
        if let Reply::Record(first) = first
            && rest.iter().all(|(_, reply)| matches!(reply, Reply::Record(_)))
        {
            return rest.iter().all(|(_, reply)| matches!(reply, Reply::Record(record) if record == first));
        }
        let first = first.digest();
        rest.iter().all(|(_, reply)| reply.digest() == first)
    }

    /// The join of every record that came.
    pub fn merged(&self) -> Option<Record> {
        let mut merged: Option<Record> = None;
        for (_, reply) in &self.replies {
            if let Reply::Record(Some(record)) = reply {
                match &mut merged {
                    Some(merged) => merged.merge(record),
                    None => merged = Some(record.clone()),
                }
            }
        }
        merged
    }

    /// The record all agree on, taken out without a copy: the tracker is of no use after this. Only
    /// after [`ReadStep::Agreed`].
    pub fn take_agreed(&mut self) -> Option<Record> {
        self.replies
            .iter_mut()
            .find_map(|(_, reply)| if let Reply::Record(record) = reply { Some(record.take()) } else { None })
            .flatten()
    }

    /// Replicas that sent a digest only.
    pub fn digest_only(&self) -> Mask {
        self.replies.iter().filter(|r| matches!(r.1, Reply::Digest(_))).fold(0, |mask, r| mask | 1 << r.0)
    }

    /// Replicas whose record is the merged one.
    pub fn holders(&self, merged: &Option<Record>) -> Mask {
        let equal = self.replies.iter().filter(|r| matches!(&r.1, Reply::Record(record) if record == merged));
        equal.fold(0, |mask, r| mask | 1 << r.0)
    }

    /// Replicas that answered with less than the merged record: who needs repair.
    pub fn stale(&self, merged: &Option<Record>) -> Mask {
        self.tally.done() & !self.holders(merged)
    }

    /// The record of the first replica, in their order, that sent one.
    pub fn first(&self) -> Option<&Record> {
        let first =
            self.replies.iter().filter(|r| matches!(r.1, Reply::Record(Some(_)))).min_by_key(|r| r.0)?;
        if let Reply::Record(record) = &first.1 { record.as_ref() } else { None }
    }
}

impl Reply {
    fn digest(&self) -> RecordDigest {
        match self {
            Reply::Digest(digest) => *digest,
            Reply::Record(record) => record.as_ref().map(Record::digest),
        }
    }
}
