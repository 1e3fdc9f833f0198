//! Keys and values: the same for every store, made again to check what a store answers.

use anyhow::{Result, ensure};

/// A bijection of the 64-bit numbers (the finalizer of SplitMix64, Steele et al. 2014): random order
/// without a table of keys.
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// In which order keys are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Sequential,
    Random,
}

/// A key of 16 bytes: the hexadecimal digits of its 64-bit number.
#[derive(Clone, Copy)]
pub struct Key {
    /// Orders as `text` does.
    pub number: u64,
    pub text: [u8; 16],
}

impl Key {
    /// The key of the nth entry.
    pub fn of(n: u64, order: Order) -> Key {
        let number = match order {
            Order::Sequential => n,
            Order::Random => mix(n),
        };
        let mut text = [0; 16];
        for (i, byte) in text.iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(number >> (60 - 4 * i)) as usize & 15];
        }
        Key { number, text }
    }

    /// A key of the random order that was never written.
    pub fn absent(n: u64) -> Key {
        Key::of(n | 1 << 62, Order::Random)
    }
}

/// Bytes of a value that tell whose it is: entry, generation.
const LABEL: usize = 16;
const POOL: usize = 1 << 20;

/// Makes values: half of each is random, so that LZ4 halves whole blocks.
pub struct Values {
    bytes: usize,
    pool: Vec<u8>,
}

impl Values {
    pub fn new(bytes: usize) -> Values {
        let words = POOL / 8 + bytes.div_ceil(8);
        Values { bytes, pool: (0..words as u64).flat_map(|n| mix(n << 32).to_le_bytes()).collect() }
    }

    /// Length of a value.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value that the nth entry has after its nth overwrite.
    pub fn fill(&self, n: u64, generation: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&n.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
        let random = (self.bytes / 2).saturating_sub(LABEL);
        let at = mix(n ^ generation.rotate_right(20)) as usize % POOL;
        out.extend_from_slice(&self.pool[at..at + random]);
        out.resize(self.bytes, b'.');
    }

    /// Whether a value is of the nth entry: its length and label always, all its bytes one time in 64.
    pub fn check(&self, n: u64, value: &[u8], scratch: &mut Vec<u8>) -> Result<()> {
        ensure!(value.len() == self.bytes, "entry {n}: a value of {} bytes", value.len());
        let number = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().unwrap_or_default());
        ensure!(number(0) == n, "entry {n}: the value of entry {}", number(0));
        if mix(n) & 63 == 0 {
            self.fill(n, number(8), scratch);
            ensure!(value == scratch.as_slice(), "entry {n}: wrong bytes");
        }
        Ok(())
    }
}

/// A small generator (xorshift64*, Marsaglia 2003, Vigna 2016) for one thread.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(mix(seed) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// The scrambled Zipf distribution of YCSB (Cooper et al. 2010; method of Gray et al. 1994).
pub struct Zipf {
    entries: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    pub fn new(entries: u64) -> Zipf {
        let zeta: f64 = (1..=entries).map(|i| (i as f64).powf(-THETA)).sum();
        let zeta2 = 1.0 + 0.5f64.powf(THETA);
        let eta = (1.0 - (2.0 / entries as f64).powf(1.0 - THETA)) / (1.0 - zeta2 / zeta);
        Zipf { entries, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    /// An entry: few of them often, spread over the key space.
    pub fn next(&self, random: &mut Random) -> u64 {
        let u = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let uz = u * self.zeta;
        let rank = if uz < 1.0 {
            0
        } else if uz < 1.0 + 0.5f64.powf(THETA) {
            1
        } else {
            (self.entries as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64
        };
        mix(rank) % self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_their_numbers() {
        let (a, b) = (Key::of(3, Order::Random), Key::of(4, Order::Random));
        assert_eq!(a.number < b.number, a.text < b.text);
        assert_eq!(&Key::of(0x1f, Order::Sequential).text, b"000000000000001f");
    }

    #[test]
    fn a_value_of_another_entry_or_with_a_flipped_byte_is_refused() {
        let values = Values::new(100);
        let (mut value, mut scratch) = (Vec::new(), Vec::new());
        let n = (0..).find(|&n| mix(n) & 63 == 0).unwrap();
        values.fill(n, 7, &mut value);
        assert!(values.check(n, &value, &mut scratch).is_ok());
        assert!(values.check(n + 1, &value, &mut scratch).is_err());
        value[60] ^= 1;
        assert!(values.check(n, &value, &mut scratch).is_err());
        assert!(values.check(n, &value[1..], &mut scratch).is_err());
    }

    #[test]
    fn half_of_a_value_is_random() {
        let values = Values::new(100);
        let (mut block, mut value) = (Vec::new(), Vec::new());
        for n in 0..36 {
            values.fill(n, 0, &mut value);
            block.extend_from_slice(&Key::of(n, Order::Random).text);
            block.extend_from_slice(&value);
        }
        let ratio = block.len() as f64 / lz4_flex::compress(&block).len() as f64;
        assert!((1.5..2.1).contains(&ratio), "LZ4 ratio {ratio}");
    }

    #[test]
    fn zipf_draws_the_first_rank_most() {
        let (zipf, mut random) = (Zipf::new(1000), Random::new(1));
        let mut counts = vec![0; 1000];
        for _ in 0..100_000 {
            counts[zipf.next(&mut random) as usize] += 1;
        }
        let most = counts.iter().enumerate().max_by_key(|c| c.1).unwrap();
        assert_eq!(most.0 as u64, mix(0) % 1000);
        assert!((9_000..17_000).contains(most.1), "{}", most.1);
    }
}
