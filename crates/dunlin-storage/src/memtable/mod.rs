//! What was written and is not yet in an SSTable, in token order.
//!
//! Sharded by the token's top bits, so that shard after shard is token order. Each shard is a B-tree keyed
//! by the token alone, an integer, with keys and records in an arena beside it: a skip list costs a cache
//! miss a level, and tokens of different keys almost never meet. A record is joined in place; one that has
//! outgrown its place moves to the end of the arena.

mod arena;
mod cursor;

pub(crate) use arena::ChunkPool;
pub(crate) use cursor::{MemtableCursor, Place};

use crate::LogPosition;
use crate::error::EngineError;
use arena::{Arena, At, Header};
use dunlin_types::Token;
use dunlin_types::view::{Joined, join};
use parking_lot::RwLock;
use std::cmp::Ordering as Order;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;
/// An entry's share of a tree node that is on average two thirds full.
const TREE_BYTES: u64 = ((size_of::<u64>() + size_of::<At>()) * 3 / 2 + 4) as u64;
/// What the memtable is called where a file would be named.
const NAME: &str = "the memtable";

#[derive(Default)]
struct Shard {
    /// First entry of each token; the others hang on it by key.
    tree: BTreeMap<u64, At>,
    arena: Arena,
    scratch: Vec<u8>,
}

pub(crate) struct Memtable {
    shards: Box<[RwLock<Shard>]>,
    pool: Arc<ChunkPool>,
    bytes: AtomicU64,
    entries: AtomicU64,
    /// No write in it stands in the log before this; `u64::MAX` while it is empty.
    start: AtomicU64,
}

fn shard_of(token: Token) -> usize {
    (token.0 >> (u64::BITS - SHARD_BITS)) as usize
}

impl Arena {
    /// The entry of a key among those that hang on `first`, and the last one before it.
    fn find(&self, first: At, key: &[u8]) -> (Option<At>, Option<(At, Header)>) {
        let (mut before, mut at) = (None, first);
        while at != At::NONE {
            let header = self.header(at);
            match self.key(at, &header).cmp(key) {
                Order::Less => before = Some(at),
                Order::Equal => return (before, Some((at, header))),
                Order::Greater => break,
            }
            at = header.next;
        }
        (before, None)
    }
}

impl Memtable {
    /// An empty one, whose memory comes from a pool and goes back there.
    pub(crate) fn new(pool: &Arc<ChunkPool>) -> Memtable {
        Memtable {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            pool: pool.clone(),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            start: AtomicU64::new(u64::MAX),
        }
    }

    /// An empty one that shares the pool.
    pub(crate) fn successor(&self) -> Memtable {
        Memtable::new(&self.pool)
    }

    /// Bytes held, overhead included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// Lower bound of the log positions of its writes; `None` while it is empty.
    pub(crate) fn start(&self) -> Option<LogPosition> {
        let start = self.start.load(Ordering::Acquire);
        (start != u64::MAX).then_some(LogPosition(start))
    }

