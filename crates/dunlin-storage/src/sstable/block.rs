//! A block of entries, made to be searched where it lies: header, slots, key prefix, then keys and records.
//!
//! A slot is one integer, token above and offset below, so that the search and the way to the entry share a
//! cache line. Tokens count from the block's first one: neighbours in token order share their top bits, and
//! what is left fits beside an offset in 8 bytes, but for small tables (12 then). A line through the first
//! and the last token guesses the slot. All entries of one token are in one block.
//!
//! The prefix that all keys of the block share is stored once. Restart points, as blocks in key order have
//! them, would save nothing more: neighbours in token order are random members of the table, so what two of
//! them share is what all of them share.

use super::search::lower_bound;
use crate::checksum::{u32_at, u64_at};
use dunlin_types::Token;
use dunlin_types::codec::put_varint;

const HEADER_BYTES: usize = 24;
const NARROW_BYTES: usize = 8;
const WIDE_BYTES: usize = 12;

/// Collects a block.
#[derive(Default)]
pub(crate) struct BlockBuilder {
    entries: Vec<BuilderEntry>,
    /// Keys and records as they come.
    bytes: Vec<u8>,
    /// How much all keys share.
    prefix: usize,
}

struct BuilderEntry {
    token: u64,
    /// Ends in `bytes`.
    key_end: usize,
    record_end: usize,
}

impl BlockBuilder {
    /// Appends an entry; they come in order.
    pub(crate) fn push(&mut self, token: Token, key: &[u8], record: &[u8]) {
        self.prefix = match self.entries.first() {
            None => key.len(),
            Some(first) => {
                let shared = self.bytes[..first.key_end][..self.prefix].iter().zip(key);
                shared.take_while(|(a, b)| a == b).count()
            }
        };
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.entries.push(BuilderEntry { token: token.0, key_end, record_end: self.bytes.len() });
    }

    /// About the raw length.
    pub(crate) fn bytes(&self) -> usize {
        HEADER_BYTES + self.entries.len() * (NARROW_BYTES + 1) + self.bytes.len()
    }

    pub(crate) fn first(&self) -> Option<Token> {
        self.entries.first().map(|e| Token(e.token))
    }

    pub(crate) fn last(&self) -> Option<Token> {
        self.entries.last().map(|e| Token(e.token))
    }

    /// Writes the raw block to `out`; the builder is empty afterwards. There must be an entry.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let (first, last) = self.first().zip(self.last()).map_or((0, 0), |(f, l)| (f.0, l.0));
        let (count, span) = (self.entries.len(), last - first);
        let mut data = Vec::with_capacity(self.bytes.len() + count * 3);
        let mut offsets = Vec::with_capacity(count + 1);
        let mut start = 0;
        for entry in &self.entries {
            offsets.push(data.len());
            put_varint(&mut data, (entry.key_end - start - self.prefix) as u64);
            data.extend_from_slice(&self.bytes[start + self.prefix..entry.record_end]);
            start = entry.record_end;
        }
        offsets.push(data.len());
        let offset_bits = (data.len() as u64).checked_ilog2().map_or(1, |log| log + 1);
        let narrow = span >> (64 - offset_bits) == 0;
        let slope = (u128::from(count as u64) << 64) / (u128::from(span) + 1);
        out.extend_from_slice(&u32::try_from(count).expect("blocks are cut before 4 GiB").to_le_bytes());
        out.extend_from_slice(&(self.prefix as u16).to_le_bytes());
        out.extend_from_slice(&[if narrow { offset_bits as u8 } else { 0 }, 0]);
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&u64::try_from(slope).unwrap_or(u64::MAX).to_le_bytes());
        let tokens = self.entries.iter().map(|e| e.token - first).chain([span]);
        for (token, offset) in tokens.zip(offsets) {
            if narrow {
                out.extend_from_slice(&(token << offset_bits | offset as u64).to_le_bytes());
            } else {
                out.extend_from_slice(&token.to_le_bytes());
                out.extend_from_slice(
                    &u32::try_from(offset).expect("blocks are cut before 4 GiB").to_le_bytes(),
                );
            }
        }
        out.extend_from_slice(&self.bytes[..self.prefix]);
        out.extend_from_slice(&data);
        self.entries.clear();
        self.bytes.clear();
    }
}

/// Where an entry lies in the bytes of its block; its key is the block's prefix and the suffix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct EntryPlace {
    pub(crate) token: Token,
    /// From here to `record` stands the suffix of the key.
    pub(crate) suffix: usize,
    /// From here to `end` stands the record.
    pub(crate) record: usize,
    pub(crate) end: usize,
}

/// What the header of a block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shape {
    count: usize,
    first: u64,
    slope: u64,
    /// Zero: slots are wide.
    offset_bits: u32,
    prefix: usize,
    data: usize,
}

