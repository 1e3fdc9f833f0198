//! The cluster as this node sees it.

use crate::admin::{AdminError, Params};
use crate::membership::NodeSeen;
use crate::node::{Node, VERSION, load_bytes};
use dunlin_cql::describe;
use dunlin_gossip::key;
use dunlin_ring::{Layout, Placement};
use dunlin_types::schema::Replication;
use dunlin_types::{HostId, Key, TableDef, TableId, Token};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// A wall clock that far from this node's is worth a word, microseconds: gossip is not instant.
const SKEW_US: u64 = 2_000_000;

/// `nodes` and what needs attention.
pub(super) fn status(node: &Node) -> Value {
    let view = node.view();
    let me = node.host();
    let seen = node.membership.nodes();
    let layout = view.read_layout();
    let owned = layout.map(|l| ownership(l)).unwrap_or_default();
    let own_load = load_bytes(node.store.engine());
    let internode = |n: &NodeSeen| {
        let member = view.layouts.iter().rev().find_map(|l| l.member(n.host));
        let said =
            || -> Option<SocketAddr> { n.values.iter().find(|(k, _)| k == key::INTERNODE)?.1.parse().ok() };
        member.map(|m| m.internode).or_else(said)
    };
    // Nodes that share an address are told apart by their ports.
    let ips: Vec<IpAddr> = seen.iter().filter_map(|n| Some(internode(n)?.ip())).collect();
    let shared = |ip: IpAddr| ips.iter().filter(|other| **other == ip).count() > 1;
    let mut nodes = Vec::new();
    for n in seen.iter().filter(|n| n.state != "left" || n.up) {
        let member = view.layouts.iter().rev().find_map(|l| l.member(n.host));
        let value = |name: &str| n.values.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        let load = if n.host == me { Some(own_load) } else { value(key::LOAD).and_then(|l| l.parse().ok()) };
        nodes.push(json!({
            "name": n.name,
            "host_id": n.host.to_string(),
            "address": internode(n).map(|a| if shared(a.ip()) { a.to_string() } else { a.ip().to_string() }),
            "data_center": member.map(|m| m.data_center.clone()).or_else(|| value(key::DATA_CENTER)),
            "rack": member.map(|m| m.rack.clone()).or_else(|| value(key::RACK)),
            "up": n.up,
            "state": n.state,
            "load_bytes": load,
            "vnodes": layout.map_or(0, |l| l.vnodes_owned(n.host)),
            "owns": owned.get(&n.host).copied().unwrap_or(0.0),
            "generation": n.generation,
            "clock_ahead_us": n.clock_ahead_us,
            "client": member.map(|m| m.client.to_string()).or_else(|| value(key::CLIENT)),
            "admin": member.map(|m| m.admin.to_string()).or_else(|| value(key::ADMIN)),
            "version": value(key::VERSION),
        }));
    }
    json!({
        "nodes": nodes,
        "attention": attention(node),
        "layout": { "version": view.newest_layout().map_or(0, |l| l.version), "active": view.layouts.len() },
        "cluster_name": node.config.cluster.name,
    })
}

/// Share of all data that each node holds as a primary replica.
fn ownership(layout: &Layout) -> BTreeMap<HostId, f64> {
    let vnodes = f64::from(layout.vnodes.get());
    layout.members.iter().map(|m| (m.host, f64::from(layout.vnodes_owned(m.host)) / vnodes)).collect()
}

