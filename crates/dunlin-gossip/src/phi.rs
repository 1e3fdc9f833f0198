//! The phi accrual failure detector (Hayashibara, Défago, Yared, Katayama 2004).
//!
//! Phi is the negative decimal logarithm of the probability that a heartbeat comes still later than
//! now, given how regular the earlier ones were. Intervals are taken as normally distributed; the tail
//! is the logistic approximation of Bowling et al. (2009), which has a closed form that neither under-
//! nor overflows.

use dunlin_types::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// How the detector judges. See [`crate::Config`] for what each is for.
#[derive(Clone, Copy, Debug)]
pub struct PhiSettings {
    /// What is expected before anything was seen.
    pub interval: Duration,
    /// Silence that is never held against a peer.
    pub acceptable_pause: Duration,
    /// Floor of the standard deviation.
    pub deviation_min: Duration,
    /// Ceiling of it.
    pub deviation_max: Duration,
    /// Intervals remembered.
    pub window: usize,
}

/// The heartbeats of one peer.
#[derive(Clone, Debug)]
pub struct Detector {
    settings: PhiSettings,
    last: Mono,
    intervals_us: VecDeque<u64>,
    sum_us: u64,
    squares_us: u128,
}

impl Detector {
    /// Of a peer first heard at `now`. Begins as if two intervals had been seen, one shorter and one
    /// longer than expected.
    pub fn new(settings: PhiSettings, now: Mono) -> Detector {
        let mut detector =
            Detector { settings, last: now, intervals_us: VecDeque::new(), sum_us: 0, squares_us: 0 };
        detector.push(settings.interval / 2);
        detector.push(settings.interval * 3 / 2);
        detector
    }

    /// A heartbeat arrived. Its interval is remembered, at most as long as an acceptable pause, so that
    /// one long silence does not blunt the detector.
    pub fn heard(&mut self, now: Mono) {
        self.push(now.since(self.last).min(self.settings.acceptable_pause));
        self.last = self.last.max(now);
    }

    /// A heartbeat arrived of a peer that had been down: its silence says nothing about its rhythm.
    pub fn heard_again(&mut self, now: Mono) {
        self.last = self.last.max(now);
    }

    /// This node itself stood still for `pause` until `now`: nobody is to blame for that time.
    pub fn excuse(&mut self, pause: Duration, now: Mono) {
        self.last = self.last.after(pause).min(now);
    }

    /// The suspicion at `now`: 0 when just heard, without bound.
    pub fn phi(&self, now: Mono) -> f64 {
        let count = self.intervals_us.len() as f64;
        let mean_us = self.sum_us as f64 / count;
        let variance = (self.squares_us as f64 / count - mean_us * mean_us).max(0.0);
        let deviation_us = variance
            .sqrt()
            .clamp(micros(self.settings.deviation_min) as f64, micros(self.settings.deviation_max) as f64);
        let expected_us = mean_us + micros(self.settings.acceptable_pause) as f64;
        let y = (micros(now.since(self.last)) as f64 - expected_us) / deviation_us;
        let x = y * (1.5976 + 0.070566 * y * y);
        // log10(1 + e^x), which is x / ln 10 to full precision long before e^x overflows.
        if x > 50.0 { x / std::f64::consts::LN_10 } else { x.exp().ln_1p() / std::f64::consts::LN_10 }
    }

    fn push(&mut self, interval: Duration) {
        let us = micros(interval);
        self.intervals_us.push_back(us);
        self.sum_us += us;
        self.squares_us += u128::from(us) * u128::from(us);
        while self.intervals_us.len() > self.settings.window.max(2) {
            if let Some(old) = self.intervals_us.pop_front() {
                self.sum_us -= old;
                self.squares_us -= u128::from(old) * u128::from(old);
            }
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: PhiSettings = PhiSettings {
        interval: Duration::from_millis(200),
        acceptable_pause: Duration::from_secs(2),
        deviation_min: Duration::from_millis(300),
        deviation_max: Duration::from_millis(500),
        window: 100,
    };

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    /// Heartbeats at the given gaps; the highest phi just before each, and the silence, in ms, at which
    /// phi passes 8 after the last.
    fn run(gaps_ms: impl IntoIterator<Item = u64>) -> (f64, u64) {
        let mut now = 0;
        let mut detector = Detector::new(SETTINGS, at(now));
        let mut worst = 0f64;
        for gap in gaps_ms {
            now += gap;
            worst = worst.max(detector.phi(at(now)));
            detector.heard(at(now));
        }
        let silence = (0..).step_by(10).find(|ms| detector.phi(at(now + ms)) >= 8.0).unwrap();
        (worst, silence)
    }

    fn check(name: &str, gaps_ms: Vec<u64>, convicted_ms: std::ops::RangeInclusive<u64>) {
        let (worst, silence) = run(gaps_ms);
        assert!(worst < 8.0, "{name}: false alarm, phi {worst}");
        assert!(convicted_ms.contains(&silence), "{name}: convicted after {silence} ms");
    }

    #[test]
    fn table_of_arrivals() {
        check("never again", vec![], 3000..=5000);
        check("steady", vec![200; 300], 3000..=5000);
        check("every heartbeat at once", vec![0; 300], 3000..=5000);
        check("uneven", (0..300).map(|i| [50, 350, 200, 600][i % 4]).collect(), 3000..=5000);
        check("a slow peer", vec![1000; 300], 3000..=5000);
        check("stalls", (0..300).map(|i| if i % 10 == 9 { 2000 } else { 200 }).collect(), 3000..=5500);
        check("one long stall", [vec![200; 100], vec![3000], vec![200; 20]].concat(), 3000..=5000);
        check("worst rhythm", (0..300).map(|i| [0, 2000][i % 2]).collect(), 3000..=6000);
    }

    #[test]
    fn phi_grows_without_end_and_never_breaks() {
        let detector = Detector::new(SETTINGS, at(0));
        let mut last = 0.0;
        for ms in (0..100_000).step_by(50) {
            let phi = detector.phi(at(ms));
            assert!(phi.is_finite() && phi >= last, "{phi} at {ms}");
            last = phi;
        }
        assert!(detector.phi(Mono(u64::MAX)).is_finite());
    }

    #[test]
    fn time_that_does_not_move_convicts_nobody() {
        let mut detector = Detector::new(SETTINGS, at(10));
        for _ in 0..1000 {
            detector.heard(at(10));
            detector.heard(at(5));
        }
        assert!(detector.phi(at(10)) < 0.1);
    }

    #[test]
    fn own_pause_is_excused_and_not_learned() {
        let mut detector = Detector::new(SETTINGS, at(0));
        detector.excuse(Duration::from_secs(60), at(60_000));
        assert!(detector.phi(at(60_200)) < 0.1);
        detector.excuse(Duration::from_secs(600), at(60_300));
        assert!(detector.phi(at(60_300)) < 0.1, "never later than now");
    }
}
