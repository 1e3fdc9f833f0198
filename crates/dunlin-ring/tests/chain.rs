//! The chain of layouts: scenarios, laws of merge, random histories that must settle.
#![allow(clippy::unwrap_used)] // helpers outside test functions too

mod ring;

use dunlin_ring::{LayoutChain, StageError, StagedChange};
use dunlin_types::HostId;
use dunlin_types::schema::Replication;
use proptest::prelude::*;
use ring::{found, grow, member};
use std::collections::BTreeSet;

const THREE: Replication = Replication::Simple(3);

/// A few nodes; every call does what a live node's loop would.
struct Cluster {
    hosts: Vec<HostId>,
    chains: Vec<LayoutChain>,
    down: BTreeSet<usize>,
}

impl Cluster {
    /// `members` of the nodes are members, the others know the chain.
    fn new(nodes: u64, members: u64) -> Cluster {
        let first = found(16);
        let chain = LayoutChain::found(if members > 1 { grow(&first, 2..=members) } else { first });
        Cluster {
            hosts: (1..=nodes).map(|n| member(n).host).collect(),
            chains: vec![chain; nodes as usize],
            down: BTreeSet::new(),
        }
    }

    fn join(&mut self, node: usize) {
        let joining = member(node as u64 + 1);
        self.chains[node].stage(self.hosts[node], self.hosts[node], StagedChange::Join(joining)).unwrap();
    }

    fn live(&self) -> BTreeSet<HostId> {
        (0..self.hosts.len()).filter(|n| !self.down.contains(n)).map(|n| self.hosts[n]).collect()
    }

    /// One step of one node alone; the answer is whether it changed anything.
    fn step(&mut self, node: usize, live: &BTreeSet<HostId>) -> bool {
        let me = self.hosts[node];
        let chain = &mut self.chains[node];
        let mut changed = chain.propose(me, live) | chain.acknowledge(me);
        if chain.pending_for(me, &THREE).is_some() {
            let digest = chain.to_sync(me).unwrap().digest();
            changed |= chain.set_synced(me, &digest);
        }
        changed | chain.advance(me)
    }

    fn meet(&mut self, a: usize, b: usize) -> bool {
        let theirs = self.chains[a].clone();
        let changed = self.chains[b].merge(&theirs);
        let mine = self.chains[b].clone();
        self.chains[a].merge(&mine) | changed
    }

    /// Lets all live nodes talk and work until nothing changes. Panics if that takes long.
    fn settle(&mut self) {
        let nodes: Vec<usize> = (0..self.hosts.len()).filter(|n| !self.down.contains(n)).collect();
        let live = self.live();
        for _ in 0..200 {
            let mut changed = false;
            for &a in &nodes {
                changed |= self.step(a, &live);
                for &b in nodes.iter().filter(|&&b| b != a) {
                    changed |= self.meet(a, b);
                }
            }
            if !changed {
                return;
            }
        }
        panic!("the chain does not settle: {:#?}", self.chains[0]);
    }

    /// All live nodes agree on a completed layout of these nodes.
    fn assert_members(&self, nodes: &[usize]) {
        let expected: BTreeSet<HostId> = nodes.iter().map(|&n| self.hosts[n]).collect();
        for node in (0..self.hosts.len()).filter(|n| !self.down.contains(n)) {
            let chain = &self.chains[node];
            assert!(!chain.in_transition(), "node {node}: {chain:#?}");
            let members: BTreeSet<HostId> = chain.completed().members.iter().map(|m| m.host).collect();
            assert_eq!(members, expected, "node {node}");
            assert_eq!(chain.digest(), self.chains[nodes[0]].digest());
        }
    }
}

#[test]
fn many_nodes_join_in_one_step() {
    let mut cluster = Cluster::new(5, 1);
    (1..5).for_each(|n| cluster.join(n));
    for node in 1..5 {
        cluster.meet(0, node);
    }
    cluster.settle();
    cluster.assert_members(&[0, 1, 2, 3, 4]);
    assert_eq!(cluster.chains[0].completed().version, 2);
}

