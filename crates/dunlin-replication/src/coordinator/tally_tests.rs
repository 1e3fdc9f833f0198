//! Levels and tallies, exhaustively, against the words of the semantics: every level, RF 1..=5, one layout and
//! two with every overlap, one to three data centres, and every state that the replicas can be in.

use super::level::{Candidates, Mask, Needs};
use super::tracker::{Progress, Tally};
use dunlin_types::Consistency;
use dunlin_types::schema::Replication;
use std::collections::BTreeMap;

const CENTERS: [&str; 3] = ["a", "b", "c"];

/// The replicas of one key: what is known of each, and how many there should be.
struct Case {
    /// Owners under each layout, by number.
    layouts: Vec<Vec<usize>>,
    /// Data centre of each replica. The coordinator is in the first one.
    centers: Vec<usize>,
    replication: Replication,
}

impl Case {
    fn size(&self) -> usize {
        self.centers.len()
    }

    fn factor(&self) -> usize {
        match &self.replication {
            Replication::Simple(factor) => *factor as usize,
            Replication::NetworkTopology(factors) => factors.values().map(|f| *f as usize).sum(),
        }
    }

    /// Replicas that a data centre should hold: a simple keyspace has no such number, so those it does hold.
    fn factor_in(&self, center: usize, owners: &[usize]) -> usize {
        match &self.replication {
            Replication::Simple(_) => owners.iter().filter(|i| self.centers[**i] == center).count(),
            Replication::NetworkTopology(factors) => factors.get(CENTERS[center]).map_or(0, |f| *f as usize),
        }
    }

    /// Whether the level holds when exactly these replicas did it: the table of the semantics, in words.
    fn holds(&self, level: Consistency, done: impl Fn(usize) -> bool) -> bool {
        self.layouts.iter().all(|owners| {
            let count = owners.iter().filter(|i| done(**i)).count();
            let count_in =
                |center: usize| owners.iter().filter(|i| self.centers[**i] == center && done(**i)).count();
            let quorum_in = |center: usize| 2 * count_in(center) > self.factor_in(center, owners);
            match level {
                Consistency::Any | Consistency::One => count >= 1,
                Consistency::Two => count >= 2,
                Consistency::Three => count >= 3,
                Consistency::Quorum => 2 * count > self.factor(),
                Consistency::All => count >= self.factor(),
                Consistency::LocalOne => count_in(0) >= 1,
                Consistency::LocalQuorum => quorum_in(0),
                Consistency::EachQuorum => {
                    (0..CENTERS.len()).all(|c| self.factor_in(c, owners) == 0 || quorum_in(c))
                }
            }
        })
    }

    fn needs(&self, level: Consistency) -> Needs {
        let layouts: Vec<Mask> =
            self.layouts.iter().map(|owners| owners.iter().fold(0, |mask, i| mask | 1 << i)).collect();
        let names: Vec<&str> = self.centers.iter().map(|center| CENTERS[*center]).collect();
        let (local, replication) = (CENTERS[0], &self.replication);
        Candidates { layouts: &layouts, data_centers: &names, local, replication }.needs(level)
    }
}

/// One layout, or two that share that many replicas of each data centre. `factors` are by data centre.
fn case(factors: &[usize], shared: Option<&[usize]>, simple: bool) -> Case {
    let mut case = Case {
        layouts: vec![Vec::new(); 1 + usize::from(shared.is_some())],
        centers: Vec::new(),
        replication: Replication::Simple(factors.iter().sum::<usize>() as u32),
    };
    for (center, &factor) in factors.iter().enumerate() {
        let both = shared.map_or(0, |shared| shared[center]);
        for place in 0..factor {
            case.layouts[0].push(case.centers.len());
            if place < both {
                case.layouts[1].push(case.centers.len());
            }
            case.centers.push(center);
        }
        for _ in both..if shared.is_some() { factor } else { both } {
            case.layouts[1].push(case.centers.len());
            case.centers.push(center);
        }
    }
    if !simple {
        let factors = factors.iter().enumerate().map(|(c, f)| (CENTERS[c].to_owned(), *f as u32));
        case.replication = Replication::NetworkTopology(factors.collect::<BTreeMap<_, _>>());
    }
    case
}

/// Every list of `length` numbers with each below its bound.
fn every_list(bounds: &[usize], mut visit: impl FnMut(&[usize])) {
    let mut list = vec![0; bounds.len()];
    loop {
        visit(&list);
        let Some(place) = (0..list.len()).find(|i| list[*i] + 1 < bounds[*i]) else { return };
        list[place] += 1;
        list[..place].fill(0);
    }
}

/// Every way to spread replicas over one to three data centres, and every overlap of two layouts.
fn every_case(mut visit: impl FnMut(&Case)) {
    every_list(&[6, 6, 6], |factors| {
        if !(1..=5).contains(&factors.iter().sum::<usize>()) {
            return;
        }
        for simple in [true, false] {
            visit(&case(factors, None, simple));
            let bounds: Vec<usize> = factors.iter().map(|f| f + 1).collect();
            every_list(&bounds, |shared| visit(&case(factors, Some(shared), simple)));
        }
    });
}

#[test]
fn a_level_can_be_met_exactly_by_the_sets_of_live_replicas_that_satisfy_it() {
    let mut checked = 0u64;
    every_case(|case| {
        for level in Consistency::ALL {
            let tally = Tally::new(case.needs(level));
            for alive in 0..1u32 << case.size() {
                let expected = case.holds(level, |i| alive & 1 << i != 0);
                assert_eq!(tally.possible_with(Mask::from(alive)), expected, "{level} with {alive:b}");
                checked += 1;
            }
        }
    });
    assert!(checked > 1_000_000, "{checked}");
}

