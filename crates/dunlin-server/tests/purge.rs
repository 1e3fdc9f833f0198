//! Deletions are forgotten once every replica has them, and what they deleted does not come back.
#![allow(clippy::disallowed_methods)]

mod support;

use dunlin_server::admin::{AdminBackend, Params};
use dunlin_server::config::Config;
use dunlin_server::{AdminDoor, Node};
use dunlin_storage::Engine;
use dunlin_storage::fs::{MemFs, replace_file};
use dunlin_storage::snapshot::RESTORED;
use dunlin_types::{TableId, TokenRange};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Hub, address, config, ok, run, start, until, whole};

const KEYS: usize = 40;

/// Compares twice a second or so, and keeps deletions for a second.
fn eager(i: u16) -> Config {
    let mut config = config(i, 3);
    config.cluster.vnodes = 16;
    config.repair.interval_s = 1;
    config.repair.purge_margin_s = 1;
    config
}

async fn cluster() -> (Arc<Hub>, Vec<Arc<Node>>) {
    let hub = Arc::new(Hub::default());
    let nodes: Vec<_> = (1..=3u16).map(|i| start(&hub, &MemFs::new(), eager(i), i)).collect();
    until("three nodes in one layout", || whole(&nodes, 3)).await;
    (hub, nodes)
}

/// Ends a node in order; its disk is free when this returns.
async fn stop(node: Arc<Node>) {
    node.stop().await;
    let engine = Arc::downgrade(node.store.engine());
    drop(node);
    until("the store is free", || engine.strong_count() == 0).await;
}

async fn table(nodes: &[Arc<Node>], options: &str) -> TableId {
    let statement =
        format!("CREATE TABLE dunlin.t (k text PRIMARY KEY, v text) WITH gc_grace_seconds = 0 {options}");
    ok(&nodes[0], &statement).await;
    until("the table everywhere", || nodes.iter().all(|n| n.view().schema.table("dunlin", "t").is_some()))
        .await;
    nodes[0].view().schema.table("dunlin", "t").expect("the table").id
}

/// Keys in a node's engine, deleted ones included.
fn entries(node: &Node, table: TableId) -> u64 {
    node.store.engine().digest(table, TokenRange::ALL).expect("a readable table").entries
}

async fn write(node: &Node, statement: impl Fn(usize) -> String) {
    for i in 0..KEYS {
        ok(node, &statement(i)).await;
    }
}

