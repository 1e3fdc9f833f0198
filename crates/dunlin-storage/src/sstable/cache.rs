//! The cache of decompressed blocks, shared by all SSTables of an engine.
//!
//! A crate's cache decides what stays and holds the bytes within their bound. Each SSTable has a pin for each
//! of its blocks besides: a second way to a block that is in the cache, which a lookup takes without hashing,
//! searching or counting references. Invariant: a block that has left the cache is not pinned.

use super::block::Block;
use super::counter::Counter;
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Weak};

/// Number of the SSTable in this engine's life, and of the block in it.
pub(crate) type BlockId = (u64, u32);

/// One hit in so many is told to the cache, which decides by it what is worth keeping.
const TOLD_HITS: u64 = 16;

/// The ways to those blocks of one SSTable that are in the cache.
pub(crate) struct Pins(Box<[RwLock<Option<Arc<[u8]>>>]>);

impl Pins {
    pub(crate) fn new(blocks: usize) -> Pins {
        Pins(std::iter::repeat_with(RwLock::default).take(blocks).collect())
    }

    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.0) as u64
    }

    fn set(&self, number: u32, block: Option<Arc<[u8]>>) {
        if let Some(pin) = self.0.get(number as usize) {
            *pin.write() = block;
        }
    }
}

/// A block in the cache, and where it is pinned.
#[derive(Clone)]
struct Held {
    bytes: Arc<[u8]>,
    pins: Weak<Pins>,
}

/// Unpins what leaves the cache, once the cache's own locks are free.
#[derive(Clone)]
struct Unpin;

#[derive(Default)]
struct Leaving(Vec<(BlockId, Weak<Pins>)>);

impl Lifecycle<BlockId, Held> for Unpin {
    type RequestState = Leaving;

    fn on_evict(&self, state: &mut Leaving, id: BlockId, held: Held) {
        state.0.push((id, held.pins));
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        for (id, pins) in self.0.drain(..) {
            if let Some(pins) = pins.upgrade() {
                pins.set(id.1, None);
            }
        }
    }
}

/// Hashes without a random key, so that what is evicted is a function of what was read.
#[derive(Clone, Copy, Default)]
struct FixedHash(u64);

impl BuildHasher for FixedHash {
    type Hasher = FixedHash;
    fn build_hasher(&self) -> FixedHash {
        FixedHash(0)
    }
}

