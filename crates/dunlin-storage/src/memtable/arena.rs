//! Where a shard keeps its keys and records: chunks that only grow, freed together with the memtable.

/// First chunk of an arena; each next one is twice as long.
const CHUNK_BYTES_MIN: usize = 1 << 10;
/// Longest chunk, but for something longer still, which gets one of its own length.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// A place in an arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At {
    chunk: u32,
    offset: u32,
}

#[derive(Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
    bytes: u64,
}

impl Arena {
    /// Memory held, used or not.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts two pieces next to one another. Both together are shorter than 4 GiB.
    pub(super) fn push(&mut self, first: &[u8], second: &[u8]) -> At {
        let length = first.len() + second.len();
        if self.chunks.last().is_none_or(|c| c.capacity() - c.len() < length) {
            let doubled = self.chunks.last().map_or(CHUNK_BYTES_MIN, |c| c.capacity() * 2);
            let capacity = doubled.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).max(length);
            self.chunks.push(Vec::with_capacity(capacity));
            self.bytes += capacity as u64;
        }
        let chunk = self.chunks.len() - 1;
        let held = &mut self.chunks[chunk];
        let offset = held.len() as u32;
        held.extend_from_slice(first);
        held.extend_from_slice(second);
        At { chunk: chunk as u32, offset }
    }

    pub(super) fn get(&self, at: At, skip: usize, length: usize) -> &[u8] {
        let from = at.offset as usize + skip;
        &self.chunks[at.chunk as usize][from..from + length]
    }

    pub(super) fn get_mut(&mut self, at: At, skip: usize, length: usize) -> &mut [u8] {
        let from = at.offset as usize + skip;
        &mut self.chunks[at.chunk as usize][from..from + length]
    }
}
