//! Counters, as JSON for operators and as samples for `/metrics`.

use super::tasks::Tasks;
use crate::metrics::Sample;
use crate::node::Node;
use crate::runtime::TokioRuntime;
use dunlin_replication::view::View;
use dunlin_storage::Why;
use dunlin_transport::quic::QuicTransport;
use dunlin_types::TableId;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Calls between nodes.
pub(super) fn network(node: &Node, transport: Option<&QuicTransport>) -> Value {
    let handled = &node.handler.stats;
    let mut answer = json!({
        "handled": { "gossip": count(&handled.gossip), "requests": count(&handled.requests), "bulk": count(&handled.bulk),
            "overloaded": count(&handled.overloaded) },
    });
    if let Some(transport) = transport {
        let stats = transport.stats();
        answer["transport"] = json!({
            "calls": stats.calls, "timeouts": stats.timeouts, "overloaded": stats.overloaded, "frames": stats.frames,
            "writes": stats.writes, "connections": stats.connections, "connect_failures": stats.connect_failures,
            "accepted": stats.accepted, "refused": stats.refused,
        });
        let view = node.view();
        let name = |addr| view.peers.values().find(|p| p.address == addr).map(|p| p.name.clone());
        let peers: Vec<Value> = transport
            .peers()
            .into_iter()
            .map(|p| {
                json!({ "name": name(p.addr), "address": p.addr.to_string(), "connected": p.connected, "calls_in_flight": p.calls_in_flight,
                    "bytes_in_flight": p.bytes_in_flight, "rtt_us": p.rtt_us, "packets_sent": p.packets_sent, "last_failure": p.last_failure })
            })
            .collect();
        answer["peers"] = json!(peers);
    }
    answer
}

/// Tasks and queues.
pub(super) fn tasks(node: &Node, runtime: Option<&TokioRuntime>) -> Value {
    let tasks: Vec<Value> = runtime
        .map(TokioRuntime::tasks)
        .unwrap_or_default()
        .into_iter()
        .map(|(name, running, started)| json!({ "task": name, "running": running, "started": started }))
        .collect();
    let clients = &node.clients.stats;
    let admission = node.clients.admission.stats();
    json!({
        "tasks": tasks,
        "queues": {
            "writes_waiting_for_sync": node.store.waiting(),
            "client_statements_in_flight": admission.at_work,
            "client_statements_in_flight_limit": admission.limit,
            "client_statements_waiting": admission.waiting,
            "client_connections": clients.connections.load(Ordering::Relaxed),
        },
    })
}

/// Flushes, compactions, and what operators have started.
pub(super) fn compactions(node: &Node, tasks: &Tasks) -> Value {
    let view = node.view();
    let stats = node.store.engine().stats();
    let running: Vec<Value> = stats
        .running
        .iter()
        .map(|job| {
            json!({
                "id": job.id, "table": table_name(&view, job.table), "why": job.why.map_or("flush", why), "inputs": job.inputs,
                "output_level": job.output_level, "done_bytes": job.bytes_done, "total_bytes": job.bytes_total,
            })
        })
        .collect();
    json!({
        "flushes": stats.flushes, "bytes_flushed": stats.bytes_flushed, "compactions": stats.compactions,
        "bytes_compacted": stats.bytes_compacted, "write_amplification": amplification(stats.bytes_flushed, stats.bytes_compacted),
        "flushes_pending": stats.tables.iter().map(|t| t.flushes_pending).sum::<u64>(),
        "pending_bytes": stats.tables.iter().map(|t| t.bytes_pending).sum::<u64>(),
        "put_off_for_space": stats.compactions_put_off,
        "threads": node.config.storage.compaction_threads,
        "rate_bytes": node.config.storage.compaction_bytes_per_second.0,
        "running": running, "tasks": tasks.running(),
    })
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Level0 | Why::Level0Small => "level 0",
        Why::LevelFull(_) => "a level is full",
        Why::Tier => "SSTables of like size",
        Why::Purge => "deletions to forget",
        Why::Damaged => "damage steps aside",
        Why::Asked => "nodetool compact",
        Why::RangeDelete => "cleanup",
        Why::Scrub => "scrub",
    }
}

fn table_name(view: &View, table: TableId) -> String {
    let def = view.schema.table_by_id(table);
    def.map_or_else(|| table.to_string(), |d| format!("{}.{}", d.keyspace, d.name))
}

/// What was written of SSTables over what flushes wrote, to two digits; `None` before the first flush.
fn amplification(flushed: u64, compacted: u64) -> Option<f64> {
    (flushed > 0).then(|| ratio(flushed + compacted, flushed))
}

/// To two digits.
fn ratio(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 100.0).round() / 100.0
}

/// A share in percent, to two digits; `None` of nothing.
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| ratio(part * 100, whole))
}

