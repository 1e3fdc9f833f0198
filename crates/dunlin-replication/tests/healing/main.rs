//! Repair and range transfer between whole replicas.

#![allow(clippy::unwrap_used)] // Helpers outside test functions are tests too.

mod cluster;

use cluster::{Cluster, TABLE, address, host, run, schema, view};
use dunlin_replication::message::{Envelope, MergeReason, MergeRequest, Refusal, Request, Response};
use dunlin_replication::repair::RepairScope;
use dunlin_replication::repair::resync::ResyncOutcome;
use dunlin_replication::store::Durability;
use dunlin_replication::transfer::TransferError;
use dunlin_types::record::Latest;
use dunlin_types::{Key, Micros, Record, TableId, Token, TokenRange, Value};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

#[test]
fn repair_makes_all_replicas_equal_and_then_costs_two_messages_a_peer() {
    let cluster = Cluster::new(3, 3);
    cluster.write_at_majorities(3000);
    let report = run(cluster.nodes[0].repairer.run_once(&RepairScope::default(), &|_| {}));
    assert!(report.is_complete());
    run(cluster.nodes[1].repairer.run_once(&RepairScope::default(), &|_| {}));
    run(cluster.nodes[0].repairer.run_once(&RepairScope::default(), &|_| {}));
    assert_eq!(cluster.contents(0).len(), 3000);
    assert!(cluster.contents(0) == cluster.contents(1) && cluster.contents(1) == cluster.contents(2));

    let (calls, bytes) =
        (cluster.net.calls.load(Ordering::Relaxed), cluster.net.bytes.load(Ordering::Relaxed));
    let report = run(cluster.nodes[2].repairer.run_once(&RepairScope::default(), &|_| {}));
    assert_eq!((report.total().ranges, report.total().ranges_differing), (32, 0));
    assert_eq!(cluster.net.calls.load(Ordering::Relaxed) - calls, 4);
    let bytes = cluster.net.bytes.load(Ordering::Relaxed) - bytes;
    assert!(bytes < 2 * (16 * (40 + 20) + 400), "{bytes} bytes");
}

#[test]
fn both_sides_of_an_exchange_know_that_it_ended() {
    let cluster = Cluster::new(3, 3);
    cluster.write_at_majorities(100);
    let scope = RepairScope { peer: Some(host(1)), ..RepairScope::default() };
    assert!(run(cluster.nodes[0].repairer.run_once(&scope, &|_| {})).is_complete());
    let at = |node: usize, peers: &[usize]| {
        let compared = cluster.nodes[node].repairer.compared();
        let peers = peers.iter().map(|p| host(*p)).collect();
        let ranges = cluster.layouts[0].vnodes.iter().map(|v| cluster.layouts[0].range_of(v));
        ranges.map(|range| compared.repaired_at(TABLE, range, &peers)).collect::<Vec<_>>()
    };
    assert!(at(0, &[1]).iter().chain(&at(1, &[0])).all(Result::is_ok));
    assert!(at(0, &[1, 2]).iter().all(|at| *at == Err(host(2))));
    assert!(at(2, &[0]).iter().all(Result::is_err));
}

#[test]
fn an_exchange_that_failed_proves_nothing() {
    let cluster = Cluster::new(3, 3);
    cluster.write_at_majorities(100);
    cluster.set_down(1);
    run(cluster.nodes[0].repairer.run_once(&RepairScope::default(), &|_| {}));
    let range = cluster.layouts[0].range_of(cluster.layouts[0].vnode_of(Token(0)));
    let compared = cluster.nodes[0].repairer.compared();
    assert_eq!(compared.repaired_at(TABLE, range, &[host(1)].into()), Err(host(1)));
    assert!(compared.repaired_at(TABLE, range, &[host(2)].into()).is_ok());
}

/// As after a purge of what was deleted before.
fn purged(cluster: &Cluster, node: usize, before: u64) {
    let layout = &cluster.layouts[0];
    for range in layout.vnodes.iter().map(|vnode| layout.range_of(vnode)) {
        cluster.nodes[node].repairer.compared().allow(TABLE, range, &BTreeSet::new(), Micros(before));
    }
}

fn resync(cluster: &Cluster, node: usize) -> ResyncOutcome {
    run(cluster.nodes[node].repairer.resync(TABLE, &[TokenRange::ALL])).unwrap()
}

