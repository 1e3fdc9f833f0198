//! Writes: who coordinates, what is awaited, what is never repeated, what errors say.

use crate::net::Link;
use crate::{Cluster, context, key};
use dunlin_replication::hints::{HintConfig, Hints};
use dunlin_replication::message::Request;
use dunlin_replication::repair::compared::{ExchangeId, Side};
use dunlin_replication::store::{Durability, ReplicaStore};
use dunlin_storage::fs::MemFs;
use dunlin_storage::fs::memory::{Fault, OperationKind};
use dunlin_types::error::Applied;
use dunlin_types::limits::{MESSAGE_BYTES_MAX, VALUE_BYTES_MAX};
use dunlin_types::runtime::PlantedBug;
use dunlin_types::{Consistency, ErrorCode, Generation, Record, ReplicaOutcome};
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[test]
fn every_level_writes_to_all_and_answers() {
    for level in [
        Consistency::Any,
        Consistency::One,
        Consistency::Two,
        Consistency::Three,
        Consistency::Quorum,
        Consistency::All,
        Consistency::LocalOne,
        Consistency::LocalQuorum,
        Consistency::EachQuorum,
    ] {
        let cluster = Cluster::new(3, 3);
        cluster.sim.run(async {
            cluster.put(0, cluster.write(&key("k"), "v", level)).await.unwrap();
            cluster.pause(20).await;
            for node in 0..3 {
                assert_eq!(cluster.held(node, &key("k")), ["v"], "{level} at node {node}");
            }
        });
    }
}

#[test]
fn a_node_that_is_no_replica_forwards_once() {
    let cluster = Cluster::new(4, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[1, 2, 3]);
    cluster.sim.run(async {
        let outcome = cluster.put(0, cluster.write(&key, "v", Consistency::Quorum)).await.unwrap();
        assert!(!context(outcome).is_empty());
        cluster.pause(20).await;
        assert!(cluster.held(0, &key).is_empty());
        assert_eq!(cluster.held(3, &key), ["v"]);
    });
    let calls = cluster.net.calls.lock().unwrap();
    assert_eq!(calls.iter().filter(|(_, e)| matches!(e.request, Request::Coordinate(_))).count(), 1);
    assert_eq!(calls.len(), 3);
}

#[test]
fn unavailable_sends_nothing_and_keeps_no_hint() {
    let cluster = Cluster::new(3, 3);
    cluster.believe_down(0, &[1, 2]);
    cluster.sim.run(async {
        let error = cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.unwrap_err();
        assert_eq!((error.code, error.applied), (ErrorCode::Unavailable, Some(Applied::No)));
        assert_eq!((error.required, error.received, error.alive), (2, 0, 1));
        assert!(error.replicas.contains(&("n1".into(), ReplicaOutcome::Down)));
        assert!(error.replicas.contains(&("n0".into(), ReplicaOutcome::NotAsked)));
    });
    assert!(cluster.net.calls.lock().unwrap().is_empty());
    assert_eq!(cluster.nodes[0].hints.count(), 0);
    assert!(cluster.held(0, &key("k")).is_empty());
}

#[test]
fn a_write_that_too_few_acknowledge_may_be_applied() {
    let cluster = Cluster::new(3, 3);
    cluster.link(1, Link::Lost);
    cluster.link(2, Link::AnswerLost);
    cluster.sim.run(async {
        let error = cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.unwrap_err();
        assert_eq!((error.code, error.applied), (ErrorCode::WriteTimeout, Some(Applied::Maybe)));
        assert_eq!((error.required, error.received, error.alive), (2, 1, 3));
        assert_eq!(error.replicas.iter().filter(|r| r.1 == ReplicaOutcome::Timeout).count(), 2);
        cluster.pause(20).await;
    });
    assert_eq!(cluster.held(2, &key("k")), ["v"]);
    assert_eq!(cluster.nodes[0].hints.count(), 2);
}

