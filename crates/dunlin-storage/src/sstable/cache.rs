//! The cache of decompressed blocks, shared by all SSTables of an engine.

use super::block::Block;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use std::hash::{BuildHasher, Hasher};

/// Number of the SSTable in this engine's life, and of the block in it.
pub(crate) type BlockId = (u64, u32);

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

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockId, Block> for ByBytes {
    fn weight(&self, _: &BlockId, block: &Block) -> u64 {
        block.bytes() + 64
    }
}

pub(crate) struct BlockCache(Cache<BlockId, Block, ByBytes, FixedHash, DefaultLifecycle<BlockId, Block>>);

impl BlockCache {
    /// Holds about so many bytes of blocks of about that size.
    pub(crate) fn new(bytes: u64, block_bytes: usize) -> BlockCache {
        let options = OptionsBuilder::new()
            .shards(16)
            .weight_capacity(bytes)
            .estimated_items_capacity((bytes / block_bytes.max(1) as u64) as usize)
            .build()
            .expect("both capacities are set");
        BlockCache(Cache::with_options(options, ByBytes, FixedHash::default(), DefaultLifecycle::default()))
    }

    pub(crate) fn get(&self, id: BlockId) -> Option<Block> {
        self.0.get(&id)
    }

    pub(crate) fn insert(&self, id: BlockId, block: Block) {
        self.0.insert(id, block);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    pub(crate) fn hits(&self) -> u64 {
        self.0.hits()
    }

    pub(crate) fn misses(&self) -> u64 {
        self.0.misses()
    }
}
