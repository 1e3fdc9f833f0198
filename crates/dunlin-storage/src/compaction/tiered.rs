//! Size-tiered: SSTables of like size form a tier; a full one is merged into one SSTable of the next.

use super::{Candidate, Choice, Why};
use crate::options::CompactionOptions;

/// Picks the tier of the smallest SSTables that is full; all levels count as one.
pub(super) fn choose(candidates: &[Candidate], options: &CompactionOptions) -> Option<Choice> {
    let free: Vec<&Candidate> = candidates.iter().filter(|c| c.free()).collect();
    let inputs = tier(&free, options.inputs_min, options).or_else(|| many(&free, options))?;
    Some(Choice { inputs, output_level: 0, why: Why::Tier, moves: false })
}

/// The smallest SSTables, if there are so many that writes would soon be refused, but no tier is full.
fn many(free: &[&Candidate], options: &CompactionOptions) -> Option<Vec<u64>> {
    if free.len() < (options.level0_max * 3 / 4).max(2) {
        return None;
    }
    let mut sorted = free.to_vec();
    sorted.sort_by_key(|c| (c.bytes, c.sequence));
    let mut inputs: Vec<u64> = sorted.iter().take(options.inputs_min.max(2)).map(|c| c.sequence).collect();
    inputs.sort_unstable();
    Some(inputs)
}

/// Sequence numbers, ascending, of the smallest tier with at least `least` members.
pub(super) fn tier(free: &[&Candidate], least: usize, options: &CompactionOptions) -> Option<Vec<u64>> {
    let mut sorted = free.to_vec();
    sorted.sort_by_key(|c| (c.bytes, c.sequence));
    let mut rest = &sorted[..];
    while let Some(smallest) = rest.first() {
        // A tier reaches up to twice its smallest member.
        let bound = smallest.bytes.saturating_mul(2).max(options.small_bytes);
        let members = rest.partition_point(|c| c.bytes <= bound);
        if members >= least.max(2) {
            let members = &rest[..members.min(options.inputs_max.max(2))];
            let mut inputs: Vec<u64> = members.iter().map(|c| c.sequence).collect();
            inputs.sort_unstable();
            return Some(inputs);
        }
        rest = &rest[members..];
    }
    None
}
