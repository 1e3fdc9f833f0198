//! What the store measures of its commits.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of a moving average, the share of the newest value is one in this.
const SMOOTHING: u64 = 16;

/// Histograms for `/metrics`, shared with it; and how long syncs took lately.
#[derive(Clone)]
pub struct Meters {
    /// Seconds from a commit's begin to its end.
    pub sync_seconds: Histogram,
    /// Writes and reads that one commit served.
    pub batch: Histogram,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            // 16 us to about 16 s.
            sync_seconds: Histogram::new(exponential_buckets(16e-6, 2.0, 20)),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 16)),
        }
    }
}

/// A moving average of durations.
#[derive(Debug, Default)]
pub(super) struct Average(AtomicU64);

impl Average {
    /// One writer at a time.
    pub(super) fn take(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / SMOOTHING);
        let old = self.0.load(Ordering::Relaxed);
        self.0.store(old - old / SMOOTHING + took / SMOOTHING, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_follows() {
        let average = Average::default();
        (0..100).for_each(|_| average.take(Duration::from_millis(8)));
        let high = average.get();
        assert!(high > Duration::from_millis(7) && high <= Duration::from_millis(8), "{high:?}");
        (0..100).for_each(|_| average.take(Duration::ZERO));
        assert!(average.get() < Duration::from_micros(100), "{:?}", average.get());
    }
}
