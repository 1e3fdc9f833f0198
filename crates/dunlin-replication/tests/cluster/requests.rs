//! A write that is repeated with its request id is one write, whoever coordinates it the second time.

use crate::net::Link;
use crate::{Cluster, context, key};
use dunlin_replication::coordinator::PutRequest;
use dunlin_types::error::Applied;
use dunlin_types::{Consistency, Context};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ID: [u8; 16] = [9; 16];

fn identified(cluster: &Cluster, value: &str) -> PutRequest {
    let mut write = cluster.write(&key("k"), value, Consistency::Quorum);
    write.context = Some(Context::default());
    write.request_id = Some(ID);
    write
}

fn dots(cluster: &Cluster) -> u64 {
    cluster.nodes.iter().map(|node| node.core.dots.load(Ordering::SeqCst)).sum()
}

#[test]
fn any_replica_that_was_sent_the_write_knows_it_again() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let first = context(cluster.put(0, identified(&cluster, "a")).await.unwrap());
        cluster.pause(20).await;
        for node in 0..3 {
            let again = context(cluster.put(node, identified(&cluster, "a")).await.unwrap());
            assert_eq!(again, first, "repeated at {node}");
        }
        assert_eq!(dots(&cluster), 1);
    });
}

#[test]
fn a_replica_that_was_not_sent_the_write_asks_those_that_were() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        // Node 0 alone has it.
        cluster.link(1, Link::Lost);
        cluster.link(2, Link::Lost);
        let failed = cluster.put(0, identified(&cluster, "a")).await.unwrap_err();
        assert_eq!(failed.applied, Some(Applied::Maybe));
        cluster.link(1, Link::Up);
        cluster.link(2, Link::Up);
        // Another client overwrites it, the repetition comes late and elsewhere.
        let seen =
            cluster.get(1, cluster.read(&key("k"), Consistency::All)).await.unwrap().unwrap().context();
        let mut over = cluster.write(&key("k"), "b", Consistency::All);
        over.context = Some(seen);
        cluster.put(2, over).await.unwrap();
        cluster.put(1, identified(&cluster, "a")).await.unwrap();
        assert_eq!(cluster.values(2, &key("k"), Consistency::All).await, ["b"]);
        assert_eq!(dots(&cluster), 2);
    });
}

#[test]
fn a_repetition_brings_the_write_to_its_level() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.link(1, Link::Lost);
        cluster.link(2, Link::Lost);
        cluster.put(0, identified(&cluster, "a")).await.unwrap_err();
        cluster.link(1, Link::Up);
        cluster.link(2, Link::Up);
        cluster.put(1, identified(&cluster, "a")).await.unwrap();
        let holders = (0..3).filter(|node| cluster.held(*node, &key("k")) == ["a"]).count();
        assert!(holders >= 2, "{holders} replicas hold it");
        assert_eq!(dots(&cluster), 1);
    });
}

#[test]
fn a_repetition_does_not_take_back_what_came_after_it() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let mut first = identified(&cluster, "a");
        first.table = Arc::clone(&cluster.latest);
        first.context = None;
        cluster.put(0, first.clone()).await.unwrap();
        cluster.pause(20).await;
        let mut second = first.clone();
        (second.request_id, second.value) = (None, Some("b".into()));
        cluster.put(1, second).await.unwrap();
        for node in 0..3 {
            cluster.put(node, first.clone()).await.unwrap();
            let mut read = cluster.read(&key("k"), Consistency::All);
            read.table = Arc::clone(&cluster.latest);
            assert_eq!(crate::shown(cluster.get(2, read).await.unwrap()), ["b"], "repeated at {node}");
        }
    });
}

#[test]
fn an_id_is_of_its_key() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.put(0, identified(&cluster, "a")).await.unwrap();
        let mut other = identified(&cluster, "b");
        other.key = key("other");
        cluster.put(1, other).await.unwrap();
        assert_eq!(cluster.values(2, &key("other"), Consistency::All).await, ["b"]);
        assert_eq!(dots(&cluster), 2);
    });
}

#[test]
fn a_write_that_was_refused_where_it_began_is_made_when_it_is_repeated() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let mut old = cluster.write(&key("k"), "old", Consistency::All);
        old.table = Arc::clone(&cluster.latest);
        cluster.put(1, old).await.unwrap();
        cluster.nodes[0].store.full.store(true, Ordering::SeqCst);
        cluster.link(1, Link::Lost);
        cluster.link(2, Link::Lost);
        let mut write = identified(&cluster, "new");
        write.table = Arc::clone(&cluster.latest);
        write.context = None;
        let failed = cluster.put(0, write.clone()).await.unwrap_err();
        assert_eq!(failed.applied, Some(Applied::Maybe));
        cluster.nodes[0].store.full.store(false, Ordering::SeqCst);
        cluster.link(1, Link::Up);
        cluster.link(2, Link::Up);
        cluster.put(0, write).await.unwrap();
        let mut read = cluster.read(&key("k"), Consistency::All);
        read.table = Arc::clone(&cluster.latest);
        assert_eq!(crate::shown(cluster.get(2, read).await.unwrap()), ["new"]);
    });
}

#[test]
fn a_write_of_which_only_hints_are_kept_is_known_where_they_are() {
    let cluster = Cluster::new(4, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[1, 2, 3]);
    cluster.believe_down(0, &[1, 2, 3]);
    for table in [&cluster.siblings, &cluster.latest] {
        let before = cluster.nodes[0].hints.count();
        cluster.sim.run(async {
            let mut write = identified(&cluster, "a");
            (write.key, write.table, write.consistency) = (key.clone(), Arc::clone(table), Consistency::Any);
            if table.id == cluster.latest.id {
                write.context = None;
            }
            let first = cluster.put(0, write.clone()).await.unwrap();
            assert_eq!(cluster.put(0, write).await.unwrap(), first);
        });
        assert_eq!(cluster.nodes[0].hints.count() - before, 3);
    }
    assert_eq!(dots(&cluster), 1);
}
