//! What operators do to the data on this node: compaction, verify, scrub, cleanup, snapshots.

use super::tasks::{Tasks, Work};
use super::work::{self, failed};
use crate::admin::{AdminError, Params};
use crate::node::Node;
use dunlin_storage::{Damage, Engine, EngineError, Snapshot, snapshot};
use dunlin_types::{TableId, TokenRange};
use serde_json::{Value, json};
use std::sync::{Arc, Weak};

/// Damaged places that an answer names.
const DAMAGE_MAX: usize = 1000;

/// Tables with their names.
type Named = Vec<(TableId, String)>;

/// Makes a verb's work, or says why it cannot be done now.
type Prepare = fn(&Arc<Node>, Named) -> Result<Work, AdminError>;

/// The tables that the parameters name.
fn tables(node: &Node, params: &Params) -> Result<Named, AdminError> {
    let tables = work::tables(node, params)?;
    let view = node.view();
    let name = |id: TableId| {
        let def = view.schema.table_by_id(id);
        def.map_or_else(|| id.to_string(), |d| format!("{}.{}", d.keyspace, d.name))
    };
    Ok(tables.into_iter().map(|id| (id, name(id))).collect())
}

/// Starts what the verb says; `None` if it is none of these.
pub(super) fn start(
    node: &Arc<Node>,
    tasks: &Arc<Tasks>,
    verb: &str,
    params: &Params,
) -> Option<Result<Value, AdminError>> {
    let (verb, work): (&'static str, Prepare) = match verb {
        "compact" => ("compact", compact),
        "verify" => ("verify", verify),
        "scrub" => ("scrub", scrub),
        "cleanup" => ("cleanup", cleanup),
        _ => return None,
    };
    let tables = tables(node, params);
    Some(tables.and_then(|tables| tasks.start(node, verb, work(node, tables)?)))
}

fn compact(_: &Arc<Node>, tables: Named) -> Result<Work, AdminError> {
    Ok(Box::new(move |engine, _| {
        for (table, _) in &tables {
            engine.compact(Some(*table))?;
        }
        Ok(json!({ "tables_compacted": tables.len() }))
    }))
}

fn verify(_: &Arc<Node>, tables: Named) -> Result<Work, AdminError> {
    Ok(Box::new(move |engine, report| {
        let mut damage = Vec::new();
        for (table, name) in &tables {
            let found = engine.verify(*table, &mut |step| report(name, step))?;
            damage.extend(found.into_iter().map(|d| damage_json(name, d)));
        }
        let places = damage.len();
        damage.truncate(DAMAGE_MAX);
        Ok(json!({ "tables_verified": tables.len(), "damaged_places": places, "damage": damage }))
    }))
}

fn damage_json(table: &str, damage: Damage) -> Value {
    json!({
        "table": table, "file": damage.file, "offset": damage.offset, "what": damage.what,
        "first_token": damage.range.map(|r| r.first.0.to_string()), "last_token": damage.range.map(|r| r.last.0.to_string()),
    })
}

/// What is damaged counts as lost before anything of it is given up: a crash in between must not make it look whole.
fn scrub(node: &Arc<Node>, tables: Named) -> Result<Work, AdminError> {
    let node = Arc::downgrade(node);
    Ok(Box::new(move |engine, report| {
        let mut done = Vec::new();
        for (table, name) in &tables {
            let damage = engine.verify(*table, &mut |step| report(name, step))?;
            if damage.is_empty() {
                continue;
            }
            let ranges = damage.iter().map(|d| d.range.unwrap_or(TokenRange::ALL)).collect();
            lose(&node, *table, name, ranges)?;
            let scrubbed = engine.scrub(*table, &mut |step| report(name, step))?;
            lose(&node, *table, name, scrubbed.lost.clone())?;
            done.push(json!({
                "table": name, "damaged_places": damage.len(), "sstables_rewritten": scrubbed.rewritten,
                "entries_kept": scrubbed.entries, "ranges_lost": scrubbed.lost.len(), "set_aside": scrubbed.set_aside,
            }));
        }
        Ok(json!({ "tables_checked": tables.len(), "scrubbed": done }))
    }))
}

fn lose(node: &Weak<Node>, table: TableId, name: &str, ranges: Vec<TokenRange>) -> Result<(), EngineError> {
    let failed = |reason: String| EngineError::Io { what: format!("note what {name} lost"), reason };
    let node = node.upgrade().ok_or_else(|| failed("the node stops".to_owned()))?;
    node.lose(table, &ranges).map_err(|e| failed(e.to_string()))
}

