//! How fast compactions may write: a token bucket whose rate bends to what the node has to do otherwise.
//!
//! Pure: it is told the time and the load, and says how long to rest. The bucket is kept as the time at which
//! it will be full again (the virtual scheduling of ATM's cell rate algorithm).

use dunlin_types::Mono;
use std::time::Duration;

/// Longest rest before the load is looked at again.
const REST_MAX: Duration = Duration::from_millis(250);
/// What may be written at once after a time of rest.
const BURST: Duration = Duration::from_millis(250);
/// So many writes that wait for a sync are more than one disk's usual batch.
const WAITING_BUSY: usize = 256;
/// A sync that takes this long on average means that the disk is shared with somebody greedy: probably us.
const SYNC_BUSY: Duration = Duration::from_millis(5);

/// What a node has to do besides compactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Load {
    /// Writes and reads that wait for a sync of the commit log.
    pub(super) waiting: usize,
    /// How long syncs took lately.
    pub(super) sync: Duration,
    /// How full level 0 of the fullest table is, in percent of what makes writes be refused.
    pub(super) level0_percent: u64,
}

impl Load {
    /// The rate that suits it, in percent of the configured one; `None` is without limit.
    fn percent(&self) -> Option<u64> {
        // Writes that are refused are worse than writes that are slow: debt comes first.
        match self.level0_percent {
            75.. => return None,
            50.. => return Some(200),
            _ => {}
        }
        let waits = self.waiting >= WAITING_BUSY;
        let slow = self.sync >= SYNC_BUSY;
        Some(match (waits, slow) {
            (true, true) => 25,
            (true, false) | (false, true) => 50,
            (false, false) => 100,
        })
    }
}

/// See the module's comment. Shared by all threads that compact.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes a second; 0 is without limit.
    rate: u64,
    full_at: Mono,
}

impl Pacer {
    pub(super) fn new(rate: u64) -> Pacer {
        Pacer { rate, full_at: Mono(0) }
    }

    /// Takes in that so much was written until `now`.
    pub(super) fn charge(&mut self, now: Mono, bytes: u64, load: &Load) {
        let Some(percent) = load.percent().filter(|_| self.rate > 0) else { return };
        let rate = u128::from(self.rate) * u128::from(percent) / 100;
        let cost = u128::from(bytes) * 1_000_000_000 / rate.max(1);
        let burst = u64::try_from(BURST.as_nanos()).unwrap_or(u64::MAX);
        let start = self.full_at.0.max(now.0.saturating_sub(burst));
        self.full_at = Mono(start.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX)));
    }

    /// How long to rest before the next step, [`REST_MAX`] at most: then ask again, the load may be another.
    pub(super) fn rest(&mut self, now: Mono, load: &Load) -> Duration {
        if self.rate == 0 || load.percent().is_none() {
            self.full_at = now;
        }
        self.full_at.since(now).min(REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const IDLE: Load = Load { waiting: 0, sync: Duration::ZERO, level0_percent: 0 };

    #[test]
    fn the_rate_bends_to_the_load() {
        let slow = Duration::from_millis(20);
        for (waiting, sync, level0_percent, expected) in [
            (0, Duration::ZERO, 0, Some(100)),
            (255, Duration::from_millis(4), 49, Some(100)),
            (256, Duration::ZERO, 0, Some(50)),
            (0, slow, 0, Some(50)),
            (5_000, slow, 49, Some(25)),
            (5_000, slow, 50, Some(200)),
            (0, Duration::ZERO, 74, Some(200)),
            (5_000, slow, 75, None),
            (0, Duration::ZERO, 100, None),
        ] {
            let load = Load { waiting, sync, level0_percent };
            assert_eq!(load.percent(), expected, "{load:?}");
        }
    }

    /// Runs steps of 4 MiB that take `step` each for ten seconds; returns the MiB written a second.
    fn speed(rate: u64, step: Duration, load: Load) -> u64 {
        let mut pacer = Pacer::new(rate);
        let mut now = Mono(1_000_000_000_000);
        let end = now.after(Duration::from_secs(10));
        let mut bytes = 0;
        while now < end {
            now = now.after(step);
            bytes += 4 * MIB;
            pacer.charge(now, 4 * MIB, &load);
            while let rest @ 1.. = pacer.rest(now, &load).as_nanos() as u64 {
                now = now.after(Duration::from_nanos(rest));
            }
        }
        bytes / MIB / 10
    }

    #[test]
    fn steps_add_up_to_the_rate() {
        let quick = Duration::from_millis(5);
        let near = |found: u64, expected: u64| found.abs_diff(expected) <= expected / 10;
        for (rate, load, expected) in [
            (64 * MIB, IDLE, 64),
            (8 * MIB, IDLE, 8),
            (MIB, IDLE, 1),
            (64 * MIB, Load { waiting: 1_000, ..IDLE }, 32),
            (64 * MIB, Load { level0_percent: 60, ..IDLE }, 128),
            (64 * MIB, Load { level0_percent: 90, ..IDLE }, 800),
            (0, IDLE, 800),
        ] {
            let found = speed(rate, quick, load);
            assert!(near(found, expected), "{rate} {load:?}: {found}");
        }
        let slower_than_the_rate = speed(64 * MIB, Duration::from_millis(100), IDLE);
        assert!(near(slower_than_the_rate, 40), "{slower_than_the_rate}");
    }

    #[test]
    fn a_burst_is_free_and_a_debt_ends_when_writes_would_be_refused() {
        let now = Mono(0).after(Duration::from_secs(60));
        let mut pacer = Pacer::new(MIB);
        pacer.charge(now, MIB / 8, &IDLE);
        assert_eq!(pacer.rest(now, &IDLE), Duration::ZERO);
        pacer.charge(now, u64::MAX, &IDLE);
        assert_eq!(pacer.rest(now, &IDLE), REST_MAX);
        let urgent = Load { level0_percent: 80, ..IDLE };
        assert_eq!(pacer.rest(now, &urgent), Duration::ZERO);
        assert_eq!(pacer.rest(now, &IDLE), Duration::ZERO);
    }
}
