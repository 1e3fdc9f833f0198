//! Which block holds a token.
//!
//! The range of tokens is cut into equal segments of some 32 blocks, and a small table says where each
//! segment begins; a straight line through a segment then guesses the block to within one or two: one cache
//! miss, in a table of millions of blocks too.

use super::search::lower_bound;
use crate::checksum::{u32_at, u64_at};
use dunlin_types::Token;

/// Blocks of a segment, if tokens are spread evenly.
const SEGMENT_BLOCKS: usize = 32;
/// Encoded bytes of a block: first token 8, stored length 4.
const ENTRY_BYTES: usize = 12;

/// First token and place of every block, as they are collected.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    first: Vec<u64>,
    lengths: Vec<u32>,
}

impl IndexBuilder {
    /// Adds a block of that stored length.
    pub(crate) fn push(&mut self, first: Token, bytes: u64) {
        self.first.push(first.0);
        self.lengths.push(u32::try_from(bytes).expect("blocks are cut before 4 GiB"));
    }

    /// Count, first tokens, lengths.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.first.len() * ENTRY_BYTES);
        let count = u32::try_from(self.first.len()).expect("an SSTable has less than 2^32 blocks");
        out.extend_from_slice(&count.to_le_bytes());
        self.first.iter().for_each(|token| out.extend_from_slice(&token.to_le_bytes()));
        self.lengths.iter().for_each(|length| out.extend_from_slice(&length.to_le_bytes()));
        out
    }
}

/// The index, ready to be searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Index {
    first: Vec<u64>,
    /// Offset of the end of each block; the first starts at 0.
    ends: Vec<u64>,
    /// Number of the first block of each segment; one more at the end.
    segments: Vec<u32>,
    /// A segment spans `1 << shift` tokens.
    shift: u32,
}

impl Index {
    /// `None` unless well-formed, with blocks in order that end at `blocks_end`.
    pub(crate) fn decode(bytes: &[u8], blocks_end: u64) -> Option<Index> {
        let count = u32_at(bytes, 0)? as usize;
        if count == 0 || bytes.len() != count.checked_mul(ENTRY_BYTES)?.checked_add(4)? {
            return None;
        }
        let first = (0..count).map(|i| u64_at(bytes, 4 + i * 8)).collect::<Option<Vec<u64>>>()?;
        let mut end = 0u64;
        let ends = (0..count).map(|i| {
            end = end.checked_add(u64::from(u32_at(bytes, 4 + count * 8 + i * 4)?))?;
            Some(end)
        });
        let ends = ends.collect::<Option<Vec<u64>>>()?;
        let sorted = first.is_sorted_by(|a, b| a < b) && ends.is_sorted_by(|a, b| a < b) && ends[0] > 0;
        (sorted && ends.last() == Some(&blocks_end)).then(|| Index::new(first, ends))
    }

    /// `first` is sorted and not empty.
    fn new(first: Vec<u64>, ends: Vec<u64>) -> Index {
        let low = first[0];
        let span = first[first.len() - 1] - low;
        let bits = span.checked_ilog2().map_or(0, |log| log + 1);
        let shift = bits.saturating_sub((first.len() / SEGMENT_BLOCKS).max(1).ilog2()).min(63);
        let mut segments = vec![0u32];
        for (number, token) in first.iter().enumerate() {
            // Every segment up to the token's that has not begun yet begins with this block.
            let segment = ((token - low) >> shift) as usize;
            segments.resize(segment.max(segments.len() - 1) + 1, number as u32);
        }
        segments.push(first.len() as u32);
        Index { first, ends, segments, shift }
    }

    pub(crate) fn blocks(&self) -> usize {
        self.first.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.first.len() * 16 + self.segments.len() * 4) as u64
    }

    /// First token of a block.
    pub(crate) fn first(&self, block: usize) -> Option<Token> {
        self.first.get(block).map(|&token| Token(token))
    }

    /// Offset and stored length of a block.
    pub(crate) fn place(&self, block: usize) -> Option<(u64, usize)> {
        let end = *self.ends.get(block)?;
        let start = if block == 0 { 0 } else { self.ends[block - 1] };
        Some((start, usize::try_from(end - start).ok()?))
    }

    /// Offset of the end of the blocks from `first` on that together have at most `bytes` bytes, of `first` at
    /// least, and none behind `last`.
    pub(crate) fn whole_blocks(&self, first: usize, last: usize, bytes: usize) -> u64 {
        let last = last.clamp(first, self.ends.len() - 1);
        let start = if first == 0 { 0 } else { self.ends[first - 1] };
        let most = start.saturating_add(bytes as u64);
        let more = self.ends[first..=last].partition_point(|&end| end <= most);
        self.ends[first + more.saturating_sub(1)]
    }

    /// The only block that may hold a token: the last that does not start behind it.
    #[inline]
    pub(crate) fn find(&self, token: Token) -> Option<usize> {
        let behind = token.0.checked_sub(self.first[0])?;
        let segment = (behind >> self.shift) as usize;
        let Some(&[from, to]) =
            self.segments.get(segment..segment.saturating_add(2)).and_then(|s| s.as_array())
        else {
            return Some(self.first.len() - 1);
        };
        // How far into the segment, in 32 bits of fraction.
        let into = if self.shift == 0 { 0 } else { (behind << (64 - self.shift)) >> 32 };
        let guess = from as usize + ((into * u64::from(to - from)) >> 32) as usize;
        lower_bound(guess, self.first.len(), |i| self.first[i] <= token.0).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_as_a_plain_search_does(mut first in prop::collection::vec(any::<u64>(), 1..400), low in 0u32..64, probe in any::<u64>()) {
            // Some runs crowd the tokens at one end.
            first.iter_mut().for_each(|t| *t >>= low);
            first.sort_unstable();
            first.dedup();
            let mut builder = IndexBuilder::default();
            first.iter().for_each(|&t| builder.push(Token(t), 2));
            let end = first.len() as u64 * 2;
            let index = Index::decode(&builder.encode(), end).expect("well-formed");
            prop_assert_eq!(Index::decode(&builder.encode(), end + 1), None);
            prop_assert_eq!(index.place(first.len() - 1), Some((end - 2, 2)));
            prop_assert!(index.segments.len() <= first.len() / 8 + 4, "{} segments of {} blocks", index.segments.len(), first.len());
            for probe in first.iter().flat_map(|&t| [t, t.saturating_sub(1), t.saturating_add(1)]).chain([0, u64::MAX, probe, probe >> low]) {
                let plain = first.partition_point(|&t| t <= probe).checked_sub(1);
                prop_assert_eq!(index.find(Token(probe)), plain);
            }
        }
    }
}
