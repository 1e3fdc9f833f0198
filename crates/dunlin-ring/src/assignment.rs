//! Which member owns which virtual node: a pure function of the assignment before, the members, and
//! the size of the ring.
//!
//! Each member's share is its weight's part of the ring, to within one virtual node. A new ring is
//! dealt out in turn: data centres, in each of them racks, in each of them nodes, every one as evenly as its
//! share allows (smooth weighted round robin). So any few neighbours on the ring belong to different nodes
//! on different racks, and replica load follows primary load. Later assignments move as few virtual
//! nodes as can be, choosing *which* of them so that neighbours stay apart (`assignment/arrange.rs`).

mod arrange;

use crate::member::Member;
use crate::vnode::VnodeCount;
use dunlin_types::HostId;
use std::collections::BTreeMap;

/// For each virtual node, its owner's place in `members` (sorted by host, not empty). `previous` names
/// the owner of each before, or is empty for a new ring.
pub fn assign(previous: &[HostId], members: &[Member], vnodes: VnodeCount) -> Vec<u16> {
    let q = vnodes.get() as usize;
    let place = |host: &HostId| members.binary_search_by_key(host, |m| m.host).ok();
    let before: Vec<Option<usize>> = (0..q).map(|at| previous.get(at).and_then(place)).collect();
    let mut held = vec![0; members.len()];
    for owner in before.iter().flatten() {
        held[*owner] += 1;
    }
    let targets = targets(members, &held, q);
    let founder_alone = previous.windows(2).all(|pair| pair[0] == pair[1]);
    let owners = if founder_alone {
        deal(members, &targets, q)
    } else {
        arrange::arrange(&before, &held, members, &targets)
    };
    owners
        .into_iter()
        .map(|owner| u16::try_from(owner).expect("a layout has at most 65535 members"))
        .collect()
}

/// How many virtual nodes each member should own: its weight's part, rounded so that the sum is right
/// and, among equals, those that hold more keep more.
fn targets(members: &[Member], held: &[usize], q: usize) -> Vec<usize> {
    let weightless = members.iter().all(|m| m.weight == 0);
    let weight = |m: &Member| if weightless { 1 } else { u128::from(m.weight) };
    let total: u128 = members.iter().map(weight).sum();
    let mut targets = Vec::with_capacity(members.len());
    let mut order: Vec<(u128, usize, usize)> = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        let share = weight(member) * q as u128;
        targets.push((share / total) as usize);
        order.push((share % total, held[at], members.len() - at));
    }
    order.sort_unstable_by(|a, b| b.cmp(a));
    let left = q - targets.iter().sum::<usize>();
    for &(_, _, from_last) in order.iter().take(left) {
        targets[members.len() - from_last] += 1;
    }
    targets
}

/// Smooth weighted round robin: gives each item its turns as evenly spaced as the others allow.
struct Turns {
    weights: Vec<i64>,
    current: Vec<i64>,
    total: i64,
}

impl Turns {
    fn new(weights: &[usize]) -> Turns {
        let weights: Vec<i64> = weights.iter().map(|&w| i64::try_from(w).unwrap_or(i64::MAX)).collect();
        Turns { current: vec![0; weights.len()], total: weights.iter().sum(), weights }
    }

    fn next(&mut self) -> usize {
        let mut best = 0;
        for at in 0..self.weights.len() {
            self.current[at] += self.weights[at];
            if self.current[at] > self.current[best] {
                best = at;
            }
        }
        self.current[best] -= self.total;
        best
    }
}

/// A new ring, dealt out in turn.
fn deal(members: &[Member], targets: &[usize], q: usize) -> Vec<usize> {
    let mut centers: BTreeMap<&str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        centers.entry(&member.data_center).or_default().entry(&member.rack).or_default().push(at);
    }
    let sum = |nodes: &[usize]| nodes.iter().map(|&at| targets[at]).sum::<usize>();
    let mut center_turns = Turns::new(
        &centers.values().map(|racks| racks.values().map(|nodes| sum(nodes)).sum()).collect::<Vec<_>>(),
    );
    let mut rack_turns: Vec<Turns> = Vec::new();
    let mut node_turns: Vec<Vec<(Turns, &Vec<usize>)>> = Vec::new();
    for racks in centers.values() {
        rack_turns.push(Turns::new(&racks.values().map(|nodes| sum(nodes)).collect::<Vec<_>>()));
        let turns = |nodes: &[usize]| Turns::new(&nodes.iter().map(|&at| targets[at]).collect::<Vec<_>>());
        node_turns.push(racks.values().map(|nodes| (turns(nodes), nodes)).collect());
    }
    (0..q)
        .map(|_| {
            let center = center_turns.next();
            let rack = rack_turns[center].next();
            let (turns, nodes) = &mut node_turns[center][rack];
            nodes[turns.next()]
        })
        .collect()
}
