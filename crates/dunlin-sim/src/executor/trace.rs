//! The trace of a run: a hash over everything that happened, and counters of what is worth having happened.

use std::collections::BTreeMap;

/// Grows by every poll, message, fault and event. Equal hashes: the same run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    coverage: BTreeMap<&'static str, u64>,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, coverage: BTreeMap::new() }
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

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How often what was counted.
    pub fn coverage(&self) -> &BTreeMap<&'static str, u64> {
        &self.coverage
    }
}
