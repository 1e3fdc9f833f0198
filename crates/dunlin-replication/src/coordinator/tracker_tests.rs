//! The trackers, exhaustively for up to five replicas, against slow definitions.

use super::level::{Candidates, Mask, Needs};
use super::tracker::{Progress, ReadStep, ReadTracker, Reply, Tally};
use dunlin_types::record::Latest;
use dunlin_types::schema::Replication;
use dunlin_types::{Consistency, HostId, Micros, Record, Value};

/// Replicas of a layout, as a plain list.
type Owners = Vec<usize>;

/// `floor(n / 2) + 1`, by search.
fn majority_of(n: usize) -> usize {
    (1..).find(|m| m * 2 > n).unwrap()
}

/// What the table of the semantics says: groups of replicas, and how many of each.
fn slow_needs(
    level: Consistency,
    layouts: &[Owners],
    factor: usize,
    centers: &[usize],
) -> Vec<(Owners, usize)> {
    let within = |owners: &Owners, center: usize| -> Owners {
        owners.iter().copied().filter(|i| centers[*i] == center).collect()
    };
    let mut needs = Vec::new();
    for owners in layouts {
        match level {
            Consistency::Any | Consistency::One => needs.push((owners.clone(), 1)),
            Consistency::Two => needs.push((owners.clone(), 2)),
            Consistency::Three => needs.push((owners.clone(), 3)),
            Consistency::Quorum => needs.push((owners.clone(), majority_of(factor))),
            Consistency::All => needs.push((owners.clone(), factor)),
            Consistency::LocalOne => needs.push((within(owners, 0), 1)),
            Consistency::LocalQuorum => {
                let local = within(owners, 0);
                needs.push((local.clone(), majority_of(local.len())));
            }
            Consistency::EachQuorum => {
                for center in 0..2 {
                    let there = within(owners, center);
                    if !there.is_empty() {
                        needs.push((there.clone(), majority_of(there.len())));
                    }
                }
            }
        }
    }
    needs
}

fn needs(level: Consistency, layouts: &[Owners], factor: usize, centers: &[usize]) -> Needs {
    let masks: Vec<Mask> =
        layouts.iter().map(|owners| owners.iter().fold(0, |mask, i| mask | 1 << i)).collect();
    let names: Vec<&str> = centers.iter().map(|c| ["a", "b"][*c]).collect();
    let replication = Replication::Simple(factor as u32);
    Candidates { layouts: &masks, data_centers: &names, local: "a", replication: &replication }.needs(level)
}

/// Every way layouts of `factor` replicas may lie: one alone, and two with any overlap.
fn layouts(factor: usize) -> Vec<Vec<Owners>> {
    let mut all = vec![vec![(0..factor).collect()]];
    for shift in 0..=factor.min(6 - factor.min(6)).max(1) {
        all.push(vec![(0..factor).collect(), (shift..shift + factor).collect()]);
    }
    all
}

/// Calls `visit` with every assignment of `kinds` states to `n` replicas.
fn every_pattern(n: usize, kinds: usize, mut visit: impl FnMut(&[usize])) {
    for code in 0..kinds.pow(n as u32) {
        let mut rest = code;
        let pattern: Vec<usize> = (0..n)
            .map(|_| {
                let state = rest % kinds;
                rest /= kinds;
                state
            })
            .collect();
        visit(&pattern);
    }
}

#[test]
fn tallies_agree_with_counting() {
    let mut checked = 0;
    for factor in 1..=5 {
        for layouts in layouts(factor) {
            let n = layouts.iter().flatten().max().unwrap() + 1;
            for level in Consistency::ALL {
                for split in [n, 1] {
                    let centers: Vec<usize> = (0..n).map(|i| usize::from(i >= split)).collect();
                    let slow = slow_needs(level, &layouts, factor, &centers);
                    let needs = needs(level, &layouts, factor, &centers);
                    // 0: silent, 1: done, 2: failed.
                    every_pattern(n, 3, |pattern| {
                        check_tally(&needs, &slow, pattern);
                        checked += 1;
                    });
                }
            }
        }
    }
    assert!(checked > 50_000);
}

