//! Answers as JSON. Names of fields carry their unit; `nodetool` prints them as they are.

use super::Operator;
use crate::admin::{AdminError, Params};
use crate::membership::NodeSeen;
use crate::node::{VERSION, load_bytes};
use dunlin_gossip::key;
use dunlin_ring::{LayoutChain, Member, Placement};
use dunlin_types::schema::Replication;
use dunlin_types::{HostId, Key, TableDef};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Clocks of two nodes may differ by this much before it is worth a line.
const SKEW_US_MAX: u64 = 1_000_000;
/// A wall clock heard by gossip is older than this at most, usually.
const WALL_CLOCK_AGE_US: u64 = 10_000_000;

impl Operator {
    pub(super) fn shown(&self, verb: &str, params: &Params) -> Result<Value, AdminError> {
        Ok(match verb {
            "status" => self.status(),
            "info" => self.info(),
            "version" => json!({ "version": VERSION }),
            "ring" => self.ring()?,
            "describecluster" => self.describe_cluster(),
            "gossipinfo" => self.gossip_info(),
            "layout" => self.layout()?,
            "getendpoints" => self.endpoints(params)?,
            "hints" => self.hints(),
            "netstats" => self.net_stats(),
            "tpstats" => self.task_stats(),
            "compactionstats" => self.compaction_stats(),
            "tablestats" => self.table_stats(),
            "repair" => self.0.repairs.show(params)?,
            other => return Err(AdminError::Unknown(other.to_owned())),
        })
    }

    fn chain(&self) -> Result<LayoutChain, AdminError> {
        let none = || AdminError::Conflict("this node is not part of a cluster yet".to_owned());
        self.node().membership.chain().ok_or_else(none)
    }

    fn status(&self) -> Value {
        let membership = &self.node().membership;
        let chain = membership.chain();
        let owned = chain.as_ref().map(owned_shares).unwrap_or_default();
        let nodes: Vec<Value> = membership
            .nodes()
            .iter()
            .filter(|node| node.state != "left")
            .map(|node| {
                let member = chain.as_ref().and_then(|chain| member_of(chain, node.host));
                let (vnodes, owns) = owned.get(&node.host).copied().unwrap_or((0, 0.0));
                json!({
                    "name": node.name,
                    "host_id": node.host.to_string(),
                    "address": text_of(node, key::INTERNODE).or_else(|| member.map(|m| m.internode.to_string())),
                    "data_center": text_of(node, key::DATA_CENTER).or_else(|| member.map(|m| m.data_center.clone())),
                    "rack": text_of(node, key::RACK).or_else(|| member.map(|m| m.rack.clone())),
                    "up": node.up,
                    "state": node.state,
                    "load_bytes": self.load_of(node),
                    "vnodes": vnodes,
                    "owns": owns,
                    "generation": node.generation,
                })
            })
            .collect();
        json!({ "nodes": nodes, "layout": layout_summary(chain.as_ref()), "attention": self.attention(chain.as_ref()) })
    }

    /// This node's own load is known to the byte, that of others as they told last.
    fn load_of(&self, node: &NodeSeen) -> Option<u64> {
        if node.host == self.node().membership.me() {
            return Some(self.load());
        }
        text_of(node, key::LOAD)?.parse().ok()
    }

    fn load(&self) -> u64 {
        load_bytes(self.node().store.engine())
    }

