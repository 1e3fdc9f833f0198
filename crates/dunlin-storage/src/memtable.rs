//! What was written and is not yet in an SSTable, in token order.
//!
//! Sharded by the token's top bits, so that shard after shard is token order. Each shard is a B-tree keyed
//! by the token alone: an integer key makes it twice as fast as a skip list, and tokens of different keys
//! almost never meet. An entry is one allocation of key and canonical record, so that accounting is exact
//! and no caller's larger buffer is kept alive.

use crate::LogPosition;
use crate::entry::{Entry, Source};
use crate::error::EngineError;
use bytes::Bytes;
use dunlin_types::{Record, Token};
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARD_BITS: u32 = 4;
const SHARDS: usize = 1 << SHARD_BITS;
/// What an entry costs besides its bytes: tree, counters, allocator.
const ENTRY_OVERHEAD_BYTES: u64 = 96;
/// Entries that a source takes out under one lock.
const BATCH: usize = 256;

struct Slot {
    /// Key, then canonical record.
    data: Bytes,
    key_bytes: u32,
    position: LogPosition,
}

impl Slot {
    fn key(&self) -> &[u8] {
        &self.data[..self.key_bytes as usize]
    }

    fn record(&self) -> Bytes {
        self.data.slice(self.key_bytes as usize..)
    }
}

/// Keys that share a token, by key.
type Slots = SmallVec<[Slot; 1]>;

pub(crate) struct Memtable {
    shards: [RwLock<BTreeMap<u64, Slots>>; SHARDS],
    bytes: AtomicU64,
    entries: AtomicU64,
    /// No write in it stands in the log before this; `u64::MAX` while it is empty.
    start: AtomicU64,
}

fn shard_of(token: Token) -> usize {
    (token.0 >> (u64::BITS - SHARD_BITS)) as usize
}

fn slot(key: &[u8], record: &[u8], position: LogPosition) -> Slot {
    let mut data = Vec::with_capacity(key.len() + record.len());
    data.extend_from_slice(key);
    data.extend_from_slice(record);
    Slot { data: data.into(), key_bytes: key.len() as u32, position }
}

impl Memtable {
    pub(crate) fn new() -> Memtable {
        Memtable {
            shards: std::array::from_fn(|_| RwLock::default()),
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

    /// Joins a record. `bytes` are its canonical bytes, `logged` is a position in the log not after it, `visible`
    /// the position that readers have to wait for. Returns by how much [`Memtable::bytes`] grew.
    pub(crate) fn merge(
        &self,
        token: Token,
        key: &[u8],
        record: &Record,
        bytes: &[u8],
        logged: LogPosition,
        visible: LogPosition,
    ) -> i64 {
        self.start.fetch_min(logged.0, Ordering::AcqRel);
        let mut shard = self.shards[shard_of(token)].write();
        let slots = shard.entry(token.0).or_default();
        let grown = match slots.binary_search_by(|s| s.key().cmp(key)) {
            Err(at) => {
                slots.insert(at, slot(key, bytes, visible));
                self.entries.fetch_add(1, Ordering::Relaxed);
                (ENTRY_OVERHEAD_BYTES + (key.len() + bytes.len()) as u64) as i64
            }
            Ok(at) => {
                let present = &mut slots[at];
                present.position = present.position.max(visible);
                let old = present.record();
                if old == bytes {
                    0
                } else {
                    let mut merged = Record::decode(&old).expect("a memtable holds canonical bytes only");
                    merged.merge(record);
                    let merged = merged.to_bytes();
                    *present = slot(key, &merged, present.position);
                    merged.len() as i64 - old.len() as i64
                }
            }
        };
        self.bytes.fetch_add(grown as u64, Ordering::Relaxed);
        grown
    }

    /// Canonical bytes and position of a key's record.
    pub(crate) fn get(&self, token: Token, key: &[u8]) -> Option<(Bytes, LogPosition)> {
        let shard = self.shards[shard_of(token)].read();
        let slots = shard.get(&token.0)?;
        let slot = slots.iter().find(|s| s.key() == key)?;
        Some((slot.record(), slot.position))
    }

    /// Up to `limit` entries from `from` to `last`, of the first shard that has any.
    fn batch(&self, from: &Place, last: Token, limit: usize) -> Vec<Entry> {
        let mut out = Vec::new();
        for index in shard_of(from.token)..=shard_of(last) {
            let shard = self.shards[index].read();
            for (&token, slots) in shard.range(from.token.0..=last.0) {
                let token = Token(token);
                let taken = |slot: &&Slot| from.excludes(token, slot.key());
                for slot in slots.iter().skip_while(taken) {
                    if out.len() == limit {
                        return out;
                    }
                    let key = slot.data.slice(..slot.key_bytes as usize);
                    out.push(Entry { token, key, record: slot.record(), position: slot.position });
                }
            }
            if !out.is_empty() {
                break;
            }
        }
        out
    }
}

/// Where to go on: at a token, behind a key of it if one is given.
pub(crate) struct Place {
    pub(crate) token: Token,
    pub(crate) after: Option<Bytes>,
}

impl Place {
    /// Whether an entry of a token not below the place's lies before it.
    pub(crate) fn excludes(&self, token: Token, key: &[u8]) -> bool {
        token == self.token && self.after.as_ref().is_some_and(|after| key <= after)
    }
}

/// Entries of a memtable. While it is written to, an entry is seen as it is when its batch is taken.
pub(crate) struct MemtableSource {
    memtable: Arc<Memtable>,
    from: Place,
    last: Token,
    batch: VecDeque<Entry>,
    ended: bool,
}

impl MemtableSource {
    pub(crate) fn new(memtable: Arc<Memtable>, from: Place, last: Token) -> MemtableSource {
        let ended = last < from.token;
        MemtableSource { memtable, from, last, batch: VecDeque::new(), ended }
    }
}

impl Source for MemtableSource {
    fn next(&mut self) -> Result<Option<Entry>, EngineError> {
        if self.batch.is_empty() && !self.ended {
            self.batch = self.memtable.batch(&self.from, self.last, BATCH).into();
            match self.batch.back() {
                Some(entry) => self.from = Place { token: entry.token, after: Some(entry.key.clone()) },
                None => self.ended = true,
            }
        }
        Ok(self.batch.pop_front())
    }
}