fn check_tally(needs: &Needs, slow: &[(Owners, usize)], pattern: &[usize]) {
    let mut tally = Tally::new(needs.clone());
    // Order must not matter: half of the patterns are applied backwards.
    let mut order: Vec<usize> = (0..pattern.len()).collect();
    if pattern[0] == 1 {
        order.reverse();
    }
    for i in order {
        match pattern[i] {
            1 => tally.add_success(i),
            2 => tally.add_failure(i),
            _ => {}
        }
    }
    let count =
        |owners: &Owners, states: &[usize]| owners.iter().filter(|i| states.contains(&pattern[**i])).count();
    let expected = if slow.iter().all(|(owners, required)| count(owners, &[1]) >= *required) {
        Progress::Enough
    } else if slow.iter().any(|(owners, required)| count(owners, &[0, 1]) < *required) {
        Progress::Impossible
    } else {
        Progress::Pending
    };
    assert_eq!(tally.progress(), expected, "{pattern:?} of {slow:?}");
    let (required, received) = tally.shortfall(tally.done());
    let shortest =
        slow.iter().map(|(owners, required)| (*required as i64) - count(owners, &[1]) as i64).max().unwrap();
    assert_eq!(i64::from(required) - i64::from(received), shortest);
    // Asking the chosen among the silent is enough whenever asking all of them is, and none is in vain.
    let silent: Vec<usize> = (0..pattern.len()).filter(|i| pattern[*i] == 0).collect();
    let chosen = tally.choose(silent.iter().copied());
    let silent_mask = silent.iter().fold(0, |mask: Mask, i| mask | 1 << i);
    assert_eq!(tally.possible_with(tally.done() | chosen), tally.possible_with(tally.done() | silent_mask));
    assert_eq!(chosen & !silent_mask, 0);
}

#[test]
fn a_success_stands_and_reopening_forgets() {
    let mut tally = Tally::new(needs(Consistency::All, &[vec![0, 1]], 2, &[0, 0]));
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

fn record(written: u64) -> Record {
    Record::Latest(Latest {
        host: HostId([1; 16]),
        value: Value { written: Micros(written), expires: None, data: None },
    })
}

/// What a replica holds in pattern state `state`: 2 and 5 nothing, 3 and 6 the old record, 4 and 7 the new.
fn held(state: usize) -> Option<Record> {
    match (state - 2) % 3 {
        0 => None,
        at => Some(record(at as u64)),
    }
}

#[test]
fn reads_agree_with_the_slow_definition() {
    for factor in 1..=5 {
        let shapes = if factor <= 2 { layouts(factor) } else { vec![vec![(0..factor).collect()]] };
        for layouts in shapes {
            let n = layouts.iter().flatten().max().unwrap() + 1;
            for level in [Consistency::One, Consistency::Two, Consistency::Quorum, Consistency::All] {
                let centers = vec![0; n];
                let slow = slow_needs(level, &layouts, factor, &centers);
                let needs = needs(level, &layouts, factor, &centers);
                // 0: silent, 1: failed, 2..5: a digest, 5..8: a record.
                every_pattern(n, 8, |pattern| check_read(&needs, &slow, pattern));
            }
        }
    }
}

fn check_read(needs: &Needs, slow: &[(Owners, usize)], pattern: &[usize]) {
    let mut tracker = ReadTracker::new(needs.clone());
    for (i, state) in pattern.iter().enumerate() {
        match state {
            0 => {}
            1 => tracker.add_failure(i),
            2..5 => tracker.add_reply(i, Reply::Digest(held(*state).as_ref().map(Record::digest))),
            _ => tracker.add_reply(i, Reply::Record(held(*state))),
        }
    }
    let answered: Vec<usize> = (0..pattern.len()).filter(|i| pattern[*i] >= 2).collect();
    let open = |i: &usize| pattern[*i] != 1;
    let digests: Vec<usize> = answered.iter().copied().filter(|i| pattern[*i] < 5).collect();
    let whole: Vec<usize> = answered.iter().copied().filter(|i| pattern[*i] >= 5).collect();
    let enough = slow
        .iter()
        .all(|(owners, required)| owners.iter().filter(|i| answered.contains(i)).count() >= *required);
    let hopeless =
        slow.iter().any(|(owners, required)| owners.iter().filter(|i| open(i)).count() < *required);
    let same = answered.windows(2).all(|pair| held(pattern[pair[0]]) == held(pattern[pair[1]]));
    let mask = |list: &[usize]| list.iter().fold(0, |mask: Mask, i| mask | 1 << i);
    let expected = match () {
        () if hopeless => ReadStep::Impossible,
        () if !enough => ReadStep::Wait,
        () if same && !whole.is_empty() => ReadStep::Agreed,
        () if same => ReadStep::Fetch(mask(&digests[..1])),
        () if digests.is_empty() => ReadStep::Differ,
        () => ReadStep::Fetch(mask(&digests)),
    };
    assert_eq!(tracker.step(), expected, "{pattern:?} of {slow:?}");
    let newest = whole.iter().filter_map(|i| held(pattern[*i])).max_by_key(|r| r.written_max());
    assert_eq!(tracker.merged(), newest);
    if expected == ReadStep::Differ {
        let stale: Vec<usize> = whole.iter().copied().filter(|i| held(pattern[*i]) != newest).collect();
        assert_eq!(tracker.stale(&newest), mask(&stale), "who needs repair");
        assert_eq!(tracker.holders(&newest) | mask(&stale), mask(&whole));
    }
    if expected == ReadStep::Agreed {
        assert_eq!(tracker.take_agreed(), newest);
    }
}
