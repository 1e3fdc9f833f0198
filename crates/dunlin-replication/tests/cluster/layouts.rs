//! Requests while layouts change: every active layout counts, and whoever is behind is refused.

use crate::net::Link;
use crate::{Cluster, host, member};
use dunlin_replication::view::stamp;
use dunlin_ring::Layout;
use dunlin_types::schema::Replication;
use dunlin_types::{Consistency, ErrorCode, Key};
use std::sync::Arc;

/// Nodes 0..3 are members; node 3 joins. The next layout, and a key that node 3 gains.
fn joining() -> (Cluster, Arc<Layout>, Key) {
    let cluster = Cluster::with_joiners(3, 4, 3);
    let next = Arc::new(cluster.layout.next(3, (0..4).map(member).collect(), Vec::new()));
    let keys = (0..1000).map(|i| crate::key(&format!("k{i}")));
    let gained = |key: &Key| next.replicas(next.token(key), &Replication::Simple(3)).contains(&host(3));
    let key = keys.into_iter().find(gained).expect("node 3 gains some key");
    (cluster, next, key)
}

fn both(cluster: &Cluster, next: &Arc<Layout>, nodes: &[usize]) {
    nodes.iter().for_each(|node| cluster.set_layouts(*node, &[&cluster.layout, next], 2));
}

#[test]
fn writes_go_to_every_active_layout_and_need_the_level_in_each() {
    let (cluster, next, key) = joining();
    both(&cluster, &next, &[0, 1, 2, 3]);
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap();
        assert_eq!(cluster.held(3, &key), ["v"]);
        cluster.link(3, Link::Lost);
        let error = cluster.put(0, cluster.write(&key, "w", Consistency::All)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::WriteTimeout);
        assert_eq!((error.required, error.received), (3, 2));
        assert_eq!(error.replicas.len(), 4);
    });
}

#[test]
fn strong_reads_leave_their_answer_in_every_active_layout() {
    let (cluster, next, key) = joining();
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap();
        both(&cluster, &next, &[0, 1, 2, 3]);
        assert_eq!(cluster.values(0, &key, Consistency::One).await, ["v"]);
        assert!(cluster.held(3, &key).is_empty());
        assert_eq!(cluster.values(0, &key, Consistency::All).await, ["v"]);
        assert_eq!(cluster.held(3, &key), ["v"]);
    });
}

#[test]
fn a_coordinator_that_is_behind_is_refused_learns_and_goes_on() {
    let (cluster, next, key) = joining();
    both(&cluster, &next, &[1, 2, 3]);
    cluster.sim.run(async {
        let runtime = &cluster.nodes[0].core.runtime;
        let learn = async {
            runtime.sleep(std::time::Duration::from_millis(100)).await;
            both(&cluster, &next, &[0]);
        };
        let write = cluster.put(0, cluster.write(&key, "v", Consistency::All));
        let (outcome, ()) = futures::join!(write, learn);
        outcome.unwrap();
        let stamps: Vec<_> = cluster.nodes[0].news.0.lock().unwrap().iter().map(|n| n.1).collect();
        assert!(stamps.contains(&stamp(&next)));
    });
    for node in
        (0..4).filter(|n| next.replicas(next.token(&key), &Replication::Simple(3)).contains(&host(*n)))
    {
        assert_eq!(cluster.held(node, &key), ["v"], "node {node}");
    }
}

#[test]
fn a_coordinator_that_never_learns_fails_without_an_acknowledgement() {
    let (cluster, next, key) = joining();
    both(&cluster, &next, &[1, 2, 3]);
    cluster.sim.run(async {
        let error = cluster.put(0, cluster.write(&key, "v", Consistency::Quorum)).await.unwrap_err();
        assert!(matches!(error.code, ErrorCode::WriteFailure | ErrorCode::WriteTimeout), "{error}");
    });
}

#[test]
fn a_reader_of_a_layout_that_is_read_no_more_is_refused() {
    let (cluster, next, key) = joining();
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap();
        [1, 2, 3].iter().for_each(|node| cluster.set_layouts(*node, &[&next], 3));
        let error = cluster.get(0, cluster.read(&key, Consistency::Quorum)).await.unwrap_err();
        assert!(matches!(error.code, ErrorCode::ReadTimeout | ErrorCode::ReadFailure), "{error}");
        // One that knows more than its replicas waits for them to learn.
        both(&cluster, &next, &[0]);
    });
}

