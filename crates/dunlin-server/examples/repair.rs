//! What repair of two large, almost equal copies costs: bytes between the nodes, and seconds.
//!
//! `cargo run --release -p dunlin-server --example repair [KEYS [DIFFERING]]`
//!
//! Two nodes in one process, each with its own engine, with disks in memory and a network of function calls; what is
//! counted are the bytes of their calls. Values have 100 bytes.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement")]

#[path = "../tests/support/mod.rs"]
mod support;

use dunlin_replication::repair::RepairScope;
use dunlin_replication::store::Durability;
use dunlin_server::Node;
use dunlin_storage::RangeDigest;
use dunlin_storage::fs::MemFs;
use dunlin_types::record::Latest;
use dunlin_types::{HostId, Key, Micros, Record, TableId, TokenRange, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use support::{Hub, config, ok, start, until, whole};

const VALUE_BYTES: usize = 100;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let keys: u64 = arguments.next().unwrap_or(1_000_000);
    let differing: u64 = arguments.next().unwrap_or(100).clamp(1, keys);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(keys, differing));
}

async fn measure(keys: u64, differing: u64) {
    let hub = Arc::new(Hub::default());
    let nodes: Vec<_> = (1..=2u16)
        .map(|i| {
            let mut config = config(i, 2);
            config.cluster.vnodes = 256;
            config.repair.interval_s = 0;
            start(&hub, &MemFs::new(), config, i)
        })
        .collect();
    until("two nodes in one layout", || whole(&nodes, 2)).await;
    ok(&nodes[0], "CREATE TABLE dunlin.t (k text PRIMARY KEY, v text) WITH conflicts = 'last_write_wins'")
        .await;
    let known = |node: &Arc<Node>| node.view().schema.table("dunlin", "t").is_some();
    until("the table everywhere", || nodes.iter().all(known)).await;
    let table = nodes[0].view().schema.table("dunlin", "t").expect("the table").id;
    for node in &nodes {
        for i in 0..keys {
            put(node, table, i, 1).await;
        }
        node.flush().await.expect("SSTables");
    }
    let data = digest(&nodes[0], table).bytes;
    println!("{keys} keys, {:.1} MB of data a node; {differing} keys differ", data as f64 / 1e6);

    // Half of them newer here, half there, spread over all vnodes.
    let differ = async |written: u64| {
        for n in 0..differing {
            put(&nodes[(n % 2) as usize], table, n * (keys / differing), written).await;
        }
    };
    differ(2).await;
    run("nothing known of either copy", &hub, &nodes, table, data).await;
    run("compared before, nothing written since", &hub, &nodes, table, data).await;
    differ(3).await;
    run("compared before, as many keys written since", &hub, &nodes, table, data).await;
    for node in nodes {
        node.stop().await;
    }
}

async fn run(what: &str, hub: &Hub, nodes: &[Arc<Node>], table: TableId, data: u64) {
    let (before, started) = (hub.bulk_bytes.load(Ordering::Relaxed), Instant::now());
    let scope = RepairScope { table: Some("t".to_owned()), ..RepairScope::default() };
    let report = nodes[0].repairer.run_once(&scope, &|_| {}).await;
    let (took, bytes) = (started.elapsed(), hub.bulk_bytes.load(Ordering::Relaxed) - before);
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(digest(&nodes[0], table), digest(&nodes[1], table), "the copies are equal");
    let done = report.total().outcome;
    println!(
        "{what}: {:.2} s, {bytes} bytes ({:.3} % of the data); {} keys differed, {} records sent, {} received, {} bytes of them",
        took.as_secs_f64(),
        bytes as f64 / data as f64 * 100.0,
        done.records_differing,
        done.records_sent,
        done.records_received,
        done.bytes,
    );
}

async fn put(node: &Node, table: TableId, i: u64, written: u64) {
    let key = Key::new(format!("user{i:012}")).expect("a short key");
    let token = node.view().newest_layout().expect("a layout").token(&key);
    let mut data = vec![b'v'; VALUE_BYTES];
    data[..8].copy_from_slice(&i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let value = Value { written: Micros(written), expires: None, data: Some(data.into()) };
    let record = Record::Latest(Latest { host: HostId([1; 16]), value });
    node.store.merge(table, token, key, record, Durability::Buffered).await.expect("room for a write");
}

fn digest(node: &Node, table: TableId) -> RangeDigest {
    node.store.engine().digest(table, TokenRange::ALL).expect("a readable table")
}
