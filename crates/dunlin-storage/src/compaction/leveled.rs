//! Leveled: level 0 takes what is flushed; below it, levels of disjoint SSTables, each larger than the one above.
//!
//! Levels fill from the deepest upwards (RocksDB's dynamic level sizes, Dong et al. 2017): one level as long as
//! the data is at most `level_factor` times what level 0 gathers before it is merged, and so on. With n
//! levels a byte is rewritten about n (1 + r) times on its way down, where r is the ratio between neighbours;
//! so the ratio is made the same everywhere.

use super::{Candidate, Choice, LEVEL_MAX, Why, tiered};
use crate::options::CompactionOptions;
use dunlin_types::Token;

/// How large each level should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Targets {
    /// Where level 0 is merged into. Levels between are being emptied.
    pub(crate) base: u8,
    /// By level.
    pub(crate) bytes: [u64; LEVEL_MAX as usize + 1],
}

/// Sizes for levels that now hold so much (by level; level 0 does not matter).
pub(crate) fn targets(held: &[u64; LEVEL_MAX as usize + 1], options: &CompactionOptions) -> Targets {
    let deepest = held[1..].iter().copied().max().unwrap_or_default();
    let (base_bytes, factor) = (options.level_base_bytes.max(1), options.level_factor.max(2));
    let (mut levels, mut reach) = (1, base_bytes.saturating_mul(factor));
    while levels < LEVEL_MAX && reach < deepest {
        levels += 1;
        reach = reach.saturating_mul(factor);
    }
    let ratio = (deepest as f64 / base_bytes as f64).powf(1.0 / f64::from(levels)).max(1.0);
    let mut bytes = [0; LEVEL_MAX as usize + 1];
    let mut target = deepest.max(base_bytes) as f64;
    for level in (LEVEL_MAX + 1 - levels..=LEVEL_MAX).rev() {
        bytes[usize::from(level)] = target as u64;
        target /= ratio;
    }
    // There is nowhere to go from the deepest level.
    bytes[usize::from(LEVEL_MAX)] = u64::MAX;
    Targets { base: LEVEL_MAX + 1 - levels, bytes }
}

pub(super) fn choose(candidates: &[Candidate], options: &CompactionOptions) -> Option<Choice> {
    if let Some(damaged) = candidates.iter().find(|c| c.damaged && c.level > 0 && !c.busy) {
        let inputs = vec![damaged.sequence];
        return Some(Choice { inputs, output_level: 0, why: Why::Damaged, moves: true });
    }
    let mut held = [0; LEVEL_MAX as usize + 1];
    candidates.iter().for_each(|c| held[usize::from(c.level.min(LEVEL_MAX))] += c.bytes);
    let targets = targets(&held, options);
    if let Some(choice) = level0(candidates, targets.base, options) {
        return Some(choice);
    }
    let mut full: Vec<(u64, u8)> = (1..LEVEL_MAX)
        .map(|level| {
            // In thousandths of the target; a level that should be empty comes first.
            let (held, target) = (held[usize::from(level)], targets.bytes[usize::from(level)]);
            let thousand = held.saturating_mul(1_000);
            (thousand.checked_div(target).unwrap_or(thousand), level)
        })
        .filter(|&(score, _)| score > 1_000)
        .collect();
    full.sort_unstable_by_key(|&(score, level)| (std::cmp::Reverse(score), level));
    full.into_iter().find_map(|(_, level)| cheapest(candidates, level, targets.base, options))
}