#[test]
fn a_reader_ahead_of_its_replicas_waits_for_them() {
    let (cluster, next, key) = joining();
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key, "v", Consistency::All)).await.unwrap();
        both(&cluster, &next, &[0]);
        let learn = async {
            cluster.pause(200).await;
            both(&cluster, &next, &[1, 2, 3]);
        };
        let read = cluster.get(0, cluster.read(&key, Consistency::All));
        let (found, ()) = futures::join!(read, learn);
        assert_eq!(crate::shown(found.unwrap()), ["v"]);
    });
}

#[test]
fn a_coordinator_that_still_counts_a_retired_layout_learns_and_goes_on() {
    let (cluster, next, _) = joining();
    // A key that one old member no longer owns.
    let lost = |key: &Key| {
        let owners = next.replicas(next.token(key), &Replication::Simple(3));
        (1..3).any(|n| !owners.contains(&host(n)))
    };
    let key = (0..1000).map(|i| crate::key(&format!("k{i}"))).find(lost).expect("some key moved");
    cluster.set_layouts(0, &[&cluster.layout, &next], 3);
    [1, 2, 3].iter().for_each(|node| cluster.set_layouts(*node, &[&next], 3));
    cluster.sim.run(async {
        let learn = async {
            cluster.pause(50).await;
            cluster.set_layouts(0, &[&next], 3);
        };
        let (outcome, ()) = futures::join!(cluster.put(0, cluster.write(&key, "v", Consistency::All)), learn);
        outcome.unwrap();
    });
}

#[test]
fn a_write_that_was_overtaken_does_not_wait_for_a_silent_replica() {
    let (cluster, next, key) = joining();
    both(&cluster, &next, &[1, 3]);
    cluster.link(2, Link::Lost);
    cluster.sim.run(async {
        let learn = async {
            cluster.pause(100).await;
            both(&cluster, &next, &[0]);
        };
        let write = cluster.put(0, cluster.write(&key, "v", Consistency::Quorum));
        let (outcome, ()) = futures::join!(write, learn);
        outcome.unwrap();
    });
}

/// Two proposers after a split: two layouts of one version, the second with the higher digest.
fn proposed_twice() -> (Cluster, [Arc<Layout>; 2]) {
    let cluster = Cluster::with_joiners(3, 5, 3);
    let joined = |joiner| {
        let members = [0, 1, 2, joiner].into_iter().map(member).collect();
        Arc::new(cluster.layout.next(3, members, Vec::new()))
    };
    let mut proposed = [joined(3), joined(4)];
    proposed.sort_by_key(|layout| layout.digest());
    (cluster, proposed)
}

#[test]
fn a_replica_that_knows_one_of_two_proposals_is_waited_for() {
    for table in 0..2 {
        let (cluster, [lower, higher]) = proposed_twice();
        let all = [&cluster.layout, &lower, &higher];
        cluster.set_layouts(0, &all, 2);
        [1, 2, 3, 4].iter().for_each(|node| cluster.set_layouts(*node, &[&cluster.layout, &lower], 2));
        cluster.sim.run(async {
            let learn = async {
                cluster.pause(100).await;
                (1..5).for_each(|node| cluster.set_layouts(node, &all, 2));
            };
            let mut write = cluster.write(&crate::key("k"), "v", Consistency::Quorum);
            if table == 1 {
                write.table = Arc::clone(&cluster.latest);
            }
            let (outcome, ()) = futures::join!(cluster.put(0, write), learn);
            outcome.unwrap();
        });
    }
}

#[test]
fn a_replica_that_knows_one_of_two_proposals_does_not_undo_enough_acknowledgements() {
    let (cluster, [lower, higher]) = proposed_twice();
    let all = [&cluster.layout, &lower, &higher];
    (0..5).for_each(|node| cluster.set_layouts(node, &all, 2));
    let key = cluster.key_at(&higher, 3, &[0, 1, 2]);
    cluster.set_layouts(1, &[&cluster.layout, &lower], 2);
    cluster.link(2, Link::Slow(20));
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key, "v", Consistency::Quorum)).await.unwrap();
    });
}