#[test]
fn a_forwarded_write_is_never_sent_twice() {
    let cluster = Cluster::new(4, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[1, 2, 3]);
    (1..4).for_each(|node| cluster.link(node, Link::AnswerLost));
    cluster.sim.run(async {
        let error = cluster.put(0, cluster.write(&key, "v", Consistency::One)).await.unwrap_err();
        assert_eq!((error.code, error.applied), (ErrorCode::WriteTimeout, Some(Applied::Maybe)));
    });
    let calls = cluster.net.calls.lock().unwrap();
    assert_eq!(calls.iter().filter(|(_, e)| matches!(e.request, Request::Coordinate(_))).count(), 1);
}

#[test]
fn a_replica_that_was_not_reached_or_refused_is_passed_over() {
    let cluster = Cluster::new(4, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[1, 2, 3]);
    cluster.link(1, Link::Refused);
    cluster.nodes[2].store.read_only.store(true, Ordering::SeqCst);
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key, "v", Consistency::One)).await.unwrap();
        assert_eq!(cluster.held(3, &key), ["v"]);
        let error = cluster.put(0, cluster.write(&key, "w", Consistency::Quorum)).await.unwrap_err();
        assert_eq!((error.code, error.applied), (ErrorCode::WriteFailure, Some(Applied::Maybe)));
    });
}

#[test]
fn an_upsert_supersedes_and_a_stale_context_does_not() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let first = context(cluster.put(0, cluster.write(&key("k"), "a", Consistency::All)).await.unwrap());
        cluster.put(0, cluster.write(&key("k"), "b", Consistency::All)).await.unwrap();
        assert_eq!(cluster.values(1, &key("k"), Consistency::Quorum).await, ["b"]);
        let mut stale = cluster.write(&key("k"), "c", Consistency::All);
        stale.context = Some(first);
        let returned = context(cluster.put(1, stale).await.unwrap());
        assert_eq!(cluster.values(2, &key("k"), Consistency::Quorum).await, ["b", "c"]);
        let mut again = cluster.write(&key("k"), "d", Consistency::All);
        again.context = Some(returned);
        cluster.put(2, again).await.unwrap();
        assert_eq!(cluster.values(0, &key("k"), Consistency::Quorum).await, ["b", "d"]);
        cluster.put(0, cluster.write(&key("k"), "e", Consistency::All)).await.unwrap();
        assert_eq!(cluster.values(0, &key("k"), Consistency::Quorum).await, ["e"]);
    });
}

#[test]
fn the_hundred_and_first_sibling_is_refused_with_their_context() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        for i in 0..100 {
            let mut write = cluster.write(&key("k"), &format!("v{i:03}"), Consistency::Quorum);
            write.context = Some(Default::default());
            cluster.put(0, write).await.unwrap();
        }
        let mut write = cluster.write(&key("k"), "more", Consistency::Quorum);
        write.context = Some(Default::default());
        let error = cluster.put(0, write.clone()).await.unwrap_err();
        assert_eq!((error.code, error.applied), (ErrorCode::TooManySiblings, Some(Applied::No)));
        write.context = error.context;
        cluster.put(0, write).await.unwrap();
        assert_eq!(cluster.values(0, &key("k"), Consistency::Quorum).await, ["more"]);
    });
}

