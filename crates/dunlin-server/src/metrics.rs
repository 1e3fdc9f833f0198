//! Metrics of one node: a registry of its own, so that many nodes can live in one process.
//!
//! Client requests are recorded as they end. Everything else is counted where it happens and read when somebody
//! asks: whoever asks gives those values as [`Sample`]s. Names have the prefix `dunlin_` and base units.

use crate::store::Meters;
use dunlin_types::{Consistency, ErrorCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    consistency: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabels {
    operation: &'static str,
    code: &'static str,
}

type Latencies = Family<RequestLabels, Histogram, fn() -> Histogram>;

/// 50 us to about 26 s, each bucket twice the one before.
fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 20))
}

/// What kind of value a sample is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows while the node runs.
    Counter,
    /// Goes both ways.
    Gauge,
}

/// A value as of now.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// Without the prefix; a counter's `_total` is added.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Labels; samples of one name differ in them.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: u64,
}

impl Sample {
    /// A counter without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Sample {
        Sample { name, help, kind: Kind::Counter, labels: Vec::new(), value }
    }

    /// A gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Sample {
        Sample { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
    }

    /// The same with a label more.
    pub fn with(mut self, label: &'static str, value: impl Into<String>) -> Sample {
        self.labels.push((label, value.into()));
        self
    }
}

/// See the module's comment.
pub struct Metrics {
    registry: Registry,
    latencies: Latencies,
    errors: Family<ErrorLabels, Counter>,
}

impl Metrics {
    /// With what the store measures.
    pub fn new(store: &Meters) -> Metrics {
        let mut registry = Registry::with_prefix("dunlin");
        let latencies: Latencies = Family::new_with_constructor(latency_histogram);
        let errors = Family::default();
        let help = "Time from a client's statement to its answer";
        registry.register_with_unit("client_request", help, Unit::Seconds, latencies.clone());
        registry.register("client_errors", "Statements answered with an error", errors.clone());
        let help = "Time of a sync of the commit log";
        registry.register_with_unit("commitlog_sync", help, Unit::Seconds, store.sync_seconds.clone());
        registry.register("commitlog_batch", "Writes and reads that one sync served", store.batch.clone());
        Metrics { registry, latencies, errors }
    }

    /// Takes in a client's statement that has ended.
    pub fn client_request(
        &self,
        operation: &'static str,
        consistency: Option<Consistency>,
        took: Duration,
        code: Option<ErrorCode>,
    ) {
        let labels = RequestLabels { operation, consistency: consistency.map_or("", Consistency::name) };
        self.latencies.get_or_create(&labels).observe(took.as_secs_f64());
        if let Some(code) = code {
            self.errors.get_or_create(&ErrorLabels { operation, code: code.name() }).inc();
        }
    }

    /// Everything as OpenMetrics text, `samples` included.
    pub fn render(&self, samples: &[Sample]) -> String {
        let mut text = String::with_capacity(16 << 10);
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        // One end mark for both parts.
        if let Some(at) = text.rfind("# EOF") {
            text.truncate(at);
        }
        encode(&mut text, &registry_of(samples)).expect("writing to a String cannot fail");
        text
    }
}

fn registry_of(samples: &[Sample]) -> Registry {
    let mut registry = Registry::with_prefix("dunlin");
    let mut by_name: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_name.entry(sample.name).or_default().push(sample);
    }
    for (name, samples) in by_name {
        let labels = |sample: &Sample| -> Vec<(String, String)> {
            sample.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        match samples[0].kind {
            Kind::Counter => {
                let family: Family<Vec<(String, String)>, Counter> = Family::default();
                for sample in &samples {
                    family.get_or_create(&labels(sample)).inc_by(sample.value);
                }
                registry.register(name, samples[0].help, family);
            }
            Kind::Gauge => {
                let family: Family<Vec<(String, String)>, Gauge<u64, AtomicU64>> = Family::default();
                for sample in &samples {
                    family.get_or_create(&labels(sample)).set(sample.value);
                }
                registry.register(name, samples[0].help, family);
            }
        }
    }
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_samples_share_one_text() {
        let meters = Meters::default();
        meters.sync_seconds.observe(0.002);
        meters.batch.observe(3.0);
        let metrics = Metrics::new(&meters);
        metrics.client_request("write", Some(Consistency::Quorum), Duration::from_millis(2), None);
        metrics.client_request("read", None, Duration::from_millis(1), Some(ErrorCode::Unavailable));
        let text = metrics.render(&[
            Sample::counter("commitlog_syncs", "Syncs of the commit log", 7),
            Sample::gauge("hints", "Hints kept", 3).with("target", "n2"),
            Sample::gauge("hints", "Hints kept", 4).with("target", "n3"),
        ]);
        for line in [
            "dunlin_client_request_seconds_count{operation=\"write\",consistency=\"QUORUM\"} 1",
            "dunlin_client_errors_total{operation=\"read\",code=\"UNAVAILABLE\"} 1",
            "dunlin_commitlog_syncs_total{} 7",
            "dunlin_commitlog_sync_seconds_count 1",
            "dunlin_commitlog_batch_sum 3.0",
            "dunlin_hints{target=\"n2\"} 3",
            "dunlin_hints{target=\"n3\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.ends_with("# EOF\n"));
    }
}
