//! Changing an assignment by little: who gives up which virtual nodes to whom.
//!
//! Near neighbours on the ring should belong to different nodes on different racks: then the replicas
//! of a virtual node are the owners of the next few, replica load follows primary load, and a
//! virtual node that changes its owner moves no more than its own replicas. A *clash* is a pair of near neighbours that
//! do not. First every receiver takes its virtual nodes one by one where they clash least and are
//! evenly spread; then pairs of virtual nodes swap owners as long as that lessens clashes and moves
//! nothing more. All orders are fixed, all searches bounded.

use crate::member::Member;
use std::collections::BTreeMap;

/// Cost of two virtual nodes of one node at distance 1, 2, ... along their data centre's part of the ring.
const NODE_CLASH: [u64; 4] = [1000, 600, 60, 20];
/// The same for two different nodes of one rack.
const RACK_CLASH: [u64; 4] = [200, 120, 0, 0];
/// Cost of a virtual node as close as can be to another of its data centre, when it comes from a different one.
const CENTER_CLASH: u64 = 400;
/// Free virtual nodes looked at for each one that a receiver takes.
const CHOICES_MAX: usize = 192;
/// Rounds over all clashing virtual nodes.
const ROUNDS_MAX: usize = 6;
/// Swaps looked at, over all rounds.
const SWAPS_TRIED_MAX: usize = 400_000;
/// Of the virtual nodes that must move, one in so many may move in addition.
const SPARE_PART: usize = 8;

struct Ring<'a> {
    before: &'a [Option<usize>],
    owners: Vec<Option<usize>>,
    /// Data centre of each member.
    center: Vec<usize>,
    /// Rack of each member, numbered over all data centres.
    rack: Vec<usize>,
    /// For each data centre: up to which distance its nodes, its racks can be kept apart.
    reach: Vec<(usize, usize)>,
    /// Virtual nodes that may move beyond the fewest possible, to mend clashes.
    spare: usize,
}

/// See the module's comment. `before` names each virtual node's present owner if it stays a member,
/// `held` counts them, `targets` says how many each shall own.
pub(super) fn arrange(
    before: &[Option<usize>],
    held: &[usize],
    members: &[Member],
    targets: &[usize],
) -> Vec<usize> {
    let mut ring = Ring::new(before, members, targets);
    let mut surplus: Vec<usize> = held.iter().zip(targets).map(|(&h, &t)| h.saturating_sub(t)).collect();
    let wants: Vec<usize> = held.iter().zip(targets).map(|(&h, &t)| t.saturating_sub(h)).collect();
    let total: usize = wants.iter().sum();
    let mut turns = super::Turns::new(&wants);
    let mut taken = vec![0; members.len()];
    for _ in 0..total {
        let receiver = turns.next();
        // Where an even spread would put this one; receivers are offset against each other.
        let q = before.len();
        let ideal = (taken[receiver] * q + receiver * q / members.len()) / wants[receiver] % q;
        taken[receiver] += 1;
        ring.give_one(receiver, ideal, &mut surplus);
    }
    ring.swap_clashes();
    ring.spare = before.len().min(total) / SPARE_PART;
    ring.swap_clashes();
    ring.owners
        .into_iter()
        .map(|owner| owner.expect("as many virtual nodes were wanted as were free"))
        .collect()
}