#[test]
fn writes_go_to_both_layouts_until_all_have_synced() {
    let mut cluster = Cluster::new(2, 1);
    cluster.join(1);
    cluster.meet(0, 1);
    let (live, [me, joining]) = (cluster.live(), [cluster.hosts[0], cluster.hosts[1]]);
    assert!(cluster.chains[0].propose(me, &live));
    assert!(!cluster.chains[0].propose(me, &live), "one change at a time");
    assert_eq!(cluster.chains[0].write_layouts().len(), 2);
    assert!(cluster.chains[0].acknowledge(me));
    assert_eq!(cluster.chains[0].pending_for(me, &THREE), None, "the other has not acknowledged");
    cluster.meet(0, 1);
    assert!(cluster.chains[1].must_acknowledge(joining) && cluster.chains[1].acknowledge(joining));
    let moves = cluster.chains[1].pending_for(joining, &THREE).unwrap();
    assert_eq!(moves.len(), 16, "a copy of everything");
    assert!(moves.iter().all(|m| m.from == [me] && m.to == joining));
    let digest = cluster.chains[1].newest().digest();
    assert!(cluster.chains[1].set_synced(joining, &digest));
    assert!(!cluster.chains[1].advance(joining), "the founder has not said that it synced");
    assert_eq!(cluster.chains[1].read_layout(joining).version, 1);
    cluster.meet(0, 1);
    assert_eq!(cluster.chains[0].pending_for(me, &THREE), Some(Vec::new()));
    assert!(cluster.chains[0].set_synced(me, &digest) && cluster.chains[0].advance(me));
    assert_eq!(cluster.chains[0].read_layout(me).version, 2);
    assert_eq!(cluster.chains[0].write_layouts().len(), 2, "the other may read from the old one");
    cluster.settle();
    cluster.assert_members(&[0, 1]);
    assert_eq!(cluster.chains[0].write_layouts().len(), 1);
}

#[test]
fn a_joining_node_that_dies_can_be_aborted_and_come_back() {
    let mut cluster = Cluster::new(4, 3);
    cluster.join(3);
    cluster.meet(0, 3);
    cluster.step(0, &cluster.live());
    cluster.step(2, &cluster.live());
    let live = cluster.live();
    for node in 0..3 {
        cluster.meet(3, node);
        cluster.step(node, &live);
    }
    assert!(cluster.chains.iter().any(LayoutChain::in_transition));
    cluster.down.insert(3);
    cluster.settle();
    assert!(cluster.chains[0].in_transition(), "it waits for the joining node");
    let (by, joining) = (cluster.hosts[1], cluster.hosts[3]);
    assert_eq!(cluster.chains[1].abort(by, by), Err(StageError::NothingStaged(by)));
    assert_eq!(cluster.chains[1].abort(by, joining), Ok(true));
    cluster.settle();
    cluster.assert_members(&[0, 1, 2]);
    cluster.down.clear();
    cluster.settle();
    cluster.assert_members(&[0, 1, 2]);
    cluster.join(3);
    cluster.settle();
    cluster.assert_members(&[0, 1, 2, 3]);
}

#[test]
fn a_dead_node_is_removed_also_in_the_middle_of_a_change() {
    let mut cluster = Cluster::new(4, 3);
    cluster.down.insert(2);
    cluster.join(3);
    cluster.settle();
    assert!(cluster.chains[0].in_transition(), "it waits for the dead member");
    let by = cluster.hosts[0];
    assert_eq!(cluster.chains[0].stage(by, cluster.hosts[2], StagedChange::Remove), Ok(true));
    cluster.settle();
    cluster.assert_members(&[0, 1, 3]);
    assert!(!cluster.chains[0].accepts(cluster.hosts[2]));
    cluster.down.clear();
    cluster.settle();
    cluster.assert_members(&[0, 1, 3]);
}

