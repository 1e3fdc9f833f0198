//! The cache of decompressed blocks, shared by all SSTables of an engine.

use super::block::Block;
use super::counter::Counter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// Number of the SSTable in this engine's life, and of the block in it.
pub(crate) type BlockId = (u64, u32);

/// The raw bytes of a block that was checked, counted references and bytes in one allocation.
#[derive(Clone)]
pub(crate) struct CachedBlock(Arc<[u8]>);

impl CachedBlock {
    /// `None` unless the bytes are a block.
    pub(crate) fn new(bytes: Arc<[u8]>) -> Option<CachedBlock> {
        Block::parse(&bytes)?;
        Some(CachedBlock(bytes))
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
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

impl Weighter<BlockId, CachedBlock> for ByBytes {
    fn weight(&self, _: &BlockId, block: &CachedBlock) -> u64 {
        block.0.len() as u64 + OVERHEAD_BYTES
    }
}

pub(crate) struct BlockCache {
    cache: Cache<BlockId, CachedBlock, ByBytes, FixedHash, DefaultLifecycle<BlockId, CachedBlock>>,
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
        let cache =
            Cache::with_options(options, ByBytes, FixedHash::default(), DefaultLifecycle::default());
        BlockCache { cache, hits: Counter::default(), misses: Counter::default() }
    }

    #[inline]
    pub(crate) fn get(&self, id: BlockId) -> Option<CachedBlock> {
        let found = self.cache.get(&id);
        if found.is_some() { self.hits.add() } else { self.misses.add() }
        found
    }

    pub(crate) fn insert(&self, id: BlockId, block: CachedBlock) {
        self.cache.insert(id, block);
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

    #[test]
    fn stays_within_its_bytes() {
        let cache = BlockCache::new(1 << 20, 4096);
        let block = CachedBlock(vec![0; 4096].into());
        for n in 0..2000 {
            cache.insert((1, n), block.clone());
            assert!(cache.bytes() <= 1 << 20);
        }
        let kept = (0..2000).filter(|&n| cache.get((1, n)).is_some()).count() as u64;
        assert_eq!(cache.bytes(), kept * (4096 + OVERHEAD_BYTES));
        assert!(kept > 200 && cache.hits() == kept && cache.misses() == 2000 - kept, "{kept}");
    }
}
