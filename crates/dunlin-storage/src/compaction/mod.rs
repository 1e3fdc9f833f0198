//! What to merge next, as pure functions: [`choose`] gives a [`Choice`], a value that tests can look at.
//!
//! Any set of SSTables of a table may be merged, in any order: records join. What the strategies differ in is
//! only how often data is rewritten, how much space it takes and how many SSTables a read looks into.

pub(crate) mod leveled;
pub(crate) mod purge;
pub(crate) mod ranges;
pub(crate) mod tiered;

use crate::options::{CompactionOptions, Strategy};
use dunlin_types::Token;

/// The deepest level. Levels fill from here upwards: as long as there is little data, there is one.
pub(crate) const LEVEL_MAX: u8 = 6;

/// What is known of an SSTable, or of the output of a merge under way (which is `busy`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) sequence: u64,
    pub(crate) level: u8,
    pub(crate) bytes: u64,
    pub(crate) first: Token,
    pub(crate) last: Token,
    pub(crate) entries: u64,
    /// Estimate of the entries that a merge of it could drop by the purge rule and has not tried to yet.
    pub(crate) purgeable: u64,
    /// A block failed its check: not merged before it was scrubbed.
    pub(crate) damaged: bool,
    /// Part of a merge under way.
    pub(crate) busy: bool,
}

impl Candidate {
    fn free(&self) -> bool {
        !self.damaged && !self.busy
    }

    fn meets(&self, first: Token, last: Token) -> bool {
        self.first <= last && first <= self.last
    }
}

/// Why something is merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Level 0 is due.
    Level0,
    /// Level 0 has many SSTables but little data: they are merged among themselves.
    Level0Small,
    /// This level is larger than it should be.
    LevelFull(u8),
    /// Many SSTables of like size.
    Tier,
    /// Many of its entries may be forgotten.
    Purge,
    /// A damaged SSTable steps aside to level 0, where it is in nobody's way.
    Damaged,
    /// The operator asked for a full compaction.
    Asked,
    /// A token range is removed.
    RangeDelete,
    /// A damaged SSTable is rewritten.
    Scrub,
}

/// A merge worth doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    /// Sequence numbers, ascending.
    pub(crate) inputs: Vec<u64>,
    pub(crate) output_level: u8,
    pub(crate) why: Why,
    /// The inputs need only be given another level: they overlap neither one another nor anything there.
    pub(crate) moves: bool,
}

/// The most urgent merge; `None` if there is nothing worth doing.
pub(crate) fn choose(
    candidates: &[Candidate],
    strategy: Strategy,
    options: &CompactionOptions,
) -> Option<Choice> {
    match strategy {
        Strategy::Leveled => leveled::choose(candidates, options),
        Strategy::Tiered => tiered::choose(candidates, options),
    }
    .or_else(|| purge_one(candidates, strategy, options))
}

/// Bytes of all merges that could start now, and those that wait for them.
pub(crate) fn pending_bytes(
    candidates: &[Candidate],
    strategy: Strategy,
    options: &CompactionOptions,
) -> u64 {
    let mut rest = candidates.to_vec();
    let mut bytes = 0;
    // Each choice takes at least one candidate out.
    while let Some(choice) = choose(&rest, strategy, options) {
        for candidate in rest.iter_mut().filter(|c| choice.inputs.contains(&c.sequence)) {
            candidate.busy = true;
            bytes += if choice.moves { 0 } else { candidate.bytes };
        }
    }
    bytes
}

/// The SSTable with the largest share of entries that may be purged, if it is large enough.
fn purge_one(candidates: &[Candidate], strategy: Strategy, options: &CompactionOptions) -> Option<Choice> {
    let worth = |c: &&Candidate| {
        c.free() && c.purgeable > 0 && c.purgeable * 100 >= c.entries * options.purge_percent
    };
    let share = |c: &Candidate| (c.purgeable * 1_000 / c.entries.max(1), u64::MAX - c.sequence);
    let mut worthy: Vec<&Candidate> = candidates.iter().filter(worth).collect();
    worthy.sort_by_key(|c| std::cmp::Reverse(share(c)));
    // What its deletions delete lies below it, or in it.
    worthy.into_iter().find_map(|c| match strategy {
        Strategy::Leveled if c.level > 0 => leveled::push_down(c, candidates, Why::Purge),
        _ => Some(Choice { inputs: vec![c.sequence], output_level: 0, why: Why::Purge, moves: false }),
    })
}

#[cfg(test)]
mod tests;
