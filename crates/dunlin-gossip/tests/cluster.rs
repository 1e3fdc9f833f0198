//! Whole groups of state machines: forming, spreading, death, return, splits.

mod support;

use dunlin_gossip::{Event, Refusal, key};
use dunlin_types::{ClusterId, Generation};
use std::time::Duration;
use support::*;

fn log2_ceil(n: usize) -> usize {
    n.next_power_of_two().trailing_zeros() as usize
}

#[test]
fn three_nodes_form_in_a_few_rounds() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(3, seed);
        let rounds = cluster.until(10, |c| c.all_see(&[0, 1, 2]));
        assert!(rounds <= 4, "{rounds} rounds with seed {seed}");
    }
}

#[test]
fn groups_form_and_news_spreads_in_logarithmic_time() {
    for (count, seed) in [(2, 1), (5, 2), (10, 3), (20, 4), (35, 5), (50, 6), (50, 7)] {
        let mut cluster = Cluster::new(count, seed);
        let everyone: Vec<usize> = (0..count).collect();
        let forming = cluster.until(60, |c| c.all_see(&everyone));
        assert!(forming <= 4 + 2 * log2_ceil(count), "{count} nodes formed in {forming} rounds");
        cluster.rounds(20);
        for round in 0..10 {
            let from = round % count;
            assert!(cluster.nodes[from].set(key::LOAD, round.to_string()));
            let spread = cluster.until(60, |c| {
                c.nodes.iter().all(|n| n.text(host(from), key::LOAD) == Some(round.to_string()))
            });
            assert!(spread <= 1 + log2_ceil(count), "{count} nodes heard after {spread} rounds");
        }
        assert!((0..count).all(|i| cluster.downs(i) == 0), "false alarms among {count} nodes");
    }
}

#[test]
fn a_killed_node_is_convicted_in_three_to_five_seconds_and_comes_back() {
    for (count, seed) in [(3, 1), (5, 2), (20, 3)] {
        let mut cluster = Cluster::new(count, seed);
        cluster.rounds(100);
        cluster.running[2] = false;
        let others: Vec<usize> = (0..count).filter(|&i| i != 2).collect();
        let rounds = cluster.until(40, |c| c.all_see(&others));
        assert!((15..=26).contains(&rounds), "{rounds} rounds of 200 ms among {count}");
        cluster.rounds(50);
        assert!((0..count).all(|i| i == 2 || cluster.downs(i) == 1), "down once, never up by late gossip");

        cluster.nodes[2] = gossip(2, 11, cluster.now);
        cluster.running[2] = true;
        cluster.until(15, |c| c.all_see(&(0..count).collect::<Vec<_>>()));
        assert!(cluster.events[0].contains(&Event::Restarted(host(2))));
        assert_eq!(cluster.nodes[0].state(host(2)).unwrap().generation(), Generation(11));
    }
}

#[test]
fn jitter_of_a_noisy_machine_alarms_nobody() {
    for seed in 0..5 {
        let mut cluster = Cluster::new(5, seed);
        let jitter = Seeded::new(seed + 100);
        for _ in 0..500 {
            use dunlin_types::runtime::Rng;
            let ms = if jitter.below(20) == 0 { 200 + jitter.below(1500) } else { 150 + jitter.below(300) };
            cluster.round_after(Duration::from_millis(ms));
        }
        assert!((0..5).all(|i| cluster.downs(i) == 0), "seed {seed}");
    }
}

#[test]
fn a_clean_stop_is_seen_at_once_and_lasts_for_that_start() {
    let mut cluster = Cluster::new(4, 9);
    cluster.rounds(20);
    let farewell = cluster.nodes[3].farewell();
    cluster.running[3] = false;
    let now = cluster.now;
    cluster.nodes[0].handle_ack(farewell.clone(), now).unwrap();
    assert!(!cluster.nodes[0].is_up(host(3)));
    let rounds = cluster.until(10, |c| c.all_see(&[0, 1, 2]));
    assert!(rounds <= 3, "the others hear within {rounds} rounds");
    cluster.nodes[0].handle_ack(farewell, now).unwrap();
    cluster.rounds(20);
    assert!(cluster.all_see(&[0, 1, 2]));

    cluster.nodes[3] = gossip(3, 11, cluster.now);
    cluster.running[3] = true;
    cluster.until(10, |c| c.all_see(&[0, 1, 2, 3]));
}

