//! Sloppy quorums: others stand in for dead replicas, keep what is theirs durably and hand it off.

use crate::hints::start_delivery;
use crate::net::Link;
use crate::{Cluster, host};
use dunlin_replication::coordinator::PutRequest;
use dunlin_replication::hints::{HintConfig, Hints};
use dunlin_storage::fs::MemFs;
use dunlin_types::error::Applied;
use dunlin_types::schema::{ConflictMode, Replication};
use dunlin_types::{Consistency, ErrorCode, Key, ReplicaOutcome};
use std::sync::Arc;
use std::time::Duration;

const MODES: [ConflictMode; 2] = [ConflictMode::Siblings, ConflictMode::LastWriteWins];

fn write(cluster: &Cluster, mode: ConflictMode, key: &Key, value: &str, level: Consistency) -> PutRequest {
    let mut write = cluster.write(key, value, level);
    if mode == ConflictMode::LastWriteWins {
        write.table = Arc::clone(&cluster.latest);
    }
    write
}

/// Everybody believes that these are down, and they hear nothing.
fn take_down(cluster: &Cluster, down: &[usize]) {
    for node in 0..cluster.nodes.len() {
        cluster.believe_down(node, down);
        cluster.link(node, if down.contains(&node) { Link::Refused } else { Link::Up });
    }
}

/// Hints kept at each node, with the nodes they are for.
fn hints(cluster: &Cluster) -> Vec<(usize, Vec<usize>)> {
    let at = |node: usize| {
        let stats = cluster.nodes[node].hints.stats().into_iter().filter(|s| s.count > 0);
        let targets = stats.map(|s| (0..16).find(|i| host(*i) == s.target).unwrap());
        (node, targets.collect::<Vec<usize>>())
    };
    (0..cluster.nodes.len()).map(at).filter(|(_, targets)| !targets.is_empty()).collect()
}

async fn hand_off(cluster: &Cluster) {
    take_down(cluster, &[]);
    for node in 0..cluster.nodes.len() {
        start_delivery(cluster, node);
        assert!(cluster.nodes[node].hints.wait_delivered(None, Duration::from_secs(10)).await);
    }
}

#[test]
fn stand_ins_make_up_the_level_and_hand_off() {
    for mode in MODES {
        let cluster = Cluster::sloppy(6, 3);
        let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
        cluster.sim.run(async {
            take_down(&cluster, &[1, 2]);
            let all = write(&cluster, mode, &key, "v", Consistency::All);
            cluster.put(4, all).await.unwrap();
            let kept = hints(&cluster);
            assert_eq!(kept.iter().map(|(_, targets)| targets.len()).sum::<usize>(), 2, "{kept:?}");
            let next = cluster.layout.fallbacks(cluster.layout.token(&key), &Replication::Simple(3));
            assert!(
                kept.iter().all(|(node, _)| next[..2].contains(&host(*node))),
                "the next two along the ring stand in: {kept:?}"
            );
            assert_eq!(kept.iter().flat_map(|(_, targets)| targets).sum::<usize>(), 1 + 2);
            // A strict reader at QUORUM cannot be answered: the stand-ins are not asked.
            let mut read = cluster.read(&key, Consistency::Quorum);
            read.table = write(&cluster, mode, &key, "", Consistency::One).table;
            assert_eq!(cluster.get(4, read).await.unwrap_err().code, ErrorCode::Unavailable);
            hand_off(&cluster).await;
            (0..3).for_each(|node| assert_eq!(cluster.held(node, &key), ["v"]));
            (3..6).for_each(|node| assert!(cluster.held(node, &key).is_empty()));
        });
    }
}

#[test]
fn with_no_owner_up_stand_ins_take_the_write_and_nothing_is_lost() {
    for mode in MODES {
        let cluster = Cluster::sloppy(6, 3);
        let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
        cluster.sim.run(async {
            take_down(&cluster, &[0, 1, 2]);
            for (node, value) in [(3, "a"), (4, "b")] {
                cluster.put(node, write(&cluster, mode, &key, value, Consistency::Quorum)).await.unwrap();
            }
            hand_off(&cluster).await;
            // Neither write saw the other; of two in a last_write_wins table the later one wins.
            let expected: &[&str] = if mode == ConflictMode::Siblings { &["a", "b"] } else { &["b"] };
            (0..3).for_each(|node| assert_eq!(cluster.held(node, &key), expected));
        });
    }
}