/// One line for each thing that an operator should know.
pub(super) fn attention(node: &Node) -> Vec<String> {
    let mut lines = Vec::new();
    let seen = node.membership.nodes();
    for n in seen.iter().filter(|n| !n.up && n.state != "left") {
        let since = n.down_for.map_or_else(
            || "since before this node started".to_owned(),
            |d| format!("since {} s", d.as_secs()),
        );
        lines.push(format!("{} is down {since}", n.name));
    }
    if let Some(why) = node.not_ready() {
        lines.push(format!("this node does not serve clients: {why}"));
    }
    if let Some(chain) = node.membership.chain() {
        for (host, change) in chain.pending_changes() {
            lines.push(format!("staged: {} {}", node.view().name_of(host), change.name()));
        }
        if chain.in_transition() {
            lines.push(format!(
                "layout {} is on its way to {}",
                chain.completed().version,
                chain.newest().version
            ));
        }
    }
    if let Some(progress) = node.membership.sync_progress().and_then(|p| p.transfer) {
        lines.push(format!("this node copies data: {} of {} ranges", progress.ranges_done, progress.ranges));
    }
    if let Some(reason) = node.store.engine().failure() {
        let dir = node.config.node.data_dir.display();
        lines.push(format!(
            "this node takes no writes: {reason} (in {dir}); see that the disk has room and is sound, and start it again"
        ));
    }
    lines.extend(damage(node));
    let hints = node.hints.count();
    if hints > 0 {
        lines.push(format!("{hints} hints wait here"));
    }
    let dropped = node.hints.stats().iter().any(|h| h.dropped.refused() > 0);
    if dropped {
        lines.push("some hints were not kept (window, size or disk): repair owns the difference".to_owned());
    }
    let digests: BTreeSet<_> = node.membership.schema_digests().into_iter().filter_map(|(_, d)| d).collect();
    if digests.len() > 1 {
        lines.push("nodes that are up do not agree about the schema".to_owned());
    }
    lines.extend(skews(node));
    lines
}

/// Damaged files named in one line.
const FILES_NAMED_MAX: usize = 3;

/// Damaged SSTables, and data that was lost to damage or a restore.
fn damage(node: &Node) -> Vec<String> {
    let view = node.view();
    let name = |table: TableId| {
        let def = view.schema.table_by_id(table);
        def.map(|d| (d.keyspace.clone(), d.name.clone()))
            .unwrap_or_else(|| ("?".to_owned(), table.to_string()))
    };
    let mut files: BTreeMap<TableId, Vec<String>> = BTreeMap::new();
    for (table, file) in node.store.engine().damaged_sstables() {
        files.entry(table).or_default().push(file);
    }
    let damaged = files.into_iter().map(|(id, files)| {
        let (keyspace, table) = name(id);
        let more = files.len().saturating_sub(FILES_NAMED_MAX);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let named: Vec<&str> = files.iter().take(FILES_NAMED_MAX).map(String::as_str).collect();
        format!(
            "{keyspace}.{table}: damaged SSTable {}{more}; other nodes answer for it: run `nodetool scrub {keyspace} {table}` here",
            named.join(", ")
        )
    });
    let lost = node.lost.all().into_keys().map(|table| {
        let (keyspace, table) = name(table);
        format!(
            "data of {keyspace}.{table} was lost here and is fetched from the other replicas, all of which have to be up; \
             until then they answer for it"
        )
    });
    damaged.chain(lost).collect()
}

fn skews(node: &Node) -> Vec<String> {
    let nodes = node.membership.nodes();
    let far = nodes.iter().filter(|n| n.up).filter_map(|n| {
        let ahead = n.clock_ahead_us.filter(|ahead| ahead.unsigned_abs() > SKEW_US)?;
        let (seconds, way) = (ahead.unsigned_abs() / 1_000_000, if ahead > 0 { "ahead" } else { "behind" });
        Some(format!(
            "the clock of {} is about {seconds} s {way} of this node's: last_write_wins tables go by clocks; see to its NTP",
            n.name
        ))
    });
    far.collect()
}

/// This node.
pub(super) fn info(node: &Node) -> Value {
    let view = node.view();
    let layout = view.newest_layout();
    let (reads, writes) = client_requests(node);
    let stats = node.store.engine().stats();
    json!({
        "name": node.config.node.name,
        "host_id": node.host().to_string(),
        "cluster_name": node.config.cluster.name,
        "cluster_id": layout.map(|l| l.cluster.to_string()),
        "data_center": node.config.node.data_center,
        "rack": node.config.node.rack,
        "version": VERSION,
        "generation": node.identity.generation().0,
        "incarnation": node.identity.actor().generation.0,
        "ready": node.not_ready().is_none(),
        "state": node.not_ready().unwrap_or_else(|| "serving".to_owned()),
        "uptime_s": node.uptime().as_secs_f64(),
        "load_bytes": load_bytes(node.store.engine()),
        "data_dir": node.config.node.data_dir.display().to_string(),
        "layout_version": layout.map_or(0, |l| l.version),
        "vnodes": view.read_layout().map_or(0, |l| l.vnodes_owned(node.host())),
        "client_connections": node.clients.stats.connections.load(std::sync::atomic::Ordering::Relaxed),
        "client_reads": reads,
        "client_writes": writes,
        "hints": node.hints.count(),
        "commit_log_syncs": stats.log.syncs,
        "commit_log_bytes": stats.log.bytes,
        "memtable_bytes": stats.memtable_bytes,
        "writes_waiting": node.store.waiting(),
        "store_failure": stats.failure,
    })
}

