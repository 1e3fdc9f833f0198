//! How long a read waits for a replica before it asks another one: the table's `speculative_retry`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shortest wait: below it, asking another replica costs more than it saves.
const PATIENCE_MIN: Duration = Duration::from_micros(500);
/// An answer above the estimate moves it up by one part in this many (times the quantile), one below moves it
/// down by as little as keeps the balance.
const STEP: f64 = 16.0;

/// A table's patience with slow replicas.
#[derive(Clone, Debug)]
pub enum Patience {
    /// Replicas are waited for until the read's time is up.
    Unlimited,
    /// So long.
    Fixed(Duration),
    /// As long as all but the slowest answers of this table took lately. Shared from view to view.
    Percentile(Arc<Quantile>),
    /// The node's setting.
    Default,
}

impl Patience {
    /// From the table's option: `99p`, `50ms`, `none`; anything else leaves it to the node's setting. An
    /// estimate made under the same option is taken over from `previous`.
    pub fn parse(text: &str, previous: Option<&Patience>) -> Patience {
        let text = text.trim();
        if text.eq_ignore_ascii_case("none") {
            return Patience::Unlimited;
        }
        if let Some(ms) = text.strip_suffix("ms").and_then(|n| n.trim().parse().ok()) {
            return Patience::Fixed(Duration::from_millis(ms));
        }
        let percent = text.strip_suffix('p').and_then(|n| n.trim().parse::<f64>().ok());
        let Some(share) = percent.map(|p| p / 100.0).filter(|share| *share > 0.0 && *share < 1.0) else {
            return Patience::Default;
        };
        match previous {
            Some(Patience::Percentile(known)) if known.share == share => {
                Patience::Percentile(Arc::clone(known))
            }
            _ => Patience::Percentile(Arc::new(Quantile { share, nanos: AtomicU64::new(0) })),
        }
    }

    /// The wait now. `fallback` is the node's setting; a percentile never waits longer than it.
    pub fn wait(&self, fallback: Duration) -> Duration {
        match self {
            Patience::Unlimited => Duration::MAX,
            Patience::Fixed(wait) => *wait,
            Patience::Percentile(quantile) => {
                quantile.estimate().map_or(fallback, |wait| wait.clamp(PATIENCE_MIN.min(fallback), fallback))
            }
            Patience::Default => fallback,
        }
    }

    /// The wait for a page of a scan: what single reads take says nothing about it.
    pub fn wait_for_page(&self, fallback: Duration) -> Duration {
        match self {
            Patience::Percentile(_) => fallback,
            fixed => fixed.wait(fallback),
        }
    }

    /// A replica answered after so long.
    pub fn observe(&self, took: Duration) {
        if let Patience::Percentile(quantile) = self {
            quantile.observe(took);
        }
    }
}

/// Estimate of a quantile of a stream in one word (after Ma, Muthukrishnan and Sandler 2013, "Frugal Streaming
/// for Estimating Quantiles", with steps in proportion to the estimate).
#[derive(Debug)]
pub struct Quantile {
    share: f64,
    /// 0 before the first sample.
    nanos: AtomicU64,
}

impl Quantile {
    fn estimate(&self) -> Option<Duration> {
        let nanos = self.nanos.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Concurrent calls may lose one another's sample; it is an estimate.
    fn observe(&self, took: Duration) {
        let sample = took.as_nanos() as f64;
        let old = self.nanos.load(Ordering::Relaxed) as f64;
        let new = match old {
            0.0 => sample * 2.0,
            _ if sample > old => old * (1.0 + self.share / STEP),
            _ => old * (1.0 - (1.0 - self.share) / STEP),
        };
        self.nanos.store((new as u64).max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FALLBACK: Duration = Duration::from_millis(50);

    #[test]
    fn options_are_read() {
        for (text, expected) in [
            ("none", Duration::MAX),
            ("NONE", Duration::MAX),
            ("10ms", Duration::from_millis(10)),
            ("99p", FALLBACK),
            ("", FALLBACK),
            ("100p", FALLBACK),
        ] {
            assert_eq!(Patience::parse(text, None).wait(FALLBACK), expected, "{text}");
        }
    }

    /// Answers of 1 to 10 ms, every hundredth of 40 ms.
    fn observe_some(patience: &Patience) {
        for i in 0..20_000u64 {
            let ms = if i % 100 == 99 { 40 } else { 1 + (i * 7) % 10 };
            patience.observe(Duration::from_millis(ms));
        }
    }

    #[test]
    fn a_percentile_settles_between_the_usual_and_the_slowest() {
        for (text, least, most) in [("50p", 4, 7), ("90p", 8, 11), ("98p", 9, 20)] {
            let patience = Patience::parse(text, None);
            observe_some(&patience);
            let wait = patience.wait(FALLBACK);
            let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
            assert!(bounds.contains(&wait), "{text}: {wait:?}");
        }
    }

    #[test]
    fn it_is_never_longer_than_the_nodes_setting_and_outlives_a_view() {
        let patience = Patience::parse("99p", None);
        (0..1000).for_each(|_| patience.observe(Duration::from_secs(1)));
        assert_eq!(patience.wait(FALLBACK), FALLBACK);
        (0..20_000).for_each(|_| patience.observe(Duration::from_millis(1)));
        let later = Patience::parse("99p", Some(&patience));
        assert!(later.wait(FALLBACK) < Duration::from_millis(5));
        assert_eq!(Patience::parse("90p", Some(&patience)).wait(FALLBACK), FALLBACK);
    }
}