/// Size and SSTables of each table, and how reads of all of them fare.
pub(super) fn tables(node: &Node) -> Value {
    let view = node.view();
    let stats = node.store.engine().stats();
    let tables: Vec<Value> = stats
        .tables
        .iter()
        .map(|t| {
            let def = view.schema.table_by_id(t.table);
            json!({
                "table": table_name(&view, t.table),
                "compaction": def.map(|d| d.compaction.name()), "compression": def.map(|d| d.compression.name()),
                "sstables": t.sstables, "sstables_level0": t.sstables_level0,
                "write_amplification": amplification(t.bytes_flushed, t.bytes_compacted), "pending_bytes": t.bytes_pending, "sstable_bytes": t.sstable_bytes, "sstable_entries": t.sstable_entries,
                "memtable_bytes": t.memtable_bytes, "memtable_entries": t.memtable_entries, "tombstones": t.tombstones,
                "sstables_damaged": t.sstables_damaged, "pinned_bytes": t.pinned_bytes,
            })
        })
        .collect();
    let (hits, misses) = (stats.cache_hits, stats.cache_misses);
    let (filtered, passed) = (stats.filtered, stats.unfiltered);
    json!({
        "tables": tables,
        "block_cache": { "bytes": stats.cache_bytes, "hits": hits, "misses": misses, "hit_percent": percent(hits, hits + misses) },
        "filters": { "lookups_ended": filtered, "lookups_passed": passed, "ended_percent": percent(filtered, filtered + passed) },
        "damaged_blocks": stats.damaged_blocks,
    })
}

/// Everything that is counted where it happens.
pub(super) fn samples(node: &Node, transport: Option<&QuicTransport>) -> Vec<Sample> {
    let mut all = Vec::new();
    let help = "Log lines that were not written: standard error is gone, full or too slow";
    all.push(Sample::counter("log_lines_lost", help, crate::run::lines_lost()));
    cluster(node, &mut all);
    requests(node, &mut all);
    store(node, &mut all);
    healing(node, &mut all);
    if let Some(transport) = transport {
        let stats = transport.stats();
        for (name, help, value) in [
            ("internode_calls", "Calls to other nodes", stats.calls),
            ("internode_timeouts", "Calls without an answer in time", stats.timeouts),
            ("internode_overloaded", "Calls refused because too many were in flight", stats.overloaded),
            ("internode_frames", "Frames sent", stats.frames),
            ("internode_writes", "Writes that carried them", stats.writes),
            ("internode_connections", "Connections dialled", stats.connections),
            ("internode_connect_failures", "Connections that could not be made", stats.connect_failures),
        ] {
            all.push(Sample::counter(name, help, value));
        }
    }
    all
}

fn cluster(node: &Node, all: &mut Vec<Sample>) {
    let view = node.view();
    all.push(Sample::gauge("ready", "Whether clients are served", u64::from(node.not_ready().is_none())));
    all.push(Sample::gauge("uptime_seconds", "Since the start", node.uptime().as_secs()));
    all.push(Sample::gauge(
        "layout_version",
        "Newest layout known",
        view.newest_layout().map_or(0, |l| l.version),
    ));
    all.push(Sample::gauge("layouts_active", "Layouts that writes go to", view.layouts.len() as u64));
    all.push(Sample::gauge(
        "members",
        "Members of the layout that reads use",
        view.read_layout().map_or(0, |l| l.members.len() as u64),
    ));
    for n in node.membership.nodes().into_iter().filter(|n| n.host != node.host()) {
        all.push(
            Sample::gauge("peer_up", "Whether a node is believed to be up", u64::from(n.up))
                .with("peer", n.name.clone()),
        );
        // Gauges are whole numbers: a thousandth is exact enough.
        let phi = n.phi.unwrap_or(0.0).clamp(0.0, 1e6) * 1000.0;
        all.push(
            Sample::gauge("gossip_phi_milli", "Suspicion of a node that is up, in thousandths", phi as u64)
                .with("peer", n.name),
        );
    }
}

