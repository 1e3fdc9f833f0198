//! A simulated machine: its clocks, and what holds its tasks up.

use super::Nanos;
use super::task::TaskId;

/// Wall time at the start of a run: a fixed day, in microseconds since the epoch.
pub const WALL_START_MICROS: u64 = 1_800_000_000_000_000;

const MILLION: i128 = 1_000_000;

/// A machine. Its monotonic clock drifts; its wall clock drifts with it and may be off by any amount.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Grows when the process on the machine ends: what an older process does has no effect.
    pub process: u32,
    /// Whether a process runs.
    pub up: bool,
    /// Why the process has to end once the running poll is over.
    pub condemned: Option<String>,
    /// Monotonic time runs this many parts per million faster than the world's.
    drift_ppm: i64,
    /// (world's time, own time) when the drift changed last.
    clock_base: (Nanos, Nanos),
    /// The wall clock's error, microseconds.
    pub wall_offset_micros: i64,
    /// No task runs before.
    pub held_until: Nanos,
    /// World time that each poll costs.
    pub poll_cost: Nanos,
    /// Ready tasks that wait for `held_until`.
    pub waiting: Vec<TaskId>,
    /// Whether the end of the waiting is on the schedule.
    pub release_planned: bool,
}

impl Host {
    /// Monotonic time of the machine.
    pub fn mono(&self, now: Nanos) -> Nanos {
        let (world, own) = self.clock_base;
        own + scale(now - world, MILLION + i128::from(self.drift_ppm), MILLION)
    }

    /// World time in which the machine's clock advances by `duration` at least: a sleep never ends early.
    pub fn world_duration(&self, duration: Nanos) -> Nanos {
        let speed = MILLION + i128::from(self.drift_ppm);
        u64::try_from((i128::from(duration) * MILLION + speed - 1) / speed).unwrap_or(u64::MAX)
    }

    /// Wall time of the machine, microseconds since the epoch.
    pub fn wall_micros(&self, now: Nanos) -> u64 {
        let right = WALL_START_MICROS + self.mono(now) / 1000;
        right.saturating_add_signed(self.wall_offset_micros)
    }

    /// Lets the clock run faster or slower from now on.
    pub fn set_drift(&mut self, now: Nanos, drift_ppm: i64) {
        self.clock_base = (now, self.mono(now));
        self.drift_ppm = drift_ppm;
    }

    /// Keeps all tasks from running until then.
    pub fn hold(&mut self, until: Nanos) {
        self.held_until = self.held_until.max(until);
    }
}

fn scale(duration: Nanos, numerator: i128, denominator: i128) -> Nanos {
    u64::try_from(i128::from(duration) * numerator / denominator).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::SECOND;

    #[test]
    fn clocks_drift_without_jumping() {
        let mut host = Host::default();
        host.set_drift(10 * SECOND, 50_000);
        assert_eq!(host.mono(10 * SECOND), 10 * SECOND);
        assert_eq!(host.mono(30 * SECOND), 31 * SECOND);
        assert_eq!(host.world_duration(21 * SECOND), 20 * SECOND);
        assert_eq!((host.world_duration(0), host.world_duration(1)), (0, 1));
        host.set_drift(30 * SECOND, 0);
        assert_eq!(host.mono(40 * SECOND), 41 * SECOND);
        host.wall_offset_micros = -1_000_000;
        assert_eq!(host.wall_micros(40 * SECOND), WALL_START_MICROS + 40_000_000);
    }
}
