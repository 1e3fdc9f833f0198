//! What to merge next: size-tiered compaction as a pure function.
//!
//! SSTables of like size form a tier; a tier with enough of them is merged into one table of the next
//! (Bigtable, Chang et al. 2006; the strategy of Cassandra's early versions). Any set of SSTables of a
//! table may be merged: records join in any order.

use crate::options::CompactionOptions;

/// What is known of an SSTable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
}

/// A merge worth doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Choice {
    /// Sequence numbers, ascending.
    pub(crate) inputs: Vec<u64>,
}

/// Picks the tier of the smallest SSTables that is full; `None` if none is.
pub(crate) fn choose(candidates: &[Candidate], options: &CompactionOptions) -> Option<Choice> {
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|c| (c.bytes, c.sequence));
    let mut rest = &sorted[..];
    while let Some(smallest) = rest.first() {
        // A tier reaches up to twice its smallest member.
        let bound = smallest.bytes.saturating_mul(2).max(options.small_bytes);
        let tier = rest.partition_point(|c| c.bytes <= bound);
        if tier >= options.inputs_min.max(2) {
            let mut inputs: Vec<u64> =
                rest[..tier.min(options.inputs_max.max(2))].iter().map(|c| c.sequence).collect();
            inputs.sort_unstable();
            return Some(Choice { inputs });
        }
        rest = &rest[tier..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sizes: &[u64], expected: Option<&[u64]>) {
        let options = CompactionOptions { inputs_min: 4, inputs_max: 6, small_bytes: 100 };
        let candidates: Vec<_> =
            sizes.iter().enumerate().map(|(i, &bytes)| Candidate { sequence: i as u64, bytes }).collect();
        let expected = expected.map(|inputs| Choice { inputs: inputs.to_vec() });
        assert_eq!(choose(&candidates, &options), expected, "{sizes:?}");
    }

    #[test]
    fn merges_full_tiers_smallest_first() {
        check(&[], None);
        check(&[10, 20, 30], None);
        check(&[10, 20, 30, 100], Some(&[0, 1, 2, 3]));
        check(&[10, 20, 30, 101], None);
        check(&[1000, 10, 1100, 1200, 30, 2000], Some(&[0, 2, 3, 5]));
        check(&[1000, 10, 1100, 1200, 30, 2001], None);
        check(&[9000, 9000, 9000, 9000, 5, 5, 5, 5], Some(&[4, 5, 6, 7]));
        check(&[7, 6, 5, 4, 3, 2, 1], Some(&[1, 2, 3, 4, 5, 6]));
        check(&[1000, 2100, 4500, 9300, 20_000], None);
    }
}