    /// A line for each thing that an operator should look at.
    fn attention(&self, chain: Option<&LayoutChain>) -> Vec<String> {
        let node = self.node();
        let mut lines = Vec::new();
        if let Some(failure) = node.store.engine().failure() {
            lines.push(format!("this node takes no writes: {failure}"));
        }
        if let Some(error) = node.membership.join_error() {
            lines.push(format!("this node cannot join: {error}"));
        }
        let wall = self.core().runtime.wall();
        for seen in node.membership.nodes() {
            if let Some(down) = seen.down_for {
                lines.push(format!("{} is down since {} s", seen.name, down.as_secs()));
            }
            let theirs = text_of(&seen, key::WALL_CLOCK).and_then(|text| text.parse::<u64>().ok());
            if let (Some(theirs), true) = (theirs, seen.up) {
                let ahead = theirs.saturating_sub(wall.0);
                let behind = wall.0.saturating_sub(theirs).saturating_sub(WALL_CLOCK_AGE_US);
                if ahead > SKEW_US_MAX || behind > SKEW_US_MAX {
                    let (by, way) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
                    lines.push(format!(
                        "the clock of {} is {} s {way} this node's",
                        seen.name,
                        by / 1_000_000
                    ));
                }
            }
        }
        if let Some(chain) = chain.filter(|chain| chain.in_transition()) {
            let versions: Vec<String> = chain.write_layouts().iter().map(|l| l.version.to_string()).collect();
            lines.push(format!(
                "the layout is in transition: versions {} are in force",
                versions.join(" and ")
            ));
        }
        for (host, change) in chain.into_iter().flat_map(LayoutChain::pending_changes) {
            lines.push(format!("staged: {} of {}", change.name(), self.name_of(host)));
        }
        for hints in self.core().hints.stats().iter().filter(|h| h.count > 0) {
            let (name, count, bytes) = (self.name_of(hints.target), hints.count, hints.bytes);
            lines.push(format!("{count} hints ({bytes} bytes) wait here for {name}"));
        }
        lines
    }

    fn name_of(&self, host: HostId) -> String {
        self.core().views.load().name_of(host)
    }

    fn info(&self) -> Value {
        let node = self.node();
        let stats = node.store.engine().stats();
        let requests = &self.core().stats;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let chain = node.membership.chain();
        let me = node.membership.me();
        let member = chain.as_ref().and_then(|chain| member_of(chain, me));
        json!({
            "name": self.name_of(me),
            "host_id": me.to_string(),
            "cluster_name": node.config.cluster.name,
            "cluster_id": node.membership.cluster().map(|id| id.to_string()),
            "version": VERSION,
            "generation": node.identity.generation().0,
            "uptime_s": self.node().uptime().as_secs_f64(),
            "ready": node.not_ready().is_none(),
            "data_center": member.map(|m| m.data_center.clone()),
            "rack": member.map(|m| m.rack.clone()),
            "client_address": member.map(|m| m.client.to_string()),
            "load_bytes": self.load(),
            "memtable_bytes": stats.memtable_bytes,
            "commitlog_bytes": stats.log.bytes,
            "commitlog_syncs": stats.log.syncs,
            "block_cache_bytes": stats.cache_bytes,
            "client_connections": node.clients.stats.connections.load(Ordering::Relaxed),
            "client_statements": count(&node.clients.stats.statements),
            "client_errors": count(&node.clients.stats.errors),
            "client_reads": count(&requests.reads),
            "client_writes": count(&requests.writes) + count(&requests.forwarded_writes),
            "read_repairs": count(&requests.read_repairs),
            "unavailable": count(&requests.unavailable),
            "timeouts": count(&requests.timeouts),
            "hints_pending": self.core().hints.count(),
        })
    }

    fn ring(&self) -> Result<Value, AdminError> {
        let chain = self.chain()?;
        let layout = chain.read_layout(self.node().membership.me());
        let vnodes: Vec<Value> = layout
            .vnodes
            .iter()
            .map(|vnode| {
                let owner = layout.owner(vnode);
                let name = layout.member(owner).map_or_else(|| owner.to_string(), |m| m.name.clone());
                json!({ "vnode": vnode.0, "first_token": layout.range_of(vnode).first.0, "owner": name })
            })
            .collect();
        Ok(json!({ "layout": layout.version, "vnodes": vnodes }))
    }

    fn describe_cluster(&self) -> Value {
        let node = self.node();
        let mut schemas: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (host, digest) in node.membership.schema_digests() {
            let digest = digest.map_or_else(
                || "unknown".to_owned(),
                |d| d.iter().take(8).map(|b| format!("{b:02x}")).collect(),
            );
            schemas.entry(digest).or_default().push(self.name_of(host));
        }
        let chain = node.membership.chain();
        json!({
            "name": node.config.cluster.name,
            "cluster_id": node.membership.cluster().map(|id| id.to_string()),
            "partitioner": "SipHash-2-4 under the cluster's key",
            "vnodes": chain.as_ref().map(|chain| chain.completed().vnodes.get()),
            "members": chain.as_ref().map(|chain| chain.completed().members.len()),
            "layout": layout_summary(chain.as_ref()),
            "schema_versions": schemas,
        })
    }

