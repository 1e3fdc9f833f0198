//! Properties of states, deltas and messages under arbitrary order, loss and size.

#![allow(clippy::unwrap_used)] // Helpers outside test functions are tests too.

mod support;

use dunlin_gossip::state::NodeState;
use dunlin_gossip::{Delta, Digest, Gossip, NodeDelta, Refusal, key};
use dunlin_types::{Generation, Mono};
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::*;

const NOW: Mono = Mono(1_000_000_000);
const NAMES: [&str; 4] = [key::LOAD, key::STATUS, key::RACK, key::VERSION];

/// What one node did: a change, or (if the name is out of range) a restart.
fn history() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0..NAMES.len() + 1, any::<u8>()), 1..20)
}

/// The node after each step.
fn replay(history: &[(usize, u8)]) -> Vec<NodeState> {
    let mut state = NodeState::new(Generation(1));
    let mut states = Vec::new();
    for &(name, value) in history {
        match NAMES.get(name) {
            Some(name) => {
                state.set(name, vec![value; 10].into());
            }
            None => state = NodeState::new(Generation(state.generation().0 + 1)),
        }
        state.beat();
        states.push(state.clone());
    }
    states
}

/// An observer that is told single deltas by the node itself.
fn told(observer: &mut Gossip, delta: NodeDelta) {
    let header = dunlin_gossip::Header {
        cluster: None,
        cluster_name: "test".to_owned(),
        from: delta.host,
        generation: delta.generation,
        heartbeat: delta.heartbeat,
    };
    let ack = dunlin_gossip::Ack { header, delta: Delta { nodes: vec![delta] } };
    observer.handle_ack(ack, NOW).unwrap();
}

type Rank = (Generation, u64, u64, BTreeMap<String, u64>);

fn rank(state: &NodeState) -> Rank {
    let versions = state.values().iter().map(|(name, v)| (name.clone(), v.version)).collect();
    (state.generation(), state.version(), state.heartbeat(), versions)
}

/// Not older in any respect.
fn covers(new: &Rank, old: &Rank) -> bool {
    new.0 > old.0
        || (new.0 == old.0
            && new.1 >= old.1
            && new.2 >= old.2
            && old.3.iter().all(|(name, version)| new.3.get(name) >= Some(version)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_delta_never_regresses_state(
        history in history(),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0u64..12, 0usize..200), 1..40),
    ) {
        let states = replay(&history);
        let mut observer = gossip(0, 1, NOW);
        let mut before: Option<Rank> = None;
        for (at, after, bytes) in steps {
            told(&mut observer, at.get(&states).since(host(1), after, bytes));
            let now = observer.state(host(1)).map(rank);
            if let (Some(old), Some(new)) = (&before, &now) {
                prop_assert!(covers(new, old), "{old:?} -> {new:?}");
            }
            prop_assert!(before.is_none() || now.is_some());
            before = now;
        }
        // Whatever came before, one whole exchange brings the observer up to date.
        let last = states.last().unwrap();
        let digest = observer.syn().digest;
        let delta = Delta::for_digest(&digest, [(host(1), last)].into_iter(), host(1), 1 << 20);
        for node in delta.nodes {
            told(&mut observer, node);
        }
        prop_assert_eq!(observer.state(host(1)).unwrap().values(), last.values());
    }

    #[test]
    fn whole_states_in_any_order_end_equal(
        history in history(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        seed in any::<u64>(),
    ) {
        let states = replay(&history);
        let mut one = gossip(0, 1, NOW);
        for state in &states {
            told(&mut one, state.since(host(1), 0, usize::MAX));
        }
        let mut other = gossip(0, 1, NOW);
        let mut shuffled: Vec<&NodeState> = order.iter().map(|i| i.get(&states)).chain(&states).collect();
        let rng = Seeded::new(seed);
        for i in (1..shuffled.len()).rev() {
            use dunlin_types::runtime::Rng;
            shuffled.swap(i, rng.below(i as u64 + 1) as usize);
        }
        for state in shuffled {
            told(&mut other, state.since(host(1), 0, usize::MAX));
        }
        prop_assert_eq!(one.state(host(1)), other.state(host(1)));
        prop_assert_eq!(one.state(host(1)).unwrap(), states.last().unwrap());
    }

    #[test]
    fn small_deltas_arrive_whole_in_the_end(history in history(), bytes in 0usize..300) {
        let states = replay(&history);
        let last = states.last().unwrap();
        let mut observer = gossip(0, 1, NOW);
        for _ in 0..=NAMES.len() {
            let digest = observer.syn().digest;
            let delta = Delta::for_digest(&digest, [(host(1), last)].into_iter(), host(1), bytes);
            let size: usize = delta.nodes.iter().map(NodeDelta::bytes).sum();
            prop_assert!(size <= bytes.max(100), "{size} bytes for {bytes}");
            for node in delta.nodes {
                told(&mut observer, node);
            }
        }
        prop_assert_eq!(observer.state(host(1)).unwrap(), last);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_exchanges_converge(count in 2usize..=50, seed in any::<u64>()) {
        let mut cluster = Cluster::new(count, seed);
        for i in 0..count {
            cluster.nodes[i].set(key::LOAD, i.to_string());
        }
        cluster.rounds(4 + 2 * count.next_power_of_two().trailing_zeros() as usize);
        for i in 0..count {
            for j in 0..count {
                prop_assert_eq!(cluster.nodes[i].text(host(j), key::LOAD), Some(j.to_string()));
            }
        }
    }
}

#[test]
fn messages_over_a_bound_are_refused_whole() {
    let mut observer = gossip(0, 1, NOW);
    let peer = gossip(1, 1, NOW);
    let mut syn = peer.syn();
    syn.digest.nodes.push(syn.digest.nodes[0]);
    assert!(matches!(observer.handle_syn(syn, NOW), Err(Refusal::Malformed(_))));
    let mut syn = peer.syn();
    syn.header.cluster_name = "x".repeat(key::CLUSTER_NAME_BYTES_MAX + 1);
    assert!(matches!(observer.handle_syn(syn, NOW), Err(Refusal::Malformed(_))));

    let bad_values: [Vec<(String, u64, bytes::Bytes)>; 5] = [
        vec![("a".to_owned(), 2, "x".into()), ("b".to_owned(), 2, "x".into())],
        vec![("a".to_owned(), 0, "x".into())],
        vec![("a".to_owned(), u64::MAX, "x".into())],
        vec![("a".repeat(key::KEY_BYTES_MAX + 1), 1, "x".into())],
        vec![("a".to_owned(), 1, vec![0; key::VALUE_BYTES_MAX + 1].into())],
    ];
    for values in bad_values {
        let mut ack = peer_ack(&peer);
        ack.delta.nodes[0].values = values;
        assert!(matches!(observer.handle_ack(ack, NOW), Err(Refusal::Malformed(_))));
        assert!(observer.state(host(1)).is_none());
    }
    observer.handle_ack(peer_ack(&peer), NOW).unwrap();
    assert!(observer.is_up(host(1)));
}

fn peer_ack(peer: &Gossip) -> dunlin_gossip::Ack {
    let state = peer.state(peer.me()).unwrap();
    let delta = Delta::for_digest(&Digest::default(), [(peer.me(), state)].into_iter(), peer.me(), 1 << 20);
    dunlin_gossip::Ack { header: peer.header(), delta }
}