/// Reads and writes coordinated here.
pub(super) fn client_requests(node: &Node) -> (u64, u64) {
    let stats = &node.coordinator().core().stats;
    let count = |c: &std::sync::atomic::AtomicU64| c.load(std::sync::atomic::Ordering::Relaxed);
    (count(&stats.reads), count(&stats.writes) + count(&stats.forwarded_writes))
}

/// Vnodes and their owners.
pub(super) fn ring(node: &Node) -> Value {
    let view = node.view();
    let Some(layout) = view.read_layout() else { return json!({ "version": 0, "vnodes": [] }) };
    let vnodes: Vec<Value> = layout
        .vnodes
        .iter()
        .map(|vnode| {
            let range = layout.range_of(vnode);
            json!({ "vnode": vnode.0, "first_token": range.first.0.to_string(), "last_token": range.last.0.to_string(), "owner": view.name_of(layout.owner(vnode)) })
        })
        .collect();
    json!({ "version": layout.version, "vnodes": vnodes })
}

/// What all nodes share.
pub(super) fn describe_cluster(node: &Node) -> Value {
    let view = node.view();
    let layout = view.read_layout();
    let mut schemas: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (host, digest) in node.membership.schema_digests() {
        let digest = digest.map_or_else(|| "unknown".to_owned(), |d| hex(&d));
        schemas.entry(digest).or_default().push(view.name_of(host));
    }
    let keyspaces: Map<String, Value> = view
        .schema
        .keyspaces()
        .map(|k| (k.name.clone(), json!(describe::replication(&k.replication))))
        .collect();
    json!({
        "name": node.config.cluster.name,
        "cluster_id": layout.map(|l| l.cluster.to_string()),
        "partitioner": "SipHash-2-4",
        "vnodes": layout.map_or(0, |l| l.vnodes.get()),
        "members": layout.map_or(0, |l| l.members.len()),
        "layout_version": view.newest_layout().map_or(0, |l| l.version),
        "layouts_active": view.layouts.len(),
        "schema_versions": schemas,
        "keyspaces": keyspaces,
    })
}

/// What gossip knows of every node.
pub(super) fn gossip_info(node: &Node) -> Value {
    let nodes: Vec<Value> = node
        .membership
        .nodes()
        .into_iter()
        .map(|n| {
            let values: Map<String, Value> = n.values.into_iter().map(|(k, v)| (k, json!(v))).collect();
            json!({
                "name": n.name, "host_id": n.host.to_string(), "up": n.up, "state": n.state, "generation": n.generation,
                "heartbeat": n.heartbeat, "phi": n.phi, "values": values,
            })
        })
        .collect();
    json!({ "nodes": nodes })
}

/// Layouts in force, staged changes, watermarks.
pub(super) fn layout(node: &Node) -> Value {
    let Some(chain) = node.membership.chain() else {
        return json!({ "layouts": [], "staged": [], "watermarks": [] });
    };
    let view = node.view();
    let describe = |layout: &Layout| {
        let members: Vec<&str> = layout.members.iter().map(|m| m.name.as_str()).collect();
        json!({ "version": layout.version, "digest": hex(&layout.digest()[..8]), "members": members.join(" ") })
    };
    let layouts: Vec<Value> = chain.write_layouts().iter().map(|l| describe(l)).collect();
    let staged: Vec<Value> =
        chain.pending_changes().map(|(host, c)| json!({ "node": view.name_of(host), "host_id": host.to_string(), "change": c.name() })).collect();
    let hosts: BTreeSet<HostId> =
        chain.write_layouts().iter().flat_map(|l| l.members.iter().map(|m| m.host)).collect();
    let watermarks: Vec<Value> = hosts
        .into_iter()
        .map(|host| {
            let marks = chain.watermarks(host);
            json!({ "node": view.name_of(host), "ack": marks.ack, "sync": marks.sync, "sync_ack": marks.sync_ack })
        })
        .collect();
    let moves: Vec<Value> =
        moves(node, &chain).into_iter().map(|(to, vnodes)| json!({ "to": to, "vnodes": vnodes })).collect();
    let copying = node.membership.sync_progress().map(|p| {
        let transfer = p.transfer.unwrap_or_default();
        let waiting: Vec<String> = transfer.waiting_for.iter().map(|h| view.name_of(*h)).collect();
        json!({ "version": p.version, "ranges": transfer.ranges, "ranges_done": transfer.ranges_done,
            "records_received": transfer.outcome.records_received, "waiting_for": waiting })
    });
    json!({
        "completed": chain.completed().version,
        "reads_from": chain.read_layout(node.host()).version,
        "in_transition": chain.in_transition(),
        "layouts": layouts,
        "staged": staged,
        "watermarks": watermarks,
        "moves": moves,
        "copying": copying,
    })
}

