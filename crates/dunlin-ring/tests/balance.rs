//! The figures of the contract: how even ownership and replica load are, and how little moves.
#![allow(clippy::unwrap_used)] // helpers outside test functions too

mod ring;

use dunlin_ring::{Layout, Member, Placement, moves};
use dunlin_types::HostId;
use dunlin_types::schema::Replication;
use proptest::prelude::*;
use ring::{apart, found, found_with, grow, join, loads, member_in, primaries, shrink};

const Q: u32 = 1024;
const THREE: Replication = Replication::Simple(3);

/// Largest over mean replica load.
fn unevenness(layout: &Layout, replication: &Replication) -> f64 {
    let loads = loads(layout, replication);
    let max = f64::from(*loads.iter().max().unwrap());
    max * loads.len() as f64 / f64::from(loads.iter().sum::<u32>())
}

/// Primaries that changed owner, and the fewest that could have.
fn movement(old: &Layout, new: &Layout) -> (u32, u32) {
    let changed = old.vnodes.iter().filter(|&v| old.owner(v) != new.owner(v)).count() as u32;
    let gained: u32 =
        new.members.iter().map(|m| new.vnodes_owned(m.host).saturating_sub(old.vnodes_owned(m.host))).sum();
    (changed, gained)
}

/// Replicas that moved, and the fewest that any change between the two loads could do with.
fn replica_movement(old: &Layout, new: &Layout) -> (u32, u32) {
    let moved = moves(old, new, &THREE).len() as u32;
    let (before, after) = (Placement::new(old, &THREE), Placement::new(new, &THREE));
    let joined: u32 = new.members.iter().filter(|m| !old.contains(m.host)).map(|m| after.load(m.host)).sum();
    let left: u32 = old.members.iter().filter(|m| !new.contains(m.host)).map(|m| before.load(m.host)).sum();
    (moved, joined.max(left))
}

fn check(layout: &Layout) {
    let primaries = primaries(layout);
    let (min, max) = (primaries.iter().min().unwrap(), primaries.iter().max().unwrap());
    assert!(max - min <= 1, "{} nodes: primaries from {min} to {max}", layout.members.len());
    let uneven = unevenness(layout, &THREE);
    assert!(uneven <= 1.10, "{} nodes: replica load max/mean {uneven:.3}", layout.members.len());
    if layout.members.len() % 16 == 3 {
        apart(layout, &THREE);
    }
}

#[test]
fn new_rings_are_even() {
    for nodes in 3..=100 {
        check(&grow(&found(Q), 2..=nodes));
    }
}

/// Movement of one change is within 1.2 of the least possible, of primaries and of replicas.
fn check_movement(old: &Layout, new: &Layout) {
    let (moved, least) = movement(old, new);
    assert!(f64::from(moved) <= 1.2 * f64::from(least), "{new:?}: {moved} primaries moved, {least} had to");
    if old.members.len() >= 3 && new.members.len() >= 3 {
        let (moved, least) = replica_movement(old, new);
        assert!(
            f64::from(moved) <= 1.2 * f64::from(least),
            "{new:?}: {moved} replicas moved, {least} had to"
        );
    }
}

#[test]
fn growth_one_by_one_is_even_and_moves_little() {
    let mut layout = found(Q);
    for nodes in 2..=100u64 {
        let next = grow(&layout, nodes..=nodes);
        check_movement(&layout, &next);
        layout = next;
        if layout.members.len() >= 3 {
            check(&layout);
        }
    }
    while layout.members.len() > 3 {
        let gone = (layout.members.len() * 37 + 11) % layout.members.len();
        let next = shrink(&layout, &[layout.members[gone].host]);
        check_movement(&layout, &next);
        check(&next);
        layout = next;
    }
}

#[test]
fn same_members_move_nothing() {
    let layout = grow(&grow(&found(256), 2..=7), 8..=9);
    let next = grow(&layout, []);
    assert_eq!(layout.owners(), next.owners());
}

#[test]
fn three_equal_racks_share_equally() {
    for nodes in [3u64, 6, 9, 30] {
        let racked = |n: u64| member_in(n, ["a", "b", "c"][(n % 3) as usize], "dc1");
        let layout = join(&found_with(Q, racked(1)), (2..=nodes).map(racked).collect());
        apart(&layout, &THREE);
        assert!(unevenness(&layout, &THREE) <= 1.10, "{nodes} nodes");
    }
}

#[test]
fn the_largest_ring_is_assigned_too() {
    let layout = grow(&found(65_536), 2..=100);
    let next = grow(&layout, 101..=101);
    check_movement(&layout, &next);
    assert!(unevenness(&next, &THREE) <= 1.10);
}

/// Joins and leaves of nodes with any weight, rack and data centre, several at once.
fn step() -> impl Strategy<Value = (Vec<(u8, u8, u32)>, Vec<prop::sample::Index>)> {
    let joining = prop::collection::vec((0..4u8, 0..2u8, 1..4u32), 0..4);
    (joining, prop::collection::vec(any::<prop::sample::Index>(), 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_keeps_shares_and_keeps_replicas_apart(steps in prop::collection::vec(step(), 1..6)) {
        let mut layout = found(256);
        let mut number = 1;
        for (joining, leaving) in steps {
            let leaving: Vec<HostId> = leaving.iter().map(|i| i.get(&layout.members).host).collect();
            let mut members: Vec<Member> =
                layout.members.iter().filter(|m| !leaving.contains(&m.host)).cloned().collect();
            for (rack, center, weight) in joining {
                number += 1;
                let joined = member_in(number, &format!("r{rack}"), &format!("dc{center}"));
                members.push(Member { weight, ..joined });
            }
            if members.is_empty() {
                continue;
            }
            let next = layout.next(layout.version + 1, members, Vec::new());
            check_movement_of_primaries(&layout, &next);
            let weights: u32 = next.members.iter().map(|m| m.weight).sum();
            for m in &next.members {
                let share = f64::from(256 * m.weight) / f64::from(weights);
                let owned = f64::from(next.vnodes_owned(m.host));
                prop_assert!((owned - share).abs() <= 1.0, "{owned} for a share of {share}");
            }
            apart(&next, &THREE);
            let both = [("dc0".to_owned(), 2), ("dc1".to_owned(), 3)].into_iter().collect();
            apart(&next, &Replication::NetworkTopology(both));
            layout = next;
        }
    }
}

fn check_movement_of_primaries(old: &Layout, new: &Layout) {
    let (moved, least) = movement(old, new);
    assert!(f64::from(moved) <= 1.2 * f64::from(least), "{moved} primaries moved, {least} had to");
}