#[test]
fn a_repeated_request_id_is_applied_once() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let mut write = cluster.write(&key("k"), "a", Consistency::Quorum);
        write.context = Some(Default::default());
        write.request_id = Some([9; 16]);
        let first = cluster.put(0, write.clone()).await.unwrap();
        assert_eq!(cluster.put(0, write).await.unwrap(), first);
        assert_eq!(cluster.nodes[0].core.dots.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn last_write_wins_takes_the_larger_clock_and_refuses_the_future() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let mut write = cluster.write(&key("k"), "a", Consistency::Quorum);
        write.table = Arc::clone(&cluster.latest);
        assert_eq!(cluster.put(0, write.clone()).await.unwrap().context, None);
        let mut old = write.clone();
        old.value = Some("old".into());
        old.timestamp = Some(dunlin_types::Micros(5));
        cluster.put(1, old).await.unwrap();
        let mut read = cluster.read(&key("k"), Consistency::Quorum);
        read.table = Arc::clone(&cluster.latest);
        assert_eq!(crate::shown(cluster.get(2, read).await.unwrap()), ["a"]);
        write.timestamp = Some(dunlin_types::Micros(cluster.wall().0 + 61_000_000));
        assert_eq!(cluster.put(0, write).await.unwrap_err().code, ErrorCode::Invalid);
    });
}

#[test]
fn an_acknowledgement_waits_for_the_sync_of_its_replica() {
    let cluster = Cluster::new(3, 3);
    cluster.nodes[0].store.sync_ms.store(200, Ordering::SeqCst);
    cluster.sim.run(async {
        let start = cluster.sim.now_ms();
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.unwrap();
        assert!(cluster.sim.now_ms() - start < 100, "the two others are enough");
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::All)).await.unwrap();
        assert!(cluster.sim.now_ms() - start >= 200);
        let mut buffered = cluster.write(&key("k"), "v", Consistency::All);
        buffered.durability = Durability::Buffered;
        let start = cluster.sim.now_ms();
        cluster.put(0, buffered).await.unwrap();
        assert!(cluster.sim.now_ms() - start < 100);
    });
}

#[test]
fn any_is_content_with_a_hint() {
    let cluster = Cluster::new(4, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[1, 2, 3]);
    cluster.believe_down(0, &[1, 2, 3]);
    cluster.sim.run(async {
        let outcome = cluster.put(0, cluster.write(&key, "v", Consistency::Any)).await.unwrap();
        assert!(!context(outcome).is_empty());
        let mut latest = cluster.write(&key, "v", Consistency::Any);
        latest.table = Arc::clone(&cluster.latest);
        cluster.put(0, latest).await.unwrap();
    });
    assert_eq!(cluster.nodes[0].hints.count(), 6);
}

#[test]
fn planted_bugs_of_writes_show() {
    let write_at_all = |bug: PlantedBug, check: fn(&Cluster)| {
        let cluster = Cluster::new(3, 3);
        *cluster.sim.planted.lock().unwrap() = Some(bug);
        check(&cluster);
    };
    write_at_all(PlantedBug::WriteQuorumShort, |cluster| {
        cluster.link(1, Link::Lost);
        cluster.link(2, Link::Lost);
        cluster.sim.run(async {
            cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.map(drop).unwrap()
        });
    });
    write_at_all(PlantedBug::ContextIgnored, |cluster| {
        cluster.sim.run(async {
            cluster.put(0, cluster.write(&key("k"), "a", Consistency::All)).await.unwrap();
            cluster.put(0, cluster.write(&key("k"), "b", Consistency::All)).await.unwrap();
            assert_eq!(cluster.values(0, &key("k"), Consistency::All).await, ["a", "b"]);
        });
    });
    write_at_all(PlantedBug::SiblingsCollapse, |cluster| {
        cluster.sim.run(async {
            for value in ["a", "b"] {
                let mut write = cluster.write(&key("k"), value, Consistency::All);
                write.context = Some(Default::default());
                cluster.put(0, write).await.unwrap();
            }
            assert_eq!(cluster.values(0, &key("k"), Consistency::All).await, ["b"]);
        });
    });
}