#[test]
fn a_copy_that_lost_data_gives_nothing_away() {
    let cluster = Cluster::new(3, 3);
    cluster.put(0, 1, 5);
    cluster.put(1, 2, 5);
    cluster.nodes[0].store.doubtful.store(true, Ordering::Relaxed);
    for asker in [1, 0, 2] {
        let total = run(cluster.nodes[asker].repairer.run_once(&RepairScope::default(), &|_| {})).total();
        assert!(total.ranges_doubtful >= 16, "{asker}: {total:?}");
    }
    assert_eq!((cluster.contents(0).len(), cluster.contents(1).len(), cluster.contents(2).len()), (1, 1, 1));
    let compared = cluster.nodes[0].repairer.compared();
    let range = cluster.layouts[0].range_of(cluster.layouts[0].vnode_of(Token(0)));
    assert!(compared.repaired_at(TABLE, range, &[host(1)].into()).is_err(), "that proves nothing");
}

#[test]
fn what_was_deleted_elsewhere_does_not_come_back_with_a_copy_that_lost_the_deletion() {
    // A doubtful copy holds: what was forgotten elsewhere, what is newer than that, what another owner has.
    for second_is_doubtful in [false, true] {
        let cluster = Cluster::new(3, 3);
        let doubtful = if second_is_doubtful { &[0, 1][..] } else { &[0] };
        cluster.put(0, 1, 5);
        cluster.put(0, 2, 50);
        cluster.put(0, 3, 5);
        cluster.put(2, 3, 5);
        cluster.put(1, 4, 5);
        purged(&cluster, 2, 10);
        for i in doubtful {
            cluster.nodes[*i].store.doubtful.store(true, Ordering::Relaxed);
        }
        for i in doubtful {
            let done = resync(&cluster, *i);
            assert_eq!(done.peers, 2);
        }
        for i in doubtful {
            cluster.nodes[*i].store.doubtful.store(false, Ordering::Relaxed);
        }
        for node in &cluster.nodes {
            assert!(run(node.repairer.run_once(&RepairScope::default(), &|_| {})).is_complete());
        }
        for i in 0..3 {
            let live = cluster.contents(i).into_iter().filter(|(_, record)| !record.is_tombstone());
            let keys: BTreeSet<u8> = live.map(|((_, key), _)| key.as_bytes()[3]).collect();
            // Key 4 was at the second one alone: if that one is in doubt too, its client may have dated it back.
            assert_eq!(keys.into_iter().collect::<Vec<_>>(), [2, 3, 4], "node {i}, {second_is_doubtful}");
        }
        assert_eq!(cluster.contents(2).len(), 3, "no deletion travels");
    }
}

#[test]
fn copies_that_all_lost_data_keep_what_any_of_them_has() {
    let cluster = Cluster::new(3, 3);
    for i in 0..3 {
        cluster.put(i, i as u32, 5);
        purged(&cluster, i, 10);
        cluster.nodes[i].store.doubtful.store(true, Ordering::Relaxed);
    }
    for i in 0..3 {
        assert_eq!(resync(&cluster, i).deleted, 0);
        cluster.nodes[i].store.doubtful.store(false, Ordering::Relaxed);
    }
    for node in &cluster.nodes {
        run(node.repairer.run_once(&RepairScope::default(), &|_| {}));
    }
    assert_eq!(cluster.contents(0).len(), 3);
    assert!(cluster.contents(0) == cluster.contents(1) && cluster.contents(1) == cluster.contents(2));
}

#[test]
fn data_is_not_back_before_every_owner_was_asked() {
    let cluster = Cluster::new(3, 3);
    cluster.set_down(2);
    assert!(run(cluster.nodes[0].repairer.resync(TABLE, &[TokenRange::ALL])).is_err());
}

#[test]
fn a_copy_that_lost_data_takes_what_is_handed_over() {
    // The first node loses ranges; all heirs have lost data of them.
    let mut cluster = Cluster::new(4, 3);
    (0..600).for_each(|k| cluster.put(0, k, 1));
    cluster.grow(&[0, 1, 2, 3]);
    cluster.nodes[1..].iter().for_each(|node| node.store.doubtful.store(true, Ordering::Relaxed));
    let progress = cluster.sync(0).unwrap();
    assert!(progress.waiting_for.is_empty(), "{progress:?}");
}

