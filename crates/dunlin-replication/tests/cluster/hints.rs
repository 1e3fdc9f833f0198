//! Hints: kept for those that missed a write, delivered once they are up, across a restart.

use crate::net::Link;
use crate::{Cluster, host, key};
use dunlin_replication::hints::{HintConfig, Hints, delivery};
use dunlin_storage::fs::{Fs as _, MemFs, OpenMode};
use dunlin_types::Consistency;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::schema::ConflictMode;
use std::sync::Arc;
use std::time::Duration;

/// Runs delivery at a node for as long as the cluster lives.
pub fn start_delivery(cluster: &Cluster, node: usize) {
    let core = Arc::clone(&cluster.nodes[node].core);
    let runtime = Arc::clone(&core.runtime);
    drop(runtime.spawn("hint-delivery", Box::pin(delivery::run(core))));
}

#[test]
fn a_down_replica_gets_what_it_missed() {
    let cluster = Cluster::new(3, 3);
    start_delivery(&cluster, 0);
    cluster.sim.run(async {
        cluster.believe_down(0, &[2]);
        for i in 0..100 {
            cluster.put(0, cluster.write(&key(&format!("k{i}")), "v", Consistency::Quorum)).await.unwrap();
        }
        assert_eq!(cluster.nodes[0].hints.count(), 100);
        assert!(!cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(1)).await);
        assert!(cluster.held(2, &key("k0")).is_empty());
        cluster.believe_down(0, &[]);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(10)).await);
        (0..100).for_each(|i| assert_eq!(cluster.held(2, &key(&format!("k{i}"))), ["v"]));
        let stats = cluster.nodes[0].hints.stats();
        assert_eq!(
            (stats[0].target, stats[0].count, stats[0].bytes, stats[0].delivered),
            (host(2), 0, 0, 100)
        );
    });
}

#[test]
fn a_replica_that_did_not_answer_is_hinted_once_and_delivery_is_retried() {
    let cluster = Cluster::new(3, 3);
    start_delivery(&cluster, 0);
    cluster.link(2, Link::Lost);
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.unwrap();
        cluster.pause(600).await;
        assert_eq!(cluster.nodes[0].hints.count(), 1);
        cluster.pause(20_000).await;
        assert_eq!(cluster.nodes[0].hints.count(), 1);
        cluster.link(2, Link::Up);
        cluster.pause(60_000).await;
        assert_eq!(cluster.nodes[0].hints.count(), 0);
        assert_eq!(cluster.held(2, &key("k")), ["v"]);
    });
}

#[test]
fn hints_survive_a_restart_and_a_crash_after_sync() {
    let fs = Arc::new(MemFs::new());
    let cluster = Cluster::new(3, 3);
    let runtime = Arc::clone(&cluster.nodes[0].core.runtime);
    let record = cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::All)).await.unwrap();
        cluster.nodes[0].store.peek(&key("k")).unwrap()
    });
    let token = cluster.layout.token(&key("k"));
    let hints = Hints::open(fs.clone(), Arc::clone(&runtime), HintConfig::default()).unwrap();
    for name in ["a", "b", "c"] {
        assert!(hints.add(host(1), cluster.siblings.id, token, &key(name), &record));
    }
    hints.flush(true);
    let before = hints.stats();
    drop(hints);
    let hints = Hints::open(fs.clone(), Arc::clone(&runtime), HintConfig::default()).unwrap();
    let after = hints.stats();
    assert_eq!((after[0].count, after[0].oldest), (3, before[0].oldest));
    assert!(after[0].is_accounted_for());
    hints.truncate(None);
    assert!(hints.stats()[0].is_accounted_for());
    assert_eq!(Hints::open(fs, runtime, HintConfig::default()).unwrap().count(), 0);
}

