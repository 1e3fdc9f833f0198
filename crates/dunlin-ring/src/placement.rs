//! The replicas of every virtual node, found once.

use crate::layout::Layout;
use crate::vnode::Vnode;
use crate::walk::Walker;
use dunlin_types::HostId;
use dunlin_types::schema::Replication;

/// For each virtual node of one layout, its replicas under one replication strategy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    hosts: Vec<HostId>,
    /// Where each virtual node's list begins in `hosts`, and where the last ends.
    starts: Vec<u32>,
}

impl Placement {
    /// Walks the ring once from every virtual node.
    pub fn new(layout: &Layout, replication: &Replication) -> Placement {
        let walker = Walker::new(layout, replication);
        let mut hosts = Vec::new();
        let mut starts = vec![0];
        for vnode in layout.vnodes.iter() {
            hosts.extend(layout.hosts(&walker.replicas(vnode)));
            starts.push(u32::try_from(hosts.len()).expect("65536 vnodes of at most 65535 replicas each"));
        }
        Placement { hosts, starts }
    }

    /// Replicas in preference order. Panics if the ring has no such virtual node.
    pub fn replicas(&self, vnode: Vnode) -> &[HostId] {
        let at = vnode.0 as usize;
        &self.hosts[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// How many virtual nodes a node is a replica of.
    pub fn load(&self, host: HostId) -> u32 {
        let load = self.hosts.iter().filter(|&&h| h == host).count();
        u32::try_from(load).expect("a node is at most once a replica of each of 65536 vnodes")
    }

    /// The virtual nodes of which a node is a replica, in ring order.
    pub fn vnodes_of(&self, host: HostId) -> impl Iterator<Item = Vnode> + '_ {
        let vnodes = u32::try_from(self.starts.len() - 1).expect("a ring has at most 65536 vnodes");
        (0..vnodes).map(Vnode).filter(move |&vnode| self.replicas(vnode).contains(&host))
    }
}
