//! Hints that wait here for other nodes: what operators see of them and do to them.

use crate::admin::{AdminError, Params};
use crate::metrics::Sample;
use crate::node::Node;
use dunlin_replication::hints::HintStats;
use serde_json::{Map, Value, json};

/// Hints per target.
pub(super) fn show(node: &Node) -> Value {
    let targets: Vec<Value> = node.hints.stats().iter().map(|h| target(node, h)).collect();
    json!({ "total": node.hints.count(), "paused": node.hints.is_paused(), "targets": targets })
}

fn target(node: &Node, h: &HintStats) -> Value {
    let view = node.view();
    let rules: Map<String, Value> =
        h.dropped.by_rule().iter().map(|(rule, count)| ((*rule).to_owned(), (*count).into())).collect();
    let up = view.is_alive(h.target) || !view.peers.contains_key(&h.target);
    let state = match (h.count, h.paused, h.rate_bytes, up) {
        (0, ..) => "empty",
        (_, true, ..) => "paused",
        (_, _, Some(_), _) => "delivering",
        (_, _, None, true) => "target is up",
        (_, _, None, false) => "target is down",
    };
    json!({
        "target": view.name_of(h.target), "host_id": h.target.to_string(), "state": state, "count": h.count,
        "bytes": h.bytes, "oldest_s": oldest_s(node, h), "rate_bytes": h.rate_bytes, "eta_s": h.eta.as_secs(),
        "delivered": h.delivered, "moved": h.moved, "dropped": h.dropped.total(), "dropped_by_rule": rules,
        "kept_ever": h.added, "gone_ever": h.added - h.count,
    })
}

fn oldest_s(node: &Node, h: &HintStats) -> Option<u64> {
    h.oldest.map(|at| node.runtime.wall().0.saturating_sub(at.0) / 1_000_000)
}

/// `do=pause|resume|truncate`, for all targets or for the one that `target=` names.
pub(super) fn act(node: &Node, params: &Params) -> Result<Value, AdminError> {
    let named = params.get("target").map(|text| node.membership.host_of(text));
    let only = named.transpose().map_err(AdminError::Wrong)?;
    match params.get("do").map(String::as_str) {
        Some("pause") => node.hints.set_paused(only, true),
        Some("resume") => node.hints.set_paused(only, false),
        Some("truncate") => node.hints.truncate(only),
        _ => return Err(AdminError::Wrong("do= has to be pause, resume or truncate".to_owned())),
    }
    Ok(show(node))
}

/// For `/metrics`.
pub(super) fn samples(node: &Node) -> Vec<Sample> {
    let view = node.view();
    let mut all = Vec::new();
    for h in node.hints.stats() {
        let target = view.name_of(h.target);
        let mut put = |sample: Sample| all.push(sample.with("target", target.clone()));
        put(Sample::gauge("hints", "Hints kept", h.count));
        put(Sample::gauge("hints_bytes", "Their bytes", h.bytes));
        put(Sample::gauge("hints_oldest_seconds", "Age of the oldest", oldest_s(node, &h).unwrap_or(0)));
        put(Sample::counter("hints_delivered", "Hints delivered", h.delivered));
        put(Sample::counter("hints_moved", "Hints given to another node when this one left", h.moved));
        for (rule, count) in h.dropped.by_rule() {
            let help = "Hints not kept or not delivered, by the rule that says so";
            put(Sample::counter("hints_dropped", help, count).with("rule", rule));
        }
    }
    all
}