impl<'a> Ring<'a> {
    fn new(before: &'a [Option<usize>], members: &[Member], targets: &[usize]) -> Ring<'a> {
        let mut centers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut racks: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let (mut center, mut rack) = (Vec::new(), Vec::new());
        for member in members {
            let next = centers.len();
            center.push(*centers.entry(&member.data_center).or_insert(next));
            let next = racks.len();
            rack.push(*racks.entry((&member.data_center, &member.rack)).or_insert(next));
        }
        let reach = (0..centers.len())
            .map(|at| {
                let owning = |m: &usize| center[*m] == at && targets[*m] > 0;
                let nodes = (0..members.len()).filter(owning).count();
                let mut used: Vec<usize> = (0..members.len()).filter(owning).map(|m| rack[m]).collect();
                used.sort_unstable();
                used.dedup();
                (
                    nodes.saturating_sub(1).min(NODE_CLASH.len()),
                    used.len().saturating_sub(1).min(RACK_CLASH.len()),
                )
            })
            .collect();
        Ring { before, owners: before.to_vec(), center, rack, reach, spare: 0 }
    }

    /// What the virtual node at `at` would cost with that owner: its clashes with its neighbours.
    fn clashes(&self, at: usize, owner: usize) -> u64 {
        let (center, rack) = (self.center[owner], self.rack[owner]);
        let (nodes, racks) = self.reach[center];
        let q = self.owners.len();
        let mut cost = 0;
        for forward in [true, false] {
            let mut place = at;
            let mut distance = 0;
            // Bounded by a few turns of all data centres.
            for _ in 0..NODE_CLASH.len() * 2 * self.reach.len() {
                place = if forward { (place + 1) % q } else { (place + q - 1) % q };
                if distance >= nodes.max(racks) || place == at {
                    break;
                }
                let Some(other) = self.owners[place] else { continue };
                if self.center[other] != center {
                    continue;
                }
                if other == owner {
                    cost += if distance < nodes { NODE_CLASH[distance] } else { 0 };
                } else if self.rack[other] == rack && distance < racks {
                    cost += RACK_CLASH[distance];
                }
                distance += 1;
            }
        }
        cost
    }

    /// How crowded `at` is for a virtual node of that data centre, when it belongs to another one now.
    fn crowding(&self, at: usize, center: usize) -> u64 {
        let q = self.owners.len();
        let near = |place: usize| self.owners[place].is_some_and(|o| self.center[o] == center);
        let distance = (1..=8).find(|d| near((at + d) % q) || near((at + q - d % q) % q));
        distance.map_or(0, |d| CENTER_CLASH / d as u64)
    }

    /// Gives the receiver one virtual node that has no owner or one with a surplus: the cheapest of
    /// the nearest ones to `ideal`.
    fn give_one(&mut self, receiver: usize, ideal: usize, surplus: &mut [usize]) {
        let q = self.owners.len();
        let mut best: Option<(u64, usize)> = None;
        let mut seen = 0;
        for step in 0..q {
            // 0, +1, -1, +2, ... from the ideal place.
            let at = if step % 2 == 1 { (ideal + step.div_ceil(2)) % q } else { (ideal + q - step / 2) % q };
            let owner = self.owners[at];
            if owner.is_some_and(|o| surplus[o] == 0) {
                continue;
            }
            seen += 1;
            let mut cost = 10_000 + self.clashes(at, receiver);
            match owner {
                Some(owner) => {
                    cost -= self.clashes(at, owner).min(10_000);
                    if self.center[owner] != self.center[receiver] {
                        cost += self.crowding(at, self.center[receiver]);
                    }
                }
                None => cost += self.crowding(at, self.center[receiver]) / 4,
            }
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, at));
            }
            if seen >= CHOICES_MAX {
                break;
            }
        }
        let (_, at) = best.expect("as many virtual nodes are free as are wanted");
        if let Some(owner) = self.owners[at] {
            surplus[owner] -= 1;
        }
        self.owners[at] = Some(receiver);
    }

    fn moved(&self, at: usize, owner: usize) -> usize {
        usize::from(self.before[at] != Some(owner))
    }

    fn moved_by(&self, a: usize, b: usize) -> usize {
        [a, b].into_iter().filter(|&at| self.owners[at] != self.before[at]).count()
    }

    /// What swapping two virtual nodes' owners would save, if it moves no more than now.
    fn saving(&mut self, a: usize, b: usize) -> Option<u64> {
        let (Some(x), Some(y)) = (self.owners[a], self.owners[b]) else { return None };
        if x == y || self.center[x] != self.center[y] {
            return None;
        }
        let extra = self.moved(a, y) + self.moved(b, x);
        if extra > self.moved(a, x) + self.moved(b, y) + self.spare {
            return None;
        }
        let now = self.clashes(a, x) + self.clashes(b, y);
        (self.owners[a], self.owners[b]) = (Some(y), Some(x));
        let then = self.clashes(a, y) + self.clashes(b, x);
        (self.owners[a], self.owners[b]) = (Some(x), Some(y));
        now.checked_sub(then).filter(|&saved| saved > 0)
    }

    fn swap_clashes(&mut self) {
        let q = self.owners.len();
        let mut tried = 0;
        for _ in 0..ROUNDS_MAX {
            let mut improved = false;
            for a in 0..q {
                let Some(owner) = self.owners[a] else { continue };
                if self.clashes(a, owner) == 0 {
                    continue;
                }
                let mut best: Option<(u64, usize)> = None;
                for step in 1..q {
                    let b = (a + step) % q;
                    tried += 1;
                    if let Some(saved) = self.saving(a, b)
                        && best.is_none_or(|(most, _)| saved > most)
                    {
                        best = Some((saved, b));
                    }
                }
                if let Some((_, b)) = best {
                    let moved = self.moved_by(a, b);
                    self.owners.swap(a, b);
                    self.spare = self.spare + moved - self.moved_by(a, b);
                    improved = true;
                }
                if tried > SWAPS_TRIED_MAX {
                    return;
                }
            }
            if !improved {
                return;
            }
        }
    }
}