impl Shape {
    /// Reads the header alone: one cache line. `None` if the bytes cannot be a block.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Option<Shape> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let count = u32_at(header, 0)? as usize;
        let prefix_bytes = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let offset_bits = u32::from(header[6]);
        let width = if offset_bits == 0 { WIDE_BYTES } else { NARROW_BYTES };
        let prefix = HEADER_BYTES.checked_add((count + 1).checked_mul(width)?)?;
        let data = prefix.checked_add(prefix_bytes)?;
        if count == 0 || offset_bits >= 64 || header[7] != 0 || data > bytes.len() {
            return None;
        }
        Some(Shape {
            count,
            first: u64_at(header, 8)?,
            slope: u64_at(header, 16)?,
            offset_bits,
            prefix,
            data,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// With the bytes it was read from.
    #[inline]
    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> Block<'a> {
        Block { shape: *self, bytes }
    }
}

/// A raw block, ready to be searched. What follows the block in the bytes does not matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    shape: Shape,
    bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// As [`Shape::parse`].
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Block<'a>> {
        Some(Shape::parse(bytes)?.of(bytes))
    }

    /// Reads everything: `None` unless entries are in order, tokens lie where the header says, and the block
    /// ends with the bytes.
    pub(crate) fn check(bytes: &'a [u8]) -> Option<Block<'a>> {
        let block = Block::parse(bytes)?;
        let shape = block.shape;
        let mut before: Option<(Token, &[u8])> = None;
        for i in 0..shape.count {
            let place = block.entry(i)?;
            let entry = (place.token, &bytes[place.suffix..place.record]);
            let empty = shape.data - shape.prefix + entry.1.len() == 0;
            if empty || before.is_some_and(|before| before >= entry) {
                return None;
            }
            before = Some(entry);
        }
        let (span, end) = block.slot(shape.count)?;
        let starts = block.slot(0)? == (0, 0);
        (starts && end == bytes.len() - shape.data && before?.0.0 - shape.first == span).then_some(block)
    }

    pub(crate) fn count(&self) -> usize {
        self.shape.count
    }

    /// What all keys of the block begin with.
    #[inline]
    pub(crate) fn prefix(&self) -> &'a [u8] {
        self.bytes.get(self.shape.prefix..self.shape.data).unwrap_or_default()
    }

    #[inline]
    fn narrow(&self) -> &'a [[u8; NARROW_BYTES]] {
        self.bytes.get(HEADER_BYTES..self.shape.prefix).unwrap_or_default().as_chunks().0
    }

    /// Token behind the first, and offset, of slot `i`; the last slot is behind the entries.
    #[inline]
    fn slot(&self, i: usize) -> Option<(u64, usize)> {
        let bits = self.shape.offset_bits;
        if bits == 0 {
            let slot = self.bytes.get(HEADER_BYTES + i * WIDE_BYTES..self.shape.prefix)?;
            return Some((u64_at(slot, 0)?, u32_at(slot, 8)? as usize));
        }
        let slot = u64::from_le_bytes(*self.narrow().get(i)?);
        Some((slot >> bits, (slot & ((1 << bits) - 1)) as usize))
    }

    /// Entry `i < count`; `None` if the block is not well-formed.
    #[inline]
    pub(crate) fn entry(&self, i: usize) -> Option<EntryPlace> {
        let ((token, from), (_, to)) = self.slot(i).zip(self.slot(i + 1))?;
        let (from, end) = (self.shape.data.checked_add(from)?, self.shape.data.checked_add(to)?);
        let entry = self.bytes.get(from..end)?;
        let (&low, rest) = entry.split_first()?;
        let (key_bytes, suffix) =
            if low < 0x80 { (low.into(), from + 1) } else { long_key(low, rest, from)? };
        let record = suffix + key_bytes;
        (record <= end).then_some(EntryPlace {
            token: Token(self.shape.first.checked_add(token)?),
            suffix,
            record,
            end,
        })
    }

    /// Number of the first entry whose token is not below `token`.
    #[inline]
    pub(crate) fn first_at(&self, token: Token) -> usize {
        let Shape { count, first, slope, offset_bits, .. } = self.shape;
        let Some(behind) = token.0.checked_sub(first) else { return 0 };
        let guess = (((u128::from(behind) * u128::from(slope)) >> 64) as usize).min(count - 1);
        if offset_bits == 0 {
            return lower_bound(guess, count, |i| self.slot(i).is_some_and(|(token, _)| token < behind));
        }
        if behind >> (64 - offset_bits) != 0 {
            return count;
        }
        let slots = self.narrow().get(..count).unwrap_or_default();
        let wanted = behind << offset_bits;
        lower_bound(guess, slots.len(), |i| u64::from_le_bytes(slots[i]) < wanted)
    }

    /// The record of a key; the outer `None` if the block is not well-formed.
    #[inline]
    pub(crate) fn find(&self, token: Token, key: &[u8]) -> Option<Option<&'a [u8]>> {
        for i in self.first_at(token)..self.shape.count {
            let place = self.entry(i)?;
            if place.token != token {
                break;
            }
            let suffix = self.bytes.get(place.suffix..place.record)?;
            let prefix = self.prefix();
            if key.len() == prefix.len() + suffix.len() && key.ends_with(suffix) && key.starts_with(prefix) {
                return Some(Some(self.bytes.get(place.record..place.end)?));
            }
        }
        Some(None)
    }
}

