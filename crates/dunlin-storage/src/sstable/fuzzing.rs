//! Doors to the decoders of an SSTable for fuzzing. They take any bytes; none may panic, and what is read in
//! two ways must be the same.

use super::block::Block;
use super::filter::{Filter, FilterHash};
use super::footer::{FOOTER_BYTES, Footer};
use super::index::Index;
use super::part::{Part, Sealer, TRAILER_BYTES};
use super::verify::SstVerifier;
use super::{SsTable, SstCursor, SstShared};
use crate::checksum::checksum;
use crate::entry::Cursor;
use crate::error::EngineError;
use crate::fs::{Fs, MemFs, OpenMode};
use crate::memtable::Place;
use dunlin_types::Token;
use dunlin_types::schema::Compression;
use std::sync::Arc;

/// Most raw bytes that a fuzzed part is given room for.
const RAW_BYTES_MAX: usize = 1 << 20;

/// A raw data block.
pub fn block(data: &[u8]) {
    let checked = Block::check(data).is_some();
    let Some(block) = Block::parse(data) else { return };
    for i in 0..block.count().min(1000) {
        let Some(place) = block.entry(i) else {
            assert!(!checked, "a checked block has all its entries");
            continue;
        };
        let key = [block.prefix(), data.get(place.suffix..place.record).unwrap_or_default()].concat();
        let found = block.find(place.token, &key);
        assert!(
            !checked || found == Some(data.get(place.record..place.end)),
            "a checked block is searchable"
        );
    }
    block.first_at(Token(u64::MAX / 3));
}

/// A raw index, of blocks that end where the first eight bytes say.
pub fn index(data: &[u8]) {
    let Some((end, raw)) = data.split_first_chunk::<8>() else { return };
    let Some(index) = Index::decode(raw, u64::from_le_bytes(*end)) else { return };
    for i in 0..index.blocks() {
        let first = index.first(i).expect("a token for each block");
        assert_eq!(index.find(first), Some(i));
        assert!(index.place(i).is_some());
    }
    index.find(Token(u64::MAX));
}

/// A raw filter.
pub fn filter(data: &[u8]) {
    let Some(filter) = Filter::decode(data) else { return };
    assert_eq!(filter.encode(), data);
    filter.may_hold(FilterHash::new(Token(data.len() as u64)));
}

/// A part; also with a checksum that is right.
pub fn part(data: &[u8]) {
    let unpack = |part: &Part<'_>| {
        let mut raw = vec![0; part.raw_bytes().min(RAW_BYTES_MAX)];
        let _ = part.unpack(&mut raw);
    };
    if let Some(part) = Part::check(data, 1, 2) {
        unpack(&part);
    }
    if let Some(part) = Part::parse(data) {
        unpack(&part);
    }
    for compression in [Compression::Lz4, Compression::Zstd] {
        let mut sealed = Vec::new();
        Sealer::new(compression, -5).seal(&mut sealed, data, 1, 2);
        let part = Part::check(&sealed, 1, 2).expect("what was sealed opens");
        let mut raw = vec![0; part.raw_bytes()];
        part.unpack(&mut raw).expect("and unpacks");
        assert_eq!(raw, data);
    }
}

/// A footer; also with a checksum that is right.
pub fn footer(data: &[u8]) {
    let offset = data.get(72..80).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes);
    for bytes in [data.to_vec(), checked(data)] {
        if let Ok(footer) = Footer::decode(&bytes, "f", offset) {
            assert_eq!(footer.encode().len(), FOOTER_BYTES);
        }
    }
}

/// A whole file; also with checksums that are right wherever its footer and index say there are parts.
pub fn file(data: &[u8]) {
    read(data);
    read(&resealed(data));
}

/// The footer with the checksum it should have.
fn checked(footer: &[u8]) -> Vec<u8> {
    let mut bytes = footer.to_vec();
    if let Some((sum, rest)) = bytes.split_first_chunk_mut::<8>() {
        *sum = checksum(0, rest).to_le_bytes();
    }
    bytes
}