#[test]
fn a_write_with_no_owner_up_returns_a_context_that_supersedes_it() {
    let cluster = Cluster::sloppy(6, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
    cluster.sim.run(async {
        take_down(&cluster, &[0, 1, 2]);
        let first = cluster.put(3, cluster.write(&key, "a", Consistency::Quorum)).await.unwrap();
        let mut second = cluster.write(&key, "b", Consistency::Quorum);
        second.context = first.context;
        cluster.put(5, second).await.unwrap();
        hand_off(&cluster).await;
        (0..3).for_each(|node| assert_eq!(cluster.held(node, &key), ["b"]));
    });
}

#[test]
fn what_a_stand_in_acknowledged_survives_its_crash() {
    let mut cluster = Cluster::sloppy(4, 3);
    let fs = Arc::new(MemFs::new());
    cluster.nodes[3] = cluster.make_node(3, fs.clone());
    let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
    cluster.sim.run(async {
        take_down(&cluster, &[2]);
        cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap();
    });
    fs.crash(1);
    let runtime = Arc::clone(&cluster.nodes[3].core.runtime);
    let found = Hints::open(fs, runtime, HintConfig::default()).unwrap().stats();
    assert_eq!(found.iter().map(|s| (s.target, s.count)).collect::<Vec<_>>(), [(host(2), 1)]);
}

#[test]
fn too_few_nodes_to_stand_in_are_unavailable_and_nothing_is_sent() {
    for mode in MODES {
        let cluster = Cluster::sloppy(4, 3);
        let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
        cluster.sim.run(async {
            take_down(&cluster, &[1, 2]);
            let error = cluster.put(0, write(&cluster, mode, &key, "v", Consistency::All)).await.unwrap_err();
            assert_eq!((error.code, error.applied), (ErrorCode::Unavailable, Some(Applied::No)));
            assert!(hints(&cluster).is_empty());
            // One stand-in is there: a quorum can be had.
            cluster.put(0, write(&cluster, mode, &key, "v", Consistency::Quorum)).await.unwrap();
        });
    }
}

#[test]
fn a_stand_in_that_keeps_nothing_does_not_count() {
    let mut cluster = Cluster::sloppy(4, 3);
    let fs = Arc::new(MemFs::new());
    fs.set_capacity(Some(1_000));
    cluster.nodes[3] = cluster.make_node(3, fs.clone());
    dunlin_storage::fs::Fs::open(&*fs, "other", dunlin_storage::fs::OpenMode::CreateNew)
        .unwrap()
        .write_at(0, &[0; 950])
        .unwrap();
    let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
    cluster.sim.run(async {
        take_down(&cluster, &[2]);
        let error = cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap_err();
        assert_eq!(error.applied, Some(Applied::Maybe));
        assert!(error.replicas.contains(&("n2".into(), ReplicaOutcome::Failed)), "{:?}", error.replicas);
        assert_eq!(error.received, 2);
        // The coordinator keeps a hint of its own then, as for any replica that is down.
        assert_eq!(hints(&cluster), [(0, vec![2])]);
    });
}

#[test]
fn an_error_says_which_replicas_were_stood_in_for() {
    let cluster = Cluster::sloppy(4, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
    cluster.sim.run(async {
        take_down(&cluster, &[2]);
        cluster.link(1, Link::Lost);
        let error = cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap_err();
        assert_eq!((error.code, error.required, error.received), (ErrorCode::WriteTimeout, 3, 2));
        assert!(error.replicas.contains(&("n2".into(), ReplicaOutcome::Hinted)), "{:?}", error.replicas);
    });
}

#[test]
fn a_stand_in_is_of_the_data_centre_of_the_replica() {
    let cluster = Cluster::over_centers(&["a", "a", "a", "b", "b"], 1, true);
    let key = cluster.key_owned_by(3);
    cluster.sim.run(async {
        take_down(&cluster, &[3]);
        cluster.put(0, cluster.write(&key, "v", Consistency::EachQuorum)).await.unwrap();
        assert_eq!(hints(&cluster), [(4, vec![3])]);
        // Nobody of b is left, and a has live nodes that are no replicas: they do not count for b.
        take_down(&cluster, &[3, 4]);
        let error = cluster.put(0, cluster.write(&key, "w", Consistency::EachQuorum)).await.unwrap_err();
        assert_eq!((error.code, error.applied), (ErrorCode::Unavailable, Some(Applied::No)));
        cluster.put(0, cluster.write(&key, "w", Consistency::LocalQuorum)).await.unwrap();
    });
}

#[test]
fn other_keyspaces_have_no_stand_ins() {
    let cluster = Cluster::new(6, 3);
    let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
    cluster.sim.run(async {
        take_down(&cluster, &[1, 2]);
        let error = cluster.put(4, cluster.write(&key, "v", Consistency::Quorum)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
    });
    assert!(hints(&cluster).is_empty());
}