/// Waits until no node holds anything of the table. What deletions delete may lie in another small SSTable, which no
/// compaction is due for: they are merged as by `nodetool compact`.
async fn forgotten(nodes: &[Arc<Node>], table: TableId) {
    let started = Instant::now();
    while nodes.iter().any(|node| entries(node, table) > 0) {
        assert!(started.elapsed() < Duration::from_secs(30), "something is left");
        for node in nodes {
            node.flush().await.expect("SSTables");
            let compact = Box::new(move |engine: &Engine| engine.compact(Some(table)));
            node.store.run_long(compact).await.expect("one SSTable");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_deleted_key_is_forgotten_everywhere() {
    run(async {
        let (_hub, nodes) = cluster().await;
        for options in ["", "AND conflicts = 'last_write_wins'"] {
            let table = table(&nodes, options).await;
            write(&nodes[0], |i| format!("INSERT INTO dunlin.t (k, v) VALUES ('{i}', 'v')")).await;
            write(&nodes[1], |i| format!("DELETE FROM dunlin.t WHERE k = '{i}'")).await;
            forgotten(&nodes, table).await;
            let reply = ok(&nodes[2], "SELECT COUNT(*) FROM dunlin.t").await;
            assert!(reply.contains("ROW\t0\n"), "{reply}");
            ok(&nodes[0], "DROP TABLE dunlin.t").await;
        }
        for node in nodes {
            node.stop().await;
        }
    });
}

#[test]
fn a_replica_that_was_away_brings_nothing_back() {
    run(async {
        let (hub, nodes) = cluster().await;
        let table = table(&nodes, "").await;
        write(&nodes[0], |i| {
            format!("INSERT INTO dunlin.t (k, v) VALUES ('{i}', 'v') USING CONSISTENCY ALL")
        })
        .await;
        hub.cut(address(3), true);
        until("the third is down", || nodes[..2].iter().all(|n| n.view().alive.len() == 2)).await;
        write(&nodes[1], |i| format!("DELETE FROM dunlin.t WHERE k = '{i}'")).await;
        // No hint is left that could tell it.
        nodes[..2].iter().for_each(|node| node.hints.truncate(Some(nodes[2].host())));
        for node in &nodes[..2] {
            node.flush().await.expect("SSTables");
        }
        // Long past the margin; other vnodes' comparisons go on.
        tokio::time::sleep(Duration::from_secs(4)).await;
        for node in &nodes[..2] {
            assert_eq!(entries(node, table), KEYS as u64, "kept as long as one replica may not have them");
        }
        let door = AdminDoor::new(nodes[0].clone(), None, None);
        let params: Params = [("table".to_owned(), "t".to_owned())].into();
        let shown = door.show("tombstones", &params).expect("the verb")["tables"][0].clone();
        assert_eq!(shown["tombstones"], KEYS as u64, "{shown}");
        assert!(
            shown["oldest_s"].as_u64() >= Some(4) && shown["kept_by"].to_string().contains("compared"),
            "{shown}"
        );
        // One of the two begins their comparisons, and shows what they came to.
        let metrics: String =
            nodes[..2].iter().map(|node| AdminDoor::new(node.clone(), None, None).metrics()).collect();
        for name in
            ["dunlin_repair_divergent_records{", "dunlin_repair_unproved_vnodes{", "dunlin_merkle_leaves"]
        {
            assert!(metrics.contains(name), "{name} in {metrics}");
        }
        hub.cut(address(3), false);
        until("three nodes again", || whole(&nodes, 3)).await;
        forgotten(&nodes, table).await;
        let reply = ok(&nodes[2], "SELECT COUNT(*) FROM dunlin.t USING CONSISTENCY ONE").await;
        assert!(reply.contains("ROW\t0\n"), "{reply}");
        for node in nodes {
            node.stop().await;
        }
    });
}

#[test]
fn an_operator_repairs_previews_and_cancels() {
    run(async {
        let hub = Arc::new(Hub::default());
        let quiet = |i| {
            let mut config = eager(i);
            config.repair.interval_s = 0;
            config
        };
        let nodes: Vec<_> = (1..=3u16).map(|i| start(&hub, &MemFs::new(), quiet(i), i)).collect();
        until("three nodes in one layout", || whole(&nodes, 3)).await;
        let table = table(&nodes, "").await;
        hub.cut(address(3), true);
        until("the third is down", || nodes[..2].iter().all(|n| n.view().alive.len() == 2)).await;
        write(&nodes[0], |i| format!("INSERT INTO dunlin.t (k, v) VALUES ('{i}', 'v')")).await;
        nodes[..2].iter().for_each(|node| node.hints.truncate(Some(nodes[2].host())));
        hub.cut(address(3), false);
        until("three nodes again", || whole(&nodes, 3)).await;

        let door = AdminDoor::new(nodes[0].clone(), None, None);
        let ask = async |more: &[(&str, &str)]| {
            let named = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let params: Params = [("table", "t")].iter().chain(more).map(named).collect();
            let id = door.act("repair".into(), params).await.expect("it begins")["id"].to_string();
            let state = || door.show("repair", &[("id".to_owned(), id.clone())].into()).expect("its state");
            until("the repair has ended", || state()["running"] == false).await;
            state()
        };
        let preview = ask(&[("preview", "true")]).await;
        assert_eq!(
            (&preview["records_differing"], &preview["records_sent"]),
            (&KEYS.into(), &0.into()),
            "{preview}"
        );
        assert_eq!(entries(&nodes[2], table), 0, "nothing has moved");
        let primary = ask(&[("primary", "true"), ("peer", "n3")]).await;
        let moved = primary["records_sent"].as_u64().expect("a number") as usize;
        assert!((1..KEYS).contains(&moved) && primary["done"] == primary["total"], "{primary}");
        let rest = ask(&[("peer", "n3")]).await;
        assert_eq!(rest["records_sent"], KEYS - moved, "{rest}");
        assert_eq!(entries(&nodes[2], table), KEYS as u64);

        hub.cut(address(2), true);
        let begun = door.act("repair".into(), Params::new()).await.expect("it begins");
        let cancelled = door.act("repair".into(), [("cancel".to_owned(), "true".to_owned())].into()).await;
        assert_eq!(cancelled.expect("the verb")["cancelled"], 1);
        let state =
            door.show("repair", &[("id".to_owned(), begun["id"].to_string())].into()).expect("its state");
        assert!(state["running"] == false && state["error"].to_string().contains("cancelled"), "{state}");
        for node in nodes {
            node.stop().await;
        }
    });
}

#[test]
fn a_restored_replica_brings_nothing_back() {
    run(async {
        let hub = Arc::new(Hub::default());
        let mut disks: Vec<MemFs> = (0..3).map(|_| MemFs::new()).collect();
        let mut nodes: Vec<_> =
            (1..=3u16).map(|i| start(&hub, &disks[usize::from(i) - 1], eager(i), i)).collect();
        until("three nodes in one layout", || whole(&nodes, 3)).await;
        let table = table(&nodes, "").await;
        write(&nodes[0], |i| {
            format!("INSERT INTO dunlin.t (k, v) VALUES ('{i}', 'v') USING CONSISTENCY ALL")
        })
        .await;
        stop(nodes.pop().expect("the third")).await;
        let older = disks[2].fork();
        nodes.push(start(&hub, &disks[2], eager(3), 3));
        until("three nodes again", || whole(&nodes, 3)).await;
        write(&nodes[1], |i| format!("DELETE FROM dunlin.t USING CONSISTENCY ALL WHERE k = '{i}'")).await;
        forgotten(&nodes, table).await;

        stop(nodes.pop().expect("the third")).await;
        disks[2] = older;
        replace_file(&disks[2], RESTORED, b"").expect("the mark");
        nodes.push(start(&hub, &disks[2], eager(3), 3));
        assert!(!nodes[2].lost.all().is_empty());
        until("all is back", || nodes[2].lost.all().is_empty() && whole(&nodes, 3)).await;
        forgotten(&nodes, table).await;
        for node in &nodes {
            let reply = ok(node, "SELECT COUNT(*) FROM dunlin.t USING CONSISTENCY ONE").await;
            assert!(reply.contains("ROW\t0\n"), "{reply}");
        }
        for node in nodes {
            node.stop().await;
        }
    });
}

#[test]
fn expired_values_are_forgotten() {
    run(async {
        let (_hub, nodes) = cluster().await;
        let table = table(&nodes, "").await;
        write(&nodes[0], |i| format!("INSERT INTO dunlin.t (k, v) VALUES ('{i}', 'v') USING TTL 1")).await;
        ok(&nodes[0], "INSERT INTO dunlin.t (k, v) VALUES ('stays', 'v')").await;
        for node in &nodes {
            node.flush().await.expect("SSTables");
        }
        until("one key is left", || nodes.iter().all(|n| entries(n, table) == 1)).await;
        for node in nodes {
            node.stop().await;
        }
    });
}
