//! Request ids of recent writes, so that a client's repetition gets the first one's answer.

use dunlin_types::{Context, Key, TableId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// The last so many request ids that this node coordinated, in memory.
///
/// A repetition that another replica coordinates, or this one after a restart, is not recognised.
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
    done: BTreeMap<[u8; 16], (Place, Context)>,
    order: VecDeque<[u8; 16]>,
}

impl RequestMemory {
    pub(crate) fn new(max: usize) -> RequestMemory {
        RequestMemory { max, inner: Mutex::new(Inner::default()) }
    }

    /// The context that the first write of that id returned; the id has to be for the same key.
    pub(crate) fn recall(&self, id: [u8; 16], table: TableId, key: &Key) -> Option<Context> {
        let inner = self.inner.lock();
        let (known, context) = inner.done.get(&id)?;
        (*known == place(table, key)).then(|| context.clone())
    }

    /// Remembers a write that was applied.
    pub(crate) fn remember(&self, id: [u8; 16], table: TableId, key: &Key, context: Context) {
        let mut inner = self.inner.lock();
        if inner.done.insert(id, (place(table, key), context)).is_none() {
            inner.order.push_back(id);
        }
        if inner.order.len() > self.max
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.done.remove(&oldest);
        }
    }

    /// Forgets a write that was remembered when it was made, and then not stored.
    pub(crate) fn forget(&self, id: [u8; 16]) {
        let mut inner = self.inner.lock();
        if inner.done.remove(&id).is_some() {
            inner.order.retain(|known| *known != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_bounded_number() {
        let memory = RequestMemory::new(2);
        let key = Key::new("k").unwrap();
        for id in 0..3u8 {
            memory.remember([id; 16], TableId(1), &key, Context::new());
        }
        assert_eq!(memory.recall([0; 16], TableId(1), &key), None);
        assert!(memory.recall([2; 16], TableId(1), &key).is_some());
        assert_eq!(memory.recall([2; 16], TableId(2), &key), None);
        assert_eq!(memory.recall([2; 16], TableId(1), &Key::new("l").unwrap()), None);
    }
}
