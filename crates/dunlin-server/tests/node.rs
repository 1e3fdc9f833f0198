//! Nodes as wholes: alone, three together, restarted.
#![allow(clippy::disallowed_methods)]

mod support;

use dunlin_server::client::Readiness;
use dunlin_server::membership::OperateError;
use dunlin_storage::fs::MemFs;
use dunlin_storage::fs::memory::{Fault, Operation, OperationKind};
use std::sync::Arc;
use std::time::Duration;
use support::{Hub, address, config, ok, run, start, try_start, until, whole};

#[test]
fn one_node_founds_and_serves() {
    run(async {
        let (hub, fs) = (Arc::new(Hub::default()), MemFs::new());
        let node = start(&hub, &fs, config(1, 1), 1);
        until("ready", || node.readiness() == Readiness::Ready).await;
        ok(&node, "INSERT INTO dunlin.kv (key, value) VALUES ('alice', '3 apples')").await;
        let reply = ok(&node, "SELECT value FROM dunlin.kv WHERE key = 'alice'").await;
        assert!(reply.contains("3 apples"), "{reply}");
        let actor = node.identity.actor();
        node.stop().await;
        // Tasks that were told to end let go of the store when they next run.
        let engine = Arc::downgrade(node.store.engine());
        drop(node);
        until("the store is free", || engine.strong_count() == 0).await;

        let node = start(&hub, &fs, config(1, 1), 1);
        assert_eq!(node.identity.actor(), actor, "a clean stop keeps the incarnation");
        until("ready again", || node.readiness() == Readiness::Ready).await;
        let reply = ok(&node, "SELECT value FROM dunlin.kv WHERE key = 'alice'").await;
        assert!(reply.contains("3 apples"), "{reply}");
        node.stop().await;
    });
}

#[test]
fn three_nodes_form_one_cluster_in_any_order() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        run(async move {
            let hub = Arc::new(Hub::default());
            let nodes: Vec<_> = order.iter().map(|i| start(&hub, &MemFs::new(), config(*i, 3), *i)).collect();
            let took = until("three nodes in one layout", || whole(&nodes, 3)).await;
            assert!(took < Duration::from_millis(1500), "it took {took:?}");
            ok(&nodes[0], "INSERT INTO dunlin.kv (key, value) VALUES ('k', 'v')").await;
            for node in &nodes {
                let reply = ok(node, "SELECT value FROM dunlin.kv WHERE key = 'k'").await;
                assert!(reply.contains('v'), "{reply}");
            }
            for node in &nodes {
                node.stop().await;
            }
        });
    }
}

#[test]
fn one_of_three_may_die_and_come_back() {
    run(async {
        let hub = Arc::new(Hub::default());
        let disks: Vec<MemFs> = (0..3).map(|_| MemFs::new()).collect();
        let mut nodes: Vec<_> =
            (1..=3u16).map(|i| start(&hub, &disks[usize::from(i) - 1], config(i, 3), i)).collect();
        until("three nodes in one layout", || whole(&nodes, 3)).await;
        ok(&nodes[0], "CREATE TABLE dunlin.t (k text PRIMARY KEY, v text)").await;
        let third = nodes.pop().unwrap();
        third.stop().await;
        drop(third);
        until("the others notice", || nodes.iter().all(|n| n.view().alive.len() == 2)).await;
        for i in 0..20 {
            ok(&nodes[0], &format!("INSERT INTO dunlin.t (k, v) VALUES ('k{i}', 'v{i}')")).await;
        }
        ok(&nodes[1], "CREATE TABLE dunlin.later (k text PRIMARY KEY, v text)").await;
        nodes.push(start(&hub, &disks[2], config(3, 3), 3));
        until("three nodes again", || whole(&nodes, 3)).await;
        until("it knows the later table", || nodes[2].view().schema.table("dunlin", "later").is_some()).await;
        for i in 0..20 {
            let reply = ok(&nodes[2], &format!("SELECT v FROM dunlin.t WHERE k = 'k{i}'")).await;
            assert!(reply.contains(&format!("v{i}")), "{reply}");
        }
        for node in &nodes {
            node.stop().await;
        }
    });
}

#[test]
fn a_fourth_node_joins_with_data_and_a_member_leaves() {
    run(async {
        let hub = Arc::new(Hub::default());
        let mut nodes: Vec<_> = (1..=3u16).map(|i| start(&hub, &MemFs::new(), config(i, 3), i)).collect();
        until("three nodes in one layout", || whole(&nodes, 3)).await;
        for i in 0..200 {
            ok(&nodes[i % 3], &format!("INSERT INTO dunlin.kv (key, value) VALUES ('k{i}', 'v{i}')")).await;
        }
        nodes.push(start(&hub, &MemFs::new(), config(4, 3), 4));
        until("four nodes in one layout", || whole(&nodes, 4)).await;
        for i in 0..200 {
            let reply = ok(&nodes[3], &format!("SELECT value FROM dunlin.kv WHERE key = 'k{i}'")).await;
            assert!(reply.contains(&format!("v{i}")), "{reply}");
        }
        nodes[0].membership.decommission().unwrap();
        let left = nodes.remove(0);
        until("three nodes stay", || {
            nodes.iter().all(|n| n.view().layouts.len() == 1 && n.view().layouts[0].members.len() == 3)
        })
        .await;
        left.stop().await;
        for i in 0..200 {
            let reply = ok(&nodes[i % 3], &format!("SELECT value FROM dunlin.kv WHERE key = 'k{i}'")).await;
            assert!(reply.contains(&format!("v{i}")), "{reply}");
        }
        for node in &nodes {
            node.stop().await;
        }
    });
}

