//! When: wall time, monotonic time, and the hybrid logical clock.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Wall time, microseconds since the Unix epoch. Of one node's clock: may be wrong, may jump.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Micros(pub u64);

/// Monotonic time of one node, nanoseconds since some start; never goes back, means nothing elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// Later by `duration`; saturates.
    pub fn after(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Hybrid logical clock reading in microseconds (Kulkarni et al. 2014, with the logical part folded
/// into the low microseconds): never lower than any reading seen before.
pub type Hlc = Micros;

/// The node's hybrid logical clock.
#[derive(Debug, Default)]
pub struct HlcClock(AtomicU64);

impl HlcClock {
    /// A reading for a new event: greater than every reading given out or observed before.
    pub fn tick(&self, wall: Micros) -> Hlc {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = wall.0.max(seen + 1);
            match self.0.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Micros(next),
                Err(now) => seen = now,
            }
        }
    }

    /// Learns a reading of another node, unless it is more than a minute ahead of `wall`.
    pub fn observe(&self, remote: Hlc, wall: Micros) {
        if remote.0 <= wall.0.saturating_add(crate::limits::TIMESTAMP_AHEAD_MAX_US) {
            self.0.fetch_max(remote.0, Ordering::Relaxed);
        }
    }
}
