//! Layouts to test with, and what must hold of each.
#![allow(dead_code)] // each test binary uses its part

use dunlin_ring::{Layout, Member, Placement, Vnode, VnodeCount};
use dunlin_types::schema::Replication;
use dunlin_types::{ClusterId, HostId, PartitionerKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A node whose host id spreads like a random one.
pub fn member(number: u64) -> Member {
    member_in(number, "r1", "dc1")
}

/// The same in some rack.
pub fn member_in(number: u64, rack: &str, data_center: &str) -> Member {
    let address: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    Member {
        host: HostId::from_words(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number),
        name: format!("n{number}"),
        rack: rack.to_owned(),
        data_center: data_center.to_owned(),
        weight: 1,
        internode: address,
        client: address,
        admin: address,
    }
}

pub fn members(numbers: impl IntoIterator<Item = u64>) -> Vec<Member> {
    numbers.into_iter().map(member).collect()
}

/// A ring of one node, number 1.
pub fn found(vnodes: u32) -> Layout {
    found_with(vnodes, member(1))
}

pub fn found_with(vnodes: u32, founder: Member) -> Layout {
    let vnodes = VnodeCount::try_from(vnodes).unwrap();
    Layout::found(ClusterId([7; 16]), "test", PartitionerKey([1; 16]), vnodes, founder)
}

/// The layout after those nodes joined at once.
pub fn grow(layout: &Layout, numbers: impl IntoIterator<Item = u64>) -> Layout {
    join(layout, members(numbers))
}

pub fn join(layout: &Layout, joining: Vec<Member>) -> Layout {
    let members = layout.members.iter().cloned().chain(joining).collect();
    layout.next(layout.version + 1, members, Vec::new())
}

/// The layout after those nodes left at once.
pub fn shrink(layout: &Layout, hosts: &[HostId]) -> Layout {
    let members = layout.members.iter().filter(|m| !hosts.contains(&m.host)).cloned().collect();
    layout.next(layout.version + 1, members, Vec::new())
}

pub fn primaries(layout: &Layout) -> Vec<u32> {
    layout.members.iter().map(|m| layout.vnodes_owned(m.host)).collect()
}

pub fn loads(layout: &Layout, replication: &Replication) -> Vec<u32> {
    let placement = Placement::new(layout, replication);
    let mut loads: BTreeMap<HostId, u32> = layout.members.iter().map(|m| (m.host, 0)).collect();
    for vnode in layout.vnodes.iter() {
        for host in placement.replicas(vnode) {
            *loads.get_mut(host).unwrap() += 1;
        }
    }
    loads.into_values().collect()
}

/// No two replicas on one node; none twice on a rack while another rack (of its data centre, if the
/// strategy counts by data centre) has fewer; as many as there can be.
pub fn apart(layout: &Layout, replication: &Replication) {
    let placement = Placement::new(layout, replication);
    let groups: Vec<(Option<&str>, u32)> = match replication {
        Replication::Simple(rf) => vec![(None, *rf)],
        Replication::NetworkTopology(per_center) => {
            per_center.iter().map(|(c, rf)| (Some(c.as_str()), *rf)).collect()
        }
    };
    for vnode in layout.vnodes.iter() {
        let replicas = placement.replicas(vnode);
        let distinct: BTreeSet<&HostId> = replicas.iter().collect();
        assert_eq!(distinct.len(), replicas.len(), "a node twice in {replicas:?}");
        let mut counted = 0;
        for (center, rf) in &groups {
            counted += apart_in(layout, vnode, replicas, *center, *rf);
        }
        assert_eq!(counted, replicas.len());
    }
}

fn apart_in(layout: &Layout, vnode: Vnode, replicas: &[HostId], center: Option<&str>, rf: u32) -> usize {
    let inside = |m: &&Member| center.is_none_or(|c| m.data_center == c);
    let owning: Vec<&Member> =
        layout.members.iter().filter(inside).filter(|m| layout.vnodes_owned(m.host) > 0).collect();
    let here: Vec<&Member> = replicas.iter().map(|&h| layout.member(h).unwrap()).filter(inside).collect();
    assert_eq!(here.len(), owning.len().min(rf as usize), "{vnode}: replicas in {center:?}");
    let racks: BTreeSet<(&str, &str)> = owning.iter().map(|m| (&*m.data_center, &*m.rack)).collect();
    let in_rack = |list: &[&Member], rack: (&str, &str)| {
        list.iter().filter(|m| (&*m.data_center, &*m.rack) == rack).count()
    };
    let most = racks.iter().map(|&rack| in_rack(&here, rack)).max().unwrap_or(0);
    for &rack in &racks {
        let used = in_rack(&here, rack);
        assert!(
            used + 1 >= most || used == in_rack(&owning, rack),
            "{vnode}: {here:?} leave rack {rack:?} out"
        );
    }
    here.len()
}
