//! Which block holds a token.
//!
//! Tokens are uniform, so a straight line guesses the block and a short search corrects the guess
//! (interpolation search; Perl, Itai, Avni 1978): one or two cache misses instead of one per halving.

use crate::checksum::{u32_at, u64_at};
use dunlin_types::Token;

/// First token and place of every block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Index {
    first: Vec<u64>,
    /// Offset of the end of each block; the first starts at 0.
    ends: Vec<u64>,
}

impl Index {
    pub(crate) fn push(&mut self, first: Token, end: u64) {
        self.first.push(first.0);
        self.ends.push(end);
    }

    pub(crate) fn blocks(&self) -> usize {
        self.first.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.first.len() as u64 * 16
    }

    /// Offset and stored length of a block.
    pub(crate) fn place(&self, block: usize) -> Option<(u64, usize)> {
        let end = *self.ends.get(block)?;
        let start = if block == 0 { 0 } else { self.ends[block - 1] };
        Some((start, usize::try_from(end - start).ok()?))
    }

    /// The only block that may hold a token: the last that does not start behind it.
    pub(crate) fn find(&self, token: Token) -> Option<usize> {
        let (&low, &high) = self.first.first().zip(self.first.last())?;
        if token.0 < low {
            return None;
        }
        let n = self.first.len();
        if token.0 >= high {
            return Some(n - 1);
        }
        let guess = (u128::from(token.0 - low) * (n as u128 - 1) / u128::from(high - low)) as usize;
        // Double the step away from the guess until the token is fenced in, then halve.
        let mut step = 1;
        let (from, to) = if self.first[guess] <= token.0 {
            let mut from = guess;
            while from + step < n && self.first[from + step] <= token.0 {
                from += step;
                step *= 2;
            }
            (from, (from + step).min(n))
        } else {
            let mut to = guess;
            while to > step && self.first[to - step] > token.0 {
                to -= step;
                step *= 2;
            }
            (to.saturating_sub(step), to)
        };
        Some(from + self.first[from..to].partition_point(|&first| first <= token.0) - 1)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.first.len() * 16);
        out.extend_from_slice(&(self.first.len() as u32).to_le_bytes());
        self.first.iter().chain(&self.ends).for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out
    }

    /// `None` unless well-formed, with blocks in order that end at `blocks_end`.
    pub(crate) fn decode(bytes: &[u8], blocks_end: u64) -> Option<Index> {
        let count = u32_at(bytes, 0)? as usize;
        if count == 0 || bytes.len() != count.checked_mul(16)?.checked_add(4)? {
            return None;
        }
        let words =
            |from: usize| (0..count).map(move |i| u64_at(bytes, from + i * 8)).collect::<Option<Vec<u64>>>();
        let index = Index { first: words(4)?, ends: words(4 + count * 8)? };
        let sorted = index.first.is_sorted_by(|a, b| a < b) && index.ends.is_sorted_by(|a, b| a < b);
        (sorted && index.ends.last() == Some(&blocks_end)).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_as_a_plain_search_does(mut first in prop::collection::vec(any::<u64>(), 1..200), low in 0u32..60, probe in any::<u64>()) {
            // Some runs crowd the tokens at one end.
            first.iter_mut().for_each(|t| *t >>= low);
            first.sort_unstable();
            first.dedup();
            let mut index = Index::default();
            first.iter().enumerate().for_each(|(i, &t)| index.push(Token(t), i as u64 + 1));
            prop_assert_eq!(Index::decode(&index.encode(), first.len() as u64), Some(index.clone()));
            for probe in first.iter().flat_map(|&t| [t, t.saturating_sub(1), t.saturating_add(1)]).chain([0, u64::MAX, probe, probe >> low]) {
                let plain = first.partition_point(|&t| t <= probe).checked_sub(1);
                prop_assert_eq!(index.find(Token(probe)), plain);
            }
        }
    }
}
