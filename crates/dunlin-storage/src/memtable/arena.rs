//! Where a shard keeps its entries: chunks that only grow, freed together with the memtable.
//!
//! An entry is a header, its key, its record, and room for the record to grow; they lie together so that a
//! lookup is one cache miss behind the tree. Addresses are 32 bits, which keeps the tree's nodes small.

use crate::LogPosition;
use parking_lot::Mutex;

/// First chunk of an arena; each next one is twice as long.
const CHUNK_BYTES_MIN: usize = 1 << 10;
/// Longest chunk, but for an entry longer still, which gets one of its own length.
const CHUNK_BYTES_MAX: usize = 1 << OFFSET_BITS;
const OFFSET_BITS: u32 = 16;
/// Entries start at multiples of this.
const ALIGNMENT_BITS: u32 = 3;
const CHUNK_SHIFT: u32 = OFFSET_BITS - ALIGNMENT_BITS;
/// Most chunks: 32 GiB.
const CHUNKS_MAX: usize = (1 << (u32::BITS - CHUNK_SHIFT)) - 1;

/// Address of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At(u32);

impl At {
    /// No entry.
    pub(super) const NONE: At = At(u32::MAX);

    fn chunk(self) -> usize {
        (self.0 >> CHUNK_SHIFT) as usize
    }

    fn offset(self) -> usize {
        ((self.0 & ((1 << CHUNK_SHIFT) - 1)) << ALIGNMENT_BITS) as usize
    }
}

/// What stands before key and record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) position: LogPosition,
    /// The entry of the next larger key of the same token, or [`At::NONE`].
    pub(super) next: At,
    pub(super) record_bytes: u32,
    /// What the record may take without a move: at least `record_bytes`.
    pub(super) room: u32,
    pub(super) key_bytes: u16,
}

const HEADER_BYTES: usize = 24;

impl Header {
    fn write(&self, out: &mut [u8]) {
        out[..8].copy_from_slice(&self.position.0.to_le_bytes());
        out[8..12].copy_from_slice(&self.next.0.to_le_bytes());
        out[12..16].copy_from_slice(&self.record_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.room.to_le_bytes());
        out[20..22].copy_from_slice(&self.key_bytes.to_le_bytes());
    }

    fn read(bytes: &[u8; HEADER_BYTES]) -> Header {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Header {
            position: LogPosition(u64::from(word(0)) | u64::from(word(4)) << 32),
            next: At(word(8)),
            record_bytes: word(12),
            room: word(16),
            key_bytes: u16::from_le_bytes([bytes[20], bytes[21]]),
        }
    }
}

/// Chunks of memtables that were flushed, for the next ones: the system clears fresh memory page by page, which
/// costs more than an insert does.
pub(crate) struct ChunkPool {
    free: Mutex<Vec<Vec<u8>>>,
    chunks_max: usize,
}

impl ChunkPool {
    /// Keeps at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> ChunkPool {
        ChunkPool { free: Mutex::default(), chunks_max: (bytes_max / CHUNK_BYTES_MAX as u64) as usize }
    }

    fn take(&self) -> Vec<u8> {
        self.free.lock().pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES_MAX))
    }

    /// Takes back the chunks of the usual length; the others are freed.
    pub(super) fn give(&self, arena: &mut Arena) {
        let mut free = self.free.lock();
        for mut chunk in arena.chunks.drain(..).filter(|c| c.capacity() == CHUNK_BYTES_MAX) {
            if free.len() >= self.chunks_max {
                break;
            }
            chunk.clear();
            free.push(chunk);
        }
    }
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

    /// Adds an entry; `None` if the arena is full. Key and record are within the engine's bounds.
    pub(super) fn push(
        &mut self,
        pool: &ChunkPool,
        position: LogPosition,
        next: At,
        key: &[u8],
        record: &[u8],
    ) -> Option<At> {
        let length = (HEADER_BYTES + key.len() + record.len()).next_multiple_of(1 << ALIGNMENT_BITS);
        if self.chunks.last().is_none_or(|c| c.capacity() - c.len() < length) {
            if self.chunks.len() == CHUNKS_MAX {
                return None;
            }
            let doubled = self.chunks.last().map_or(CHUNK_BYTES_MIN, |c| c.capacity() * 2);
            let capacity = doubled.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).max(length);
            let chunk = if capacity == CHUNK_BYTES_MAX { pool.take() } else { Vec::with_capacity(capacity) };
            self.bytes += chunk.capacity() as u64;
            self.chunks.push(chunk);
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        let start = chunk.len();
        let room = (length - HEADER_BYTES - key.len()) as u32;
        let header =
            Header { position, next, record_bytes: record.len() as u32, room, key_bytes: key.len() as u16 };
        let mut bytes = [0; HEADER_BYTES];
        header.write(&mut bytes);
        chunk.extend_from_slice(&bytes);
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(record);
        chunk.resize(start + length, 0);
        Some(At((number as u32) << CHUNK_SHIFT | (start as u32) >> ALIGNMENT_BITS))
    }

    pub(super) fn header(&self, at: At) -> Header {
        let chunk = &self.chunks[at.chunk()];
        Header::read(chunk[at.offset()..].first_chunk().expect("an address points at a header"))
    }

    pub(super) fn set_header(&mut self, at: At, header: &Header) {
        header.write(&mut self.chunks[at.chunk()][at.offset()..]);
    }

    pub(super) fn key(&self, at: At, header: &Header) -> &[u8] {
        &self.chunks[at.chunk()][at.offset() + HEADER_BYTES..][..header.key_bytes as usize]
    }

    pub(super) fn record(&self, at: At, header: &Header) -> &[u8] {
        let from = at.offset() + HEADER_BYTES + header.key_bytes as usize;
        &self.chunks[at.chunk()][from..][..header.record_bytes as usize]
    }

    /// Writes a record that fits into the entry's room.
    pub(super) fn set_record(&mut self, at: At, header: &Header, record: &[u8]) {
        let from = at.offset() + HEADER_BYTES + header.key_bytes as usize;
        self.chunks[at.chunk()][from..][..record.len()].copy_from_slice(record);
    }
}
