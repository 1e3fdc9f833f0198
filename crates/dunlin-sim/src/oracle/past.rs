//! For each write of one key: what it certainly superseded, and what it may have.

use super::bits::Bits;
use super::history::{Basis, Outcome, Write};
use crate::executor::{MILLISECOND, Nanos};

/// A healthy machine's clock is right to this: expiries are whole seconds of the coordinator's time.
const CLOCKS_APART_MAX: Nanos = 2 * MILLISECOND;

/// The writes of one key, numbered from 0 in the order of invocation, with their pasts.
pub(super) struct Pasts<'a> {
    pub writes: Vec<&'a Write>,
    /// Certainly superseded, directly or through others, once the write is applied.
    pub must: Vec<Bits>,
    /// Possibly superseded; holds `must`.
    pub may: Vec<Bits>,
    clocks_bent: bool,
}

impl<'a> Pasts<'a> {
    /// `local` gives the number among this key's writes of a write of the history, if it is one of them.
    pub fn new(
        writes: Vec<&'a Write>,
        clocks_bent: bool,
        local: impl Fn(usize) -> Option<usize>,
    ) -> Pasts<'a> {
        let count = writes.len();
        let (must, may) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut pasts = Pasts { writes, must, may, clocks_bent };
        for number in 0..count {
            let (must, may) = pasts.past_of(number, &local);
            pasts.must.push(must);
            pasts.may.push(may);
        }
        pasts
    }

    fn past_of(&self, number: usize, local: impl Fn(usize) -> Option<usize>) -> (Bits, Bits) {
        let count = self.writes.len();
        let (mut must, mut may) = (Bits::new(count), Bits::new(count));
        let write = self.writes[number];
        match &write.basis {
            Basis::Upsert => {
                let end = match write.outcome {
                    Outcome::Acknowledged(at) => at,
                    _ => Nanos::MAX,
                };
                self.insert_where(&mut may, |other| other.invoked < end);
            }
            Basis::Clock => self.insert_where(&mut may, |_| true),
            Basis::Timestamp(mine) => {
                self.insert_where(&mut may, |other| match other.basis {
                    Basis::Timestamp(theirs) => theirs < *mine,
                    _ => true,
                });
                self.insert_where(
                    &mut must,
                    |other| matches!(other.basis, Basis::Timestamp(theirs) if theirs < *mine),
                );
            }
            Basis::Context(seen) => {
                // All of it was invoked earlier, so its pasts are known already.
                for shown in seen.shown.iter().filter_map(|id| local(*id)).filter(|n| *n < number) {
                    must.insert(shown);
                    must.join(&self.must[shown]);
                    may.insert(shown);
                    may.join(&self.may[shown]);
                }
                may.join(&self.deleted_by(seen.at, number));
            }
        }
        may.remove(number);
        must.remove(number);
        (must, may)
    }

    fn insert_where(&self, bits: &mut Bits, wanted: impl Fn(&Write) -> bool) {
        for (number, _) in self.writes.iter().enumerate().filter(|(_, write)| wanted(write)) {
            bits.insert(number);
        }
    }

    /// From when on readers may not be shown the write although it is the newest: a delete at once, a value
    /// with a TTL from its expiry on.
    fn hidden_from(&self, write: &Write) -> Option<Nanos> {
        match write.ttl {
            _ if write.is_delete => Some(write.invoked),
            Some(_) if self.clocks_bent => Some(write.invoked),
            Some(ttl) => Some(write.invoked.saturating_add(ttl)),
            None => None,
        }
    }

    /// Whether a value had certainly expired when a read began. The end of a run is looked at as if nothing
    /// ever expired.
    pub fn is_gone(&self, number: usize, invoked: Nanos) -> bool {
        let write = self.writes[number];
        match (write.ttl, write.outcome) {
            (Some(ttl), Outcome::Acknowledged(at)) if !self.clocks_bent && invoked < Nanos::MAX => {
                at.saturating_add(ttl).saturating_add(CLOCKS_APART_MAX) < invoked
            }
            _ => false,
        }
    }

    /// What deletes invoked and values expired before `time` (among the first `count` writes) may have superseded
    /// by then, themselves included: a reader is not shown any of it, and is not shown them.
    pub fn deleted_by(&self, time: Nanos, count: usize) -> Bits {
        let mut gone = Bits::new(self.writes.len());
        for (number, write) in self.writes.iter().enumerate().take(count) {
            let hidden = self.hidden_from(write).is_some_and(|from| from < time);
            if hidden && write.outcome != Outcome::NotApplied {
                gone.insert(number);
                gone.join(&self.may[number]);
            }
        }
        let invoked_before = self.writes.partition_point(|write| write.invoked < time);
        gone.truncate(invoked_before);
        gone
    }
}
