//! How many statements are worked on at once: as many as can be while they are answered soon.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain 1989) on the mean latency of a window. Past the
//! point where a node is saturated, more statements at once only wait for one another: latency grows, and
//! nothing else does.

use dunlin_types::Mono;
use std::time::Duration;

/// Samples a window needs, and its shortest length.
const WINDOW_SAMPLES: u32 = 20;
const WINDOW: Duration = Duration::from_millis(100);
/// A window counts as slow when its mean is above the target and above so many times the base, which is what
/// statements take that need not wait for one another: a cluster with far replicas is not overloaded.
const BASE_FACTOR: u64 = 2;
/// The base rises by this part a window at most.
const BASE_RISE: u64 = 64;

/// Bounds of the limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Never fewer at once.
    pub floor: usize,
    /// Never more at once.
    pub ceiling: usize,
    /// Mean latency above which fewer are taken.
    pub target: Duration,
}

/// The present limit and what it is judged by. Pure: time comes in with the samples.
#[derive(Clone, Debug)]
pub struct Limit {
    settings: LimitSettings,
    limit: f64,
    /// Mean latency where nobody had to wait, nanoseconds: of windows that were not saturated, or at the floor.
    base: Option<u64>,
    window: Window,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    started: Option<Mono>,
    samples: u32,
    total_ns: u64,
    /// At some time all places were taken.
    saturated: bool,
}

impl Limit {
    /// Begins at an eighth of the ceiling.
    pub fn new(settings: LimitSettings) -> Limit {
        let limit = (settings.ceiling / 8).max(settings.floor) as f64;
        Limit { settings, limit, base: None, window: Window::default() }
    }

    /// Statements that may be worked on at once.
    pub fn current(&self) -> usize {
        self.limit as usize
    }

    /// A statement was answered, or ran out of time, after `took`; `saturated`: all places were taken meanwhile.
    pub fn observe(&mut self, now: Mono, took: Duration, saturated: bool) {
        let window = &mut self.window;
        let started = *window.started.get_or_insert(now);
        window.samples += 1;
        window.total_ns = window.total_ns.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        window.saturated |= saturated;
        if window.samples >= WINDOW_SAMPLES && now.since(started) >= WINDOW {
            let done = std::mem::take(window);
            self.judge(done.total_ns / u64::from(done.samples), done.saturated);
        }
    }

    fn judge(&mut self, mean: u64, saturated: bool) {
        let (floor, ceiling) = (self.settings.floor as f64, self.settings.ceiling as f64);
        if !saturated || self.limit <= floor {
            self.base = Some(self.base.map_or(mean, |base| mean.min(base + base / BASE_RISE + 1)));
        }
        let target = u64::try_from(self.settings.target.as_nanos()).unwrap_or(u64::MAX);
        let base = self.base.unwrap_or(0);
        if mean > target.max(base.saturating_mul(BASE_FACTOR)) {
            self.limit = (self.limit * 0.9).max(floor);
        } else if saturated {
            self.limit = (self.limit + (self.limit / 20.0).max(1.0)).min(ceiling);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LimitSettings =
        LimitSettings { floor: 8, ceiling: 1024, target: Duration::from_millis(100) };

    /// A node that does `rate` statements a second whatever their number, each at least `least` long, under so
    /// many windows of more demand than it can meet: the limit and the latency in the end.
    fn settle(rate: f64, least: Duration, windows: u32) -> (usize, Duration) {
        let mut limit = Limit::new(SETTINGS);
        let mut now = Mono(0);
        let mut took = least;
        for _ in 0..windows {
            took = least.max(Duration::from_secs_f64(limit.current() as f64 / rate));
            for _ in 0..WINDOW_SAMPLES + 1 {
                limit.observe(now, took, true);
                now = now.after(WINDOW / 20);
            }
        }
        (limit.current(), took)
    }

    #[test]
    fn an_overloaded_node_settles_near_its_target() {
        for rate in [1_000.0, 5_000.0] {
            let (limit, took) = settle(rate, Duration::from_millis(1), 400);
            assert!(took < Duration::from_millis(140), "{rate}/s: {limit} at once take {took:?}");
            assert!(took > Duration::from_millis(70), "{rate}/s: {limit} at once take {took:?}");
        }
    }

    #[test]
    fn far_replicas_are_no_overload() {
        let (limit, _) = settle(1e6, Duration::from_millis(300), 400);
        assert_eq!(limit, SETTINGS.ceiling);
    }

    #[test]
    fn it_grows_only_while_it_is_reached() {
        let mut limit = Limit::new(SETTINGS);
        let before = limit.current();
        for i in 0..1000 {
            limit.observe(Mono(i * 10_000_000), Duration::from_millis(1), false);
        }
        assert_eq!(limit.current(), before);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let (limit, _) = settle(100.0, Duration::from_millis(1), 1000);
        assert!((SETTINGS.floor..=2 * SETTINGS.floor).contains(&limit), "{limit}");
        let (limit, _) = settle(1e9, Duration::from_micros(1), 1000);
        assert_eq!(limit, SETTINGS.ceiling);
    }
}