#[test]
fn a_member_that_dies_before_it_commits_does_not_hold_up_the_layout_once_it_is_removed() {
    let mut cluster = Cluster::new(4, 3);
    cluster.join(3);
    let live = cluster.live();
    let committed = |cluster: &Cluster, node: usize| {
        let chain = &cluster.chains[node];
        chain.read_layout(cluster.hosts[node]).contains(cluster.hosts[3])
    };
    // Node 2 says that it has synced, and is not heard of again.
    let synced = |cluster: &Cluster, node: usize| {
        cluster.chains[node].in_transition() && cluster.chains[node].to_sync(cluster.hosts[node]).is_none()
    };
    'steps: for _ in 0..100 {
        for node in 0..4 {
            if node != 2 || !synced(&cluster, 2) || cluster.chains[2].must_acknowledge(cluster.hosts[2]) {
                cluster.step(node, &live);
            }
            for other in (0..4).filter(|other| *other != node) {
                cluster.meet(node, other);
            }
            if (0..4).all(|node| node == 2 || committed(&cluster, node)) {
                break 'steps;
            }
        }
    }
    assert!((0..4).all(|node| committed(&cluster, node) == (node != 2)));
    cluster.down.insert(2);
    cluster.settle();
    assert!(cluster.chains[0].in_transition(), "without an operator's word everybody waits for it");
    let (by, gone) = (cluster.hosts[1], cluster.hosts[2]);
    cluster.chains[1].stage(by, gone, StagedChange::Remove).unwrap();
    cluster.settle();
    for node in [0, 1, 3] {
        let chain = &cluster.chains[node];
        assert!(!chain.in_transition() && !chain.completed().contains(gone));
        assert!(chain.completed().contains(cluster.hosts[3]));
    }
}

#[test]
fn a_node_leaves_and_can_be_kept() {
    let mut cluster = Cluster::new(3, 3);
    let leaving = cluster.hosts[1];
    cluster.chains[1].stage(leaving, leaving, StagedChange::Leave).unwrap();
    cluster.settle();
    cluster.assert_members(&[0, 2]);
    let mut cluster = Cluster::new(3, 3);
    cluster.chains[1].stage(leaving, leaving, StagedChange::Leave).unwrap();
    cluster.down.insert(2);
    cluster.settle();
    assert!(cluster.chains[0].in_transition());
    cluster.chains[0].abort(cluster.hosts[0], leaving).unwrap();
    cluster.down.clear();
    cluster.settle();
    cluster.assert_members(&[0, 1, 2]);
}

#[test]
fn a_split_completes_one_layout_and_folds_the_others_changes_into_the_next() {
    // Hosts in id order: two sides of a split, one node joining on each.
    let mut cluster = Cluster::new(4, 2);
    cluster.join(2);
    cluster.join(3);
    cluster.meet(0, 2);
    cluster.meet(1, 3);
    for (side, node) in [(0, 0), (0, 2), (1, 1), (1, 3)] {
        let live = [cluster.hosts[side], cluster.hosts[side + 2]].into_iter().collect();
        cluster.step(node, &live);
        cluster.meet(side, side + 2);
        cluster.step(node, &live);
    }
    assert!(cluster.chains[0].in_transition() && cluster.chains[1].in_transition());
    assert_ne!(cluster.chains[0].newest().digest(), cluster.chains[1].newest().digest());
    cluster.settle();
    cluster.assert_members(&[0, 1, 2, 3]);
    assert_eq!(cluster.chains[0].completed().version, 4);
}

#[test]
fn what_cannot_be_staged() {
    let mut cluster = Cluster::new(2, 1);
    let [me, other] = [cluster.hosts[0], cluster.hosts[1]];
    let chain = &mut cluster.chains[0];
    assert_eq!(chain.stage(me, me, StagedChange::Leave), Err(StageError::LastMember(me)));
    assert_eq!(chain.stage(me, other, StagedChange::Remove), Err(StageError::NotMember(other)));
    let mut twin = member(2);
    twin.name = "n1".into();
    let taken = StageError::NameTaken { name: "n1".into(), host: me };
    assert_eq!(chain.stage(me, other, StagedChange::Join(twin)), Err(taken));
    assert_eq!(chain.stage(me, other, StagedChange::Join(member(2))), Ok(true));
    assert_eq!(chain.stage(me, other, StagedChange::Join(member(2))), Ok(false));
    let mut cluster = Cluster::new(2, 2);
    let (lowest, highest) = (*cluster.hosts.iter().min().unwrap(), *cluster.hosts.iter().max().unwrap());
    let chain = &mut cluster.chains[0];
    let refused = StageError::NoMajority { removed: 1, members: 2 };
    assert_eq!(chain.stage(highest, lowest, StagedChange::Remove), Err(refused));
    assert_eq!(chain.stage(highest, lowest, StagedChange::ForceRemove), Ok(true));
}