/// Silent, done or failed.
type State = usize;

/// Every state of every replica, up to exchanging replicas of the same data centre and layouts.
fn every_state(case: &Case, mut visit: impl FnMut(&[State])) {
    let kind = |i: usize| {
        let inside: Vec<bool> = case.layouts.iter().map(|owners| owners.contains(&i)).collect();
        (case.centers[i], inside)
    };
    every_list(&vec![3; case.size()], |states| {
        let sorted = (1..states.len()).all(|i| kind(i - 1) != kind(i) || states[i - 1] <= states[i]);
        if sorted {
            visit(states);
        }
    });
}

fn check_progress(case: &Case, level: Consistency, tally: &Tally, states: &[State]) {
    let expected = match () {
        () if case.holds(level, |i| states[i] == 1) => Progress::Enough,
        () if case.holds(level, |i| states[i] != 2) => Progress::Pending,
        () => Progress::Impossible,
    };
    assert_eq!(tally.progress(), expected, "{level}, {states:?}, {:?} in {:?}", case.layouts, case.centers);
}

fn tally_of(needs: &Needs, states: &[State], order: impl Iterator<Item = usize>) -> Tally {
    let mut tally = Tally::new(needs.clone());
    for i in order {
        match states[i] {
            1 => tally.add_success(i),
            2 => tally.add_failure(i),
            _ => {}
        }
    }
    tally
}

#[test]
fn progress_is_what_the_replies_so_far_allow_in_whatever_order_they_came() {
    let mut checked = 0u64;
    every_case(|case| {
        // Beyond seven replicas the number of states explodes, and nothing new is in them.
        if case.size() > 7 {
            return;
        }
        let one_center = case.centers.iter().all(|center| *center == 0);
        for level in Consistency::ALL {
            let local =
                matches!(level, Consistency::LocalOne | Consistency::LocalQuorum | Consistency::EachQuorum);
            // What ignores data centres was checked to ignore them by the test above.
            if !local && !one_center {
                continue;
            }
            let needs = case.needs(level);
            every_state(case, |states| {
                let tally = tally_of(&needs, states, 0..states.len());
                check_progress(case, level, &tally, states);
                let backwards = tally_of(&needs, states, (0..states.len()).rev());
                assert_eq!((tally.done(), tally.failed()), (backwards.done(), backwards.failed()));
                check_choice(case, level, &tally, states);
                checked += 1;
            });
        }
    });
    assert!(checked > 100_000, "{checked}");
}

/// Asking the chosen among the silent is enough whenever asking all of them is.
fn check_choice(case: &Case, level: Consistency, tally: &Tally, states: &[State]) {
    let chosen = tally.choose((0..states.len()).filter(|i| states[*i] == 0));
    assert!((0..states.len()).all(|i| chosen & 1 << i == 0 || states[i] == 0));
    let with_chosen = case.holds(level, |i| states[i] == 1 || chosen & 1 << i != 0);
    assert_eq!(with_chosen, case.holds(level, |i| states[i] != 2), "{level} {states:?} chose {chosen:b}");
}

#[test]
fn every_order_of_replies_tells_the_same_at_every_step() {
    let orders = |n: usize| {
        let mut orders: Vec<Vec<usize>> = vec![vec![]];
        for next in 0..n {
            let longer =
                |order: Vec<usize>| (0..=next).map(move |at| [&order[..at], &[next], &order[at..]].concat());
            orders = orders.into_iter().flat_map(longer).collect();
        }
        orders
    };
    for (factors, shared) in [(vec![3, 0, 0], vec![2, 0, 0]), (vec![1, 1, 0], vec![0, 1, 0])] {
        let case = case(&factors, Some(&shared), false);
        for level in Consistency::ALL {
            let needs = case.needs(level);
            every_list(&vec![2; case.size()], |fates| {
                for order in orders(case.size()) {
                    let mut states = vec![0; case.size()];
                    let mut tally = Tally::new(needs.clone());
                    for &i in &order {
                        states[i] = 1 + fates[i];
                        if fates[i] == 0 {
                            tally.add_success(i)
                        } else {
                            tally.add_failure(i)
                        }
                        check_progress(&case, level, &tally, &states);
                    }
                }
            });
        }
    }
}

#[test]
fn the_shortfall_is_that_of_the_need_furthest_from_met() {
    every_list(&[4, 4], |done| {
        let case = case(&[3, 3], Some(&[3, 1]), false);
        let tally = Tally::new(case.needs(Consistency::EachQuorum));
        let mask = (0..3).filter(|i| *i < done[0]).chain((3..6).filter(|i| i - 3 < done[1]));
        let mask = mask.fold(0, |mask: Mask, i| mask | 1 << i);
        let (required, received) = tally.shortfall(mask);
        assert_eq!(required, 2);
        // Of the second layout in the second centre only the first of the old three is an owner.
        assert_eq!(received as usize, done[0].min(done[1].min(1)), "{done:?}");
    });
}

#[test]
fn a_success_stands_and_reopening_forgets() {
    let mut tally = Tally::new(case(&[2], None, true).needs(Consistency::All));
    tally.add_success(0);
    tally.add_failure(0);
    assert_eq!(tally.progress(), Progress::Pending);
    tally.add_failure(1);
    assert_eq!(tally.progress(), Progress::Impossible);
    tally.reopen(1);
    assert_eq!(tally.progress(), Progress::Pending);
    tally.add_success(1);
    assert_eq!(tally.progress(), Progress::Enough);
}
