//! The rules, key by key, in one sweep over time.

use super::bits::Bits;
use super::history::{Basis, History, KeyId, Outcome, Read, TableMode, write_of};
use super::past::Pasts;
use super::rule::{Rule, Violation};
use crate::executor::Nanos;
use dunlin_types::Consistency;
use dunlin_types::consistency::majority;
use std::collections::BTreeMap;

/// The values of each key after healing, all replicas being equal.
pub type Final = BTreeMap<KeyId, Vec<String>>;

/// What was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Writes that reads and the end were held to.
    pub obligations: u64,
    /// Reads judged.
    pub reads: u64,
}

/// What is known of the table and its run.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What it does with concurrent writes.
    pub mode: TableMode,
    /// Copies of each key.
    pub replication_factor: usize,
    /// Machines whose disk was lost, damaged or put back in time: what only they acknowledged is gone. Such a
    /// replica has no vote before it has been compared with all others, so what another one holds too is
    /// still read by everyone who would have read it.
    pub disks_lost: usize,
    /// Other nodes may stand in for replicas: a write is at the replicas for certain only at the end.
    pub sloppy: bool,
    /// Some wall clocks were wrong: a value with a TTL may have expired at any time.
    pub clocks_bent: bool,
}

/// Judges a history. `end` are the values after healing, if the cluster came that far; keys without a value
/// may be left out.
pub fn check(history: &History, terms: Terms, end: Option<&Final>) -> (Vec<Violation>, Checked) {
    let mut keys: BTreeMap<KeyId, (Vec<usize>, Vec<Read>)> = BTreeMap::new();
    for (id, write) in history.writes.iter().enumerate() {
        keys.entry(write.key).or_default().0.push(id);
    }
    for read in &history.reads {
        keys.entry(read.key).or_default().1.push(read.clone());
    }
    if let Some(end) = end {
        for (key, values) in end {
            keys.entry(*key).or_default().1.push(last_read(*key, values.clone()));
        }
        for (key, (_, reads)) in &mut keys {
            if !end.contains_key(key) {
                reads.push(last_read(*key, Vec::new()));
            }
        }
    }
    let mut violations = Vec::new();
    let mut checked = Checked::default();
    for (key, (ids, reads)) in keys {
        let sweep = Sweep::new(history, key, ids, terms);
        sweep.run(reads, &mut violations, &mut checked);
    }
    (violations, checked)
}

/// The state after healing as a read of all replicas at the end of time.
fn last_read(key: KeyId, values: Vec<String>) -> Read {
    let (level, time) = (Consistency::All, Nanos::MAX);
    Read { key, level, invoked: time, completed: time, values, after: None, is_scan: false }
}

fn is_last(read: &Read) -> bool {
    read.invoked == Nanos::MAX
}

/// Replicas that a level waits for.
fn replicas(level: Consistency, replication_factor: usize) -> usize {
    let wanted = match level {
        Consistency::Any => 0,
        Consistency::One | Consistency::LocalOne => 1,
        Consistency::Two => 2,
        Consistency::Three => 3,
        Consistency::Quorum | Consistency::LocalQuorum | Consistency::EachQuorum => {
            majority(replication_factor)
        }
        Consistency::All => replication_factor,
    };
    wanted.min(replication_factor)
}

struct Sweep<'a> {
    key: KeyId,
    terms: Terms,
    /// Ids in the history of this key's writes.
    ids: Vec<usize>,
    pasts: Pasts<'a>,
}

/// Numbers of this key's writes that reads must include from a time on, by how many replicas they ask.
struct Duties {
    /// Acknowledged, then read: by replicas asked, 0..=RF + 1.
    written: Vec<Bits>,
    read: Vec<Bits>,
}

/// Something that binds later reads, at the time it was answered.
enum Answered {
    Write(usize),
    Read(usize),
}

