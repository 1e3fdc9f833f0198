//! Every order of events in a small cluster: the chain of layouts against its promises.
//!
//! A breadth-first search over the states of a few nodes. In each state any node may propose (it
//! believes all others dead: every split at once), acknowledge, sync, advance, abort what is staged,
//! or receive the whole chain of any other node. Messages may thus be lost, late, and repeated.
#![allow(clippy::unwrap_used)] // helpers outside test functions too

mod ring;

use dunlin_ring::{Layout, LayoutChain, LayoutDigest, StagedChange};
use dunlin_types::HostId;
use ring::{found_with, join, member};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One state: the chains of all nodes and what has happened outside their knowledge.
#[derive(Clone)]
struct World {
    chains: Vec<Arc<Known>>,
    proposals: usize,
    aborts: usize,
    /// Layouts each node ever acknowledged or really synced.
    acked: BTreeSet<(usize, LayoutDigest)>,
    synced: BTreeSet<(usize, LayoutDigest)>,
    /// Layouts that some node saw complete, by version.
    completed: BTreeMap<u64, Arc<Layout>>,
}

/// A node's chain with its digest; changed by making another.
struct Known {
    chain: LayoutChain,
    digest: [u8; 32],
}

impl std::ops::Deref for Known {
    type Target = LayoutChain;
    fn deref(&self) -> &LayoutChain {
        &self.chain
    }
}

impl World {
    /// The world after `node`'s chain changed, if the change is one.
    fn after(&self, node: usize, change: impl FnOnce(&mut LayoutChain) -> bool) -> Option<World> {
        let mut chain = self.chains[node].chain.clone();
        change(&mut chain).then(|| {
            let mut next = self.clone();
            next.chains[node] = known(chain);
            next
        })
    }
}

fn known(chain: LayoutChain) -> Arc<Known> {
    let digest = chain.digest();
    Arc::new(Known { chain, digest })
}

struct Model {
    hosts: Vec<HostId>,
    proposals_max: usize,
    aborts_max: usize,
    /// The host whose pending change may be aborted, by node 0.
    abort: Option<usize>,
    states: usize,
    completions: BTreeSet<LayoutDigest>,
}

impl Model {
    fn explore(&mut self, start: World, states_max: usize) {
        let mut seen: BTreeSet<[u8; 16]> = BTreeSet::new();
        seen.insert(key(&start));
        let mut front = vec![start];
        while !front.is_empty() {
            let mut next_front = Vec::new();
            for world in &front {
                self.check(world);
                for next in self.successors(world) {
                    if seen.insert(key(&next)) {
                        next_front.push(next);
                    }
                }
            }
            self.states = seen.len();
            assert!(
                self.states <= states_max,
                "more than {states_max} states: the model is not small any more"
            );
            front = next_front;
        }
    }

    fn successors(&self, world: &World) -> Vec<World> {
        let mut found = Vec::new();
        for node in 0..self.hosts.len() {
            self.local_steps(world, node, &mut found);
            for from in 0..self.hosts.len() {
                if world.chains[from].digest != world.chains[node].digest {
                    found.extend(world.after(node, |chain| chain.merge(&world.chains[from])));
                }
            }
        }
        found
    }