fn resealed(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let Some(footer_at) = data.len().checked_sub(FOOTER_BYTES) else { return bytes };
    let footer = checked(&data[footer_at..]);
    bytes[footer_at..].copy_from_slice(&footer);
    let Ok(footer) = Footer::decode(&footer, "f", footer_at as u64) else { return bytes };
    let mut reseal = |offset: u64, length: u64| {
        let (start, end) = (offset as usize, (offset + length) as usize);
        if let Some(part) = bytes.get_mut(start..end).filter(|part| part.len() >= TRAILER_BYTES) {
            let sum_at = part.len() - 8;
            let sum = checksum(footer.salt ^ offset.rotate_left(32), &part[..sum_at]);
            part[sum_at..].copy_from_slice(&sum.to_le_bytes());
        }
    };
    reseal(footer.index.offset, footer.index.bytes);
    reseal(footer.filter.offset, footer.filter.bytes);
    let raw =
        data.get(footer.index.offset as usize..(footer.filter.offset as usize).saturating_sub(TRAILER_BYTES));
    if let Some(index) = raw.and_then(|raw| Index::decode(raw, footer.index.offset)) {
        for number in 0..index.blocks().min(1000) {
            if let Some((offset, length)) = index.place(number) {
                reseal(offset, length as u64);
            }
        }
    }
    bytes
}

fn read(data: &[u8]) {
    let fs = MemFs::new();
    let file = fs.open("f.sst", OpenMode::CreateNew).expect("a file in memory");
    file.write_at(0, data).expect("a write to memory");
    let word = |at: usize| {
        let at = data.len().checked_sub(FOOTER_BYTES)? + at;
        Some(u64::from_le_bytes(data.get(at..at + 8)?.try_into().ok()?))
    };
    let (table, sequence) = (word(16).unwrap_or_default(), word(24).unwrap_or_default());
    let shared = Arc::new(SstShared::new(1 << 20, 4096));
    let Ok(table) = SsTable::open(&fs, "f.sst", dunlin_types::TableId(table), sequence, &shared) else {
        return;
    };
    let table = Arc::new(table);
    let all = |keep| {
        let from = Place { token: Token(0), after: None };
        collect(&mut SstCursor::new(table.clone(), from, Token(u64::MAX), keep))
    };
    let entries = all(true);
    assert_eq!(entries, all(false), "with and without the cache");
    for (token, key, _) in entries.iter().flatten().take(100) {
        if table.may_hold(*token, FilterHash::new(*token)) {
            let _ = table.get_with(*token, key, <[u8]>::to_vec);
        }
    }
    let mut salvage = SstCursor::salvage(table.clone());
    let saved = collect(&mut salvage).expect("salvage goes on");
    let whole = entries == Ok(saved) && salvage.lost().is_empty();
    assert!(entries.is_err() || whole, "nothing is lost of what can be read");
    let mut verifier = SstVerifier::new(table.clone());
    while verifier.step(1 << 16) > 0 {}
    assert!(verifier.damages().is_empty() || table.is_damaged());
}

type Entries = Vec<(Token, Vec<u8>, Vec<u8>)>;

fn collect(cursor: &mut SstCursor) -> Result<Entries, EngineError> {
    let mut entries = Vec::new();
    while cursor.advance()? {
        entries.push((cursor.token(), cursor.key().to_vec(), cursor.record().to_vec()));
    }
    Ok(entries)
}

/// Valid inputs of [`block`], [`index`], [`filter`], [`part`], [`footer`] out of a valid file, which must not be
/// compressed.
pub fn pieces(file: &[u8]) -> Option<[Vec<u8>; 5]> {
    let footer_at = file.len().checked_sub(FOOTER_BYTES)?;
    let footer = Footer::decode(&file[footer_at..], "f", footer_at as u64).ok()?;
    let raw = |place: super::Place| {
        file.get(place.offset as usize..(place.offset + place.bytes) as usize - TRAILER_BYTES)
    };
    let index = Index::decode(raw(footer.index)?, footer.index.offset)?;
    let (_, length) = index.place(0)?;
    Some([
        file[..length - TRAILER_BYTES].to_vec(),
        [&footer.index.offset.to_le_bytes(), raw(footer.index)?].concat(),
        raw(footer.filter)?.to_vec(),
        file[..length].to_vec(),
        file[footer_at..].to_vec(),
    ])
}
