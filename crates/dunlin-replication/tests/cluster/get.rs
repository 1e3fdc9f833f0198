//! Reads: digests, mismatch and repair, slow and damaged replicas, the session guarantee.

use crate::net::Link;
use crate::{Cluster, context, key};
use dunlin_replication::message::{MergeReason, Request};
use dunlin_types::{Consistency, ErrorCode};
use std::sync::atomic::Ordering;

/// Writes that node 0 alone holds.
async fn diverge(cluster: &Cluster, value: &str) {
    let down: Vec<usize> = (1..cluster.nodes.len()).collect();
    cluster.believe_down(0, &down);
    cluster.put(0, cluster.write(&key("k"), value, Consistency::One)).await.unwrap();
    cluster.believe_down(0, &[]);
}

#[test]
fn an_absent_key_is_absent_at_every_level() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        for level in [
            Consistency::One,
            Consistency::Two,
            Consistency::Three,
            Consistency::Quorum,
            Consistency::All,
            Consistency::LocalOne,
            Consistency::LocalQuorum,
            Consistency::EachQuorum,
        ] {
            assert_eq!(cluster.get(0, cluster.read(&key("k"), level)).await.unwrap(), None);
        }
        let error = cluster.get(0, cluster.read(&key("k"), Consistency::Any)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
    });
}

#[test]
fn equal_replicas_cost_one_record_and_a_digest() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::All)).await.unwrap();
        cluster.net.calls.lock().unwrap().clear();
        assert_eq!(cluster.values(0, &key("k"), Consistency::Quorum).await, ["v"]);
    });
    let calls = cluster.net.calls.lock().unwrap();
    assert_eq!(calls.len(), 1);
    assert!(matches!(&calls[0].1.request, Request::Read(read) if read.digest));
}

#[test]
fn differing_replicas_are_merged_and_repaired_before_the_answer() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "old", Consistency::All)).await.unwrap();
        diverge(&cluster, "new").await;
        assert_eq!(cluster.held(1, &key("k")), ["old"]);
        assert_eq!(cluster.values(1, &key("k"), Consistency::All).await, ["new"]);
        for node in 0..3 {
            assert_eq!(cluster.held(node, &key("k")), ["new"], "node {node}");
        }
    });
}

#[test]
fn a_repair_that_cannot_be_made_goes_to_another_replica_or_fails_the_read() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        diverge(&cluster, "new").await;
        // Node 1 answers reads and takes no writes: node 2 has to hold the value for a quorum to have it.
        cluster.nodes[1].store.read_only.store(true, Ordering::SeqCst);
        cluster.nodes[2].store.read_ms.store(10, Ordering::SeqCst);
        assert_eq!(cluster.values(0, &key("k"), Consistency::Quorum).await, ["new"]);
        assert_eq!(cluster.held(2, &key("k")), ["new"]);
        assert!(cluster.held(1, &key("k")).is_empty());
        cluster.put(0, cluster.write(&key("k"), "ignored", Consistency::One)).await.unwrap();
    });
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        diverge(&cluster, "new").await;
        cluster.nodes[1].store.read_only.store(true, Ordering::SeqCst);
        cluster.nodes[2].store.read_only.store(true, Ordering::SeqCst);
        let error = cluster.get(0, cluster.read(&key("k"), Consistency::Quorum)).await.unwrap_err();
        assert!(matches!(error.code, ErrorCode::ReadTimeout | ErrorCode::ReadFailure), "{error}");
    });
}

#[test]
fn level_one_answers_from_the_nearest() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        diverge(&cluster, "new").await;
        assert_eq!(cluster.values(0, &key("k"), Consistency::One).await, ["new"]);
        assert!(cluster.values(1, &key("k"), Consistency::One).await.is_empty());
    });
}