/// The rest of a varint below 2^16 that is longer than a byte: its value, and where it ends.
#[cold]
fn long_key(low: u8, rest: &[u8], from: usize) -> Option<(usize, usize)> {
    let length = usize::from(low & 0x7f) | usize::from(rest.first()? & 0x7f) << 7;
    match (rest[0], rest.get(1)) {
        (..0x80, _) => Some((length, from + 2)),
        (_, Some(&high @ ..=3)) => Some((length | usize::from(high) << 14, from + 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(entries: &[(u64, Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        entries.iter().for_each(|(token, key, record)| builder.push(Token(*token), key, record));
        let mut raw = b"old".to_vec();
        builder.take(&mut raw);
        assert!(builder.first().is_none());
        raw
    }

    fn entries() -> impl Strategy<Value = Vec<(u64, Vec<u8>, Vec<u8>)>> {
        let key = prop::collection::vec(0u8..3, 1..5);
        let record = prop::collection::vec(any::<u8>(), 0..40);
        let prefix = prop::sample::select(vec![0, 1, 7, 130, 20_000]);
        (0u32..64, prefix, prop::collection::btree_map((any::<u64>(), key), record, 1..50)).prop_map(
            |(low, prefix, entries)| {
                // Some runs crowd the tokens, so that several keys share one.
                let entries = entries.into_iter().map(|((token, key), record)| {
                    (token >> low, [&vec![b'p'; prefix][..], &key[..]].concat(), record)
                });
                let mut entries: Vec<_> = entries.collect();
                entries.sort();
                entries.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
                entries
            },
        )
    }

    proptest! {
        #[test]
        fn finds_what_was_pushed_and_nothing_else(entries in entries(), probe: u64, behind in 0usize..20) {
            let mut raw = build(&entries);
            prop_assert!(Block::check(&raw).is_some());
            let length = raw.len();
            raw.resize(length + behind, 0xff);
            prop_assert_eq!(Block::check(&raw).is_some(), behind == 0);
            let block = Block::parse(&raw).unwrap();
            prop_assert_eq!(block.count(), entries.len());
            for (i, (token, key, record)) in entries.iter().enumerate() {
                let place = block.entry(i).unwrap();
                prop_assert_eq!(place.token, Token(*token));
                prop_assert_eq!([block.prefix(), &raw[place.suffix..place.record]].concat(), &key[..]);
                prop_assert_eq!(block.find(Token(*token), key), Some(Some(&record[..])));
                prop_assert_eq!(block.find(Token(*token), b"qq"), Some(None));
                prop_assert_eq!(block.find(Token(*token), &key[..key.len() - 1]).map(|r| r.is_some()), Some(
                    entries.iter().any(|(t, k, _)| t == token && k[..] == key[..key.len() - 1])));
            }
            let tokens = entries.iter().flat_map(|e| [e.0, e.0.saturating_sub(1), e.0.saturating_add(1)]);
            for probe in tokens.chain([0, u64::MAX, probe]) {
                prop_assert_eq!(block.first_at(Token(probe)), entries.partition_point(|e| e.0 < probe));
            }
        }

        /// A block passed its checksum before it gets here; should it be nonsense all the same, nothing panics.
        #[test]
        fn survives_nonsense(entries in entries(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut: prop::sample::Index) {
            let mut raw = build(&entries);
            for (at, byte) in changes {
                let at = at.index(raw.len());
                raw[at] = byte;
            }
            raw.truncate(cut.index(raw.len() * 2));
            let _ = Block::check(&raw);
            if let Some(block) = Block::parse(&raw) {
                for (token, key, _) in &entries {
                    let _ = block.find(Token(*token), key);
                }
            }
        }
    }

    #[test]
    fn slots_are_narrow_while_they_fit() {
        for (span, width) in [(1u64 << 50, NARROW_BYTES), (1 << 57, NARROW_BYTES), (1 << 58, WIDE_BYTES)] {
            // Two entries of 2 + 30 bytes: seven bits of offset.
            let raw = build(&[(5, b"a".to_vec(), vec![1; 30]), (4 + span, b"b".to_vec(), vec![2; 30])]);
            assert_eq!(raw.len(), HEADER_BYTES + 3 * width + 64, "{span}");
            assert_eq!(Block::parse(&raw).unwrap().find(Token(4 + span), b"b"), Some(Some(&[2; 30][..])));
        }
    }
}
