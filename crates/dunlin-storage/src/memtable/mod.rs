//! What was written and is not yet in an SSTable, in token order.
//!
//! Sharded by the token's top bits, so that shard after shard is token order. Each shard is a B-tree keyed
//! by the token alone, an integer, with keys and records in an arena beside it: a skip list costs a cache
//! miss a level, and tokens of different keys almost never meet. A record is joined in place; one that has
//! outgrown its place moves to the end of the arena.

mod arena;
mod cursor;

pub(crate) use cursor::{MemtableCursor, Place};

use crate::LogPosition;
use crate::error::EngineError;
use arena::{Arena, At};
use dunlin_types::Token;
use dunlin_types::view::{Joined, join};
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;
/// What an entry costs besides its bytes: its share of a tree node that is on average two thirds full.
const ENTRY_OVERHEAD_BYTES: u64 = ((size_of::<u64>() + size_of::<Slots>()) * 3 / 2 + 4) as u64;
/// What the memtable is called where a file would be named.
const NAME: &str = "the memtable";

/// Where an entry's key lies, its record behind it.
#[derive(Clone, Copy)]
struct Slot {
    position: LogPosition,
    at: At,
    record_bytes: u32,
    /// What may be used without a move: at least `record_bytes`.
    room: u32,
    key_bytes: u16,
}

/// Keys that share a token, by key.
type Slots = SmallVec<[Slot; 1]>;

#[derive(Default)]
struct Shard {
    tree: BTreeMap<u64, Slots>,
    arena: Arena,
    scratch: Vec<u8>,
}

pub(crate) struct Memtable {
    shards: Box<[RwLock<Shard>]>,
    bytes: AtomicU64,
    entries: AtomicU64,
    /// No write in it stands in the log before this; `u64::MAX` while it is empty.
    start: AtomicU64,
}

fn shard_of(token: Token) -> usize {
    (token.0 >> (u64::BITS - SHARD_BITS)) as usize
}

impl Shard {
    fn key(&self, slot: &Slot) -> &[u8] {
        self.arena.get(slot.at, 0, slot.key_bytes as usize)
    }

    fn record(&self, slot: &Slot) -> &[u8] {
        self.arena.get(slot.at, slot.key_bytes as usize, slot.record_bytes as usize)
    }
}

impl Memtable {
    pub(crate) fn new() -> Memtable {
        Memtable {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            start: AtomicU64::new(u64::MAX),
        }
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
    /// much [`Memtable::bytes`] grew. An error: the bytes are not canonical, and nothing changed.
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
        let slots = tree.entry(token.0).or_default();
        let key_of = |slot: &Slot| arena.get(slot.at, 0, slot.key_bytes as usize);
        let added = match slots.binary_search_by(|slot| key_of(slot).cmp(key)) {
            Err(place) => {
                let at = arena.push(key, record);
                let record_bytes = record.len() as u32;
                let slot = Slot {
                    position: visible,
                    at,
                    record_bytes,
                    room: record_bytes,
                    key_bytes: key.len() as u16,
                };
                slots.insert(place, slot);
                true
            }
            Ok(place) => {
                join_slot(&mut slots[place], arena, key, record, scratch)?;
                slots[place].position = slots[place].position.max(visible);
                false
            }
        };
        let grown = arena.bytes() - before + if added { ENTRY_OVERHEAD_BYTES } else { 0 };
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
        let slots = shard.tree.get(&token.0)?;
        let slot = slots.iter().find(|slot| shard.key(slot) == key)?;
        Some(show(shard.record(slot), slot.position))
    }
}

fn join_slot(
    slot: &mut Slot,
    arena: &mut Arena,
    key: &[u8],
    record: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(), EngineError> {
    let held = arena.get(slot.at, slot.key_bytes as usize, slot.record_bytes as usize);
    let joined =
        join(held, record, scratch).map_err(|e| EngineError::damaged(NAME, e.offset as u64, e.what))?;
    let new: &[u8] = match joined {
        Joined::First => return Ok(()),
        Joined::Second => record,
        Joined::New => scratch,
    };
    if new.len() <= slot.room as usize {
        arena.get_mut(slot.at, slot.key_bytes as usize, new.len()).copy_from_slice(new);
    } else {
        slot.at = arena.push(key, new);
        slot.room = new.len() as u32;
    }
    slot.record_bytes = new.len() as u32;
    Ok(())
}