impl Hasher for FixedHash {
    fn finish(&self) -> u64 {
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What a block costs besides its bytes: its counts, its entry in the cache and in the cache's table.
const OVERHEAD_BYTES: u64 = 96;

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockId, Held> for ByBytes {
    fn weight(&self, _: &BlockId, held: &Held) -> u64 {
        held.bytes.len() as u64 + OVERHEAD_BYTES
    }
}

pub(crate) struct BlockCache {
    cache: Cache<BlockId, Held, ByBytes, FixedHash, Unpin>,
    hits: Counter,
    misses: Counter,
}

impl BlockCache {
    /// Holds at most so many bytes, of blocks of about that size.
    pub(crate) fn new(bytes: u64, block_bytes: usize) -> BlockCache {
        let options = OptionsBuilder::new()
            .shards(16)
            .weight_capacity(bytes)
            .estimated_items_capacity((bytes / block_bytes.max(1) as u64) as usize)
            .build()
            .expect("both capacities are set");
        let cache = Cache::with_options(options, ByBytes, FixedHash::default(), Unpin);
        BlockCache { cache, hits: Counter::default(), misses: Counter::default() }
    }

    /// Shows a block to `show` if it is pinned, and else gives `show` back. It must not read from the engine:
    /// meanwhile the block cannot leave the cache.
    #[inline]
    pub(crate) fn with_pinned<R, F: FnOnce(&[u8]) -> R>(
        &self,
        pins: &Pins,
        id: BlockId,
        show: F,
    ) -> Result<R, F> {
        let Some(pin) = pins.0.get(id.1 as usize).and_then(|pin| pin.try_read()) else { return Err(show) };
        let Some(block) = &*pin else { return Err(show) };
        let shown = show(block);
        drop(pin);
        if self.hits.add().is_multiple_of(TOLD_HITS) {
            self.cache.get(&id);
        }
        Ok(shown)
    }

    pub(crate) fn get(&self, pins: &Arc<Pins>, id: BlockId) -> Option<Arc<[u8]>> {
        let pinned = pins.0.get(id.1 as usize).and_then(|pin| pin.try_read()?.clone());
        if pinned.is_some() {
            self.hits.add();
            return pinned;
        }
        let Some(held) = self.cache.get(&id) else {
            self.misses.add();
            return None;
        };
        self.hits.add();
        pins.set(id.1, Some(held.bytes.clone()));
        if !self.cache.contains_key(&id) {
            // It left before it was pinned.
            pins.set(id.1, None);
        }
        Some(held.bytes)
    }

    /// Puts a block into the cache; false if the bytes are none.
    pub(crate) fn insert(&self, pins: &Arc<Pins>, id: BlockId, bytes: Arc<[u8]>) -> bool {
        if Block::parse(&bytes).is_none() {
            return false;
        }
        // In this order: whatever makes the block leave the cache comes after the pin, and takes it away.
        pins.set(id.1, Some(bytes.clone()));
        self.cache.insert(id, Held { bytes, pins: Arc::downgrade(pins) });
        true
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.get()
    }

    pub(crate) fn misses(&self) -> u64 {
        self.misses.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sstable::block::BlockBuilder;
    use dunlin_types::Token;

    fn block(bytes: usize) -> Arc<[u8]> {
        let mut builder = BlockBuilder::default();
        builder.push(Token(1), b"key", &vec![0; bytes]);
        let mut raw = Vec::new();
        builder.take(&mut raw);
        raw.into()
    }

    #[test]
    fn stays_within_its_bytes_and_pins_nothing_else() {
        let cache = BlockCache::new(1 << 20, 4096);
        let (pins, block) = (Arc::new(Pins::new(2000)), block(4000));
        assert!(!cache.insert(&pins, (1, 0), vec![0; 10].into()), "no block");
        for n in 0..2000 {
            assert!(cache.insert(&pins, (1, n), block.clone()));
            assert!(cache.bytes() <= 1 << 20);
        }
        let pinned = pins.0.iter().filter(|pin| pin.read().is_some()).count() as u64;
        let kept = (0..2000).filter(|&n| cache.get(&pins, (1, n)).is_some()).count() as u64;
        assert_eq!(cache.bytes(), kept * (block.len() as u64 + OVERHEAD_BYTES));
        assert!(kept > 200 && pinned == kept, "{kept} kept, {pinned} pinned");
        assert_eq!((cache.hits(), cache.misses()), (kept, 2000 - kept));
    }

    #[test]
    fn a_block_too_long_for_the_cache_is_not_pinned() {
        let cache = BlockCache::new(1 << 16, 4096);
        let pins = Arc::new(Pins::new(1));
        assert!(cache.insert(&pins, (1, 0), block(1 << 17)));
        assert!(cache.get(&pins, (1, 0)).is_none() && cache.bytes() == 0);
    }

    /// Threads that read and drive one another's blocks out: no pin outlives its block.
    #[test]
    fn pins_hold_nothing_back_under_contention() {
        let cache = BlockCache::new(1 << 18, 4096);
        let (pins, block) = (Arc::new(Pins::new(300)), block(4000));
        std::thread::scope(|scope| {
            for thread in 0..3u32 {
                let (cache, pins, block) = (&cache, &pins, &block);
                scope.spawn(move || {
                    for n in 0..4000u32 {
                        let id = (1, n.wrapping_mul(2_654_435_761).wrapping_add(thread) % 300);
                        if cache.get(pins, id).is_none() {
                            cache.insert(pins, id, block.clone());
                        }
                        let _ = cache.with_pinned(pins, id, |bytes| assert_eq!(bytes.len(), block.len()));
                    }
                });
            }
        });
        for n in 0..300 {
            let pinned = pins.0[n].read().is_some();
            assert!(!pinned || cache.cache.contains_key(&(1, n as u32)), "block {n}");
        }
    }
}
