//! The step under a key's lock: a write of a siblings table gets its dot and takes the place of what it has seen.

use super::own_copy::CopyFacts;
use super::requests::RequestMemory;
use crate::message::{Identified, Recalled, RequestId, WriteMark};
use dunlin_types::error::Applied;
use dunlin_types::limits::{SIBLINGS_BYTES_MAX, SIBLINGS_MAX};
use dunlin_types::record::SiblingSet;
use dunlin_types::{Actor, ClusterError, Context, Dot, ErrorCode, Generation, Key, Record, TableId, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A write that is about to be made.
pub(super) struct Mint<C> {
    pub actor: Actor,
    pub dots: Arc<AtomicU64>,
    pub table: TableId,
    pub key: Key,
    pub value: Value,
    /// What it has seen; an upsert has seen what is there.
    pub context: Option<Context>,
    pub request: Option<(RequestId, Arc<RequestMemory>)>,
    /// The same write, known to another replica by its request id.
    pub known: Option<Recalled>,
    /// The copy that it is made on.
    pub copy: C,
    /// Tells the dot that the write got; none if it was made before.
    pub made: Arc<OnceLock<Dot>>,
}

impl<C: CopyFacts> Mint<C> {
    /// The new record in place of `old`. A write that was made already, by its request id, is not made again: the
    /// record that has seen it is joined instead.
    pub fn run(self, old: Option<Record>) -> Result<Record, Box<ClusterError>> {
        let Mint { actor, table, ref key, ref request, .. } = self;
        let mut set = match old {
            Some(Record::Siblings(set)) => set,
            _ => SiblingSet::default(),
        };
        if let (Some((id, requests)), Some(known)) = (request, &self.known) {
            requests.remember(Identified { id: *id, mark: known.mark }, table, key);
            let mut record = Record::Siblings(set);
            record.merge(&known.record);
            return Ok(record);
        }
        if let Some((id, requests)) = request
            && let Some(WriteMark::Dot(dot)) = requests.recall(*id, table, key).map(|write| write.mark)
            && set.seen().covers(dot)
        {
            return Ok(Record::Siblings(set));
        }
        let supersedes = self.context.unwrap_or_else(|| set.seen().clone());
        let bytes = |value: &Value| value.data.as_ref().map_or(0, |data| data.len());
        let left = set.values().iter().filter(|(dot, _)| !supersedes.covers(*dot));
        let (count, left_bytes) = left.fold((0, 0), |(n, sum), (_, left)| (n + 1, sum + bytes(left)));
        if count >= SIBLINGS_MAX || (count > 0 && left_bytes + bytes(&self.value) > SIBLINGS_BYTES_MAX) {
            return Err(too_many_siblings(&set));
        }
        // Under the key's lock, so that counters of one key grow in the order of its writes.
        let counter = self.dots.fetch_add(1, Ordering::Relaxed) + 1;
        // The actor stands for "and everything before of my copy", which would take back what it wrote before if the
        // copy is not whole: data of a range that this node gave away is removed, or not here yet again.
        let whole = self.copy.is_whole();
        let dot = Dot { actor: if whole { actor } else { actor.without_copy() }, counter };
        match whole {
            true => set.write(&supersedes, actor, counter, self.value),
            false => set.merge(&SiblingSet::detached(&supersedes, dot, self.value)),
        }
        let _ = self.made.set(dot);
        for actor in [actor, actor.without_copy()] {
            if let Some(last) = actor.generation.0.checked_sub(1)
                && set.seen().is_open_before(actor)
                && self.copy.earlier_have_ended()
            {
                set.close(Actor { generation: Generation(last), ..actor });
            }
        }
        if let Some((id, requests)) = request {
            let mark = WriteMark::Dot(dot);
            requests.remember(Identified { id: *id, mark }, table, key);
        }
        Ok(Record::Siblings(set))
    }
}

fn too_many_siblings(set: &SiblingSet) -> Box<ClusterError> {
    let message = format!(
        "the key has {} siblings, too many or too large to take another; read it, and write what they become with the context",
        set.values().len()
    );
    let mut error = ClusterError::new(ErrorCode::TooManySiblings, message);
    error.applied = Some(Applied::No);
    error.context = Some(set.seen().clone());
    Box::new(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::{Hlc, HostId};

    /// A copy that is whole or not.
    struct Copy(bool);

    impl CopyFacts for Copy {
        fn is_whole(&self) -> bool {
            self.0
        }

        fn earlier_have_ended(&self) -> bool {
            false
        }
    }

    /// Found by the simulator: a layout retired while a request was under way, and the copy was emptied.
    #[test]
    fn a_copy_that_is_not_whole_takes_back_nothing_that_its_node_wrote_before() {
        let actor = Actor { host: HostId::from_words(1, 2), generation: Generation(7) };
        for (whole, kept) in [(true, false), (false, true)] {
            let made = Arc::new(OnceLock::new());
            let mint = Mint {
                actor,
                dots: Arc::new(AtomicU64::new(5)),
                table: TableId(1),
                key: Key::new("k".to_owned()).expect("a key"),
                value: Value { written: Hlc::default(), expires: None, data: Some("new".into()) },
                context: Some(Context::new()),
                request: None,
                known: None,
                copy: Copy(whole),
                made: Arc::clone(&made),
            };
            let value = Value { written: Hlc::default(), expires: None, data: Some("old".into()) };
            let before = SiblingSet::detached(&Context::new(), Dot { actor, counter: 3 }, value);
            let mut elsewhere = Record::Siblings(before);
            elsewhere.merge(&mint.run(None).expect("room for it"));
            let Record::Siblings(set) = &elsewhere else { panic!("siblings stay siblings") };
            assert_eq!(set.values().len() == 2, kept, "whole: {whole}");
            let made = made.get().copied().expect("a dot was given");
            assert!(set.values().iter().any(|(dot, _)| *dot == made));
        }
    }
}
