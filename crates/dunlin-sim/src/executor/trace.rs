//! The trace of a run: a hash over everything that happened, and counters of what is worth having happened.

use std::collections::BTreeMap;

/// Happenings whose numbers are kept at a time.
const RECORDED_MAX: usize = 100_000;

/// Grows by every poll, message, fault and event. Equal hashes: the same run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    coverage: BTreeMap<&'static str, u64>,
    branches: BTreeMap<&'static str, u64>,
    /// Numbers that came with happenings worth judging.
    recorded: Vec<(&'static str, u64, u64)>,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            coverage: BTreeMap::new(),
            branches: BTreeMap::new(),
            recorded: Vec::new(),
        }
    }
}

impl Trace {
    /// Mixes words into the hash.
    pub fn mix(&mut self, words: &[u64]) {
        for word in words {
            self.hash = (self.hash ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
        }
    }

    /// Mixes a name into the hash.
    pub fn mix_text(&mut self, text: &str) {
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(&[u64::from_le_bytes(word)]);
        }
    }

    /// Counts that something happened.
    pub fn count(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    /// Counts that a rare branch was taken.
    pub fn count_branch(&mut self, point: &'static str) {
        *self.branches.entry(point).or_default() += 1;
    }

    /// Keeps the numbers of a happening.
    pub fn record(&mut self, what: &'static str, a: u64, b: u64) {
        if self.recorded.len() < RECORDED_MAX {
            self.recorded.push((what, a, b));
        }
    }

    /// Takes the numbers kept so far.
    pub fn take_recorded(&mut self) -> Vec<(&'static str, u64, u64)> {
        std::mem::take(&mut self.recorded)
    }

    /// Rare branches, and how often each was taken.
    pub fn branches(&self) -> &BTreeMap<&'static str, u64> {
        &self.branches
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How often what was counted.
    pub fn coverage(&self) -> &BTreeMap<&'static str, u64> {
        &self.coverage
    }
}