    fn gossip_info(&self) -> Value {
        let nodes: Vec<Value> = self
            .node()
            .membership
            .nodes()
            .into_iter()
            .map(|node| {
                let values: BTreeMap<String, String> = node.values.into_iter().collect();
                json!({
                    "name": node.name, "host_id": node.host.to_string(), "up": node.up, "generation": node.generation,
                    "heartbeat": node.heartbeat, "phi": node.phi, "values": values,
                })
            })
            .collect();
        json!({ "nodes": nodes })
    }

    fn layout(&self) -> Result<Value, AdminError> {
        let chain = self.chain()?;
        let me = self.node().membership.me();
        let read = chain.read_layout(me).digest();
        let layouts: Vec<Value> = chain
            .write_layouts()
            .iter()
            .map(|layout| {
                json!({
                    "version": layout.version, "digest": hex(&layout.digest()), "members": layout.members.len(),
                    "reads": layout.digest() == read,
                })
            })
            .collect();
        let staged: Vec<Value> = chain
            .pending_changes()
            .map(|(host, change)| json!({ "host_id": host.to_string(), "change": change.name() }))
            .collect();
        let mut hosts: Vec<&Member> = chain.write_layouts().iter().flat_map(|l| &l.members).collect();
        hosts.sort_by_key(|m| m.host);
        hosts.dedup_by_key(|m| m.host);
        let members: Vec<Value> = hosts
            .into_iter()
            .map(|member| {
                let marks = chain.watermarks(member.host);
                json!({ "name": member.name, "host_id": member.host.to_string(), "ack": marks.ack, "sync": marks.sync, "sync_ack": marks.sync_ack })
            })
            .collect();
        let progress = self.node().membership.sync_progress().map(|p| {
            let transfer = p.transfer.unwrap_or_default();
            json!({ "version": p.version, "ranges": transfer.ranges, "ranges_done": transfer.ranges_done,
                "records_received": transfer.outcome.records_received, "bytes": transfer.outcome.bytes })
        });
        Ok(json!({ "layouts": layouts, "staged": staged, "members": members, "transfer": progress }))
    }

    /// The table that the parameters name.
    fn table(&self, params: &Params) -> Result<Arc<TableDef>, AdminError> {
        let name = |what: &str| {
            params
                .get(what)
                .ok_or_else(|| AdminError::Wrong(format!("which {what}? ({what}=... is missing)")))
        };
        let (keyspace, table) = (name("keyspace")?, name("table")?);
        let view = self.core().views.load();
        view.schema
            .shared_table(keyspace, table)
            .cloned()
            .ok_or_else(|| AdminError::Wrong(format!("there is no table {keyspace}.{table}")))
    }

    fn endpoints(&self, params: &Params) -> Result<Value, AdminError> {
        let table = self.table(params)?;
        let text = params
            .get("key")
            .ok_or_else(|| AdminError::Wrong("which key? (key=... is missing)".to_owned()))?;
        let wrong = |error: String| AdminError::Wrong(error);
        let literal = dunlin_cql::value::key_literal_from_text(table.key_type, text)
            .map_err(|e| wrong(e.to_string()))?;
        let bytes =
            dunlin_cql::value::key_bytes(table.key_type, literal).map_err(|e| wrong(e.to_string()))?;
        let key = Key::new(bytes).map_err(|e| wrong(e.to_string()))?;
        let view = self.core().views.load();
        let (Some(layout), Some(found)) = (view.read_layout(), view.table(table.id)) else {
            return Err(AdminError::Conflict("this node is not part of a cluster yet".to_owned()));
        };
        let token = layout.token(&key);
        let endpoints: Vec<Value> = view
            .read_replicas(found, token)
            .hosts
            .iter()
            .filter_map(|host| view.peers.get(host))
            .map(|peer| {
                json!({ "name": peer.name, "address": peer.address.to_string(), "host_id": peer.host.to_string(), "up": view.is_alive(peer.host) })
            })
            .collect();
        Ok(json!({ "token": token.0, "vnode": layout.vnode_of(token).0, "endpoints": endpoints }))
    }