#[test]
fn a_split_is_seen_on_both_sides_and_heals() {
    let mut cluster = Cluster::new(6, 4);
    cluster.rounds(50);
    cluster.side = vec![0, 0, 0, 0, 1, 1];
    cluster.until(40, |c| c.all_see(&[0, 1, 2, 3]) && c.all_see(&[4, 5]));
    cluster.nodes[5].set(key::LOAD, "7");
    cluster.rounds(100);
    cluster.side = vec![0; 6];
    cluster.until(15, |c| c.all_see(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(cluster.nodes[0].text(host(5), key::LOAD).as_deref(), Some("7"));
}

#[test]
fn own_pause_convicts_nobody() {
    let mut cluster = Cluster::new(3, 5);
    cluster.rounds(50);
    // Node 0 stands still for a minute of the others' life; they convict it.
    cluster.running[0] = false;
    cluster.rounds(300);
    cluster.running[0] = true;
    cluster.rounds(5);
    assert_eq!(cluster.downs(0), 0, "{:?}", cluster.events[0]);
    assert!(cluster.all_see(&[0, 1, 2]));
    // A peer that died meanwhile is still found out.
    cluster.running[0] = false;
    cluster.running[1] = false;
    cluster.rounds(100);
    cluster.running[0] = true;
    let rounds = cluster.until(40, |c| c.all_see(&[0, 2]));
    assert!(rounds <= 26, "{rounds}");
}

#[test]
fn a_clock_that_stands_still_convicts_nobody_and_its_jump_neither() {
    let mut cluster = Cluster::new(3, 6);
    cluster.rounds(50);
    for _ in 0..50 {
        cluster.round_after(Duration::ZERO);
    }
    cluster.round_after(Duration::from_secs(30));
    cluster.rounds(30);
    assert!((0..3).all(|i| cluster.downs(i) == 0));
}

#[test]
fn nodes_that_only_hear_of_one_another_are_up() {
    // 0 and 2 exchange with 1 only.
    let mut cluster = Cluster::new(3, 8);
    for _ in 0..100 {
        cluster.now = cluster.now.after(Duration::from_millis(200));
        for i in 0..3 {
            let now = cluster.now;
            cluster.nodes[i].tick(now, &cluster.rng);
        }
        cluster.exchange(0, 1);
        cluster.exchange(2, 1);
    }
    assert!(cluster.all_see(&[0, 1, 2]));
    assert!((0..3).all(|i| cluster.downs(i) == 0));
}

#[test]
fn a_dead_node_told_of_by_others_is_not_up() {
    let mut cluster = Cluster::new(3, 8);
    cluster.running[2] = false;
    cluster.rounds(20);
    cluster.running[2] = true;
    cluster.exchange(2, 1);
    cluster.running[2] = false;
    cluster.exchange(0, 1);
    assert!(cluster.nodes[1].is_up(host(2)) && !cluster.nodes[0].is_up(host(2)));
    cluster.rounds(30);
    assert!(!cluster.events[0].contains(&Event::Up(host(2))));
}

#[test]
fn late_gossip_of_an_earlier_start_is_ignored() {
    let mut cluster = Cluster::new(2, 1);
    cluster.rounds(5);
    let now = cluster.now;
    cluster.nodes[1].set(key::LOAD, "old");
    let old = cluster.nodes[1].farewell();
    cluster.nodes[1] = gossip(1, 11, now);
    cluster.nodes[1].set(key::LOAD, "new");
    cluster.rounds(3);
    cluster.nodes[0].handle_ack(old, now).unwrap();
    assert!(cluster.nodes[0].is_up(host(1)));
    assert_eq!(cluster.nodes[0].text(host(1), key::LOAD).as_deref(), Some("new"));
}

#[test]
fn other_clusters_and_own_messages_are_refused() {
    let now = dunlin_types::Mono(0);
    let mut a = gossip(0, 1, now);
    let mut b = gossip(1, 1, now);
    let mut other_name = config(2);
    other_name.cluster_name = "else".to_owned();
    let other = dunlin_gossip::Gossip::new(other_name, host(2), Generation(1), now);
    assert!(matches!(a.handle_syn(other.syn(), now), Err(Refusal::OtherName { .. })));

    a.set_cluster(ClusterId([1; 16]));
    assert!(a.handle_syn(b.syn(), now).is_ok(), "a node without a cluster may ask");
    b.set_cluster(ClusterId([2; 16]));
    assert!(matches!(a.handle_syn(b.syn(), now), Err(Refusal::OtherCluster { .. })));
    assert!(matches!(b.handle_syn(a.syn(), now), Err(Refusal::OtherCluster { .. })));

    let own = a.syn();
    assert_eq!(a.handle_syn(own, now), Err(Refusal::Myself));
    assert_eq!(a.take_events(), vec![]);
    let copy = gossip(0, 2, now);
    assert_eq!(a.handle_syn(copy.syn(), now), Err(Refusal::Myself));
    assert_eq!(a.take_events(), vec![Event::Superseded(Generation(2))]);
}

#[test]
fn a_data_directory_that_was_put_back_is_told_from_a_restart() {
    let now = dunlin_types::Mono(0);
    let check = |known: u64, expected: &[Event]| {
        let mut b = gossip(1, 1, now);
        let mut a = gossip(0, known, now);
        let answer = b.handle_syn(a.syn(), now).unwrap();
        b.handle_ack(a.handle_syn_ack(answer, now).unwrap(), now).unwrap();
        let mut a = gossip(0, 9, now);
        a.continues(Generation(5));
        a.handle_syn(b.syn(), now).unwrap();
        let events: Vec<Event> = a
            .take_events()
            .into_iter()
            .filter(|e| matches!(e, Event::PutBack(_) | Event::Superseded(_)))
            .collect();
        assert_eq!(events, expected, "others know generation {known}");
    };
    check(4, &[]);
    check(5, &[]);
    check(7, &[Event::PutBack(Generation(7))]);
    check(9, &[]);
}

#[test]
fn a_node_between_clusters_carries_nobody_over() {
    let now = dunlin_types::Mono(0);
    let (id_a, id_b) = (ClusterId([1; 16]), ClusterId([2; 16]));
    let mut a = gossip(0, 1, now);
    let mut b = gossip(1, 1, now);
    let mut new = gossip(2, 1, now);
    a.set_cluster(id_a);
    b.set_cluster(id_b);
    let answer = b.handle_syn(new.syn(), now).unwrap();
    new.handle_syn_ack(answer, now).unwrap();
    let answer = a.handle_syn(new.syn(), now).unwrap();
    let ack = new.handle_syn_ack(answer, now).unwrap();
    a.handle_ack(ack, now).unwrap();
    assert!(a.state(host(1)).is_none() && a.is_up(host(2)));
    new.set_cluster(id_a);
    assert!(new.state(host(1)).is_none() && new.is_up(host(0)));
}

#[test]
fn forgotten_nodes_stay_forgotten_until_they_start_again() {
    let mut cluster = Cluster::new(3, 3);
    cluster.rounds(10);
    cluster.running[2] = false;
    cluster.nodes[0].forget(host(2));
    cluster.rounds(10);
    assert!(cluster.nodes[0].state(host(2)).is_none());
    cluster.nodes[2] = gossip(2, 11, cluster.now);
    cluster.running[2] = true;
    cluster.until(10, |c| c.all_see(&[0, 1, 2]));
}