#[test]
fn removals_that_leave_no_majority_wait() {
    // Each of three removes the next: any two of these together would leave one node alone, and each
    // of the three could then go on without the others.
    let mut cluster = Cluster::new(3, 3);
    for (by, gone) in [(0, 1), (1, 2), (2, 0)] {
        let (by_host, gone) = (cluster.hosts[by], cluster.hosts[gone]);
        assert_eq!(cluster.chains[by].stage(by_host, gone, StagedChange::Remove), Ok(true));
    }
    cluster.meet(0, 1);
    for node in [0, 1] {
        let live = [cluster.hosts[node]].into_iter().collect();
        assert!(!cluster.chains[node].propose(cluster.hosts[node], &live), "node {node} alone");
    }
    cluster.settle();
    cluster.assert_members(&[0, 1, 2]);
    for gone in [1, 2] {
        assert_eq!(cluster.chains[0].abort(cluster.hosts[0], cluster.hosts[gone]), Ok(true));
    }
    cluster.settle();
    cluster.assert_members(&[1, 2]);
}

/// Something that happens at one node.
#[derive(Clone, Debug)]
enum Happening {
    Stage(usize, usize, u8),
    Abort(usize, usize),
    Step(usize, BTreeSet<usize>),
    Hear(usize, usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    let node = 0..5usize;
    prop_oneof![
        1 => (node.clone(), node.clone(), 0..3u8).prop_map(|(a, b, c)| Happening::Stage(a, b, c)),
        1 => (node.clone(), node.clone()).prop_map(|(a, b)| Happening::Abort(a, b)),
        4 => (node.clone(), prop::collection::btree_set(0..5usize, 0..5)).prop_map(|(a, l)| Happening::Step(a, l)),
        4 => (node.clone(), node).prop_map(|(a, b)| Happening::Hear(a, b)),
    ]
}

/// Five nodes, three of them members, after that history.
fn after(history: &[Happening]) -> Cluster {
    let mut cluster = Cluster::new(5, 3);
    for happening in history {
        match happening {
            Happening::Stage(at, host, kind) => {
                let change = match kind {
                    0 => StagedChange::Join(member(*host as u64 + 1)),
                    1 => StagedChange::Leave,
                    _ => StagedChange::Remove,
                };
                let _ = cluster.chains[*at].stage(cluster.hosts[*at], cluster.hosts[*host], change);
            }
            Happening::Abort(at, host) => {
                let _ = cluster.chains[*at].abort(cluster.hosts[*at], cluster.hosts[*host]);
            }
            Happening::Step(at, live) => {
                let live = live.iter().chain([at]).map(|&n| cluster.hosts[n]).collect();
                cluster.step(*at, &live);
            }
            Happening::Hear(at, from) => {
                let theirs = cluster.chains[*from].clone();
                cluster.chains[*at].merge(&theirs);
            }
        }
    }
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_history_settles_once_all_can_talk(history in prop::collection::vec(happening(), 0..120)) {
        let mut cluster = after(&history);
        cluster.settle();
        let first = &cluster.chains[0];
        prop_assert!(!first.in_transition());
        for chain in &cluster.chains {
            prop_assert_eq!(chain.digest(), first.digest());
        }
    }

    #[test]
    fn merge_is_a_join(history in prop::collection::vec(happening(), 0..120)) {
        let [a, b, c] = [0, 1, 2].map(|n| after(&history).chains[n].clone());
        let merged = |x: &LayoutChain, y: &LayoutChain| {
            let mut x = x.clone();
            x.merge(y);
            x
        };
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(&merged(&a, &a), &a);
        let both = merged(&a, &b);
        prop_assert!(!both.clone().merge(&a) && !both.clone().merge(&b));
    }

    #[test]
    fn bytes_hold_the_whole_chain(history in prop::collection::vec(happening(), 0..60), flip in any::<prop::sample::Index>()) {
        let chain = after(&history).chains[0].clone();
        let encoded = chain.encode();
        let decoded = LayoutChain::decode(&encoded).unwrap();
        prop_assert_eq!(&decoded, &chain);
        prop_assert_eq!(decoded.write_layouts(), chain.write_layouts());
        for cut in 0..encoded.len() {
            prop_assert!(LayoutChain::decode(&encoded.slice(..cut)).is_err());
        }
        let mut damaged = encoded.to_vec();
        damaged[flip.index(encoded.len())] ^= 0x11;
        if let Ok(other) = LayoutChain::decode(&damaged.into()) {
            // Whatever it is, it can be used without a panic.
            let mut other = other;
            other.merge(&chain);
            other.acknowledge(member(1).host);
            other.advance(member(1).host);
        }
    }
}