    fn local_steps(&self, world: &World, node: usize, found: &mut Vec<World>) {
        let me = self.hosts[node];
        if let Some(mut next) = world.after(node, |chain| chain.acknowledge(me)) {
            next.acked.insert((node, next.chains[node].watermarks(me).ack_digest));
            found.push(next);
        }
        if let Some(candidate) = world.chains[node].to_sync(me).cloned() {
            for host in world.chains[node].required(&candidate) {
                let at = self.hosts.iter().position(|h| *h == host).unwrap();
                assert!(
                    world.acked.contains(&(at, candidate.digest())),
                    "data copied before all acknowledged"
                );
            }
            let next = world.after(node, |chain| chain.set_synced(me, &candidate.digest()));
            let mut next = next.expect("what is to be synced can be");
            next.synced.insert((node, candidate.digest()));
            found.push(next);
        }
        if let Some(mut next) = world.after(node, |chain| chain.advance(me)) {
            self.completed(&mut next, node, world);
            found.push(next);
        }
        if world.proposals < self.proposals_max {
            // It believes every lower member to be down, so that the proposal is up to it.
            let lower = |host: &HostId| *host < me && world.chains[node].completed().contains(*host);
            let live: BTreeSet<HostId> = self.hosts.iter().filter(|h| !lower(h)).copied().collect();
            if let Some(mut next) = world.after(node, |chain| chain.propose(me, &live)) {
                next.proposals += 1;
                found.push(next);
            }
        }
        if let Some(aborted) = self.abort
            && node == 0
            && world.aborts < self.aborts_max
            && let Some(mut next) = world.after(node, |chain| chain.abort(me, self.hosts[aborted]).is_ok())
        {
            next.aborts += 1;
            found.push(next);
        }
    }

    /// A layout completes: everybody it needs must really have acknowledged and synced it, and it
    /// must follow the one completed before.
    fn completed(&self, next: &mut World, node: usize, before: &World) {
        let layout = Arc::clone(next.chains[node].completed());
        let old = before.chains[node].completed();
        if layout.digest() == old.digest() {
            return;
        }
        assert_eq!(layout.parent, old.digest());
        for host in before.chains[node].required(&layout) {
            let at = self.hosts.iter().position(|h| *h == host).unwrap();
            assert!(before.acked.contains(&(at, layout.digest())), "completed without an acknowledgement");
            assert!(before.synced.contains(&(at, layout.digest())), "completed without a member's data");
        }
        next.completed.insert(layout.version, Arc::clone(&layout));
        if let Some(other) = before.completed.get(&layout.version) {
            assert_eq!(
                other.digest(),
                layout.digest(),
                "two layouts completed as version {}",
                layout.version
            );
        }
    }

    fn check(&mut self, world: &World) {
        let mut parent = None;
        for layout in world.completed.values() {
            if let Some(parent) = parent {
                assert_eq!(layout.parent, parent, "completed layouts are no chain");
            }
            parent = Some(layout.digest());
            self.completions.insert(layout.digest());
        }
        let newest = world.completed.values().last().unwrap();
        let members: Vec<usize> =
            (0..self.hosts.len()).filter(|&node| newest.contains(self.hosts[node])).collect();
        for &reader in &members {
            for &writer in &members {
                self.check_pair(world, reader, writer);
            }
        }
    }

    /// What one reads from, the other writes to; but for a node that is being removed and that
    /// nobody whom the removing layout needs serves any more, or whose reads under an older layout nobody
    /// else serves any more.
    fn check_pair(&self, world: &World, reader: usize, writer: usize) {
        let (from, to) = (self.hosts[reader], self.hosts[writer]);
        let read = world.chains[reader].read_layout(from);
        let layouts = world.chains[writer].write_layouts();
        // Until it knows a layout that has it as a member, a node takes no requests.
        if layouts.contains(read) || !layouts.iter().any(|l| l.contains(to)) {
            return;
        }
        let cut_off = |host: HostId, by: &Layout, known_to: usize| {
            by.removed.contains(&host)
                && world.chains[known_to].required(by).all(|h| {
                    let at = self.hosts.iter().position(|x| *x == h).unwrap();
                    !world.chains[at].accepts(host)
                })
        };
        // Replicas refuse reads under a layout older than the one that they read from.
        let left_behind = world.chains[writer].staging().change(from) == Some(&StagedChange::Remove)
            && (0..self.hosts.len())
                .filter(|&at| at != reader && read.contains(self.hosts[at]))
                .all(|at| world.chains[at].read_layout(self.hosts[at]).version > read.version);
        assert!(
            left_behind || cut_off(to, read, reader) || layouts.iter().any(|l| cut_off(from, l, writer)),
            "{reader} reads from {read:?}, {writer} writes to {layouts:?} only"
        );
    }
}

