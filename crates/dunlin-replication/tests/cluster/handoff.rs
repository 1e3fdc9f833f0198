//! How kept hints travel: many in one message, one for each key, to the right owners, and on when their keeper
//! leaves.

use crate::hints::start_delivery;
use crate::net::Link;
use crate::{Cluster, host, key, member};
use dunlin_replication::coordinator::PutRequest;
use dunlin_replication::hints::message::{HintFate, HintsPurpose, HintsRequest};
use dunlin_replication::hints::segment::Hint;
use dunlin_replication::message::{Envelope, Refusal, Request, Response};
use dunlin_replication::replica::Replica;
use dunlin_replication::view::{View, ViewParts};
use dunlin_types::schema::Replication;
use dunlin_types::{Consistency, Key, Micros, Record, Token};
use std::sync::Arc;
use std::time::Duration;

/// Messages with hints that were sent so far, and the hints in them.
fn sent(cluster: &Cluster) -> (usize, usize) {
    let calls = cluster.net.calls.lock().unwrap();
    let sizes = calls.iter().filter_map(|(_, envelope)| match &envelope.request {
        Request::Hints(request) => Some(request.hints.len()),
        _ => None,
    });
    sizes.fold((0, 0), |(messages, hints), size| (messages + 1, hints + size))
}

/// A record that node 0 wrote, and its place.
async fn record(cluster: &Cluster, key: &Key) -> (Token, Record) {
    cluster.put(0, cluster.write(key, "v", Consistency::One)).await.unwrap();
    (cluster.layout.token(key), cluster.nodes[0].store.peek(key).unwrap())
}

#[test]
fn one_key_is_sent_once_and_many_keys_in_one_message() {
    let cluster = Cluster::new(3, 3);
    start_delivery(&cluster, 0);
    cluster.sim.run(async {
        cluster.believe_down(0, &[2]);
        for round in 0..20 {
            for name in (0..50).chain(0..50) {
                let mut write =
                    cluster.write(&key(&format!("k{name}")), &format!("v{round}"), Consistency::Quorum);
                write.table = Arc::clone(&cluster.latest);
                cluster.put(0, write).await.unwrap();
            }
            // Several writes of the file, so that hints of one key are in it more than once.
            cluster.pause(300).await;
        }
        let kept = cluster.nodes[0].hints.count();
        assert!((50..1900).contains(&kept), "{kept} of 2000");
        cluster.believe_down(0, &[]);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert_eq!(sent(&cluster), (1, 50));
        (0..50).for_each(|name| assert_eq!(cluster.held(2, &key(&format!("k{name}"))), ["v19"]));
        let stats = &cluster.nodes[0].hints.stats()[0];
        assert_eq!((stats.delivered, stats.dropped.total(), stats.rate_bytes), (kept, 0, None));
    });
}

#[test]
fn the_target_says_how_fast_they_come() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        cluster.believe_down(0, &[2]);
        // 64 MiB; a target takes 16 MiB a second.
        for name in 0..64 {
            let mut write = cluster.write(&key(&format!("k{name}")), "", Consistency::Quorum);
            write.value = Some(vec![1; 1 << 20].into());
            cluster.put(0, write).await.unwrap();
        }
        cluster.believe_down(0, &[]);
        let eta = cluster.nodes[0].hints.stats()[0].eta;
        assert!((4..=5).contains(&eta.as_secs()), "{eta:?}");
        let started = cluster.sim.now_ms();
        start_delivery(&cluster, 0);
        cluster.pause(1500).await;
        let stats = &cluster.nodes[0].hints.stats()[0];
        assert_eq!(stats.rate_bytes, Some(16 << 20));
        assert!(stats.count > 20, "{}", stats.count);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(60)).await);
        let took = cluster.sim.now_ms() - started;
        assert!((3_900..6_000).contains(&took), "{took} ms");
    });
}

#[test]
fn a_paused_target_waits_and_the_others_do_not() {
    let cluster = Cluster::new(3, 3);
    start_delivery(&cluster, 0);
    cluster.sim.run(async {
        cluster.believe_down(0, &[1, 2]);
        let hints = &cluster.nodes[0].hints;
        cluster.put(0, cluster.write(&key("k"), "v", Consistency::One)).await.unwrap();
        hints.set_paused(Some(host(2)), true);
        cluster.believe_down(0, &[]);
        assert!(hints.wait_delivered(Some(host(1)), Duration::from_secs(5)).await);
        assert!(!hints.wait_delivered(Some(host(2)), Duration::from_secs(5)).await);
        assert_eq!(hints.stats().iter().map(|s| s.paused).collect::<Vec<_>>(), [false, true]);
        hints.set_paused(None, false);
        assert!(hints.wait_delivered(None, Duration::from_secs(5)).await);
        assert_eq!(cluster.held(2, &key("k")), ["v"]);
    });
}