#[test]
fn a_request_that_was_not_stored_is_not_remembered() {
    let cluster = Cluster::new(1, 1);
    let mut write = cluster.write(&key("k"), "v", Consistency::Quorum);
    write.request_id = Some([9; 16]);
    cluster.sim.run(async {
        cluster.nodes[0].store.fails_late.store(true, Ordering::SeqCst);
        let error = cluster.put(0, write.clone()).await.unwrap_err();
        assert_eq!((error.code, error.applied), (ErrorCode::Overloaded, Some(Applied::No)));
        cluster.nodes[0].store.fails_late.store(false, Ordering::SeqCst);
        cluster.put(0, write).await.unwrap();
        assert_eq!(cluster.held(0, &key("k")), ["v"]);
    });
}

#[test]
fn any_is_not_sure_of_a_hint_whose_sync_failed() {
    let mut cluster = Cluster::new(3, 2);
    let fs = Arc::new(MemFs::new());
    cluster.nodes[0] = cluster.make_node(0, fs.clone());
    cluster.believe_down(0, &[1, 2]);
    let key = cluster.key_at(&cluster.layout, 2, &[1, 2]);
    fs.set_hook(Some(Box::new(|operation| {
        let sync = operation.kind == OperationKind::Sync && operation.path.starts_with("hints");
        sync.then_some(Fault::Error(std::io::ErrorKind::Other))
    })));
    cluster.sim.run(async {
        let error = cluster.put(0, cluster.write(&key, "v", Consistency::Any)).await.unwrap_err();
        let stats = cluster.nodes[0].hints.stats();
        assert!(stats.iter().all(|s| s.is_accounted_for() && s.dropped.failed == 1), "{stats:?}");
        let runtime = Arc::clone(&cluster.nodes[0].core.runtime);
        let found = Hints::open(fs, runtime, HintConfig::default()).unwrap().count();
        assert!(found == 0 || error.applied == Some(Applied::Maybe), "{found} hints to come: {error:?}");
    });
}

#[test]
fn siblings_too_large_to_travel_together_are_refused_with_their_context() {
    let cluster = Cluster::new(1, 1);
    let large = |n: u8| {
        let mut write = cluster.write(&key("k"), "", Consistency::Quorum);
        write.value = Some(vec![n; VALUE_BYTES_MAX].into());
        write.context = Some(Default::default());
        write
    };
    cluster.sim.run(async {
        let mut error = None;
        for n in 0..5 {
            if let Err(refused) = cluster.put(0, large(n)).await {
                error = Some(refused);
                break;
            }
        }
        let record = cluster.nodes[0].store.peek(&key("k")).unwrap();
        assert!(record.to_bytes().len() < MESSAGE_BYTES_MAX, "no other node could ever be sent it");
        let error = error.unwrap();
        assert_eq!((error.code, error.applied), (ErrorCode::TooManySiblings, Some(Applied::No)));
        let mut resolve = large(9);
        resolve.context = error.context;
        cluster.put(0, resolve).await.unwrap();
    });
}

#[test]
fn a_local_level_is_coordinated_in_the_data_centre_of_the_node_asked() {
    let cluster = Cluster::in_centers(&["a", "a", "b", "b", "b"], 1);
    let key = cluster.key_owned_by(1);
    cluster.sim.run(async {
        // The only replica of its data centre takes no writes just now; the other data centre would.
        cluster.nodes[1].store.fails_late.store(true, Ordering::SeqCst);
        let error = cluster.put(0, cluster.write(&key, "v", Consistency::LocalOne)).await.unwrap_err();
        assert_eq!(error.applied, Some(Applied::No));
        cluster.pause(50).await;
        assert!((0..5).all(|node| cluster.held(node, &key).is_empty()));
        cluster.put(0, cluster.write(&key, "v", Consistency::One)).await.unwrap();
    });
}

