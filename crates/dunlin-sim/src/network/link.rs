//! One direction of the path between two machines: how long a message takes, and whether it passes.

use crate::executor::{MICROSECOND, MILLISECOND, Nanos, SECOND};
use crate::random::Stream;

/// After so long without a word from the peer a connection is given up (as the QUIC transport does).
pub const IDLE_TIMEOUT: Nanos = 10 * SECOND;
/// Retransmissions after which a message counts as lost with its connection.
const TRANSMISSIONS_MAX: u32 = 8;
/// Bytes that pass in a microsecond.
const BYTES_PER_MICROSECOND: u64 = 100;

/// What all paths of a run are like while no fault is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Shortest delay of a message.
    pub delay_min: Nanos,
    /// Longest delay; most are close to the shortest.
    pub delay_max: Nanos,
    /// Probability that a message on the gossip or bulk lane arrives a second time, later.
    pub duplication: f64,
}

impl Default for Weather {
    fn default() -> Weather {
        Weather { delay_min: 200 * MICROSECOND, delay_max: 20 * MILLISECOND, duplication: 0.0 }
    }
}

/// One direction. `Default` is a healthy one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Nothing passes since then.
    pub blocked_since: Option<Nanos>,
    /// Probability that one transmission is lost; a lost one is repeated later.
    pub loss: f64,
    /// Added to every delay.
    pub extra_delay: Nanos,
}

impl Link {
    /// How long a message takes now; `None` if it is lost for good.
    pub fn delay(&self, weather: &Weather, bytes: usize, chance: &mut Stream) -> Option<Nanos> {
        let mut delay = chance.heavy_tail(weather.delay_min, weather.delay_max) + self.extra_delay;
        delay += bytes as u64 / BYTES_PER_MICROSECOND * MICROSECOND;
        if self.loss > 0.0 {
            let mut wait = 3 * (weather.delay_min + self.extra_delay) + 5 * MILLISECOND;
            let mut transmissions = 1;
            while chance.chance(self.loss) {
                transmissions += 1;
                if transmissions > TRANSMISSIONS_MAX {
                    return None;
                }
                delay += wait;
                wait *= 2;
            }
        }
        (delay < IDLE_TIMEOUT).then_some(delay)
    }

    /// Whether it has been blocked so long that connections over it are gone.
    pub fn is_dead(&self, now: Nanos) -> bool {
        self.blocked_since.is_some_and(|since| now >= since + IDLE_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn loss_becomes_delay_and_then_a_broken_connection() {
        let mut chance = Stream::new(1, Purpose::Network);
        let weather = Weather::default();
        let mut mean = |loss: f64| {
            let link = Link { loss, ..Link::default() };
            let delays: Vec<Option<Nanos>> =
                (0..1000).map(|_| link.delay(&weather, 100, &mut chance)).collect();
            let lost = delays.iter().filter(|d| d.is_none()).count();
            (delays.iter().flatten().sum::<Nanos>() / 1000, lost)
        };
        let ((healthy, none), (lossy, few), (hopeless, most)) = (mean(0.0), mean(0.3), mean(0.95));
        assert_eq!(none, 0);
        assert!(lossy > healthy && few < 5, "{healthy} {lossy} {few}");
        assert!(hopeless < SECOND && most > 600, "{hopeless} {most}");
    }
}