#[test]
fn hints_older_than_gc_grace_are_dropped_by_that_rule() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let (token, old) = record(&cluster, &key("old")).await;
        cluster.believe_down(0, &[1, 2]);
        let hints = &cluster.nodes[0].hints;
        let late = key("late");
        hints.add(host(1), cluster.siblings.id, token, &late, &old);
        let grace = u64::from(cluster.siblings.gc_grace_s) * 1000;
        cluster.pause(grace + 1000).await;
        hints.flush(false);
        assert!(!hints.add(host(1), cluster.siblings.id, token, &key("k"), &old), "out of the window");
        start_delivery(&cluster, 0);
        cluster.believe_down(0, &[]);
        assert!(hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert!(cluster.held(1, &late).is_empty());
        let dropped = hints.stats()[0].dropped;
        assert_eq!((dropped.gc_grace, dropped.window, dropped.total()), (1, 1, 2));
        assert!(hints.stats()[0].is_accounted_for());
    });
}

/// A write that has seen nothing, so that all others stay beside it.
fn unseen(cluster: &Cluster, value: &str) -> PutRequest {
    let mut write = cluster.write(&key("k"), value, Consistency::Quorum);
    write.context = Some(Default::default());
    write
}

#[test]
fn a_hint_holds_no_sibling_that_would_soon_make_it_too_old() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let grace_ms = u64::from(cluster.siblings.gc_grace_s) * 1000;
        cluster.put(0, unseen(&cluster, "old")).await.unwrap();
        cluster.pause(grace_ms / 2 + 1000).await;
        cluster.put(0, unseen(&cluster, "new")).await.unwrap();
        cluster.believe_down(0, &[2]);
        cluster.put(0, unseen(&cluster, "newer")).await.unwrap();
        // By now the old one may have been deleted and forgotten, and the hint is still to be delivered.
        cluster.pause(grace_ms / 2 + 1000).await;
        start_delivery(&cluster, 0);
        cluster.believe_down(0, &[]);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert_eq!(cluster.held(2, &key("k")), ["new", "newer", "old"]);
        let calls = cluster.net.calls.lock().unwrap();
        let hints = calls.iter().filter_map(|(_, envelope)| match &envelope.request {
            Request::Hints(request) => Some(&request.hints),
            _ => None,
        });
        let values = |hint: &Hint| match &hint.record {
            Record::Siblings(set) => set.values().len(),
            Record::Latest(_) => 0,
        };
        assert_eq!(hints.flatten().map(values).collect::<Vec<_>>(), [1]);
    });
}

#[test]
fn a_hint_is_as_old_as_the_oldest_sibling_in_it() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let grace_ms = u64::from(cluster.siblings.gc_grace_s) * 1000;
        cluster.put(0, unseen(&cluster, "old")).await.unwrap();
        cluster.pause(grace_ms / 4).await;
        cluster.believe_down(0, &[2]);
        cluster.put(0, unseen(&cluster, "new")).await.unwrap();
        cluster.pause(grace_ms * 7 / 8).await;
        start_delivery(&cluster, 0);
        cluster.believe_down(0, &[]);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert_eq!(cluster.nodes[0].hints.stats()[0].dropped.gc_grace, 1);
    });
}

#[test]
fn hints_that_become_too_old_while_others_are_sent_are_dropped_too() {
    let cluster = Cluster::new(3, 3);
    cluster.sim.run(async {
        let mut write = cluster.write(&key("k"), "", Consistency::One);
        write.value = Some(vec![1; 1 << 20].into());
        cluster.put(0, write).await.unwrap();
        let large = cluster.nodes[0].store.peek(&key("k")).unwrap();
        let hints = &cluster.nodes[0].hints;
        let token = cluster.layout.token(&key("k"));
        for name in 0..4 {
            hints.add(host(1), cluster.siblings.id, token, &key(&format!("k{name}")), &large);
        }
        // At 16 MiB a second the third of them is sent when the grace is over.
        cluster.pause(u64::from(cluster.siblings.gc_grace_s) * 1000 - 100).await;
        start_delivery(&cluster, 0);
        assert!(hints.wait_delivered(None, Duration::from_secs(10)).await);
        let stats = &hints.stats()[0];
        assert_eq!((stats.delivered, stats.dropped.gc_grace), (2, 2));
    });
}