#[test]
fn strangers_are_refused() {
    run(async {
        let hub = Arc::new(Hub::default());
        let first = start(&hub, &MemFs::new(), config(1, 1), 1);
        until("ready", || first.readiness() == Readiness::Ready).await;
        let mut other = config(2, 1);
        other.cluster.name = "other".into();
        let second = start(&hub, &MemFs::new(), other, 2);
        let mut twin = config(3, 1);
        twin.node.name = "n1".into();
        let third = start(&hub, &MemFs::new(), twin, 3);
        until("the twin knows why", || third.membership.join_error().is_some()).await;
        assert!(third.not_ready().unwrap().contains("n1"));
        assert_eq!(second.readiness(), Readiness::Starting);
        assert_eq!(first.view().newest_layout().unwrap().members.len(), 1);
        for node in [first, second, third] {
            node.stop().await;
        }
    });
}

#[test]
fn two_nodes_cannot_share_a_directory() {
    run(async {
        let (hub, fs) = (Arc::new(Hub::default()), MemFs::new());
        let first = start(&hub, &fs, config(1, 1), 1);
        let error = try_start(&hub, &fs, config(2, 1), 2).err().unwrap().to_string();
        assert!(error.contains("in use by another process"), "{error}");
        assert_eq!(first.transport().local_addr(), address(1));
        first.stop().await;
    });
}

#[test]
fn a_host_id_belongs_to_one_certificate() {
    run(async {
        let hub = Arc::new(Hub::default());
        let disks: Vec<MemFs> = (0..2).map(|_| MemFs::new()).collect();
        let nodes: Vec<_> =
            (1..=2u16).map(|i| start(&hub, &disks[usize::from(i) - 1], config(i, 2), i)).collect();
        until("two nodes in one layout", || whole(&nodes, 2)).await;
        let copy = disks[0].fork();
        let impostor = start(&hub, &copy, config(3, 2), 3);
        tokio::time::sleep(Duration::from_millis(600)).await;
        for node in &nodes {
            let view = node.view();
            assert_eq!(view.name_of(nodes[0].host()), "n1");
            assert_eq!((view.layouts.len(), view.alive.len()), (1, 2));
        }
        for node in nodes.into_iter().chain([impostor]) {
            node.stop().await;
        }
    });
}

#[test]
fn a_failed_sync_ends_writes_and_not_reads() {
    run(async {
        let (hub, fs) = (Arc::new(Hub::default()), MemFs::new());
        let node = start(&hub, &fs, config(1, 1), 1);
        until("ready", || node.readiness() == Readiness::Ready).await;
        ok(&node, "INSERT INTO dunlin.kv (key, value) VALUES ('a', '1')").await;
        fs.set_hook(Some(Box::new(|operation: &Operation<'_>| {
            (operation.kind == OperationKind::Sync && operation.path.starts_with("commitlog/"))
                .then_some(Fault::Error(std::io::ErrorKind::Other))
        })));
        for _ in 0..2 {
            let reply = node.session().execute("INSERT INTO dunlin.kv (key, value) VALUES ('b', '2')").await;
            assert!(reply.code().is_some(), "a write that cannot be durable is not acknowledged");
        }
        assert!(ok(&node, "SELECT value FROM dunlin.kv WHERE key = 'a'").await.contains('1'));
        assert!(node.store.engine().failure().is_some());
        node.stop().await;
    });
}

#[test]
fn an_operators_word_that_cannot_be_saved_is_refused() {
    run(async {
        let hub = Arc::new(Hub::default());
        let disk = MemFs::new();
        let mut nodes = vec![start(&hub, &disk, config(1, 2), 1)];
        nodes.push(start(&hub, &MemFs::new(), config(2, 2), 2));
        until("two nodes in one layout", || whole(&nodes, 2)).await;
        let second = nodes.pop().expect("two nodes");
        let host = second.host();
        second.stop().await;
        until("the other notices", || nodes[0].view().alive.len() == 1).await;
        disk.set_hook(Some(Box::new(|operation: &Operation<'_>| {
            (operation.kind == OperationKind::Create && operation.path.starts_with("system/layouts"))
                .then_some(Fault::Error(std::io::ErrorKind::StorageFull))
        })));
        let membership = &nodes[0].membership;
        assert_eq!(membership.remove(host, true), Err(OperateError::NotSaved));
        disk.set_hook(None);
        assert_eq!(membership.remove(host, true), Ok(()));
        until("it is taken out", || nodes[0].view().layouts.iter().all(|l| !l.contains(host))).await;
        nodes[0].stop().await;
    });
}
