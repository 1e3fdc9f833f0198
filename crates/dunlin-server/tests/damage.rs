//! Three nodes, one of which has damaged or older data than it acknowledged.
#![allow(clippy::disallowed_methods)]

mod support;

use dunlin_server::admin::{AdminBackend, Params};
use dunlin_server::{AdminDoor, Node};
use dunlin_storage::fs::{Fs, MemFs, OpenMode, replace_file};
use dunlin_storage::snapshot::RESTORED;
use dunlin_types::{TableId, TokenRange};
use std::sync::Arc;
use support::{Hub, address, config, ok, run, start, until, whole};

const KEYS: usize = 100;

struct Cluster {
    hub: Arc<Hub>,
    disks: Vec<MemFs>,
    nodes: Vec<Arc<Node>>,
}

impl Cluster {
    async fn start() -> Cluster {
        let hub = Arc::new(Hub::default());
        let disks: Vec<MemFs> = (0..3).map(|_| MemFs::new()).collect();
        let nodes: Vec<_> =
            (1..=3u16).map(|i| start(&hub, &disks[usize::from(i) - 1], quiet(i), i)).collect();
        until("three nodes in one layout", || whole(&nodes, 3)).await;
        Cluster { hub, disks, nodes }
    }

    /// Ends the third node in order; its disk is free when this returns.
    async fn stop_third(&mut self) {
        let third = self.nodes.pop().expect("three nodes");
        third.stop().await;
        let engine = Arc::downgrade(third.store.engine());
        drop(third);
        until("the store is free", || engine.strong_count() == 0).await;
    }

    fn start_third(&mut self) -> &Node {
        self.nodes.push(start(&self.hub, &self.disks[2], quiet(3), 3));
        &self.nodes[2]
    }

    async fn write(&self, prefix: &str) {
        for i in 0..KEYS {
            let statement =
                format!("INSERT INTO dunlin.kv (key, value) VALUES ('{prefix}{i}', '{prefix}-{i}')");
            ok(&self.nodes[0], &statement).await;
        }
    }

    async fn check(&self, prefix: &str, node: usize, level: &str, expected: usize) {
        for i in 0..KEYS {
            let statement =
                format!("SELECT value FROM dunlin.kv WHERE key = '{prefix}{i}' USING CONSISTENCY {level}");
            let reply = ok(&self.nodes[node], &statement).await;
            assert!(reply.contains(&format!("{prefix}-{i}\n")), "{statement}: {reply}");
        }
        let count = format!("SELECT COUNT(*) FROM dunlin.kv USING CONSISTENCY {level}");
        let reply = ok(&self.nodes[node], &count).await;
        assert!(reply.contains(&format!("ROW\t{expected}\n")), "{reply}");
    }

    fn table(&self) -> TableId {
        self.nodes[0].view().schema.table("dunlin", "kv").expect("the default table").id
    }

    async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

/// Without repair in the background: what is under test must do without it.
fn quiet(i: u16) -> dunlin_server::config::Config {
    let mut config = config(i, 3);
    config.repair.interval_s = 0;
    config
}

fn attention(node: &Arc<Node>) -> String {
    let door = AdminDoor::new(node.clone(), None, None);
    door.show("status", &Params::new()).expect("status")["attention"].to_string()
}

/// Flips a bit in the middle of every SSTable.
fn damage(fs: &MemFs) -> usize {
    let dir = "tables/dunlin/kv";
    let files = fs.list(dir).expect("the table's folder");
    let sstables: Vec<_> = files.into_iter().filter(|f| f.name.ends_with(".sst")).collect();
    for sstable in &sstables {
        let file = fs.open(&format!("{dir}/{}", sstable.name), OpenMode::Write).expect("the SSTable");
        let mut byte = [0];
        file.read_at(100, &mut byte).expect("a byte");
        file.write_at(100, &[byte[0] ^ 1]).expect("another byte");
        file.sync().expect("it stays");
    }
    sstables.len()
}

#[test]
fn a_flipped_bit_is_answered_for_by_other_replicas() {
    run(async {
        let mut cluster = Cluster::start().await;
        cluster.write("a").await;
        cluster.nodes[2].flush().await.expect("an SSTable");
        cluster.stop_third().await;
        assert!(damage(&cluster.disks[2]) > 0);
        cluster.start_third();
        until("three nodes again", || whole(&cluster.nodes, 3)).await;
        // Coordinated where the damage is, and elsewhere.
        for node in [2, 0] {
            cluster.check("a", node, "QUORUM", KEYS).await;
        }
        let lines = attention(&cluster.nodes[2]);
        assert!(lines.contains("nodetool scrub dunlin kv"), "{lines}");
        // Writes over damaged records are coordinated by replicas that can read them.
        ok(&cluster.nodes[2], "INSERT INTO dunlin.kv (key, value) VALUES ('a7', 'new')").await;
        let reply = ok(&cluster.nodes[1], "SELECT value FROM dunlin.kv WHERE key = 'a7'").await;
        assert!(reply.contains("new") && reply.contains("rows=1"), "{reply}");
        cluster.stop().await;
    });
}

#[test]
fn a_restored_node_reuses_no_dot_and_serves_no_reads_before_it_was_compared_with_all() {
    run(async {
        let mut cluster = Cluster::start().await;
        cluster.write("old").await;
        cluster.stop_third().await;
        let older = cluster.disks[2].fork();
        let before = cluster.start_third().identity.actor();
        until("three nodes again", || whole(&cluster.nodes, 3)).await;
        cluster.write("new").await;
        cluster.stop_third().await;

        // As a restore leaves it. Without the mark this clean copy would go on in its incarnation.
        cluster.disks[2] = older;
        replace_file(&cluster.disks[2], RESTORED, b"").expect("the mark");
        cluster.hub.cut(address(1), true);
        let table = cluster.table();
        let third = cluster.start_third();
        assert_ne!(third.identity.actor(), before);
        assert_eq!(third.lost.all(), [(table, vec![TokenRange::ALL])].into());
        assert!(third.store.serves(table, TokenRange::ALL).is_err());
        let gone = cluster.disks[2].list("").expect("the directory").iter().all(|e| e.name != RESTORED);
        assert!(gone, "the mark goes once what it says is durable");
        until("two nodes meet", || cluster.nodes[2].view().alive.len() == 2).await;
        let reply =
            cluster.nodes[2].session().execute("SELECT value FROM dunlin.kv WHERE key = 'new1'").await;
        assert!(reply.code().is_some(), "one replica that is sure of its data is no quorum");
        assert!(attention(&cluster.nodes[2]).contains("data of dunlin.kv was lost here"));

        cluster.hub.cut(address(1), false);
        until("all is back", || cluster.nodes[2].lost.all().is_empty()).await;
        assert!(cluster.nodes[2].store.serves(table, TokenRange::ALL).is_ok());
        until("three nodes again", || whole(&cluster.nodes, 3)).await;
        // It alone has to answer now.
        for prefix in ["old", "new"] {
            cluster.check(prefix, 2, "ONE", 2 * KEYS).await;
        }
        cluster.stop().await;
    });
}
