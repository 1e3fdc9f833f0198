//! Request ids of recent writes, so that a client's repetition of a write is not a second write.

use crate::message::{Identified, RequestId, WriteMark};
use dunlin_types::{Key, TableId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// The last so many request ids whose writes this node holds, in memory: those it coordinated and those that
/// came with other coordinators' records.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    max: usize,
    inner: Mutex<Inner>,
}

/// A table and a key, by hash: keys may be long, and many are remembered.
type Place = [u8; 16];

fn place(table: TableId, key: &Key) -> Place {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&table.0.to_le_bytes());
    hasher.update(key.as_bytes());
    let hash = hasher.finalize();
    hash.as_bytes()[..16].try_into().expect("a BLAKE3 hash has 32 bytes")
}

#[derive(Debug, Default)]
struct Inner {
    done: BTreeMap<RequestId, (Place, WriteMark)>,
    order: VecDeque<RequestId>,
}

impl RequestMemory {
    pub(crate) fn new(max: usize) -> RequestMemory {
        RequestMemory { max, inner: Mutex::new(Inner::default()) }
    }

    /// The write of that id, which has to be for the same key. It was remembered as it was made, and may not have
    /// been stored: what counts is a record that has seen it.
    pub(crate) fn recall(&self, id: RequestId, table: TableId, key: &Key) -> Option<Identified> {
        let inner = self.inner.lock();
        let (known, mark) = inner.done.get(&id)?;
        (*known == place(table, key)).then_some(Identified { id, mark: *mark })
    }

    /// Remembers a write that was applied.
    pub(crate) fn remember(&self, write: Identified, table: TableId, key: &Key) {
        let Identified { id, mark } = write;
        let mut inner = self.inner.lock();
        if inner.done.insert(id, (place(table, key), mark)).is_none() {
            inner.order.push_back(id);
        }
        if inner.order.len() > self.max
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.done.remove(&oldest);
        }
    }

    /// Forgets a write that was remembered when it was made, and then not stored.
    pub(crate) fn forget(&self, id: RequestId) {
        // Its place in the order goes in its time.
        self.inner.lock().done.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::Micros;

    #[test]
    fn remembers_a_bounded_number() {
        let memory = RequestMemory::new(2);
        let key = Key::new("k").unwrap();
        for id in 0..3u8 {
            memory.remember(Identified { id: [id; 16], mark: WriteMark::Time(Micros(1)) }, TableId(1), &key);
        }
        assert_eq!(memory.recall([0; 16], TableId(1), &key), None);
        assert!(memory.recall([2; 16], TableId(1), &key).is_some());
        assert_eq!(memory.recall([2; 16], TableId(2), &key), None);
        assert_eq!(memory.recall([2; 16], TableId(1), &Key::new("l").unwrap()), None);
    }
}
