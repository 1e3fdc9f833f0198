//! `nodetool tombstones`: deletions that are kept, and what keeps them; metrics of repair.

use super::work;
use crate::admin::{AdminError, Params};
use crate::metrics::Sample;
use crate::node::Node;
use crate::purge::{Owned, owned};
use dunlin_replication::view::{TableView, View};
use dunlin_types::{HostId, Micros, TokenRange};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How far the vnodes of a table are proved to be equal everywhere.
struct Proof {
    vnodes: usize,
    /// The least recent time at which a vnode was equal at all its owners; `None` if one never was.
    repaired_at: Option<Micros>,
    /// Vnodes that were not compared with a peer yet, or not since this node was started.
    missing: BTreeMap<HostId, usize>,
    /// Vnodes whose data is in doubt here.
    doubtful: usize,
    /// What the least advanced vnode may forget is older.
    allowed: Micros,
}

impl Proof {
    fn of(node: &Node, view: &View, table: &TableView) -> Proof {
        let (id, compared) = (table.def.id, node.repairer.compared());
        let lost = node.lost.all().remove(&id).unwrap_or_default();
        let mut proof = Proof {
            vnodes: 0,
            repaired_at: Some(Micros(u64::MAX)),
            missing: BTreeMap::new(),
            doubtful: 0,
            allowed: Micros(u64::MAX),
        };
        for Owned { range, peers } in owned(view, table) {
            proof.vnodes += 1;
            let meets = |other: &TokenRange| other.first <= range.last && range.first <= other.last;
            proof.doubtful += usize::from(lost.iter().any(meets));
            proof.allowed = proof.allowed.min(compared.allowed_before(id, range));
            let mut equal = Micros(u64::MAX);
            for peer in peers {
                match compared.repaired_at(id, range, &[peer].into()) {
                    Ok(at) => equal = equal.min(at),
                    Err(peer) => {
                        *proof.missing.entry(peer).or_default() += 1;
                        proof.repaired_at = None;
                    }
                }
            }
            proof.repaired_at = proof.repaired_at.map(|at| at.min(equal));
        }
        proof
    }
}

fn age_s(now: Micros, at: Micros) -> u64 {
    now.0.saturating_sub(at.0) / 1_000_000
}

/// By table: deletions, the oldest of them, and what keeps it.
pub(super) fn tombstones(node: &Node, params: &Params) -> Result<Value, AdminError> {
    let (view, now) = (node.view(), node.runtime.wall());
    let wanted = work::tables(node, params)?;
    let stats = node.store.engine().stats();
    let margin_s = node.config.repair.purge_margin_s;
    let mut tables = Vec::new();
    for table in view.tables().filter(|t| wanted.contains(&t.def.id)) {
        let def = &table.def;
        let proof = Proof::of(node, &view, table);
        let found = stats.tables.iter().find(|t| t.table == def.id);
        let oldest = found.and_then(|t| t.tombstone_oldest);
        let kept_s = u64::from(def.gc_grace_s) + margin_s;
        let mut kept_by = Vec::new();
        if oldest.is_some_and(|at| age_s(now, at) < kept_s) {
            kept_by.push(format!("gc_grace_seconds and the margin, {kept_s} s together, are not over"));
        }
        for (peer, vnodes) in &proof.missing {
            let up = if view.is_alive(*peer) { "up" } else { "down" };
            kept_by.push(format!(
                "{vnodes} of {} vnodes were not compared with {}, which is {up}",
                proof.vnodes,
                view.name_of(*peer)
            ));
        }
        if proof.doubtful > 0 {
            kept_by.push(format!("data of {} vnodes was lost here and is not back yet", proof.doubtful));
        }
        if let (Some(repaired), Some(oldest)) = (proof.repaired_at, oldest)
            && repaired <= oldest
        {
            kept_by
                .push("not every vnode was compared since the oldest was written, or came here".to_owned());
        }
        if node.config.repair.interval_s == 0 {
            kept_by.push("repair.interval_s is 0: nothing is compared but by `nodetool repair`".to_owned());
        }
        let repaired_s = proof.repaired_at.filter(|at| *at < Micros(u64::MAX)).map(|at| age_s(now, at));
        tables.push(json!({
            "table": format!("{}.{}", def.keyspace, def.name),
            "tombstones": found.map_or(0, |t| t.tombstones), "tombstones_or_expiring": found.map_or(0, |t| t.gone),
            "oldest_s": oldest.map(|at| age_s(now, at)), "gc_grace_s": def.gc_grace_s, "margin_s": margin_s,
            "vnodes": proof.vnodes, "repaired_s_ago": repaired_s,
            "forgotten_if_older_s": (proof.allowed > Micros(0) && proof.allowed < Micros(u64::MAX)).then(|| age_s(now, proof.allowed)),
            "kept_by": kept_by,
        }));
    }
    Ok(
        json!({ "tables": tables, "note": "counts are of SSTables: a key counts once for each that it is in" }),
    )
}

/// Gauges of repair.
pub(super) fn samples(node: &Node) -> Vec<Sample> {
    let (view, now) = (node.view(), node.runtime.wall());
    let mut all = Vec::new();
    for ((table, peer), last) in node.repairer.divergence() {
        let Some(table) = view.table(table) else { continue };
        let found = last.found;
        for (name, help, value) in [
            ("repair_divergent_ranges", "Vnodes that differed when last compared", found.ranges_differing),
            (
                "repair_divergent_records",
                "Keys that differed when last compared",
                found.outcome.records_differing,
            ),
            ("repair_compared_age_seconds", "Since then", age_s(now, last.at)),
        ] {
            let name = Sample::gauge(name, help, value).with("peer", view.name_of(peer));
            all.push(name.with("table", format!("{}.{}", table.def.keyspace, table.def.name)));
        }
    }
    for table in view.tables() {
        let name = || format!("{}.{}", table.def.keyspace, table.def.name);
        let proof = Proof::of(node, &view, table);
        let missing = proof.missing.values().max().copied().unwrap_or_default() as u64;
        let help = "Vnodes that were not compared with every other owner";
        all.push(Sample::gauge("repair_unproved_vnodes", help, missing).with("table", name()));
        if let Some(at) = proof.repaired_at.filter(|at| *at < Micros(u64::MAX)) {
            let help = "Since the vnode that was longest not equal everywhere was";
            all.push(Sample::gauge("repaired_age_seconds", help, age_s(now, at)).with("table", name()));
        }
    }
    all.push(Sample::gauge("merkle_leaves", "Leaves of Merkle trees in memory", node.repairer.tree_leaves()));
    all
}
