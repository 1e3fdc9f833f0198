//! Histories made by hand: one that is right, and one for each way of being wrong.

use super::*;
use Consistency::{All, One, Quorum};
use dunlin_types::Consistency;

const TERMS: Terms = Terms {
    mode: TableMode::Siblings,
    replication_factor: 3,
    disks_lost: 0,
    sloppy: false,
    clocks_bent: false,
};

/// Builds a history of one key under replication factor 3. Times are small numbers.
#[derive(Default)]
struct Story {
    history: History,
    now: u64,
}

impl Story {
    fn tick(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    fn put(&mut self, level: Consistency, basis: Basis, outcome: fn(u64) -> Outcome) -> WriteId {
        self.write(level, basis, outcome, false)
    }

    fn write(
        &mut self,
        level: Consistency,
        basis: Basis,
        outcome: fn(u64) -> Outcome,
        is_delete: bool,
    ) -> WriteId {
        let (invoked, completed) = (self.tick(), self.tick());
        let outcome = outcome(completed);
        self.history.invoke(Write {
            key: 0,
            is_delete,
            basis,
            level,
            is_buffered: false,
            may_be_double: false,
            ttl: None,
            invoked,
            outcome,
        })
    }

    fn read(&mut self, level: Consistency, shown: &[WriteId]) -> Seen {
        let (invoked, completed) = (self.tick(), self.tick());
        let values = shown.iter().map(|id| value_of(*id)).collect();
        self.history.reads.push(Read {
            key: 0,
            level,
            invoked,
            completed,
            values,
            after: None,
            is_scan: false,
        });
        Seen { shown: shown.to_vec(), at: completed }
    }

    fn check(&self, mode: TableMode, end: Option<&[WriteId]>) -> Vec<Rule> {
        let end: Option<Final> =
            end.map(|ids| Final::from([(0, ids.iter().map(|id| value_of(*id)).collect())]));
        self.check_terms(Terms { mode, ..TERMS }, end.as_ref())
    }

    fn check_terms(&self, terms: Terms, end: Option<&Final>) -> Vec<Rule> {
        let (violations, _) = check(&self.history, terms, end);
        violations.into_iter().map(|violation| violation.rule).collect()
    }

    fn siblings(&self, end: Option<&[WriteId]>) -> Vec<Rule> {
        self.check(TableMode::Siblings, end)
    }
}

use Outcome::Acknowledged as acked;

fn maybe(_: u64) -> Outcome {
    Outcome::Unknown
}

fn refused(_: u64) -> Outcome {
    Outcome::NotApplied
}

fn nothing() -> Basis {
    Basis::Context(Seen::default())
}

#[test]
fn a_right_history_has_no_violation() {
    let mut story = Story::default();
    let a = story.put(Quorum, nothing(), acked);
    let b = story.put(One, nothing(), acked);
    let seen = story.read(Quorum, &[a, b]);
    let c = story.put(Quorum, Basis::Context(seen), acked);
    story.put(Quorum, nothing(), refused);
    let seen = story.read(Quorum, &[c]);
    let d = story.write(Quorum, Basis::Context(seen), acked, true);
    story.read(Quorum, &[]);
    let e = story.put(Quorum, Basis::Upsert, acked);
    story.read(Quorum, &[e]);
    assert_eq!(d, 4);
    assert_eq!(story.siblings(Some(&[e])), []);
}

#[test]
fn rule_1_a_lost_write() {
    let mut story = Story::default();
    let a = story.put(One, nothing(), acked);
    let b = story.put(Quorum, nothing(), acked);
    assert_eq!(story.siblings(Some(&[a, b])), []);
    assert_eq!(story.siblings(Some(&[b])), [Rule::FalseSupersession]);
    assert_eq!(story.siblings(Some(&[])), [Rule::AcknowledgedWriteLost]);
    assert_eq!(story.siblings(None), [], "without an end nothing is lost yet");
}

#[test]
fn rule_1_an_unknown_write_may_go_either_way() {
    let mut story = Story::default();
    let a = story.put(Quorum, nothing(), maybe);
    assert_eq!(story.siblings(Some(&[a])), []);
    assert_eq!(story.siblings(Some(&[])), []);
}

#[test]
fn rule_1_what_excuses_a_loss() {
    // A delete over it, even an unknown one; an upsert after or beside it; not an upsert before it.
    for (outcome, lost) in [(acked as fn(u64) -> Outcome, false), (maybe, false), (refused, true)] {
        let mut story = Story::default();
        let a = story.put(Quorum, nothing(), acked);
        let seen = story.read(Quorum, &[a]);
        story.write(Quorum, Basis::Context(seen), outcome, true);
        assert_eq!(story.siblings(Some(&[])).is_empty(), !lost);
    }
    let mut story = Story::default();
    let a = story.put(Quorum, Basis::Upsert, acked);
    let b = story.put(Quorum, Basis::Upsert, acked);
    assert_eq!(story.siblings(Some(&[b])), []);
    assert_eq!(story.siblings(Some(&[a])), [Rule::AcknowledgedWriteLost]);
}

#[test]
fn rule_1_a_write_over_an_older_state_excuses_nothing_newer() {
    let mut story = Story::default();
    let a = story.put(Quorum, nothing(), acked);
    let seen = story.read(Quorum, &[a]);
    let b = story.put(Quorum, Basis::Context(seen.clone()), acked);
    let c = story.put(Quorum, Basis::Context(seen), acked);
    assert_eq!(story.siblings(Some(&[b, c])), []);
    assert_eq!(story.siblings(Some(&[c])), [Rule::FalseSupersession]);
}

#[test]
fn rule_1_a_buffered_write_promises_nothing() {
    let mut story = Story::default();
    let a = story.put(All, nothing(), acked);
    story.history.writes[a].is_buffered = true;
    story.read(Quorum, &[a]);
    story.read(Quorum, &[]);
    assert_eq!(story.siblings(Some(&[])), []);
}

#[test]
fn rule_1_a_lost_disk_takes_what_only_it_acknowledged() {
    for (level, kept) in [(One, false), (Quorum, true)] {
        let mut story = Story::default();
        story.put(level, nothing(), acked);
        let terms = Terms { disks_lost: 1, ..TERMS };
        let lost = story.check_terms(terms, Some(&Final::new()));
        assert_eq!(lost == [Rule::AcknowledgedWriteLost], kept, "{level}");
        story.read(Quorum, &[]);
        let missed = story.check_terms(terms, None);
        assert_eq!(missed == [Rule::QuorumVisibility], kept, "{level}: the other copy still votes");
    }
}

#[test]
fn rule_2_values_from_nowhere() {
    let mut story = Story::default();
    let a = story.put(Quorum, nothing(), refused);
    story.read(One, &[a]);
    assert_eq!(story.siblings(None), [Rule::FromNowhere]);

    let mut story = Story::default();
    story.read(One, &[0]);
    story.put(Quorum, nothing(), acked);
    assert_eq!(story.siblings(None), [Rule::FromNowhere], "read before it was written");

    let mut story = Story::default();
    story.put(Quorum, nothing(), acked);
    story.history.reads.push(Read {
        key: 1,
        level: One,
        invoked: 50,
        completed: 60,
        values: vec![value_of(0)],
        after: None,
        is_scan: false,
    });
    assert_eq!(story.siblings(None), [Rule::FromNowhere], "of another key");

    let mut story = Story::default();
    story.history.reads.push(Read {
        key: 0,
        level: One,
        invoked: 1,
        completed: 2,
        values: vec!["garbage".to_owned()],
        after: None,
        is_scan: false,
    });
    assert_eq!(story.siblings(None), [Rule::FromNowhere]);
}

#[test]
fn rule_4_false_siblings() {
    let mut story = Story::default();
    let a = story.put(One, nothing(), acked);
    let seen = story.read(One, &[a]);
    let b = story.put(One, Basis::Context(seen), acked);
    story.read(One, &[a, b]);
    assert_eq!(story.siblings(None), [Rule::FalseSiblings]);
}

#[test]
fn rule_4_a_write_made_twice_may_come_back() {
    let mut story = Story::default();
    let a = story.put(Quorum, nothing(), acked);
    let seen = story.read(Quorum, &[a]);
    let b = story.put(Quorum, Basis::Context(seen), acked);
    story.read(Quorum, &[a, b]);
    assert_eq!(story.siblings(None), [Rule::FalseSiblings, Rule::Resurrection]);
    story.history.writes[a].may_be_double = true;
    assert_eq!(story.siblings(None), []);
}

#[test]
fn rule_5_quorum_visibility() {
    for (write, read, visible) in [
        (Quorum, Quorum, true),
        (All, One, true),
        (One, All, true),
        (One, Quorum, false),
        (Quorum, One, false),
    ] {
        let mut story = Story::default();
        story.put(write, nothing(), acked);
        story.read(read, &[]);
        let expected: &[Rule] = if visible { &[Rule::QuorumVisibility] } else { &[] };
        assert_eq!(story.siblings(None), expected, "{write} then {read}");
    }
}

#[test]
fn rule_5_only_what_was_acknowledged_before_the_read_began() {
    let mut story = Story::default();
    let a = story.put(Quorum, nothing(), acked);
    story.history.reads.push(Read {
        key: 0,
        level: Quorum,
        invoked: story.history.writes[a].invoked + 1,
        completed: 1000,
        values: vec![],
        after: None,
        is_scan: false,
    });
    assert_eq!(story.siblings(None), []);
}

#[test]
fn rule_5_a_sloppy_quorum_is_whole_at_the_end_only() {
    let mut story = Story::default();
    story.put(Quorum, nothing(), acked);
    story.read(Quorum, &[]);
    let sloppy = Terms { sloppy: true, ..TERMS };
    assert_eq!(story.check_terms(sloppy, None), []);
    assert_eq!(story.check_terms(sloppy, Some(&Final::new())), [Rule::AcknowledgedWriteLost]);
}

#[test]
fn rule_6_monotonic_reads() {
    let mut story = Story::default();
    let a = story.put(One, nothing(), maybe);
    story.read(One, &[a]);
    story.read(Quorum, &[]);
    assert_eq!(story.siblings(None), [], "a read at ONE binds nobody");
    story.read(Quorum, &[a]);
    story.read(Quorum, &[]);
    assert_eq!(story.siblings(None), [Rule::MonotonicReads]);
}

#[test]
fn rule_7_session_guarantee() {
    let mut story = Story::default();
    let a = story.put(One, nothing(), acked);
    story.read(One, &[]);
    story.history.reads[0].after = Some(Seen { shown: vec![a], at: 20 });
    assert_eq!(story.siblings(None), [Rule::SessionGuarantee]);
}

#[test]
fn rule_8_resurrection() {
    let mut story = Story::default();
    let a = story.put(Quorum, nothing(), acked);
    let seen = story.read(Quorum, &[a]);
    story.write(Quorum, Basis::Context(seen), acked, true);
    story.read(Quorum, &[]);
    story.read(One, &[a]);
    assert_eq!(story.siblings(Some(&[])), [], "a read at ONE may be stale");
    story.read(Quorum, &[a]);
    assert_eq!(story.siblings(Some(&[])), [Rule::Resurrection]);
    assert_eq!(story.siblings(Some(&[a])), [Rule::Resurrection, Rule::Resurrection]);
}

#[test]
fn rule_8_an_expired_value() {
    let expiring = || {
        let mut story = Story::default();
        let a = story.put(Quorum, nothing(), acked);
        let seen = story.read(Quorum, &[a]);
        let b = story.put(Quorum, Basis::Context(seen), acked);
        story.history.writes[b].ttl = Some(100 * 1_000_000);
        (story, a, b)
    };
    let (mut story, a, b) = expiring();
    story.now = 50 * 1_000_000;
    story.read(Quorum, &[b]);
    assert_eq!(story.siblings(Some(&[b])), []);
    story.now = 200 * 1_000_000;
    story.read(Quorum, &[]);
    assert_eq!(story.siblings(Some(&[])), [], "gone after its time, and so is what it superseded");
    story.read(Quorum, &[b]);
    assert_eq!(story.siblings(None), [Rule::ExpiredShown]);
    story.history.reads.pop();
    story.read(Quorum, &[a]);
    assert_eq!(story.siblings(None), [Rule::Resurrection]);

    let (mut story, _, _) = expiring();
    story.now = 50 * 1_000_000;
    story.read(Quorum, &[]);
    // What it superseded had been read before, and nothing is there that would explain its absence.
    let rules = [Rule::QuorumVisibility, Rule::MonotonicReads];
    assert_eq!(story.siblings(None), rules, "gone before its time");
    assert_eq!(story.check_terms(Terms { clocks_bent: true, ..TERMS }, None), []);
}

#[test]
fn rule_13_the_largest_timestamp_wins() {
    let mut story = Story::default();
    let a = story.put(Quorum, Basis::Timestamp(5), acked);
    let b = story.put(Quorum, Basis::Timestamp(9), acked);
    let c = story.put(Quorum, Basis::Timestamp(7), acked);
    let lww = |end: &[WriteId]| story.check(TableMode::LastWriteWins, Some(end));
    assert_eq!(lww(&[b]), []);
    assert_eq!(lww(&[c]), [Rule::WrongWinner, Rule::Resurrection]);
    assert!(lww(&[a, b]).contains(&Rule::SeveralWinners));
}
