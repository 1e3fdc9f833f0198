//! What has to travel when one layout follows another.

use crate::layout::Layout;
use crate::placement::Placement;
use crate::vnode::Vnode;
use dunlin_types::schema::Replication;
use dunlin_types::{HostId, TokenRange};

/// A range that a node becomes a replica of, and the nodes that hold it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The virtual node.
    pub vnode: Vnode,
    /// Its tokens.
    pub range: TokenRange,
    /// Its replicas in the old layout, in preference order. To miss nothing, `to` asks as many as a
    /// quorum read would (or all that are there).
    pub from: Vec<HostId>,
    /// The node that gains the range.
    pub to: HostId,
}

/// Everything that has to travel from `old` to `new` under one replication strategy, by virtual node.
/// The layouts must be of one cluster.
pub fn moves(old: &Layout, new: &Layout, replication: &Replication) -> Vec<Move> {
    moves_between(old, &Placement::new(old, replication), &Placement::new(new, replication))
}

pub(crate) fn moves_between(old: &Layout, before: &Placement, after: &Placement) -> Vec<Move> {
    let mut found = Vec::new();
    for vnode in old.vnodes.iter() {
        let from = before.replicas(vnode);
        for &to in after.replicas(vnode) {
            if !from.contains(&to) {
                found.push(Move { vnode, range: old.range_of(vnode), from: from.to_vec(), to });
            }
        }
    }
    found
}
