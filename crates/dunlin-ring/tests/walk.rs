//! Preference lists by hand: order, racks, data centres, fallbacks.
#![allow(clippy::unwrap_used)] // helpers outside test functions too

mod ring;

use dunlin_ring::{Layout, Placement, Vnode, moves, rf_in, rf_total};
use dunlin_types::schema::Replication;
use ring::{apart, found_with, join, member_in};
use std::collections::BTreeSet;

fn racked(nodes: &[(&str, &str)]) -> Layout {
    let members: Vec<_> = (1..).zip(nodes).map(|(n, (rack, center))| member_in(n, rack, center)).collect();
    join(&found_with(64, members[0].clone()), members[1..].to_vec())
}

fn centers(wanted: &[(&str, u32)]) -> Replication {
    Replication::NetworkTopology(wanted.iter().map(|&(c, n)| (c.to_owned(), n)).collect())
}

#[test]
fn the_owner_comes_first_and_the_rest_in_ring_order() {
    let layout = racked(&[("a", "x"), ("a", "x"), ("a", "x"), ("a", "x")]);
    let placement = Placement::new(&layout, &Replication::Simple(3));
    for vnode in layout.vnodes.iter() {
        let mut expected = Vec::new();
        for step in 0..64 {
            let owner = layout.owner(Vnode((vnode.0 + step) % 64));
            if expected.len() < 3 && !expected.contains(&owner) {
                expected.push(owner);
            }
        }
        assert_eq!(placement.replicas(vnode), expected);
        let token = layout.range_of(vnode).last;
        assert_eq!(layout.replicas(token, &Replication::Simple(3)), expected);
        let fallbacks = layout.fallbacks(token, &Replication::Simple(3));
        assert_eq!(fallbacks.len(), 1);
        assert!(!expected.contains(&fallbacks[0]));
    }
}

#[test]
fn unequal_racks_are_used_as_evenly_as_they_can() {
    let layout = racked(&[("a", "x"), ("a", "x"), ("a", "x"), ("b", "x"), ("c", "x")]);
    for rf in 1..=7 {
        apart(&layout, &Replication::Simple(rf));
    }
    // Both small racks are always used, so the large one gives one replica.
    let placement = Placement::new(&layout, &Replication::Simple(3));
    assert_eq!(placement.load(layout.members.iter().find(|m| m.rack == "b").unwrap().host), 64);
}

#[test]
fn every_data_center_gets_its_own_replicas() {
    let layout = racked(&[("a", "x"), ("b", "x"), ("a", "y"), ("b", "y"), ("b", "y"), ("a", "z")]);
    let wanted = centers(&[("x", 3), ("y", 2), ("nowhere", 2)]);
    apart(&layout, &wanted);
    for vnode in layout.vnodes.iter() {
        let replicas = layout.replicas(layout.range_of(vnode).first, &wanted);
        let by_center =
            |center| replicas.iter().filter(|&&h| layout.member(h).unwrap().data_center == center).count();
        assert_eq!((by_center("x"), by_center("y"), by_center("z")), (2, 2, 0), "{vnode}");
    }
    assert_eq!((rf_total(&wanted), rf_in(&wanted, "x"), rf_in(&wanted, "z")), (7, Some(3), Some(0)));
}

#[test]
fn moves_name_every_gain_and_its_holders() {
    let old = racked(&[("a", "x"), ("b", "x"), ("c", "x")]);
    let joined = member_in(9, "a", "x");
    let new = join(&old, vec![joined.clone()]);
    let rf = Replication::Simple(2);
    let (before, after) = (Placement::new(&old, &rf), Placement::new(&new, &rf));
    let found = moves(&old, &new, &rf);
    for one in &found {
        assert_eq!(one.range, new.range_of(one.vnode));
        assert_eq!(one.from, before.replicas(one.vnode));
    }
    let gains: usize = old
        .vnodes
        .iter()
        .map(|v| {
            let had: BTreeSet<_> = before.replicas(v).iter().collect();
            after.replicas(v).iter().filter(|h| !had.contains(h)).count()
        })
        .sum();
    assert_eq!(found.len(), gains);
    assert_eq!(found.iter().filter(|m| m.to == joined.host).count(), after.load(joined.host) as usize);
    assert!(moves(&new, &new, &rf).is_empty());
}
