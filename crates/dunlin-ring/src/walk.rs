//! The walk round the ring that finds the replicas of a virtual node.
//!
//! From the virtual node clockwise, taking each node once; a rack is used again only when every rack
//! (that owns any virtual node) has been used as often. `NetworkTopologyStrategy` does this in each
//! data centre on its own; the preference order is the order in which the walk met them.

use crate::layout::Layout;
use crate::vnode::Vnode;
use dunlin_types::schema::Replication;
use std::collections::BTreeMap;

/// Replicas wanted of every key, over all data centres.
pub fn rf_total(replication: &Replication) -> u32 {
    match replication {
        Replication::Simple(rf) => *rf,
        Replication::NetworkTopology(per_center) => per_center.values().sum(),
    }
}

/// Replicas wanted in one data centre; `None` where the strategy does not say (`SimpleStrategy`).
pub fn rf_in(replication: &Replication, data_center: &str) -> Option<u32> {
    match replication {
        Replication::Simple(_) => None,
        Replication::NetworkTopology(per_center) => Some(per_center.get(data_center).copied().unwrap_or(0)),
    }
}

/// Members by their places in the layout, sorted into groups and racks; made once for many walks.
pub(crate) struct Walker<'a> {
    layout: &'a Layout,
    /// For each member: its group (data centre, or 0 for all) if any replicas go there, and its rack.
    place: Vec<Option<(usize, usize)>>,
    /// For each group: replicas wanted there, never more than there are members with a virtual node.
    wanted: Vec<usize>,
    /// For each group: members with a virtual node, by rack.
    rack_members: Vec<BTreeMap<usize, usize>>,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(layout: &'a Layout, replication: &Replication) -> Walker<'a> {
        let mut owns = vec![false; layout.members.len()];
        for &owner in layout.owners() {
            owns[usize::from(owner)] = true;
        }
        let mut racks: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        let mut wanted: Vec<usize> = Vec::new();
        match replication {
            Replication::Simple(rf) => wanted.push(*rf as usize),
            Replication::NetworkTopology(per_center) => {
                for (center, rf) in per_center {
                    groups.insert(center, wanted.len());
                    wanted.push(*rf as usize);
                }
            }
        }
        let mut rack_members = vec![BTreeMap::new(); wanted.len()];
        let mut place = Vec::with_capacity(layout.members.len());
        for (index, member) in layout.members.iter().enumerate() {
            let group = match replication {
                Replication::Simple(_) => Some(0),
                Replication::NetworkTopology(_) => groups.get(member.data_center.as_str()).copied(),
            };
            let next = racks.len();
            let rack = *racks.entry((&member.data_center, &member.rack)).or_insert(next);
            place.push(group.map(|group| (group, rack)));
            if let Some(group) = group
                && owns[index]
            {
                *rack_members[group].entry(rack).or_insert(0) += 1;
            }
        }
        for (wanted, racks) in wanted.iter_mut().zip(&rack_members) {
            *wanted = (*wanted).min(racks.values().sum());
        }
        Walker { layout, place, wanted, rack_members }
    }

    /// Places of the replicas in the layout's member list, in preference order.
    pub(crate) fn replicas(&self, vnode: Vnode) -> Vec<u16> {
        // Passes needed: in each, every rack may be used once more.
        let mut rounds: Vec<usize> = vec![1; self.wanted.len()];
        for (group, round) in rounds.iter_mut().enumerate() {
            while self.rack_members[group].values().map(|&n| n.min(*round)).sum::<usize>()
                < self.wanted[group]
            {
                *round += 1;
            }
        }
        let mut left = self.wanted.clone();
        let mut found: Vec<u16> = Vec::with_capacity(left.iter().sum());
        for pass in 1..=rounds.iter().copied().max().unwrap_or(0) {
            let owners = self.layout.owners();
            let start = vnode.0 as usize;
            // Replicas that this pass can find, per group: it ends with the last of them.
            let mut open: Vec<usize> = (0..left.len())
                .map(|group| {
                    let here: usize =
                        self.rack_members[group].values().map(|&n| usize::from(n >= pass)).sum();
                    if pass <= rounds[group] { here.min(left[group]) } else { 0 }
                })
                .collect();
            for step in 0..owners.len() {
                if open.iter().all(|&n| n == 0) {
                    break;
                }
                let owner = owners[(start + step) % owners.len()];
                let Some((group, rack)) = self.place[usize::from(owner)] else { continue };
                if open[group] == 0 || found.contains(&owner) {
                    continue;
                }
                let used = found
                    .iter()
                    .filter(|&&o| self.place[usize::from(o)].is_some_and(|p| p.1 == rack))
                    .count();
                if used < pass {
                    found.push(owner);
                    open[group] -= 1;
                    left[group] -= 1;
                }
            }
        }
        found
    }
}
