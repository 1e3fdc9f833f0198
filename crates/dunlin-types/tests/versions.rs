//! Versions against a slow reference model that keeps whole histories: every write ever made to a key,
//! with the exact set of writes it had seen.

use dunlin_types::record::SiblingSet;
use dunlin_types::{Actor, Context, Dot, Generation, HostId, Micros, Record, Value};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type History = BTreeSet<Dot>;

const REPLICAS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// A write at a replica, with a context met earlier (counted from the end) or none.
    Write { replica: usize, context: Option<usize> },
    /// A write minted without a copy, then joined into a replica.
    Detached { replica: usize, context: usize },
    /// One replica's record reaches another.
    Merge { from: usize, to: usize },
    /// A client reads some replicas and keeps the merged context.
    Read { replicas: usize },
    /// A replica falls back to an earlier state of its own, in a new incarnation.
    Crash { replica: usize },
    /// The state a crash may fall back to.
    Sync { replica: usize },
    /// All copies are compared and made equal, durably; then a replica closes its earlier incarnations.
    Close { replica: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let replica = 0..REPLICAS;
    let op = prop_oneof![
        4 => (replica.clone(), prop::option::of(0..6usize)).prop_map(|(replica, context)| Op::Write { replica, context }),
        1 => (replica.clone(), 0..6usize).prop_map(|(replica, context)| Op::Detached { replica, context }),
        4 => (replica.clone(), replica.clone()).prop_map(|(from, to)| Op::Merge { from, to }),
        3 => (1..1usize << REPLICAS).prop_map(|replicas| Op::Read { replicas }),
        1 => replica.clone().prop_map(|replica| Op::Crash { replica }),
        1 => replica.clone().prop_map(|replica| Op::Sync { replica }),
        1 => replica.prop_map(|replica| Op::Close { replica }),
    ];
    prop::collection::vec(op, 1..40)
}

/// A replica's copy, as the code keeps it and as the model does.
#[derive(Clone, Debug, Default)]
struct Copy {
    set: SiblingSet,
    known: History,
}

#[derive(Default)]
struct World {
    copies: Vec<Copy>,
    synced: Vec<Copy>,
    generations: Vec<u64>,
    counters: Vec<u64>,
    /// What each write had seen, itself left out.
    pasts: BTreeMap<Dot, History>,
    /// Contexts that clients hold, with the writes they stand for.
    contexts: Vec<(Context, History)>,
    /// Writes that a crash took before anybody else had them, of incarnations closed since.
    lost: History,
}

fn value(dot: Dot) -> Value {
    Value { written: Micros(dot.counter), expires: None, data: Some(format!("{dot:?}").into_bytes().into()) }
}

impl World {
    fn new() -> World {
        let copies = vec![Copy::default(); REPLICAS];
        World {
            synced: copies.clone(),
            copies,
            generations: vec![1; REPLICAS],
            counters: vec![0; REPLICAS],
            ..World::default()
        }
    }

    fn context(&self, back: usize) -> (Context, History) {
        self.contexts.iter().rev().nth(back).cloned().unwrap_or_default()
    }

    fn actor(&self, replica: usize) -> Actor {
        Actor { host: HostId([replica as u8 + 1; 16]), generation: Generation(self.generations[replica]) }
    }

