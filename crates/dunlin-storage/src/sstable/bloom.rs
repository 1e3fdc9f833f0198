//! The filter: a blocked Bloom filter (Putze, Sanders, Singler 2007).
//!
//! All bits of a key lie in one 64-byte line, so that a probe is one cache miss. The token is the hash: it
//! is SipHash of the key already; a mixing step makes the filter work for any tokens.

const LINE_WORDS: usize = 8;
/// Bits set per key.
const PROBES: u32 = 6;
/// Bits of filter per key: about 1 % of absent keys pass.
const BITS_PER_KEY: u64 = 10;

/// Tells keys that are certainly not in an SSTable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bloom {
    lines: Vec<[u64; LINE_WORDS]>,
}

fn mix(token: u64) -> u64 {
    let mut z = token.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Bloom {
    pub(crate) fn build(tokens: &[u64]) -> Bloom {
        let line_bits = (LINE_WORDS * 64) as u64;
        let lines = (tokens.len() as u64 * BITS_PER_KEY).div_ceil(line_bits).max(1);
        let mut bloom = Bloom { lines: vec![[0; LINE_WORDS]; lines as usize] };
        for &token in tokens {
            let hash = mix(token);
            let line = bloom.line(hash);
            for bit in bits(hash) {
                bloom.lines[line][bit / 64] |= 1 << (bit % 64);
            }
        }
        bloom
    }

    /// False: no key of that token was given to [`Bloom::build`].
    pub(crate) fn may_hold(&self, token: u64) -> bool {
        let hash = mix(token);
        let line = &self.lines[self.line(hash)];
        bits(hash).all(|bit| line[bit / 64] & (1 << (bit % 64)) != 0)
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.lines.len() * LINE_WORDS * 8) as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.lines.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// `None` unless the bytes are whole lines.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Bloom> {
        let (lines, rest) = bytes.as_chunks::<{ LINE_WORDS * 8 }>();
        if lines.is_empty() || !rest.is_empty() {
            return None;
        }
        let line = |bytes: &[u8; LINE_WORDS * 8]| {
            let (words, _) = bytes.as_chunks::<8>();
            std::array::from_fn(|i| u64::from_le_bytes(words[i]))
        };
        Some(Bloom { lines: lines.iter().map(line).collect() })
    }

    fn line(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }
}

/// Nine bits of a second mix for each probe.
fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let hash = mix(hash);
    (0..PROBES).map(move |i| ((hash >> (i * 9)) & 511) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_all_and_few_others() {
        for spread in [1u64, 0x9e37_79b9_7f4a_7c15] {
            let tokens: Vec<u64> = (0..10_000u64).map(|i| i.wrapping_mul(spread)).collect();
            let bloom = Bloom::build(&tokens);
            assert!(tokens.iter().all(|&t| bloom.may_hold(t)));
            let passed = (10_000..110_000u64).filter(|i| bloom.may_hold(i.wrapping_mul(spread))).count();
            assert!(passed < 2_000, "{passed} of 100000 absent tokens pass");
            assert_eq!(Bloom::decode(&bloom.encode()), Some(bloom));
        }
        assert_eq!(Bloom::decode(&[]), None);
        assert_eq!(Bloom::decode(&[0; 65]), None);
        assert!(!Bloom::build(&[]).may_hold(5));
    }
}
