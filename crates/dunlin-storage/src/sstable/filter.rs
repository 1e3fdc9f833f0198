//! The filter: a blocked Bloom filter (Putze, Sanders, Singler 2007).
//!
//! All bits of a key lie in one cache line, so that a probe is one miss. The token is the key's hash already
//! (SipHash); one more mixing step makes the filter work for any tokens.

use dunlin_types::Token;

const LINE_WORDS: usize = 8;
const LINE_BYTES: usize = LINE_WORDS * 8;
/// Bits set per key.
const PROBES: u32 = 6;
/// Bits of filter per key: about 1 % of absent keys pass.
const BITS_PER_KEY: u64 = 10;
/// Kind of the encoded filter.
const BLOCKED_BLOOM: u8 = 1;

/// What filters are asked with: made once for a request, used for every SSTable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FilterHash(u64);

impl FilterHash {
    #[inline]
    pub(crate) fn new(token: Token) -> FilterHash {
        let mut z = token.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        FilterHash(z ^ (z >> 31))
    }

    /// The top bits choose the line.
    #[inline]
    fn line(self, lines: usize) -> usize {
        ((u128::from(self.0) * lines as u128) >> 64) as usize
    }

    /// Nine bits for each probe, of a product in which all bits of the hash have a part: keys of one line
    /// share the top bits of the hash.
    #[inline]
    fn bits(self) -> impl Iterator<Item = usize> {
        let product = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..PROBES).map(move |i| ((product >> (10 + i * 9)) & 511) as usize)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(align(64))]
struct Line([u64; LINE_WORDS]);

/// Tells keys that are certainly not in an SSTable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filter {
    lines: Vec<Line>,
}

impl Filter {
    pub(crate) fn build(hashes: &[FilterHash]) -> Filter {
        let lines = (hashes.len() as u64 * BITS_PER_KEY).div_ceil(LINE_BYTES as u64 * 8).max(1);
        let mut lines = vec![Line::default(); lines as usize];
        for hash in hashes {
            let at = hash.line(lines.len());
            let line = &mut lines[at].0;
            hash.bits().for_each(|bit| line[bit / 64] |= 1 << (bit % 64));
        }
        Filter { lines }
    }

    /// False: no key of that token was given to [`Filter::build`]. Without branches: which probe ends the
    /// search of an absent key cannot be predicted.
    #[inline]
    pub(crate) fn may_hold(&self, hash: FilterHash) -> bool {
        let Some(Line(line)) = self.lines.get(hash.line(self.lines.len())) else { return false };
        hash.bits().fold(1, |all, bit| all & (line[bit / 64] >> (bit % 64))) & 1 == 1
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.lines.len() * LINE_BYTES) as u64
    }

    /// Kind, then the lines.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = self.lines.iter().flat_map(|line| line.0);
        std::iter::once(BLOCKED_BLOOM).chain(words.flat_map(u64::to_le_bytes)).collect()
    }

    /// `None` unless the bytes are a kind that is known, and whole lines.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Filter> {
        let (&kind, lines) = bytes.split_first()?;
        let (lines, rest) = lines.as_chunks::<LINE_BYTES>();
        if kind != BLOCKED_BLOOM || lines.is_empty() || !rest.is_empty() {
            return None;
        }
        let line = |bytes: &[u8; LINE_BYTES]| {
            let (words, _) = bytes.as_chunks::<8>();
            Line(std::array::from_fn(|i| u64::from_le_bytes(words[i])))
        };
        Some(Filter { lines: lines.iter().map(line).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64, spread: u64) -> FilterHash {
        FilterHash::new(Token(n.wrapping_mul(spread)))
    }

    #[test]
    fn holds_all_and_few_others() {
        for spread in [1u64, 0x9e37_79b9_7f4a_7c15] {
            let hashes: Vec<_> = (0..200_000).map(|n| hash(n, spread)).collect();
            let filter = Filter::build(&hashes);
            assert!(hashes.iter().all(|&h| filter.may_hold(h)));
            let passed = (200_000..400_000).filter(|&n| filter.may_hold(hash(n, spread))).count();
            assert!(passed < 2_300, "{passed} of 200000 absent tokens pass");
            assert_eq!(Filter::decode(&filter.encode()), Some(filter));
        }
        assert_eq!(Filter::decode(&[]), None);
        assert_eq!(Filter::decode(&[BLOCKED_BLOOM]), None);
        assert_eq!(Filter::decode(&[BLOCKED_BLOOM; 66]), None);
        assert_eq!(Filter::decode(&[0; 65]), None);
        assert!(!Filter::build(&[]).may_hold(hash(5, 1)));
    }
}