    fn next_dot(&mut self, actor: Actor, replica: usize) -> Dot {
        // Counters are shared by all keys of an actor: this key sees gaps.
        self.counters[replica] += 1 + (self.counters[replica] % 3);
        Dot { actor, counter: self.counters[replica] }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Write { replica, context } => {
                let dot = self.next_dot(self.actor(replica), replica);
                let copy = &self.copies[replica];
                let (given, mut seen) = match context {
                    Some(back) => self.context(back),
                    None => (copy.set.seen().clone(), copy.known.clone()),
                };
                let copy = &mut self.copies[replica];
                copy.set.write(&given, dot.actor, dot.counter, value(dot));
                copy.known.extend(seen.iter().copied());
                copy.known.insert(dot);
                self.pasts.insert(dot, seen.clone());
                let mut answer = given;
                answer.add_dot(dot);
                seen.insert(dot);
                self.contexts.push((answer, seen));
            }
            Op::Detached { replica, context } => {
                let (given, mut seen) = self.context(context);
                let dot = self.next_dot(self.actor(replica).without_copy(), replica);
                let set = SiblingSet::detached(&given, dot, value(dot));
                self.pasts.insert(dot, seen.clone());
                seen.insert(dot);
                let to = (replica + 1) % REPLICAS;
                self.copies[to].set.merge(&set);
                self.copies[to].known.extend(seen);
            }
            Op::Merge { from, to } => {
                let from = self.copies[from].clone();
                self.copies[to].set.merge(&from.set);
                self.copies[to].known.extend(from.known);
            }
            Op::Read { replicas } => {
                let mut context = Context::new();
                let mut seen = History::new();
                for (i, copy) in self.copies.iter().enumerate().filter(|(i, _)| replicas & 1 << i != 0) {
                    assert!(i < REPLICAS);
                    context.join(copy.set.seen());
                    seen.extend(copy.known.iter().copied());
                }
                self.contexts.push((context, seen));
            }
            Op::Crash { replica } => {
                self.copies[replica] = self.synced[replica].clone();
                self.generations[replica] += 1;
                self.counters[replica] = 0;
            }
            Op::Sync { replica } => self.synced[replica] = self.copies[replica].clone(),
            Op::Close { replica } => {
                let mut all = Copy::default();
                for copy in &self.copies {
                    all.set.merge(&copy.set);
                    all.known.extend(copy.known.iter().copied());
                }
                self.copies.fill(all);
                let now = self.actor(replica);
                let ended = |dot: &Dot| dot.actor.host == now.host && dot.actor.generation < now.generation;
                let copy = &mut self.copies[replica];
                if now.generation.0 > 1 && !copy.set.values().iter().any(|(dot, _)| ended(dot)) {
                    let gone = self.pasts.keys().filter(|dot| ended(dot) && !copy.known.contains(dot));
                    self.lost.extend(gone.copied());
                    let last = Actor { generation: Generation(now.generation.0 - 1), ..now };
                    copy.set.close(last);
                    assert!(!copy.set.seen().is_open_before(now));
                }
                self.synced = self.copies.clone();
            }
        }
    }

    fn check(&self) {
        for copy in &self.copies {
            let superseded: History =
                copy.known.iter().flat_map(|dot| self.pasts[dot].iter().copied()).collect();
            let expected: Vec<Dot> = copy.known.difference(&superseded).copied().collect();
            let found: Vec<Dot> = copy.set.values().iter().map(|(dot, _)| *dot).collect();
            assert_eq!(found, expected, "the siblings are the writes known that no write known has seen");
            for (dot, found) in copy.set.values() {
                assert_eq!(*found, value(*dot));
            }
            self.check_covers(copy.set.seen(), &copy.known);
            let record = Record::Siblings(copy.set.clone());
            let bytes = record.to_bytes();
            assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record));
        }
        for (context, seen) in &self.contexts {
            self.check_covers(context, seen);
        }
    }

    /// A context covers exactly the writes it stands for: above all, no sibling its holder never saw.
    fn check_covers(&self, context: &Context, seen: &History) {
        for dot in self.pasts.keys().filter(|dot| !self.lost.contains(dot)) {
            assert_eq!(context.covers(*dot), seen.contains(dot), "{dot:?} and {context:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn siblings_are_those_of_whole_histories(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.check();
        }
        // Any order of exchanges ends in the same bytes.
        let mut forward = world.copies[0].set.clone();
        world.copies.iter().for_each(|copy| forward.merge(&copy.set));
        let mut backward = world.copies[REPLICAS - 1].set.clone();
        world.copies.iter().rev().for_each(|copy| backward.merge(&copy.set));
        prop_assert_eq!(Record::Siblings(forward).to_bytes(), Record::Siblings(backward).to_bytes());
    }
}

/// Every short run of two replicas' operations, without chance.
#[test]
fn every_short_run_agrees_with_the_model() {
    let ops = [
        Op::Write { replica: 0, context: None },
        Op::Write { replica: 1, context: Some(0) },
        Op::Write { replica: 0, context: Some(1) },
        Op::Merge { from: 0, to: 1 },
        Op::Merge { from: 1, to: 0 },
        Op::Read { replicas: 0b01 },
        Op::Crash { replica: 0 },
        Op::Close { replica: 0 },
    ];
    let length = 5;
    for run in 0..ops.len().pow(length) {
        let mut world = World::new();
        let mut code = run;
        for _ in 0..length {
            world.apply(&ops[code % ops.len()]);
            code /= ops.len();
        }
        world.check();
    }
}
