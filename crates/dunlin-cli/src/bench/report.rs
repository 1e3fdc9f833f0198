//! What was measured, for people and for programs.

use super::load::Outcome;
use super::plan::Plan;
use dunlin_terminal::{Unwritten, printable, say};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9)];

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// For people.
pub fn text(plan: &Plan, outcome: &Outcome) -> Result<(), Unwritten> {
    let total = outcome.total();
    say!(
        "{}: {:.0} operations/s at {} with {} clients, {} bytes, {} ({total} in {:.1} s)",
        outcome.mix.name(),
        total as f64 / outcome.seconds,
        plan.settings.consistency,
        plan.args.clients,
        plan.args.value_size,
        plan.args.durability.name(),
        outcome.seconds
    )?;
    let served = plan.args.rate.map(|_| ("all, from when they were sent", &outcome.served));
    for (what, histogram) in
        [("reads", &outcome.reads), ("writes", &outcome.writes)].into_iter().chain(served)
    {
        if !histogram.is_empty() {
            let figures: Vec<String> = PERCENTILES
                .iter()
                .map(|(name, p)| format!("{name} {:.0} us", micros(histogram.value_at_percentile(*p))))
                .collect();
            say!("  {what}: {}, max {:.0} us", figures.join(", "), micros(histogram.max()))?;
        }
    }
    for (error, count) in &outcome.errors {
        say!("  errors: {count} x {}", printable(error))?;
    }
    Ok(())
}

/// One mix, for programs.
pub fn json(outcome: &Outcome) -> Value {
    let side = |histogram: &Histogram<u64>| {
        let mut object = Map::new();
        object.insert("count".into(), histogram.len().into());
        for (name, p) in PERCENTILES {
            object.insert(format!("{name}_us"), micros(histogram.value_at_percentile(p)).into());
        }
        object.insert("max_us".into(), micros(histogram.max()).into());
        Value::Object(object)
    };
    json!({
        "mix": outcome.mix.name(),
        "seconds": outcome.seconds,
        "operations_per_second": outcome.total() as f64 / outcome.seconds,
        "reads": side(&outcome.reads),
        "writes": side(&outcome.writes),
        "served": side(&outcome.served),
        "errors": outcome.errors,
    })
}

/// All mixes of a run, for programs.
pub fn summary(plan: &Plan, mixes: &[Value]) -> Value {
    let args = &plan.args;
    json!({
        "clients": args.clients, "rate": args.rate, "pipeline": args.pipeline, "value_bytes": args.value_size,
        "keys": args.keys, "consistency": plan.settings.consistency.name(), "durability": args.durability.name(),
        "table": plan.table.to_string(), "conflicts": args.table.is_none().then(|| args.conflicts.name()),
        "hosts": plan.hosts, "mixes": mixes,
    })
}