#[test]
fn a_crash_takes_no_synced_hint_and_leaves_no_nonsense() {
    let cluster = Cluster::new(3, 3);
    let runtime = Arc::clone(&cluster.nodes[0].core.runtime);
    let record = cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::All)).await.unwrap();
        cluster.nodes[0].store.peek(&key("k")).unwrap()
    });
    let token = cluster.layout.token(&key("k"));
    for seed in 0..50 {
        let fs = Arc::new(MemFs::new());
        let config = HintConfig { segment_bytes: 400, ..HintConfig::default() };
        let hints = Hints::open(fs.clone(), Arc::clone(&runtime), config.clone()).unwrap();
        let add = |k: u32| {
            assert!(hints.add(host(1), cluster.siblings.id, token, &key(&format!("k{k}")), &record));
        };
        (0..20).for_each(add);
        hints.flush(true);
        for k in 20..30 {
            add(k);
            hints.flush(false);
        }
        fs.crash(seed);
        let found = Hints::open(fs, Arc::clone(&runtime), config).unwrap().count();
        assert!((20..=30).contains(&found), "seed {seed}: {found} hints");
    }
}

#[test]
fn the_window_and_the_byte_bound_hold() {
    let cluster = Cluster::new(3, 3);
    let runtime = Arc::clone(&cluster.nodes[0].core.runtime);
    let record = cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::All)).await.unwrap();
        cluster.nodes[0].store.peek(&key("k")).unwrap()
    });
    let token = cluster.layout.token(&key("k"));
    let config = HintConfig { target_bytes_max: 300, ..HintConfig::default() };
    let hints = Hints::open(Arc::new(MemFs::new()), Arc::clone(&runtime), config).unwrap();
    let mut keys = 0;
    let mut add = |to: usize| {
        keys += 1;
        hints.add(host(to), cluster.siblings.id, token, &key(&format!("k{keys}")), &record)
    };
    assert!(add(1));
    assert!((0..100).any(|_| !add(1)));
    assert_eq!(hints.stats()[0].dropped.bytes, 1);
    assert!(add(2));
    cluster.sim.run(cluster.pause(3 * 3600 * 1000 + 1));
    assert!(!add(2));
    assert_eq!(hints.stats()[1].dropped.window, 1);
}

#[test]
fn hints_of_a_host_that_owns_nothing_any_more_go_to_the_owners() {
    let cluster = Cluster::new(3, 3);
    start_delivery(&cluster, 0);
    cluster.sim.run(async {
        cluster.believe_down(0, &[1, 2]);
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::One)).await.unwrap();
        let record = cluster.nodes[0].store.peek(&key("k")).unwrap();
        cluster.nodes[0].hints.truncate(None);
        let token = cluster.layout.token(&key("k"));
        cluster.believe_down(0, &[]);
        cluster.nodes[0].hints.add(host(12), cluster.siblings.id, token, &key("k"), &record);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert_eq!(cluster.held(1, &key("k")), ["v"]);
        assert_eq!(cluster.held(2, &key("k")), ["v"]);
        // A table that is gone is nobody's.
        let gone = crate::table(77, ConflictMode::Siblings);
        cluster.nodes[0].hints.add(host(1), gone.id, token, &key("k"), &record);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert_eq!(cluster.nodes[0].hints.stats()[0].dropped.table, 1);
    });
}

#[test]
fn healing_off_throws_hints_away() {
    let cluster = Cluster::new(3, 3);
    *cluster.sim.planted.lock().unwrap() = Some(PlantedBug::HealingOff);
    cluster.believe_down(0, &[2]);
    cluster.sim.run(async {
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.unwrap();
    });
    assert_eq!(cluster.nodes[0].hints.count(), 0);
}

#[test]
fn hints_are_kept_again_when_the_disk_has_room_again() {
    let mut cluster = Cluster::new(3, 3);
    let fs = Arc::new(MemFs::new());
    fs.set_capacity(Some(100_000));
    let file = fs.open("other", OpenMode::CreateNew).unwrap();
    file.write_at(0, &[0; 95_000]).unwrap();
    cluster.nodes[0] = cluster.make_node(0, fs.clone());
    cluster.believe_down(0, &[2]);
    start_delivery(&cluster, 0);
    cluster.sim.run(async {
        cluster.pause(1000).await;
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.unwrap();
        assert_eq!(cluster.nodes[0].hints.count(), 0, "the disk is full");
        fs.remove("other").unwrap();
        cluster.pause(1000).await;
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::Quorum)).await.unwrap();
        assert_eq!(cluster.nodes[0].hints.count(), 1);
    });
}