#[test]
fn incarnations_that_have_ended_are_closed_once_that_is_proved() {
    let mut cluster = Cluster::new(3, 3);
    let key = key("k");
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap();
    });
    // Node 0 crashes and comes back in a new incarnation, with its copy.
    let old = cluster.nodes[0].core.actor;
    let record = cluster.nodes[0].store.peek(&key).unwrap();
    cluster.nodes[0] = cluster.make_incarnation(0, Generation(old.generation.0 + 1));
    let node = &cluster.nodes[0];
    cluster.sim.run(async {
        let token = cluster.layout.token(&key);
        let table = cluster.siblings.id;
        node.store.merge(table, token, key.clone(), record, Durability::Synced).await.unwrap();
        let vector = |node: usize| match cluster.nodes[node].store.peek(&key) {
            Some(Record::Siblings(set)) => set.seen().vector().to_vec(),
            other => panic!("{other:?}"),
        };
        let range = cluster.layout.range_of(cluster.layout.vnode_of(token));
        let compared = |peer: usize| {
            let exchange = ExchangeId { peer: crate::host(peer), side: Side::Asker, number: 1 };
            node.core.compared.begin(table, range, exchange, dunlin_types::Micros(5));
            node.core.compared.ended(table, range, exchange);
        };
        cluster.put(0, cluster.write(&key, "a", Consistency::All)).await.unwrap();
        compared(1);
        cluster.put(0, cluster.write(&key, "b", Consistency::All)).await.unwrap();
        assert!(vector(0).iter().any(|(actor, counter)| *actor == old && *counter == 1), "{:?}", vector(0));
        compared(2);
        cluster.put(0, cluster.write(&key, "c", Consistency::All)).await.unwrap();
        for node in 0..3 {
            assert!(vector(node).contains(&(old, u64::MAX)), "{:?}", vector(node));
            assert_eq!(cluster.held(node, &key), ["c"]);
        }
        // One entry for what was and one for what is, whatever comes.
        cluster.put(0, cluster.write(&key, "d", Consistency::All)).await.unwrap();
        assert_eq!(vector(1).len(), 2);
    });
}

#[test]
fn a_full_replica_takes_no_client_writes_of_other_coordinators_but_is_healed() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.nodes[2].store.full.store(true, Ordering::SeqCst);
        for (table, name) in [(&cluster.siblings, "a"), (&cluster.latest, "b")] {
            let mut write = cluster.write(&key(name), "v", Consistency::All);
            write.table = Arc::clone(table);
            let error = cluster.put(0, write.clone()).await.unwrap_err();
            assert_eq!((error.received, error.applied), (2, Some(Applied::Maybe)));
            write.consistency = Consistency::Quorum;
            cluster.put(0, write).await.unwrap();
            assert!(cluster.held(2, &key(name)).is_empty());
        }
        // Read repair goes on.
        assert_eq!(cluster.values(0, &key("a"), Consistency::All).await, ["v"]);
        assert_eq!(cluster.held(2, &key("a")), ["v"]);
    });
}

#[test]
fn where_its_copy_has_a_gap_a_nodes_dots_stand_for_themselves_alone() {
    let cluster = Cluster::new(3, 3);
    let key = key("k");
    cluster.sim.run(async {
        let node = &cluster.nodes[0];
        let (token, table) = (cluster.layout.token(&key), cluster.siblings.id);
        let range = cluster.layout.range_of(cluster.layout.vnode_of(token));
        let dot_of = |outcome| context(outcome).dots()[0].actor;
        let put = || {
            let mut write = cluster.write(&key, "v", Consistency::All);
            write.context = Some(Default::default());
            cluster.put(0, write)
        };
        assert_eq!(dot_of(put().await.unwrap()), node.core.actor);
        node.core.gaps.add(table, &[range]);
        assert_eq!(dot_of(put().await.unwrap()), node.core.actor.without_copy());
        for peer in [1, 2] {
            let exchange = ExchangeId { peer: crate::host(peer), side: Side::Asker, number: 1 };
            node.core.compared.begin(table, range, exchange, dunlin_types::Micros(5));
            node.core.compared.ended(table, range, exchange);
        }
        assert_eq!(dot_of(put().await.unwrap()), node.core.actor);
    });
}