/// Level 0 into the base level; or its SSTables among themselves, as long as they are a small part of what the
/// merge would rewrite.
fn level0(candidates: &[Candidate], base: u8, options: &CompactionOptions) -> Option<Choice> {
    let free: Vec<&Candidate> = candidates.iter().filter(|c| c.level == 0 && c.free()).collect();
    if free.len() < options.level0_min.max(1) {
        return None;
    }
    let bytes: u64 = free.iter().map(|c| c.bytes).sum();
    let (first, last) = hull(free.iter().copied())?;
    let below = overlap(candidates, base, first, last);
    let below_bytes: u64 = below.iter().flatten().map(|c| c.bytes).sum();
    let small = bytes.saturating_mul(100) < below_bytes.saturating_mul(options.level0_percent);
    if small && let Some(inputs) = tiered::tier(&free, options.level0_min.div_ceil(2), options) {
        return Some(Choice { inputs, output_level: 0, why: Why::Level0Small, moves: false });
    }
    // Writes must never wait for a merge that is not started.
    if small && free.len() < (2 * options.level0_min).min(options.level0_max / 2) {
        return None;
    }
    merge(&free, below?, base, Why::Level0)
}

/// Of the SSTables of a level, the one whose merge rewrites least for its size, with its neighbours that come
/// along for nothing.
fn cheapest(candidates: &[Candidate], level: u8, base: u8, options: &CompactionOptions) -> Option<Choice> {
    let output = (level + 1).max(base);
    let here: Vec<&Candidate> = candidates.iter().filter(|c| c.level == level && c.free()).collect();
    let cost = |c: &&Candidate| {
        let below = overlap(candidates, output, c.first, c.last)?;
        let bytes: u64 = below.iter().map(|b| b.bytes).sum();
        Some((bytes.saturating_mul(1_000) / c.bytes.max(1), c.sequence))
    };
    let (_, chosen) = here.iter().filter_map(|c| Some((cost(c)?, *c))).min_by_key(|(cost, _)| *cost)?;
    let below = overlap(candidates, output, chosen.first, chosen.last)?;
    let (first, last) = hull(below.iter().copied().chain([chosen]))?;
    let mut inputs = vec![chosen];
    let mut bytes = chosen.bytes;
    for neighbour in here.iter().filter(|c| c.sequence != chosen.sequence) {
        let fits = bytes + neighbour.bytes <= options.file_bytes.saturating_mul(4);
        if fits && first <= neighbour.first && neighbour.last <= last {
            bytes += neighbour.bytes;
            inputs.push(neighbour);
        }
    }
    merge(&inputs, below, output, Why::LevelFull(level))
}

/// One SSTable into the next level that holds anything of its range, or anew into its own if it is the last.
pub(super) fn push_down(chosen: &Candidate, candidates: &[Candidate], why: Why) -> Option<Choice> {
    for level in chosen.level + 1..=LEVEL_MAX {
        let below = overlap(candidates, level, chosen.first, chosen.last)?;
        if !below.is_empty() {
            return merge(&[chosen], below, level, why);
        }
    }
    Some(Choice { inputs: vec![chosen.sequence], output_level: chosen.level, why, moves: false })
}

/// The SSTables of a level that meet a token range; `None` if one of them is not free.
fn overlap(candidates: &[Candidate], level: u8, first: Token, last: Token) -> Option<Vec<&Candidate>> {
    let all = candidates.iter().filter(|c| c.level == level && c.meets(first, last));
    all.map(|c| c.free().then_some(c)).collect()
}

/// The lowest and the highest token.
fn hull<'a>(candidates: impl Iterator<Item = &'a Candidate> + Clone) -> Option<(Token, Token)> {
    let first = candidates.clone().map(|c| c.first).min()?;
    Some((first, candidates.map(|c| c.last).max()?))
}

fn merge(from: &[&Candidate], below: Vec<&Candidate>, output_level: u8, why: Why) -> Option<Choice> {
    let mut sorted = from.to_vec();
    sorted.sort_by_key(|c| c.first);
    let apart = sorted.windows(2).all(|pair| pair[0].last < pair[1].first);
    let moves = below.is_empty() && apart;
    let mut inputs: Vec<u64> = from.iter().chain(&below).map(|c| c.sequence).collect();
    inputs.sort_unstable();
    Some(Choice { inputs, output_level, why, moves })
}