#[test]
fn repair_sends_only_what_differs() {
    let cluster = Cluster::new(3, 3);
    for k in 0..2000 {
        cluster.put(0, k, 1);
        cluster.put(1, k, 1);
    }
    for k in 0..10 {
        cluster.put(0, k * 100, 2);
        cluster.put(1, k * 100 + 1, 2);
    }
    let scope = RepairScope { peer: Some(host(1)), ..RepairScope::default() };
    let total = run(cluster.nodes[0].repairer.run_once(&scope, &|_| {})).total();
    // 20 records differ. Digests do not tell which side is older, so the asker fetches all of them and
    // sends back those that the merge left different.
    assert_eq!((total.outcome.records_sent, total.outcome.records_received), (10, 20));
    assert!(cluster.contents(0) == cluster.contents(1));
}

#[test]
fn a_peer_that_cannot_be_reached_is_reported() {
    let cluster = Cluster::new(3, 3);
    cluster.set_down(2);
    let report = run(cluster.nodes[0].repairer.run_once(&RepairScope::default(), &|_| {}));
    assert!(!report.is_complete());
    assert_eq!(report.pairs.iter().filter(|p| matches!(p.result, Some(Ok(_)))).count(), 1);
    let scope = RepairScope { keyspace: Some("other".to_owned()), ..RepairScope::default() };
    assert!(run(cluster.nodes[0].repairer.run_once(&scope, &|_| {})).pairs.is_empty());
}

#[test]
fn with_healing_off_nothing_is_compared() {
    let cluster = Cluster::new(3, 3);
    cluster.write_at_majorities(10);
    cluster.runtime.healing_off.store(true, Ordering::Relaxed);
    let before = cluster.contents(1);
    run(cluster.nodes[0].repairer.run_once(&RepairScope::default(), &|_| {}));
    assert_eq!(cluster.net.calls.load(Ordering::Relaxed), 0);
    assert!(cluster.contents(1) == before);
}

#[test]
fn a_new_node_gets_every_write_that_a_majority_has() {
    let mut cluster = Cluster::new(5, 4);
    cluster.write_at_majorities(2000);
    cluster.grow(&[0, 1, 2, 3, 4]);
    let progress = cluster.sync(4).unwrap();
    assert!(progress.ranges > 0 && progress.ranges == progress.ranges_done);
    cluster.assert_whole(4, 2000);
    // An interrupted transfer that is repeated finds nothing to fetch.
    assert_eq!(cluster.sync(4).unwrap().outcome.records_received, 0);
    // Nodes that gained nothing are done at once.
    assert_eq!(cluster.sync(0).map(|p| p.outcome.records_received), Ok(0));
}

#[test]
fn one_owner_of_three_may_be_down() {
    let mut cluster = Cluster::new(4, 3);
    cluster.write_at_majorities(600);
    cluster.grow(&[0, 1, 2, 3]);
    cluster.set_down(1);
    cluster.sync(3).unwrap();
    cluster.assert_whole(3, 600);
}

#[test]
fn a_second_owner_that_is_down_is_waited_for() {
    let mut cluster = Cluster::new(4, 3);
    cluster.write_at_majorities(600);
    cluster.grow(&[0, 1, 2, 3]);
    cluster.set_down(1);
    cluster.set_down(2);
    let net = Arc::clone(&cluster.net);
    let back = move || {
        net.down.lock().remove(&address(2));
    };
    cluster.runtime.at.lock().insert(20, Box::new(back));
    cluster.sync(3).unwrap();
    assert!(cluster.runtime.sleeps.load(Ordering::Relaxed) >= 20);
    cluster.assert_whole(3, 600);
}

#[test]
fn an_owner_that_does_not_know_the_layout_is_waited_for() {
    let mut cluster = Cluster::new(4, 3);
    cluster.write_at_majorities(600);
    cluster.grow(&[0, 3]);
    let late = Arc::clone(&cluster.nodes[1].views);
    let newer = view(1, &cluster.layouts, &cluster.schema, 4);
    cluster.runtime.at.lock().insert(20, Box::new(move || late.set(newer)));
    let progress = cluster.sync(3).unwrap();
    assert!(cluster.runtime.sleeps.load(Ordering::Relaxed) >= 20);
    assert!(progress.waiting_for.is_empty());
    cluster.assert_whole(3, 600);
}

