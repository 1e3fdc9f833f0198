//! The node's counters as metric samples.

use crate::metrics::Sample;
use crate::node::Node;
use std::sync::atomic::{AtomicU64, Ordering};

/// Everything that is counted somewhere, as of now.
pub(super) fn all(node: &Node) -> Vec<Sample> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let core = node.coordinator().core();
    let engine = node.store.engine().stats();
    let requests = &core.stats;
    let repair = &node.repairer.stats;
    let clients = &node.clients.stats;
    let peers = &node.handler.stats;
    let mut samples = vec![
        Sample::gauge("uptime_seconds", "Time since the start", node.uptime().as_secs()),
        Sample::counter("coordinator_reads", "Reads coordinated here", count(&requests.reads)),
        Sample::counter("coordinator_writes", "Writes coordinated here", count(&requests.writes)),
        Sample::counter(
            "coordinator_forwarded_writes",
            "Writes passed to a replica",
            count(&requests.forwarded_writes),
        ),
        Sample::counter(
            "coordinator_speculative_reads",
            "Replicas asked because another was slow",
            count(&requests.speculative_reads),
        ),
        Sample::counter(
            "coordinator_unavailable",
            "Requests refused for want of live replicas",
            count(&requests.unavailable),
        ),
        Sample::counter("coordinator_timeouts", "Requests that ran out of time", count(&requests.timeouts)),
        Sample::counter(
            "coordinator_stale_layouts",
            "Requests refused because of another layout",
            count(&requests.stale_layouts),
        ),
        Sample::counter("read_repairs", "Reads whose replicas differed", count(&requests.read_repairs)),
        Sample::gauge(
            "client_connections",
            "Open client connections",
            size(clients.connections.load(Ordering::Relaxed)),
        ),
        Sample::gauge(
            "client_statements_in_flight",
            "Statements being worked on",
            size(clients.in_flight.load(Ordering::Relaxed)),
        ),
        Sample::counter("client_statements", "Statements taken", count(&clients.statements)),
        Sample::counter(
            "client_connections_refused",
            "Connections beyond the limit",
            count(&clients.refused),
        ),
        Sample::counter("client_received_bytes", "Bytes from clients", count(&clients.bytes_in)),
        Sample::counter("client_sent_bytes", "Bytes to clients", count(&clients.bytes_out)),
        Sample::counter("replica_requests", "Calls of other nodes", count(&peers.requests))
            .with("lane", "request"),
        Sample::counter("replica_requests", "Calls of other nodes", count(&peers.gossip))
            .with("lane", "gossip"),
        Sample::counter("replica_requests", "Calls of other nodes", count(&peers.bulk)).with("lane", "bulk"),
        Sample::counter(
            "replica_overloaded",
            "Calls of other nodes that were refused",
            count(&peers.overloaded),
        ),
        Sample::counter("commitlog_syncs", "Syncs of the commit log", engine.log.syncs),
        Sample::counter(
            "commitlog_written_bytes",
            "Bytes written to the commit log",
            engine.log.bytes_written,
        ),
        Sample::gauge("commitlog_bytes", "Bytes in commit log segments", engine.log.bytes),
        Sample::gauge("commitlog_waiting_writes", "Writes that wait for a sync", size(node.store.waiting())),
        Sample::gauge("memtable_bytes", "Bytes in memtables", engine.memtable_bytes),
        Sample::counter("flushes", "Memtables written to SSTables", engine.flushes),
        Sample::counter("flushed_bytes", "Bytes of SSTables from flushes", engine.bytes_flushed),
        Sample::counter("compactions", "Compactions", engine.compactions),
        Sample::counter("compacted_bytes", "Bytes of SSTables from compactions", engine.bytes_compacted),
        Sample::gauge("block_cache_bytes", "Bytes in the block cache", engine.cache_bytes),
        Sample::counter("block_cache_hits", "Blocks found in the cache", engine.cache_hits),
        Sample::counter("block_cache_misses", "Blocks read from files", engine.cache_misses),
        Sample::counter("damaged_blocks", "Blocks that failed their check", engine.damaged_blocks),
        Sample::counter("repair_comparisons", "Comparisons with co-replicas", count(&repair.comparisons)),
        Sample::counter("repair_failures", "Comparisons that failed", count(&repair.failures)),
        Sample::counter("repair_ranges_differing", "Ranges that differed", count(&repair.ranges_differing)),
        Sample::counter("repair_records", "Records that repair moved", count(&repair.records_sent))
            .with("direction", "sent"),
        Sample::counter("repair_records", "Records that repair moved", count(&repair.records_received))
            .with("direction", "received"),
        Sample::counter("repair_bytes", "Bytes of records that repair moved", count(&repair.bytes)),
    ];
    let view = core.views.load();
    for hints in core.hints.stats() {
        let name = view.name_of(hints.target);
        samples.push(Sample::gauge("hints", "Hints kept", hints.count).with("target", name.clone()));
        samples.push(
            Sample::gauge("hints_bytes", "Bytes of hints kept", hints.bytes).with("target", name.clone()),
        );
        samples.push(
            Sample::counter("hints_delivered", "Hints delivered", hints.delivered).with("target", name),
        );
    }
    for seen in node.membership.nodes() {
        samples.push(
            Sample::gauge("gossip_up", "1 if this node sees the other up", u64::from(seen.up))
                .with("peer", seen.name.clone()),
        );
        if let Some(phi) = seen.phi {
            let milli = (phi * 1000.0).clamp(0.0, 1e15) as u64;
            samples.push(
                Sample::gauge("gossip_phi_milli", "Suspicion of a peer, thousandths of phi", milli)
                    .with("peer", seen.name),
            );
        }
    }
    samples
}
