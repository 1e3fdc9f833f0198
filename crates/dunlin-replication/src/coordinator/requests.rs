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

#[derive(Debug, Default)]
struct Inner {
    done: BTreeMap<[u8; 16], (TableId, Key, Context)>,
    order: VecDeque<[u8; 16]>,
}

impl RequestMemory {
    pub(crate) fn new(max: usize) -> RequestMemory {
        RequestMemory { max, inner: Mutex::new(Inner::default()) }
    }

    /// The context that the first write of that id returned; the id has to be for the same key.
    pub(crate) fn recall(&self, id: [u8; 16], table: TableId, key: &Key) -> Option<Context> {
        let inner = self.inner.lock();
        let (known_table, known_key, context) = inner.done.get(&id)?;
        (*known_table == table && known_key == key).then(|| context.clone())
    }

    /// Remembers a write that was applied.
    pub(crate) fn remember(&self, id: [u8; 16], table: TableId, key: &Key, context: Context) {
        let mut inner = self.inner.lock();
        if inner.done.insert(id, (table, key.clone(), context)).is_none() {
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
