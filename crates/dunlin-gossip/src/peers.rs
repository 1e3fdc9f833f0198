//! Whom to talk to in a round.

use dunlin_types::runtime::Rng;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The peers of one round, each at most once.
///
/// Up to `fanout` live peers at random. One that is down, with probability down / (live + 1): that is
/// how a split is noticed to have healed. One seed, always while fewer peers are live than there are
/// seeds, else with probability seeds / (live + down): two groups that never heard of one another find
/// together through a seed that both name. A node without live peers tries `fanout` seeds at once.
pub fn choose(
    live: &BTreeSet<SocketAddr>,
    down: &BTreeSet<SocketAddr>,
    seeds: &BTreeSet<SocketAddr>,
    fanout: usize,
    rng: &dyn Rng,
) -> Vec<SocketAddr> {
    let mut chosen = sample(live, fanout, rng);
    let mut add = |addresses: Vec<SocketAddr>| {
        for address in addresses {
            if !chosen.contains(&address) {
                chosen.push(address);
            }
        }
    };
    if rng.below(live.len() as u64 + 1) < down.len() as u64 {
        add(sample(down, 1, rng));
    }
    let needed = live.len() < seeds.len();
    let known = (live.len() + down.len()).max(1) as u64;
    if needed || rng.below(known) < seeds.len() as u64 {
        let distant: BTreeSet<SocketAddr> = seeds.difference(live).copied().collect();
        add(sample(&distant, if live.is_empty() { fanout } else { 1 }, rng));
    }
    chosen
}

/// Up to `count` different elements at random.
fn sample(from: &BTreeSet<SocketAddr>, count: usize, rng: &dyn Rng) -> Vec<SocketAddr> {
    let mut pool: Vec<SocketAddr> = from.iter().copied().collect();
    let count = count.min(pool.len());
    for i in 0..count {
        let j = i + rng.below((pool.len() - i) as u64) as usize;
        pool.swap(i, j);
    }
    pool.truncate(count);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Sequence(AtomicU64);
    impl Rng for Sequence {
        fn random(&self) -> u64 {
            let x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        }
    }

    fn set(ports: std::ops::Range<u16>) -> BTreeSet<SocketAddr> {
        ports.map(|p| SocketAddr::from(([127, 0, 0, 1], p))).collect()
    }

    /// Over 1000 rounds: how many chose from (live, down, seeds).
    fn count(
        live: &BTreeSet<SocketAddr>,
        down: &BTreeSet<SocketAddr>,
        seeds: &BTreeSet<SocketAddr>,
    ) -> [usize; 3] {
        let rng = Sequence(AtomicU64::new(7));
        let mut rounds = [0; 3];
        for _ in 0..1000 {
            let chosen = choose(live, down, seeds, 3, &rng);
            let distinct: BTreeSet<_> = chosen.iter().collect();
            assert_eq!(distinct.len(), chosen.len());
            for (i, group) in [live, down, seeds].into_iter().enumerate() {
                rounds[i] += usize::from(chosen.iter().any(|a| group.contains(a)));
            }
        }
        rounds
    }

    #[test]
    fn alone_tries_the_seeds() {
        assert_eq!(count(&set(0..0), &set(0..0), &set(1..4)), [0, 0, 1000]);
    }

    #[test]
    fn dead_peers_are_tried_in_proportion() {
        let [live, down, _] = count(&set(10..13), &set(20..21), &set(0..0));
        assert_eq!(live, 1000);
        assert!((200..300).contains(&down), "{down}");
        assert_eq!(count(&set(10..11), &set(20..29), &set(0..0))[1], 1000);
    }

    #[test]
    fn seeds_out_of_sight_are_tried_now_and_then() {
        let [_, _, seeds] = count(&set(10..30), &set(0..0), &set(1..2));
        assert!((20..90).contains(&seeds), "{seeds}");
    }

    #[test]
    fn nobody_known_is_nobody_chosen() {
        assert_eq!(count(&set(0..0), &set(0..0), &set(0..0)), [0, 0, 0]);
    }
}