#[test]
fn a_table_that_only_the_owners_know_is_waited_for() {
    let mut cluster = Cluster::new(4, 3);
    cluster.grow(&[3]);
    cluster.write_at_majorities(100);
    cluster.schema = schema(&[TABLE, TableId(8)]);
    for i in 0..3 {
        cluster.learn(i);
    }
    let mine = Arc::clone(&cluster.nodes[3].views);
    let newer = view(3, &cluster.layouts, &cluster.schema, 4);
    cluster.runtime.at.lock().insert(20, Box::new(move || mine.set(newer)));
    cluster.sync(3).unwrap();
    assert!(cluster.runtime.sleeps.load(Ordering::Relaxed) >= 20);
}

#[test]
fn of_two_layouts_of_one_version_the_one_asked_for_is_synced() {
    // Which of the two has the higher digest depends on the members.
    for nodes in 5..9 {
        let mut cluster = Cluster::new(nodes, 3);
        cluster.write_at_majorities(600);
        cluster.grow(&[]);
        cluster.propose_again();
        cluster.sync(nodes - 1).unwrap();
        cluster.assert_whole(nodes - 1, 600);
    }
}

#[test]
fn what_only_a_node_that_loses_it_has_is_handed_over() {
    let mut cluster = Cluster::new(4, 3);
    // As writes at ONE leave them when the other owners cannot be reached.
    (0..600).for_each(|k| cluster.put(0, k, 1));
    cluster.grow(&[0, 1, 2, 3]);
    cluster.set_down(0);
    cluster.sync(3).unwrap();
    assert!(cluster.contents(3).is_empty());
    cluster.net.down.lock().clear();
    cluster.sync(0).unwrap();
    let mut lost = 0;
    for (place, _) in cluster.contents(0) {
        let owners = cluster.owners(1, place.0);
        if !owners.contains(&host(0)) {
            let held = (1..4).filter(|i| cluster.contents(*i).contains_key(&place));
            assert!(held.map(host).any(|holder| owners.contains(&holder)), "{place:?}");
            lost += 1;
        }
    }
    assert!(lost > 50, "{lost}");
    // Nothing travels twice.
    let bytes = cluster.net.bytes.load(Ordering::Relaxed);
    cluster.sync(0).unwrap();
    assert!(cluster.net.bytes.load(Ordering::Relaxed) - bytes < 2000);
}

#[test]
fn a_layout_that_is_not_active_is_not_synced() {
    let mut cluster = Cluster::new(4, 3);
    cluster.grow(&[]);
    assert_eq!(cluster.sync(3), Err(TransferError::Superseded(3)));
}

#[test]
fn the_schedule_makes_all_replicas_equal() {
    let cluster = Cluster::new(3, 3);
    cluster.write_at_majorities(500);
    for pass in 1..=2 {
        for node in &cluster.nodes {
            cluster.runtime.sleeps.store(0, Ordering::Relaxed);
            cluster.runtime.stops_after.store(12, Ordering::Relaxed);
            let mut schedule = std::pin::pin!(Arc::clone(&node.repairer).run());
            assert!(
                schedule.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(),
                "pass {pass}"
            );
        }
    }
    assert_eq!(cluster.contents(0).len(), 500);
    assert!(cluster.contents(0) == cluster.contents(1) && cluster.contents(1) == cluster.contents(2));
}

#[test]
fn a_write_that_a_new_layout_overtakes_is_not_acknowledged() {
    let mut cluster = Cluster::new(4, 3);
    let key = Key::new("k").unwrap();
    let token = cluster.layouts[0].token(&key);
    let value = Value { written: Micros(5), expires: None, data: None };
    let merge = MergeRequest {
        table: TABLE,
        token,
        key,
        record: Record::Latest(Latest { host: host(0), value }),
        durability: Durability::Synced,
        reason: MergeReason::Write,
        identified: None,
    };
    let envelope = Envelope {
        from: host(0),
        fence: cluster.nodes[0].views.peek().fence,
        request: Request::Merge(merge),
    };
    let replica = cluster.net.replicas.lock()[&address(1)].clone();
    assert_eq!(run(replica.handle(envelope.clone(), Duration::from_secs(1))), Response::Merged);
    cluster.grow(&[]);
    let views = Arc::clone(&cluster.nodes[1].views);
    let newer = view(1, &cluster.layouts, &cluster.schema, 4);
    *cluster.nodes[1].store.during_merge.lock() = Some(Box::new(move || views.set(newer)));
    let answer = run(replica.handle(envelope, Duration::from_secs(1)));
    assert!(matches!(answer, Response::Refused(Refusal::StaleLayout(_))), "{answer:?}");
}