    /// Joins a record, given in canonical bytes; key and record are within the engine's bounds. `logged` is a
    /// position in the log not after it, `visible` the position that readers have to wait for. Returns by how
    /// much [`Memtable::bytes`] grew. After an error nothing changed: the bytes are not canonical, or the shard
    /// is full.
    pub(crate) fn merge(
        &self,
        token: Token,
        key: &[u8],
        record: &[u8],
        logged: LogPosition,
        visible: LogPosition,
    ) -> Result<u64, EngineError> {
        if self.start.load(Ordering::Relaxed) > logged.0 {
            self.start.fetch_min(logged.0, Ordering::AcqRel);
        }
        let mut shard = self.shards[shard_of(token)].write();
        let Shard { tree, arena, scratch } = &mut *shard;
        let before = arena.bytes();
        let full = EngineError::Overloaded { bytes: before };
        let added = match tree.entry(token.0) {
            Entry::Vacant(vacant) => {
                vacant.insert(arena.push(&self.pool, visible, At::NONE, key, record).ok_or(full)?);
                true
            }
            Entry::Occupied(mut first) => {
                let (previous, found) = arena.find(*first.get(), key);
                let moved = match found {
                    Some((at, header)) => {
                        join_entry(arena, &self.pool, at, header, visible, key, record, scratch)?
                    }
                    None => {
                        let next = previous.map_or(*first.get(), |p| arena.header(p).next);
                        Some(arena.push(&self.pool, visible, next, key, record).ok_or(full)?)
                    }
                };
                match (moved, previous) {
                    (Some(at), Some(previous)) => {
                        let header = Header { next: at, ..arena.header(previous) };
                        arena.set_header(previous, &header);
                    }
                    (Some(at), None) => *first.get_mut() = at,
                    (None, _) => {}
                }
                found.is_none()
            }
        };
        let grown = arena.bytes() - before + if added { TREE_BYTES } else { 0 };
        drop(shard);
        if added {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        if grown > 0 {
            self.bytes.fetch_add(grown, Ordering::Relaxed);
        }
        Ok(grown)
    }

    /// Shows canonical bytes and position of a key's record, if there is one. `show` must not come back here.
    pub(crate) fn get<R>(
        &self,
        token: Token,
        key: &[u8],
        show: impl FnOnce(&[u8], LogPosition) -> R,
    ) -> Option<R> {
        if self.is_empty() {
            return None;
        }
        let shard = self.shards[shard_of(token)].read();
        let (_, found) = shard.arena.find(*shard.tree.get(&token.0)?, key);
        found.map(|(at, header)| show(shard.arena.record(at, &header), header.position))
    }
}

impl Drop for Memtable {
    fn drop(&mut self) {
        self.shards.iter_mut().for_each(|shard| self.pool.give(&mut shard.get_mut().arena));
    }
}

/// Joins a record to an entry. Returns where the entry is now, if it had to move.
fn join_entry(
    arena: &mut Arena,
    pool: &ChunkPool,
    at: At,
    mut header: Header,
    visible: LogPosition,
    key: &[u8],
    record: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<Option<At>, EngineError> {
    let joined = join(arena.record(at, &header), record, scratch)
        .map_err(|e| EngineError::damaged(NAME, e.offset as u64, e.what))?;
    header.position = header.position.max(visible);
    let new: &[u8] = match joined {
        Joined::First => {
            arena.set_header(at, &header);
            return Ok(None);
        }
        Joined::Second => record,
        Joined::New => scratch,
    };
    if new.len() > header.room as usize {
        let full = EngineError::Overloaded { bytes: arena.bytes() };
        return arena.push(pool, header.position, header.next, key, new).ok_or(full).map(Some);
    }
    arena.set_record(at, &header, new);
    header.record_bytes = new.len() as u32;
    arena.set_header(at, &header);
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Cursor;
    use dunlin_types::record::Latest;
    use dunlin_types::{HostId, Micros, Record, Value};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn record(written: u64) -> Vec<u8> {
        // Later records are sometimes longer and sometimes shorter.
        let data = vec![written as u8; (written * 37 % 101) as usize];
        let value = Value { written: Micros(written), expires: None, data: Some(data.into()) };
        Record::Latest(Latest { host: HostId([1; 16]), value }).to_bytes().into()
    }

    proptest! {
        #[test]
        fn holds_what_a_map_holds(writes in prop::collection::vec((0..4u64, prop::collection::vec(0..3u8, 1..3), 0..50u64), 0..120)) {
            let memtable = Arc::new(Memtable::new(&Arc::new(ChunkPool::new(0))));
            let mut expected: BTreeMap<(u64, Vec<u8>), (u64, u64)> = BTreeMap::new();
            let mut grown = 0;
            for (n, (token, key, written)) in (1..).zip(writes) {
                // Some tokens share a shard, some do not.
                let token = token << if token % 2 == 0 { 61 } else { 3 };
                let (logged, visible) = (LogPosition(n - 1), LogPosition(n));
                grown += memtable.merge(Token(token), &key, &record(written), logged, visible).unwrap();
                let held = expected.entry((token, key)).or_default();
                *held = (held.0.max(written), n);
            }
            prop_assert_eq!(memtable.entries(), expected.len() as u64);
            prop_assert_eq!(memtable.bytes(), grown);
            for expected_count in [1, 1000] {
                let from = Place { token: Token(0), after: None };
                let mut cursor = MemtableCursor::new(memtable.clone(), from, Token(u64::MAX), expected_count);
                for ((token, key), (written, n)) in &expected {
                    prop_assert!(cursor.advance().unwrap());
                    prop_assert_eq!((cursor.token(), cursor.key()), (Token(*token), &key[..]));
                    prop_assert_eq!((cursor.record(), cursor.position()), (&record(*written)[..], LogPosition(*n)));
                    let found = memtable.get(Token(*token), key, |record, at| (record.to_vec(), at));
                    prop_assert_eq!(found, Some((record(*written), LogPosition(*n))));
                }
                prop_assert!(!cursor.advance().unwrap() && !cursor.advance().unwrap());
            }
            prop_assert_eq!(memtable.get(Token(9), b"none", |_, _| ()), None);
        }
    }
}