/// Vnodes that each node gains in the change under way, over all keyspaces.
fn moves(node: &Node, chain: &dunlin_ring::LayoutChain) -> BTreeMap<String, usize> {
    let mut gains = BTreeMap::new();
    if !chain.in_transition() {
        return gains;
    }
    let view = node.view();
    for keyspace in view.schema.keyspaces() {
        for found in dunlin_ring::moves(chain.completed(), chain.newest(), &keyspace.replication) {
            *gains.entry(view.name_of(found.to)).or_default() += 1;
        }
    }
    gains
}

/// The table, key and token that the parameters name.
fn named_key(node: &Node, params: &Params) -> Result<(TableDef, Key, Token), AdminError> {
    let get = |name: &str| params.get(name).ok_or_else(|| AdminError::Wrong(format!("{name}= is missing")));
    let (keyspace, table, text) = (get("keyspace")?, get("table")?, get("key")?);
    let view = node.view();
    let def = view
        .schema
        .table(keyspace, table)
        .ok_or_else(|| AdminError::Wrong(format!("there is no table {keyspace}.{table}")))?;
    let layout = view
        .read_layout()
        .ok_or_else(|| AdminError::Conflict("this node is not part of a cluster yet".to_owned()))?;
    let key = parse_key(def.key_type, text)?;
    let token = layout.token(&key);
    Ok((def.clone(), key, token))
}

/// The SSTables on this node that may hold a key: its token lies in their range.
pub(super) fn sstables_of(node: &Node, params: &Params) -> Result<Value, AdminError> {
    let (def, _, token) = named_key(node, params)?;
    let files =
        node.store.engine().sstables_of(def.id, token).map_err(|e| AdminError::Failed(e.to_string()))?;
    let dir = &node.config.node.data_dir;
    let paths: Vec<String> = files.iter().map(|file| dir.join(file).display().to_string()).collect();
    Ok(json!({ "token": token.0.to_string(), "sstables": paths }))
}

/// The replicas of a key, in preference order.
pub(super) fn endpoints(node: &Node, params: &Params) -> Result<Value, AdminError> {
    let (def, _, token) = named_key(node, params)?;
    let view = node.view();
    let layout = view
        .read_layout()
        .ok_or_else(|| AdminError::Conflict("this node is not part of a cluster yet".to_owned()))?;
    let replication =
        view.schema.keyspace(&def.keyspace).map_or(Replication::Simple(1), |k| k.replication.clone());
    let placement = Placement::new(layout, &replication);
    let endpoints: Vec<Value> = placement
        .replicas(layout.vnode_of(token))
        .iter()
        .map(|host| {
            let member = layout.member(*host);
            json!({
                "address": member.map(|m| m.internode.ip().to_string()), "name": view.name_of(*host), "up": view.is_alive(*host),
                "host_id": host.to_string(), "rack": member.map(|m| m.rack.clone()),
            })
        })
        .collect();
    Ok(json!({ "token": token.0.to_string(), "vnode": layout.vnode_of(token).0, "endpoints": endpoints }))
}

fn parse_key(kind: dunlin_types::schema::KeyType, text: &str) -> Result<Key, AdminError> {
    let wrong = |e: dunlin_cql::value::TypeError| AdminError::Wrong(e.to_string());
    let literal = dunlin_cql::value::key_literal_from_text(kind, text).map_err(wrong)?;
    let bytes = dunlin_cql::value::key_bytes(kind, literal).map_err(wrong)?;
    Key::new(bytes).map_err(|e| AdminError::Wrong(e.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