fn requests(node: &Node, all: &mut Vec<Sample>) {
    let stats = &node.coordinator().core().stats;
    for (name, help, value) in [
        ("coordinated_reads", "Reads coordinated here", &stats.reads),
        ("coordinated_writes", "Writes coordinated here", &stats.writes),
        ("forwarded_writes", "Writes passed to a replica", &stats.forwarded_writes),
        ("speculative_reads", "Replicas asked because another was slow", &stats.speculative_reads),
        ("read_repairs", "Reads whose replicas differed", &stats.read_repairs),
        ("stale_layouts", "Requests refused because of another layout", &stats.stale_layouts),
        ("unavailable", "Requests with too few live replicas", &stats.unavailable),
        ("timeouts", "Requests that ended in a timeout", &stats.timeouts),
    ] {
        all.push(Sample::counter(name, help, count(value)));
    }
    let handled = &node.handler.stats;
    for (lane, value) in
        [("gossip", &handled.gossip), ("request", &handled.requests), ("bulk", &handled.bulk)]
    {
        all.push(
            Sample::counter("replica_requests", "Calls of other nodes", count(value)).with("lane", lane),
        );
    }
    all.push(Sample::counter(
        "replica_requests_refused",
        "Calls of other nodes refused as overloaded",
        count(&handled.overloaded),
    ));
    let clients = &node.clients.stats;
    all.push(Sample::gauge(
        "client_connections",
        "Open client connections",
        clients.connections.load(Ordering::Relaxed) as u64,
    ));
    all.push(Sample::counter(
        "client_connections_refused",
        "Client connections over the limit",
        count(&clients.refused),
    ));
    all.push(Sample::counter("client_statements", "Statements taken", count(&clients.statements)));
    let admission = node.clients.admission.stats();
    for (name, help, value) in [
        ("client_statements_in_flight", "Statements worked on", admission.at_work),
        ("client_statements_in_flight_limit", "Statements worked on at once, as of now", admission.limit),
        ("client_statements_waiting", "Statements that wait for a place", admission.waiting),
    ] {
        all.push(Sample::gauge(name, help, value as u64));
    }
    all.push(Sample::counter(
        "client_statements_refused",
        "Statements answered OVERLOADED before any work",
        admission.refused,
    ));
    all.push(Sample::counter("client_bytes_received", "Bytes from clients", count(&clients.bytes_in)));
    all.push(Sample::counter("client_bytes_sent", "Bytes to clients", count(&clients.bytes_out)));
}

fn store(node: &Node, all: &mut Vec<Sample>) {
    let stats = node.store.engine().stats();
    for (name, help, value) in [
        ("commitlog_syncs", "Syncs of the commit log", stats.log.syncs),
        ("commitlog_frames", "Frames written to the commit log", stats.log.frames),
        ("commitlog_written_bytes", "Bytes written to the commit log", stats.log.bytes_written),
        ("flushes", "Memtables written to SSTables", stats.flushes),
        ("compactions", "Compactions done", stats.compactions),
        ("compaction_written_bytes", "Bytes written by compactions", stats.bytes_compacted),
        ("compactions_put_off", "Compactions that had to wait for free space", stats.compactions_put_off),
        ("flush_written_bytes", "Bytes written by flushes", stats.bytes_flushed),
        ("filter_negatives", "Lookups in an SSTable that its filter or token range ended", stats.filtered),
        ("filter_positives", "Lookups in an SSTable that went on to a block", stats.unfiltered),
        ("block_cache_hits", "Blocks found in the cache", stats.cache_hits),
        ("block_cache_misses", "Blocks read from files", stats.cache_misses),
        ("damaged_blocks", "Blocks that failed their check", stats.damaged_blocks),
    ] {
        all.push(Sample::counter(name, help, value));
    }
    let sum = |of: fn(&dunlin_storage::TableStats) -> u64| stats.tables.iter().map(of).sum::<u64>();
    let sstables: u64 = stats.tables.iter().map(|t| t.sstables).sum();
    let sstable_bytes: u64 = stats.tables.iter().map(|t| t.sstable_bytes).sum();
    for (name, help, value) in [
        ("commitlog_bytes", "Length of the commit log", stats.log.bytes),
        ("memtable_bytes", "Bytes in memtables", stats.memtable_bytes),
        ("flushes_pending", "Memtables that wait for a flush", sum(|t| t.flushes_pending)),
        ("compactions_running", "Flushes and compactions under way", stats.running.len() as u64),
        ("compaction_pending_bytes", "Bytes of SSTables that wait to be merged", sum(|t| t.bytes_pending)),
        ("sstables_level0", "SSTables of level 0, over all tables", sum(|t| t.sstables_level0)),
        ("sstables_damaged", "SSTables with a block that failed its check", sum(|t| t.sstables_damaged)),
        ("snapshot_bytes", "Bytes of SSTables that snapshots hold", node.snapshot_bytes()),
        ("block_cache_bytes", "Bytes in the block cache", stats.cache_bytes),
        ("sstables", "SSTables", sstables),
        ("sstable_bytes", "Bytes in SSTables", sstable_bytes),
        ("store_waiting", "Writes and reads that wait for a sync", node.store.waiting() as u64),
        ("store_failed", "Whether the commit log has failed", u64::from(stats.failure.is_some())),
    ] {
        all.push(Sample::gauge(name, help, value));
    }
}

fn healing(node: &Node, all: &mut Vec<Sample>) {
    all.extend(super::hints::samples(node));
    all.extend(super::tombstones::samples(node));
    let repair = &node.repairer.stats;
    for (name, help, value) in [
        ("repair_comparisons", "Tables compared with a peer", &repair.comparisons),
        ("repair_failures", "Comparisons that failed", &repair.failures),
        ("repair_ranges_differing", "Ranges that differed", &repair.ranges_differing),
        ("repair_records_sent", "Records sent by repair", &repair.records_sent),
        ("repair_records_received", "Records received by repair", &repair.records_received),
        ("repair_bytes", "Bytes of records moved by repair", &repair.bytes),
    ] {
        all.push(Sample::counter(name, help, count(value)));
    }
}
