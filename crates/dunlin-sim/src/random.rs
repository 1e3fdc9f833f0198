//! Seeded chance, split into streams by purpose: one more draw in one place shifts no other stream.

/// What a stream of chance is for. Each purpose, and each number within it, has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The shape of the run: nodes, tables, fault weights.
    Options,
    /// Which ready task goes next.
    Schedule,
    /// Delay, loss, duplication of messages.
    Network,
    /// What the node of that number draws through its runtime.
    Node(u32),
    /// Whether a rare branch is taken.
    Buggify,
    /// The disk of the node of that number.
    Disk(u32),
    /// When which fault strikes whom.
    Faults,
    /// What the client of that number does.
    Client(u32),
}

impl Purpose {
    fn stream(self) -> u64 {
        let (kind, number) = match self {
            Purpose::Options => (1, 0),
            Purpose::Schedule => (2, 0),
            Purpose::Network => (3, 0),
            Purpose::Node(n) => (4, n),
            Purpose::Buggify => (5, 0),
            Purpose::Disk(n) => (6, n),
            Purpose::Faults => (7, 0),
            Purpose::Client(n) => (8, n),
        };
        kind << 32 | u64::from(number)
    }
}

/// One stream: xoshiro256++ (Blackman, Vigna 2019), seeded by splitmix64.
#[derive(Clone, Debug)]
pub struct Stream([u64; 4]);

impl Stream {
    /// The stream of that purpose under a run's seed.
    pub fn new(seed: u64, purpose: Purpose) -> Stream {
        let mut mixer = seed ^ purpose.stream().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Stream([(); 4].map(|()| splitmix(&mut mixer)))
    }

    /// 64 random bits.
    pub fn random(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `0..bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `from..to`; `from` when that is empty.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// True with that probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Mostly near `from`, rarely up to `to`: the sixth power of a uniform draw.
    pub fn heavy_tail(&mut self, from: u64, to: u64) -> u64 {
        from + (to.saturating_sub(from) as f64 * self.unit().powi(6)) as u64
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    /// Uniform in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Splitmix64 (Steele, Lea, Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One number from many: for choices that must not depend on the order in which they are asked.
pub fn hash(seed: u64, text: &str) -> u64 {
    let mut state = seed;
    for byte in text.bytes() {
        state = state.wrapping_add(u64::from(byte));
        state = splitmix(&mut state);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_again_and_differ_from_each_other() {
        let draw = |seed, purpose| Stream::new(seed, purpose).random();
        assert_eq!(draw(1, Purpose::Network), draw(1, Purpose::Network));
        assert_ne!(draw(1, Purpose::Network), draw(2, Purpose::Network));
        assert_ne!(draw(1, Purpose::Node(0)), draw(1, Purpose::Node(1)));
        assert_ne!(draw(1, Purpose::Node(0)), draw(1, Purpose::Disk(0)));
    }

    #[test]
    fn draws_stay_in_bounds() {
        let mut stream = Stream::new(7, Purpose::Options);
        for _ in 0..1000 {
            assert!(stream.below(3) < 3);
            assert!((5..9).contains(&stream.between(5, 9)));
            assert!((10..=20).contains(&stream.heavy_tail(10, 20)));
        }
        assert_eq!(stream.below(0), 0);
        assert!(!stream.chance(0.0) && stream.chance(1.0));
    }
}