/// Node 3 joins. The next layout, and a key that it takes over from another node than 0.
fn joining() -> (Cluster, Arc<dunlin_ring::Layout>, Key, usize) {
    let cluster = Cluster::with_joiners(3, 4, 3);
    let next = Arc::new(cluster.layout.next(3, (0..4).map(member).collect(), Vec::new()));
    for i in 0..1000 {
        let key = key(&format!("k{i}"));
        let owners = next.replicas(next.token(&key), &Replication::Simple(3));
        if let Some(loser) = (1..3).find(|node| !owners.contains(&host(*node))) {
            return (cluster, next, key, loser);
        }
    }
    unreachable!("node 3 gains something");
}

#[test]
fn a_hint_for_a_node_that_loses_the_key_goes_to_the_new_owners_too() {
    let (cluster, next, key, loser) = joining();
    cluster.sim.run(async {
        let (token, record) = record(&cluster, &key).await;
        let hints = &cluster.nodes[0].hints;
        hints.add(host(loser), cluster.siblings.id, token, &key, &record);
        // Only the new owner that is not an old one can make up for the loser in the next layout.
        (0..4).for_each(|node| cluster.set_layouts(node, &[&cluster.layout, &next], 2));
        cluster.link(3, Link::Lost);
        (1..3).filter(|n| *n != loser).for_each(|n| cluster.link(n, Link::Lost));
        start_delivery(&cluster, 0);
        cluster.pause(5_000).await;
        (1..4).for_each(|node| cluster.link(node, Link::Up));
        assert!(hints.wait_delivered(None, Duration::from_secs(60)).await);
        assert_eq!((cluster.held(loser, &key), cluster.held(3, &key)), (vec!["v".into()], vec!["v".into()]));
    });
}

#[test]
fn hints_of_a_sender_that_is_behind_are_refused() {
    let (cluster, next, key, loser) = joining();
    cluster.sim.run(async {
        let (token, record) = record(&cluster, &key).await;
        cluster.set_layouts(loser, &[&cluster.layout, &next], 2);
        let hint = Hint { created: Micros(1), table: cluster.siblings.id, token, key: key.clone(), record };
        let request = HintsRequest { purpose: HintsPurpose::Deliver, hints: vec![hint] };
        let envelope = Envelope {
            from: host(0),
            fence: cluster.nodes[0].views.load().fence,
            request: Request::Hints(request),
        };
        let replica = Replica::new(cluster.nodes[loser].coordinator.clone());
        let refused = replica.handle(envelope.clone(), Duration::from_secs(1)).await;
        assert!(matches!(refused, Response::Refused(Refusal::StaleLayout(_))), "{refused:?}");
        cluster.set_layouts(loser, &[&cluster.layout], 2);
        let Response::Hints(answer) = replica.handle(envelope, Duration::from_secs(1)).await else {
            panic!("not taken")
        };
        assert_eq!(answer.fates, [HintFate::Taken]);
    });
}

#[test]
fn a_node_that_leaves_gives_its_hints_to_their_targets_or_to_another_keeper() {
    let cluster = Cluster::new(4, 3);
    let left = Arc::new(cluster.layout.next(3, (1..4).map(member).collect(), Vec::new()));
    let leaving = |me: usize, down: &[usize]| {
        let node = &cluster.nodes[me];
        let parts = ViewParts {
            me: host(me),
            data_center: "dc".into(),
            layouts: vec![Arc::clone(&left)],
            read_version: 3,
            schema: Arc::clone(&cluster.schema),
            alive: (0..4).filter(|i| !down.contains(i)).map(host).collect(),
        };
        node.views.set(View::build(parts, Some(&node.views.load())));
    };
    let key = cluster.key_at(&cluster.layout, 3, &[0, 1, 2]);
    cluster.sim.run(async {
        cluster.believe_down(0, &[1, 2]);
        cluster.put(0, cluster.write(&key, "v", Consistency::One)).await.unwrap();
        (0..4).for_each(|node| leaving(node, &[2]));
        start_delivery(&cluster, 0);
        assert!(cluster.nodes[0].hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert_eq!(cluster.held(1, &key), ["v"]);
        let stats = cluster.nodes[0].hints.stats();
        let counts: Vec<_> = stats.iter().map(|s| (s.target, s.delivered, s.moved)).collect();
        assert_eq!(counts, [(host(1), 1, 0), (host(2), 0, 1)]);
        assert!(stats.iter().all(|s| s.is_accounted_for()));
        let keeper = (1..4).find(|node| cluster.nodes[*node].hints.count() == 1).expect("another keeps it");
        start_delivery(&cluster, keeper);
        (1..4).for_each(|node| leaving(node, &[]));
        assert!(cluster.nodes[keeper].hints.wait_delivered(None, Duration::from_secs(10)).await);
        assert_eq!(cluster.held(2, &key), ["v"]);
    });
}