fn key(world: &World) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for chain in &world.chains {
        hasher.update(&chain.digest);
    }
    hasher.update(&[world.proposals as u8, world.aborts as u8]);
    for (set, tag) in [(&world.acked, 1), (&world.synced, 2)] {
        for (node, digest) in set {
            hasher.update(&[tag, *node as u8]);
            hasher.update(digest);
        }
    }
    for layout in world.completed.values() {
        hasher.update(&layout.digest());
    }
    hasher.finalize().as_bytes()[..16].try_into().unwrap()
}

/// Nodes `0..members` have completed a layout; the others know its chain. Each node stages its changes on its own.
fn start(nodes: u64, members: u64, staged: &[(usize, usize, StagedChange)]) -> (World, Vec<HostId>) {
    let mut all: Vec<_> = (1..=nodes).map(member).collect();
    all.sort_by_key(|m| m.host);
    let hosts: Vec<HostId> = all.iter().map(|m| m.host).collect();
    let layout = join(&found_with(2, all[0].clone()), all[1..members as usize].to_vec());
    let chain = LayoutChain::found(layout);
    let completed = [(chain.completed().version, Arc::clone(chain.completed()))].into_iter().collect();
    let mut chains = vec![chain; nodes as usize];
    for (at, subject, change) in staged {
        let change = match change {
            StagedChange::Join(_) => StagedChange::Join(all[*subject].clone()),
            other => other.clone(),
        };
        chains[*at].stage(hosts[*at], hosts[*subject], change).unwrap();
    }
    let chains = chains.into_iter().map(known).collect();
    let world =
        World { chains, proposals: 0, aborts: 0, acked: BTreeSet::new(), synced: BTreeSet::new(), completed };
    (world, hosts)
}

fn explore(
    start: (World, Vec<HostId>),
    proposals_max: usize,
    abort: Option<usize>,
    states_max: usize,
) -> Model {
    let (world, hosts) = start;
    let aborts_max = usize::from(abort.is_some());
    let mut model =
        Model { hosts, proposals_max, aborts_max, abort, states: 0, completions: BTreeSet::new() };
    model.explore(world, states_max);
    println!("{} states, {} layouts completed", model.states, model.completions.len());
    model
}

/// Node 1 wants another weight for itself.
fn reweigh((mut world, hosts): (World, Vec<HostId>)) -> (World, Vec<HostId>) {
    let mut chain = world.chains[1].chain.clone();
    let mut heavier = chain.completed().member(hosts[1]).unwrap().clone();
    heavier.weight = 3;
    chain.stage(hosts[1], hosts[1], StagedChange::Join(heavier)).unwrap();
    world.chains[1] = known(chain);
    (world, hosts)
}

fn a_join() -> StagedChange {
    StagedChange::Join(member(1))
}

#[test]
fn a_leave_and_a_change_of_weight_meet() {
    let model = explore(reweigh(start(2, 2, &[(0, 1, StagedChange::Leave)])), 4, None, 100_000);
    assert!(model.completions.len() >= 3, "each of the two must be able to complete");
}

#[test]
fn a_join_and_a_change_of_weight_meet() {
    let model = explore(reweigh(start(3, 2, &[(0, 2, a_join())])), 2, None, 100_000);
    assert!(model.completions.len() >= 3, "each of the two must be able to complete");
}

#[test]
fn a_join_is_aborted_while_it_runs() {
    let model = explore(start(3, 2, &[(0, 2, a_join())]), 2, Some(2), 100_000);
    assert!(model.completions.len() >= 3, "with the join, and without it");
}

#[test]
fn two_members_remove_each_other() {
    let removals = [(0, 2, StagedChange::Remove), (2, 0, StagedChange::Remove)];
    let model = explore(start(3, 3, &removals), 2, None, 100_000);
    assert!(model.completions.len() >= 3, "each of the two must be able to complete");
}

#[test]
fn one_member_removes_another_that_changes_its_weight() {
    let model = explore(reweigh(start(3, 3, &[(0, 1, StagedChange::Remove)])), 2, None, 100_000);
    assert!(model.completions.len() >= 3, "each of the two must be able to complete");
}