/// Only what no active layout gives to this node goes.
fn cleanup(node: &Arc<Node>, tables: Named) -> Result<Work, AdminError> {
    if node.membership.chain().is_none_or(|chain| chain.in_transition()) {
        let message =
            "the cluster's layout is changing: run cleanup when `nodetool layout` shows in_transition false";
        return Err(AdminError::Conflict(message.to_owned()));
    }
    let node = Arc::downgrade(node);
    Ok(Box::new(move |engine, _| {
        let mut cleaned = 0;
        for (table, _) in &tables {
            // Looked up when the engine asks: the layout may have changed while the task waited.
            let keep = || node.upgrade().and_then(|node| owned(&node, *table));
            cleaned += usize::from(engine.cleanup(*table, &keep)?);
            if let Some(node) = node.upgrade() {
                node.repairer.forget(*table, TokenRange::ALL);
            }
        }
        Ok(json!({ "tables_cleaned": cleaned }))
    }))
}

/// The ranges of a table that this node holds under any active layout; `None` if that is not known for sure.
fn owned(node: &Node, table: TableId) -> Option<Vec<TokenRange>> {
    let view = node.view();
    let (layout, table) = (view.newest_layout()?, view.table(table)?);
    let ranges = layout.vnodes.iter().map(|vnode| layout.range_of(vnode));
    Some(ranges.filter(|range| view.owns(table, range.first, view.me)).collect())
}

/// Takes a snapshot of all tables.
pub(super) async fn take_snapshot(node: &Node, params: &Params) -> Result<Value, AdminError> {
    let now = node.runtime.wall();
    let name = match params.get("name") {
        Some(name) => name.clone(),
        None => (now.0 / 1_000_000).to_string(),
    };
    let taken = name.clone();
    let job = move |engine: &Engine| engine.snapshot(&name, now).map(drop);
    node.store.run_long(Box::new(job)).await.map_err(failed)?;
    let all = node.store.engine().snapshots().map_err(|e| AdminError::Failed(e.to_string()))?;
    let found = all.iter().find(|s| s.name == taken);
    Ok(found.map_or_else(|| json!({ "name": taken }), |s| snapshot_json(node, s)))
}

/// All snapshots.
pub(super) fn list_snapshots(node: &Node) -> Result<Value, AdminError> {
    let all = node.store.engine().snapshots().map_err(|e| AdminError::Failed(e.to_string()))?;
    let dir = node.config.node.data_dir.join(snapshot::DIR).display().to_string();
    Ok(
        json!({ "snapshots": all.iter().map(|s| snapshot_json(node, s)).collect::<Vec<_>>(), "directory": dir }),
    )
}

fn snapshot_json(node: &Node, snapshot: &Snapshot) -> Value {
    let view = node.view();
    let tables: Vec<String> = snapshot
        .tables
        .iter()
        .map(|t| match view.schema.table_by_id(t.table) {
            Some(def) => format!("{}.{}", def.keyspace, def.name),
            None => format!("{} (dropped)", t.dir.trim_start_matches("tables/").replace('/', ".")),
        })
        .collect();
    json!({
        "name": snapshot.name,
        "age_s": node.runtime.wall().0.saturating_sub(snapshot.created.0) / 1_000_000,
        "files": snapshot.tables.iter().map(|t| t.sstables.len()).sum::<usize>(),
        "size_bytes": snapshot.tables.iter().map(|t| t.bytes()).sum::<u64>(),
        "tables": tables,
    })
}

/// Removes the snapshot that `name=` names, or all with `all=true`.
pub(super) async fn clear_snapshot(node: &Node, params: &Params) -> Result<Value, AdminError> {
    let all = params.get("all").is_some_and(|all| all == "true");
    let names: Vec<String> = match (params.get("name"), all) {
        (Some(name), false) => vec![name.clone()],
        (None, true) => {
            let all = node.store.engine().snapshots().map_err(|e| AdminError::Failed(e.to_string()))?;
            all.into_iter().map(|s| s.name).collect()
        }
        _ => {
            return Err(AdminError::Wrong("name one snapshot (name=), or all of them (all=true)".to_owned()));
        }
    };
    let cleared = names.len();
    let job = move |engine: &Engine| names.iter().try_for_each(|name| engine.clear_snapshot(name));
    node.store.run_long(Box::new(job)).await.map_err(|error| {
        AdminError::Failed(format!("{}; `nodetool listsnapshots` shows what there is", work::reason(error)))
    })?;
    Ok(json!({ "snapshots_cleared": cleared }))
}