impl<'a> Sweep<'a> {
    fn new(history: &'a History, key: KeyId, ids: Vec<usize>, terms: Terms) -> Sweep<'a> {
        let writes = ids.iter().map(|id| &history.writes[*id]).collect();
        let pasts = Pasts::new(writes, terms.clocks_bent, |id| ids.binary_search(&id).ok());
        Sweep { key, terms, ids, pasts }
    }

    fn run(&self, mut reads: Vec<Read>, violations: &mut Vec<Violation>, checked: &mut Checked) {
        reads.sort_by_key(|read| read.invoked);
        let mut answered: Vec<(Nanos, Answered)> = Vec::new();
        for (number, write) in self.pasts.writes.iter().enumerate() {
            if let Outcome::Acknowledged(at) = write.outcome
                && !write.is_buffered
            {
                answered.push((at, Answered::Write(number)));
            }
        }
        let shown: Vec<Option<Vec<usize>>> =
            reads.iter().map(|read| self.resolve(read, violations)).collect();
        for (index, read) in reads.iter().enumerate() {
            if !is_last(read) && !read.is_scan {
                answered.push((read.completed, Answered::Read(index)));
            }
        }
        answered.sort_by_key(|(at, _)| *at);
        let mut answered = answered.into_iter().peekable();
        let mut duties = Duties::new(self.pasts.writes.len(), self.terms.replication_factor);
        for (index, read) in reads.iter().enumerate() {
            while let Some((_, what)) = answered.next_if(|(at, _)| *at < read.invoked) {
                match what {
                    Answered::Write(number) => duties.add_write(number, self.copies_left(number)),
                    Answered::Read(earlier) => {
                        let asked = replicas(reads[earlier].level, self.terms.replication_factor);
                        let majority = majority(self.terms.replication_factor);
                        if let Some(shown) = &shown[earlier]
                            && asked >= majority
                            && let Some(held) = self.left(majority)
                        {
                            let lasting = shown.iter().filter(|n| !self.pasts.writes[**n].is_buffered);
                            duties.add_read(lasting.copied(), held);
                        }
                    }
                }
            }
            if let Some(shown) = &shown[index] {
                checked.reads += 1;
                self.judge(read, shown, &duties, violations, checked);
            }
        }
    }

    /// Copies of an acknowledged write that are left for certain.
    fn copies_left(&self, number: usize) -> Option<usize> {
        self.left(replicas(self.pasts.writes[number].level, self.terms.replication_factor))
    }

    /// How many of some replicas count as holding a write after disks were lost. `None`: perhaps none does.
    fn left(&self, replicas: usize) -> Option<usize> {
        let lost = self.terms.disks_lost;
        (lost == 0 || replicas > lost).then_some(if self.terms.sloppy { 0 } else { replicas })
    }

    /// The writes whose values a read shows; `None` if some came from nowhere.
    fn resolve(&self, read: &Read, violations: &mut Vec<Violation>) -> Option<Vec<usize>> {
        let mut numbers = Vec::with_capacity(read.values.len());
        for value in &read.values {
            let number = write_of(value).and_then(|id| self.ids.binary_search(&id).ok());
            let problem = match number.map(|number| self.pasts.writes[number]) {
                None => Some("was never written to that key"),
                Some(write) if write.is_delete => Some("is of a delete"),
                Some(write) if write.invoked > read.completed => Some("was written later"),
                Some(write) if write.outcome == Outcome::NotApplied => Some("was refused with applied=no"),
                Some(_) => None,
            };
            match (problem, number) {
                (None, Some(number)) => numbers.push(number),
                (problem, _) => {
                    let why = problem.unwrap_or_default();
                    self.report(violations, Rule::FromNowhere, read, &format!("{value:?} {why}"));
                    return None;
                }
            }
        }
        Some(numbers)
    }

    fn judge(
        &self,
        read: &Read,
        shown: &[usize],
        duties: &Duties,
        violations: &mut Vec<Violation>,
        checked: &mut Checked,
    ) {
        if self.terms.mode == TableMode::LastWriteWins && shown.len() > 1 {
            self.report(violations, Rule::SeveralWinners, read, "several values");
        }
        if let Some(x) = shown.iter().find(|x| self.pasts.is_gone(**x, read.invoked)) {
            let what = format!("{} had expired", self.name(*x));
            self.report(violations, Rule::ExpiredShown, read, &what);
        }
        for x in shown.iter().filter(|x| !self.pasts.writes[**x].may_be_double) {
            if let Some(y) = shown.iter().find(|y| self.pasts.must[**y].contains(*x)) {
                let what = format!("{} had superseded {}", self.name(*y), self.name(*x));
                self.report(violations, Rule::FalseSiblings, read, &what);
            }
        }
        // What the read includes: what it shows, what that may have superseded, what deletes may have.
        let mut included = self.pasts.deleted_by(read.completed, self.pasts.writes.len());
        for x in shown {
            included.insert(*x);
            included.join(&self.pasts.may[*x]);
        }
        let asked = replicas(read.level, self.terms.replication_factor) + usize::from(is_last(read));
        let (written, seen) = (&duties.written[asked], &duties.read[asked]);
        checked.obligations += 1;
        if let Some(missed) = written.first_missing_in(&included) {
            self.report(
                violations,
                self.rule_of_loss(read, shown, missed),
                read,
                &format!("{} is missing", self.name(missed)),
            );
        }
        if let Some(missed) = seen.first_missing_in(&included) {
            let what = format!("{} is missing, which a quorum read had shown before", self.name(missed));
            self.report(violations, Rule::MonotonicReads, read, &what);
        }
        self.judge_resurrection(read, shown, &[written, seen], violations);
        for id in read.after.iter().flat_map(|seen| &seen.shown) {
            let number = self.ids.binary_search(id).ok();
            if let Some(missed) = number.filter(|number| !included.contains(*number)) {
                let what = format!("{} is missing, which AFTER asked for", self.name(missed));
                self.report(violations, Rule::SessionGuarantee, read, &what);
            }
        }
    }

    /// Which rule it breaks that a write is not there.
    fn rule_of_loss(&self, read: &Read, shown: &[usize], missed: usize) -> Rule {
        let beside = |x: &usize| !self.pasts.may[missed].contains(*x);
        match (is_last(read), self.terms.mode) {
            (false, _) => Rule::QuorumVisibility,
            (true, TableMode::LastWriteWins) if !shown.is_empty() => Rule::WrongWinner,
            (true, TableMode::Siblings) if shown.iter().any(beside) => Rule::FalseSupersession,
            (true, _) => Rule::AcknowledgedWriteLost,
        }
    }

    fn judge_resurrection(&self, read: &Read, shown: &[usize], duties: &[&Bits], out: &mut Vec<Violation>) {
        let mut dead = Bits::new(self.pasts.writes.len());
        let mut alive = Bits::new(self.pasts.writes.len());
        for number in 0..self.pasts.writes.len() {
            if duties.iter().any(|duty| duty.contains(number)) {
                dead.join(&self.pasts.must[number]);
            }
        }
        let single = shown.iter().filter(|number| !self.pasts.writes[**number].may_be_double);
        single.for_each(|number| alive.insert(*number));
        if let Some(number) = dead.first_common(&alive) {
            let what = format!("{} had been superseded for good", self.name(number));
            self.report(out, Rule::Resurrection, read, &what);
        }
    }

    /// A write as a person wants to see it.
    fn name(&self, number: usize) -> String {
        let write = self.pasts.writes[number];
        let kind = if write.is_delete { "delete" } else { "write" };
        let basis = match &write.basis {
            Basis::Upsert => "without context".to_owned(),
            Basis::Context(seen) => format!("over {:?}", seen.shown),
            Basis::Timestamp(at) => format!("at timestamp {at}"),
            Basis::Clock => "at the server's time".to_owned(),
        };
        format!(
            "{kind} w{} ({} {basis}, asked at {}, {:?})",
            self.ids[number],
            write.level,
            seconds(write.invoked),
            write.outcome
        )
    }

    fn report(&self, violations: &mut Vec<Violation>, rule: Rule, read: &Read, what: &str) {
        let place = if is_last(read) {
            "the state after healing".to_owned()
        } else {
            format!("a read at {} from {} to {}", read.level, seconds(read.invoked), seconds(read.completed))
        };
        let message = format!("key k{}, {place}, showing {:?}: {what}", self.key, read.values);
        violations.push(Violation { rule, message });
    }
}

impl Duties {
    fn new(writes: usize, replication_factor: usize) -> Duties {
        let none = vec![Bits::new(writes); replication_factor + 2];
        Duties { written: none.clone(), read: none }
    }

    /// So many replicas hold the write: it is seen by reads that ask more than the others.
    fn add_write(&mut self, number: usize, held: Option<usize>) {
        let Some(held) = held else { return };
        let replication_factor = self.written.len() - 2;
        for asked in replication_factor + 1 - held..self.written.len() {
            self.written[asked].insert(number);
        }
    }

    fn add_read(&mut self, shown: impl Iterator<Item = usize> + Clone, held: usize) {
        let replication_factor = self.read.len() - 2;
        for asked in replication_factor + 1 - held..self.read.len() {
            shown.clone().for_each(|number| self.read[asked].insert(number));
        }
    }
}

fn seconds(at: Nanos) -> String {
    format!("{:.6}", at as f64 / 1e9)
}
