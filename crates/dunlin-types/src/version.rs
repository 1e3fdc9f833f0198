//! Versions: dots, and the causal contexts that cover them.
//!
//! Dotted version vectors (Preguiça, Baquero et al. 2012) with an explicit set of single dots, so
//! that a context can say "this write only" without claiming everything its actor did before.

use crate::codec::{DecodeError, Reader, put_varint};
use crate::host::{Actor, Generation, HostId};
use serde::{Deserialize, Serialize};

/// One write: the actor that coordinated it and that actor's counter. Counters grow over all keys of
/// an actor, so a dot is unique in the cluster and is never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// Who coordinated the write.
    pub actor: Actor,
    /// 1 and up.
    pub counter: u64,
}

/// The vector's counter of an incarnation that is closed: all its writes, and all of every earlier incarnation of
/// its host, are in the set.
const CLOSED: u64 = u64::MAX;

/// A set of writes to one key: a version vector (everything of an actor up to a counter) plus single
/// dots above it.
///
/// Once it is proved that an incarnation of a host has ended and no write of it is on its way that the holder
/// of the set has not seen, it may be *closed* with all before it: one entry stands for any number of them.
/// A closed set holds more writes, none of which anybody will ever meet; so it is a set like any other, and
/// joins spread it.
///
/// Invariant: both parts are sorted and free of duplicates, no dot is covered by the vector, and no entry of a
/// host is below one of its that is closed. Joins
/// of the same contexts, in any order, are therefore equal and encode to the same bytes. (Single dots
/// are never folded into the vector: counters run over all keys, so those of one key have gaps.)
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Context {
    vector: Vec<(Actor, u64)>,
    dots: Vec<Dot>,
}

impl Context {
    /// Nothing seen.
    pub fn new() -> Context {
        Context::default()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.vector.is_empty() && self.dots.is_empty()
    }

    /// The vector part.
    pub fn vector(&self) -> &[(Actor, u64)] {
        &self.vector
    }

    /// The single dots.
    pub fn dots(&self) -> &[Dot] {
        &self.dots
    }

    /// The vector's counter for an actor; 0 if it has none, `u64::MAX` if the actor is closed.
    pub fn counter(&self, actor: Actor) -> u64 {
        match self.vector.binary_search_by_key(&actor, |e| e.0) {
            Ok(i) => self.vector[i].1,
            // A closed entry is the lowest of its host.
            Err(i) => match self.vector.get(i) {
                Some(&(above, CLOSED)) if above.host == actor.host => CLOSED,
                _ => 0,
            },
        }
    }

    /// Whether the set holds this write.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter <= self.counter(dot.actor) || self.dots.binary_search(&dot).is_ok()
    }

    /// Whether the set holds every write of the other.
    pub fn covers_all(&self, other: &Context) -> bool {
        other.dots.iter().all(|d| self.covers(*d))
            && other.vector.iter().all(|&(actor, counter)| counter <= self.counter(actor))
    }

    /// Adds one write and claims nothing about those before it.
    pub fn add_dot(&mut self, dot: Dot) {
        if dot.counter <= self.counter(dot.actor) {
            return;
        }
        if let Err(at) = self.dots.binary_search(&dot) {
            self.dots.insert(at, dot);
        }
    }

    /// Adds everything of an actor up to a counter.
    pub fn advance(&mut self, actor: Actor, counter: u64) {
        if counter == CLOSED {
            return self.close(actor);
        }
        if counter <= self.counter(actor) {
            return;
        }
        match self.vector.binary_search_by_key(&actor, |e| e.0) {
            Ok(i) => self.vector[i].1 = counter,
            Err(i) => self.vector.insert(i, (actor, counter)),
        }
        self.dots.retain(|d| d.actor != actor || d.counter > counter);
    }

    /// Adds everything of an incarnation and of all earlier ones of its host. The caller has the proof that the
    /// set's holder has seen every write of them that still exists anywhere (semantics, section 4).
    pub fn close(&mut self, last: Actor) {
        if self.counter(last) == CLOSED {
            return;
        }
        let among = |actor: &Actor| actor.host == last.host && actor.generation <= last.generation;
        self.vector.retain(|(actor, _)| !among(actor));
        let at = self.vector.partition_point(|e| e.0 < last);
        self.vector.insert(at, (last, CLOSED));
        self.dots.retain(|d| !among(&d.actor));
    }

    /// Whether the set names an incarnation of the host before that one without having it closed.
    pub fn is_open_before(&self, actor: Actor) -> bool {
        let before = |other: &Actor| other.host == actor.host && other.generation < actor.generation;
        self.vector.iter().any(|(other, counter)| before(other) && *counter != CLOSED)
            || self.dots.iter().any(|dot| before(&dot.actor))
    }

    /// Set union.
    pub fn join(&mut self, other: &Context) {
        for &(actor, counter) in &other.vector {
            self.advance(actor, counter);
        }
        for &dot in &other.dots {
            self.add_dot(dot);
        }
    }

    /// Appends the canonical bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.vector.len() as u64);
        for &(actor, counter) in &self.vector {
            put_dot(out, Dot { actor, counter });
        }
        put_varint(out, self.dots.len() as u64);
        for &dot in &self.dots {
            put_dot(out, dot);
        }
    }

    /// Reads canonical bytes; anything unsorted, doubled or covered is an error.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Context, DecodeError> {
        let mut context = Context::new();
        for _ in 0..reader.count(DOT_BYTES_MIN, "version vector")? {
            let at = reader.error("version vector: out of order");
            let dot = read_dot(reader)?;
            let unsorted = context.vector.last().is_some_and(|last| last.0 >= dot.actor);
            let of_host = context.vector.last().is_some_and(|last| last.0.host == dot.actor.host);
            if dot.counter == 0 || unsorted || (dot.counter == CLOSED && of_host) {
                return Err(at);
            }
            context.vector.push((dot.actor, dot.counter));
        }
        for _ in 0..reader.count(DOT_BYTES_MIN, "dots")? {
            let at = reader.error("dots: out of order");
            let dot = read_dot(reader)?;
            if context.covers(dot) || context.dots.last().is_some_and(|last| *last >= dot) {
                return Err(at);
            }
            context.dots.push(dot);
        }
        Ok(context)
    }
}

pub(crate) const DOT_BYTES_MIN: usize = 18;

pub(crate) fn put_dot(out: &mut Vec<u8>, dot: Dot) {
    out.extend_from_slice(&dot.actor.host.0);
    put_varint(out, dot.actor.generation.0);
    put_varint(out, dot.counter);
}

pub(crate) fn read_dot(reader: &mut Reader<'_>) -> Result<Dot, DecodeError> {
    let host = HostId(reader.array("dot: host")?);
    let generation = Generation(reader.varint("dot: generation")?);
    let counter = reader.varint("dot: counter")?;
    Ok(Dot { actor: Actor { host, generation }, counter })
}
