//! The tracker of reads, exhaustively for up to five replicas, against a slow definition.

use super::level::{Candidates, Mask, Needs};
use super::tracker::{ReadStep, ReadTracker, Reply};
use dunlin_types::record::Latest;
use dunlin_types::schema::Replication;
use dunlin_types::{Consistency, HostId, Micros, Record, Value};

/// Replicas of a layout, as a plain list.
type Owners = Vec<usize>;

/// What the levels used here need: groups of replicas, and how many of each.
fn slow_needs(level: Consistency, layouts: &[Owners], factor: usize) -> Vec<(Owners, usize)> {
    let required = match level {
        Consistency::One => 1,
        Consistency::Two => 2,
        Consistency::Quorum => (1..).find(|m| m * 2 > factor).unwrap(),
        _ => factor,
    };
    layouts.iter().map(|owners| (owners.clone(), required)).collect()
}

fn needs(level: Consistency, layouts: &[Owners], factor: usize, replicas: usize) -> Needs {
    let masks: Vec<Mask> =
        layouts.iter().map(|owners| owners.iter().fold(0, |mask, i| mask | 1 << i)).collect();
    let replication = Replication::Simple(factor as u32);
    let data_centers = vec!["a"; replicas];
    Candidates { layouts: &masks, data_centers: &data_centers, local: "a", replication: &replication }
        .needs(level)
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
                let slow = slow_needs(level, &layouts, factor);
                let needs = needs(level, &layouts, factor, n);
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