    fn hints(&self) -> Value {
        let targets: Vec<Value> = self
            .core()
            .hints
            .stats()
            .iter()
            .map(|hints| {
                let dropped = hints.dropped;
                json!({
                    "name": self.name_of(hints.target), "host_id": hints.target.to_string(), "count": hints.count, "bytes": hints.bytes,
                    "oldest_us": hints.oldest.map(|at| at.0), "delivered": hints.delivered, "eta_s": hints.eta.as_secs_f64(),
                    "dropped": { "window": dropped.window, "bytes": dropped.bytes, "disk": dropped.disk, "expired": dropped.expired,
                        "damaged": dropped.damaged, "truncated": dropped.truncated },
                })
            })
            .collect();
        json!({ "targets": targets })
    }

    fn net_stats(&self) -> Value {
        let stats = &self.node().handler.stats;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let view = self.core().views.load();
        let peers: Vec<Value> = view
            .peers
            .values()
            .filter(|peer| peer.host != view.me)
            .map(|peer| {
                json!({ "name": peer.name, "address": peer.address.to_string(), "up": view.is_alive(peer.host),
                    "latency_us": peer.latency.nanos() / 1000 })
            })
            .collect();
        let extra: BTreeMap<&str, u64> = (self.0.extra)().iter().map(|s| (s.name, s.value)).collect();
        json!({
            "received": { "gossip": count(&stats.gossip), "requests": count(&stats.requests), "bulk": count(&stats.bulk),
                "overloaded": count(&stats.overloaded) },
            "peers": peers, "transport": extra,
        })
    }

    fn task_stats(&self) -> Value {
        let node = self.node();
        json!({
            "statements_in_flight": node.clients.stats.in_flight.load(Ordering::Relaxed),
            "client_connections": node.clients.stats.connections.load(Ordering::Relaxed),
            "writes_waiting_for_sync": node.store.waiting(),
            "repair_comparisons": node.repairer.stats.comparisons.load(Ordering::Relaxed),
        })
    }

    fn compaction_stats(&self) -> Value {
        let stats = self.node().store.engine().stats();
        json!({
            "flushes": stats.flushes, "bytes_flushed": stats.bytes_flushed, "compactions": stats.compactions,
            "bytes_compacted": stats.bytes_compacted,
        })
    }

    fn table_stats(&self) -> Value {
        let view = self.core().views.load();
        let stats = self.node().store.engine().stats();
        let tables: Vec<Value> = stats
            .tables
            .iter()
            .filter_map(|stats| {
                let def = &view.table(stats.table)?.def;
                Some(json!({
                    "keyspace": def.keyspace, "table": def.name, "memtable_bytes": stats.memtable_bytes,
                    "memtable_entries": stats.memtable_entries, "sstables": stats.sstables, "sstable_bytes": stats.sstable_bytes,
                    "sstable_entries": stats.sstable_entries, "tombstones": stats.tombstones, "sstables_damaged": stats.sstables_damaged,
                }))
            })
            .collect();
        json!({ "tables": tables })
    }
}

fn text_of(node: &NodeSeen, name: &str) -> Option<String> {
    node.values.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
}

fn member_of(chain: &LayoutChain, host: HostId) -> Option<&Member> {
    chain.write_layouts().iter().rev().find_map(|layout| layout.member(host))
}

/// Vnodes of each member in the completed layout, and its share of the ring.
fn owned_shares(chain: &LayoutChain) -> BTreeMap<HostId, (u32, f64)> {
    let layout = chain.completed();
    let placement = Placement::new(layout, &Replication::Simple(1));
    let share = |host: HostId| f64::from(placement.load(host)) / f64::from(layout.vnodes.get());
    layout.members.iter().map(|m| (m.host, (layout.vnodes_owned(m.host), share(m.host)))).collect()
}

fn layout_summary(chain: Option<&LayoutChain>) -> Value {
    match chain {
        None => json!({ "version": 0, "active": 0 }),
        Some(chain) => json!({
            "version": chain.newest().version, "active": chain.write_layouts().len(),
            "staged": chain.pending_changes().count(),
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|b| format!("{b:02x}")).collect()
}
