//! Oracle 11: an exchange between replicas that differ in one record moves one record.
//!
//! After the replicas are equal one of them is given a change that the others do not have, behind the back of
//! every coordinator; then it is counted what anti-entropy moves until they are equal again.

use crate::cluster::{Cluster, Records};
use crate::executor::Nanos;
use crate::oracle::{Rule, Violation};
use dunlin_replication::store::Durability;
use dunlin_types::{Actor, Context, Generation, HostId, Key, Record, Token, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changes one record of the fullest virtual node at one replica, and judges what it takes to heal that.
pub async fn check(
    cluster: &Arc<Cluster>,
    (keyspace, table): (&str, &str),
    records: &Records,
    within: Nanos,
) -> Result<(), Violation> {
    let Some((key, token, record)) = fullest(cluster, records) else { return Ok(()) };
    let nodes = cluster.running_all();
    let Some(first) = nodes.first() else { return Ok(()) };
    let view = first.node.view();
    let table_view = view.schema.table(keyspace, table).and_then(|def| Some((def.id, view.table(def.id)?)));
    let Some((id, table_view)) = table_view else { return Ok(()) };
    let replicas = view.replicas(table_view, token).hosts;
    let Some(odd) = nodes.iter().find(|running| Some(&running.node.host()) == replicas.first()) else {
        return Ok(());
    };
    cluster.world.take_recorded();
    let merged = odd.node.store.merge(id, token, key.clone(), changed(record), Durability::Synced).await;
    merged.map_err(|error| Violation { rule: Rule::NotHealed, message: format!("a replica: {error}") })?;
    let keys: Vec<Key> = records.keys().cloned().collect();
    let equal = cluster.converged(within, (keyspace, table), &keys).await;
    equal.map_err(|why| Violation { rule: why.rule, message: why.message })?;
    for (what, sent, received) in cluster.world.take_recorded() {
        cluster.world.note("economy exchange", &[sent, received]);
        if sent.max(received) > 1 {
            let message =
                format!("{what} sent {sent} and received {received} records while only {key:?} differed");
            return Err(Violation { rule: Rule::RepairWaste, message });
        }
    }
    Ok(())
}

/// A key of the virtual node that has most.
fn fullest<'a>(cluster: &Cluster, records: &'a Records) -> Option<(&'a Key, Token, &'a Record)> {
    let view = cluster.running_all().first()?.node.view();
    let layout = view.read_layout()?;
    let mut by_vnode: BTreeMap<_, Vec<(&Key, Token, &Record)>> = BTreeMap::new();
    for (key, record) in records {
        let token = layout.token(key);
        if let Some(record) = record {
            let vnode = layout.vnodes.vnode_of(token);
            by_vnode.entry(vnode).or_default().push((key, token, record));
        }
    }
    by_vnode.into_values().max_by_key(Vec::len)?.first().copied()
}

/// The record as if one more write had reached this replica alone.
fn changed(record: &Record) -> Record {
    let host = HostId::from_words(1, 1);
    let mut record = record.clone();
    match &mut record {
        Record::Siblings(set) => {
            let written = set.values().iter().map(|(_, v)| v.written).max().unwrap_or_default();
            let value = Value { written, expires: None, data: Some("odd".into()) };
            set.write(&Context::new(), Actor { host, generation: Generation(1) }, 1, value);
        }
        Record::Latest(latest) => {
            latest.host = host;
            latest.value = Value { written: latest.value.written, expires: None, data: Some("odd".into()) };
            latest.value.written.0 += 1;
        }
    }
    record
}