#[test]
fn a_slow_or_damaged_or_lost_replica_is_stood_in_for() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::All)).await.unwrap();
        cluster.nodes[0].store.damaged.store(true, Ordering::SeqCst);
        let start = cluster.sim.now_ms();
        assert_eq!(cluster.values(0, &key("k"), Consistency::Quorum).await, ["v"]);
        assert!(cluster.sim.now_ms() - start < 20, "an error is not waited for");
        cluster.nodes[0].store.damaged.store(false, Ordering::SeqCst);
        for node in [1, 2] {
            cluster.link(node, Link::Slow(200));
            let start = cluster.sim.now_ms();
            assert_eq!(cluster.values(0, &key("k"), Consistency::Quorum).await, ["v"]);
            assert!(cluster.sim.now_ms() - start < 100, "another is asked after a while");
            cluster.link(node, Link::Up);
        }
        cluster.link(1, Link::Lost);
        cluster.link(2, Link::Lost);
        let start = cluster.sim.now_ms();
        let error = cluster.get(0, cluster.read(&key("k"), Consistency::Quorum)).await.unwrap_err();
        assert_eq!((error.code, error.required, error.received), (ErrorCode::ReadTimeout, 2, 1));
        assert!(cluster.sim.now_ms() - start <= 501);
    });
}

#[test]
fn too_few_live_replicas_are_unavailable() {
    let cluster = Cluster::new(3, 3);
    cluster.believe_down(0, &[1, 2]);
    cluster.sim.run(async {
        let error = cluster.get(0, cluster.read(&key("k"), Consistency::Two)).await.unwrap_err();
        assert_eq!((error.code, error.applied, error.alive), (ErrorCode::Unavailable, None, 1));
        assert_eq!(cluster.get(0, cluster.read(&key("k"), Consistency::One)).await.unwrap(), None);
    });
}

#[test]
fn a_read_after_a_token_finds_it_or_is_stale() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.believe_down(0, &[1, 2]);
        let token = context(cluster.put(0, cluster.write(&key("k"), "v", Consistency::One)).await.unwrap());
        let mut read = cluster.read(&key("k"), Consistency::One);
        read.after = Some(token);
        assert_eq!(crate::shown(cluster.get(1, read.clone()).await.unwrap()), ["v"]);
        read.consistency = Consistency::Quorum;
        assert_eq!(crate::shown(cluster.get(2, read.clone()).await.unwrap()), ["v"]);
        cluster.believe_down(0, &[1, 2]);
        let newer = context(cluster.put(0, cluster.write(&key("k"), "w", Consistency::One)).await.unwrap());
        cluster.link(0, Link::Lost);
        read.after = Some(newer);
        assert_eq!(cluster.get(1, read).await.unwrap_err().code, ErrorCode::Stale);
    });
}

#[test]
fn quorum_reads_are_monotonic_over_every_single_holder() {
    for holder in 0..3 {
        let cluster = Cluster::new(3, 3);
        cluster.sim.run(async {
            let down: Vec<usize> = (0..3).filter(|n| *n != holder).collect();
            cluster.believe_down(holder, &down);
            cluster.put(holder, cluster.write(&key("k"), "v", Consistency::One)).await.unwrap();
            cluster.believe_down(holder, &[]);
            let mut seen = false;
            for round in 0..9 {
                let now = !cluster.values(round % 3, &key("k"), Consistency::Quorum).await.is_empty();
                assert!(now || !seen, "holder {holder}, read {round}");
                seen |= now;
            }
        });
        let calls = cluster.net.calls.lock().unwrap();
        let repairs = calls
            .iter()
            .filter(|(_, e)| matches!(&e.request, Request::Merge(m) if m.reason == MergeReason::Repair))
            .count();
        assert!(repairs <= 2, "{repairs}");
    }
}

#[test]
fn a_silent_replica_costs_a_moment_once_and_never_the_deadline() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        for n in 0..200 {
            cluster.put(0, cluster.write(&key(&format!("k{n}")), "v", Consistency::All)).await.unwrap();
        }
        // Node 1 falls silent, and nobody has noticed yet.
        cluster.link(1, Link::Lost);
        let mut slow = 0;
        for n in 0..200 {
            let began = cluster.sim.now_ms();
            assert_eq!(
                cluster.values(0, &key(&format!("k{n}")), Consistency::Quorum).await,
                ["v"],
                "read {n}"
            );
            let took = cluster.sim.now_ms() - began;
            assert!(took <= 500, "read {n} took {took} ms");
            slow += u32::from(took >= 50);
        }
        assert!(slow <= 5, "{slow} of 200 reads waited for the silent replica");
    });
}
