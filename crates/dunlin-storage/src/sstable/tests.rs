//! Whole SSTables: what was written is read, in any order and by any way; damage never makes a wrong answer.

use super::writer::SstWriter;
use super::{FOOTER_BYTES, FilterHash, SsTable, SstCursor, SstShared, SstStatistics, verify};
use crate::entry::Cursor;
use crate::error::EngineError;
use crate::fs::memory::OperationKind;
use crate::fs::{Fs, MemFs, OpenMode, read_file};
use crate::memtable::Place;
use bytes::Bytes;
use dunlin_types::record::Latest;
use dunlin_types::schema::Compression;
use dunlin_types::{HostId, Micros, Record, TableId, Token, TokenRange, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const PATH: &str = "table.sst";
const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

type Rows = BTreeMap<(Token, Vec<u8>), Vec<u8>>;

fn record(written: u64, expires: Option<u64>, data: Option<&[u8]>) -> Vec<u8> {
    let data = data.map(Bytes::copy_from_slice);
    let value = Value { written: Micros(written), expires: expires.map(Micros), data };
    Record::Latest(Latest { host: HostId([7; 16]), value }).to_bytes().to_vec()
}

fn write(rows: &Rows, compression: Compression, block_bytes: usize) -> MemFs {
    let fs = MemFs::new();
    let mut writer =
        SstWriter::create(&fs, PATH.to_owned(), TableId(5), 6, compression, block_bytes).unwrap();
    for ((token, key), record) in rows {
        writer.push(*token, key, record).unwrap();
    }
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes, read_file(&fs, PATH).unwrap().len() as u64);
    fs
}

fn open(fs: &MemFs) -> Arc<SsTable> {
    let shared = Arc::new(SstShared::new(64 << 10, 256));
    Arc::new(SsTable::open(fs, PATH, TableId(5), 6, &shared).expect("opens"))
}

fn get(table: &SsTable, token: Token, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    if !table.may_hold(token, FilterHash::new(token)) {
        return Ok(None);
    }
    table.get_with(token, key, <[u8]>::to_vec)
}

fn collect(
    mut cursor: SstCursor,
) -> Result<(Vec<((Token, Vec<u8>), Vec<u8>)>, Vec<TokenRange>), EngineError> {
    let mut out = Vec::new();
    while cursor.advance()? {
        out.push(((cursor.token(), cursor.key().to_vec()), cursor.record().to_vec()));
    }
    assert!(!cursor.advance().unwrap(), "for ever after");
    Ok((out, cursor.lost().to_vec()))
}

fn scan(
    table: &Arc<SsTable>,
    from: Place,
    last: Token,
    keep: bool,
) -> Result<Vec<((Token, Vec<u8>), Vec<u8>)>, EngineError> {
    Ok(collect(SstCursor::new(table.clone(), from, last, keep))?.0)
}

fn verified(table: &Arc<SsTable>) -> Vec<verify::SstDamage> {
    let mut verifier = verify::SstVerifier::new(table.clone());
    let mut read = 0;
    while let bytes @ 1.. = verifier.step(100) {
        read += bytes;
    }
    assert!(!verifier.damages().is_empty() || read == table.file_bytes());
    verifier.damages().to_vec()
}

fn rows() -> impl Strategy<Value = Rows> {
    let key = (prop::sample::select(vec!["", "user:", "some-long-prefix-of-keys/"]), "[a-c]{1,3}");
    let data =
        prop_oneof![prop::collection::vec(any::<u8>(), 0..60), prop::collection::vec(Just(b'x'), 0..2000),];
    let values = (1..99u64, prop::option::of(1..99u64), prop::option::of(data));
    (0u32..62, prop::collection::vec((any::<u64>(), key, values), 1..120)).prop_map(|(low, rows)| {
        let rows = rows.into_iter().map(|(token, (prefix, key), (written, expires, data))| {
            (
                (Token(token >> low), [prefix, &key].concat().into_bytes()),
                record(written, expires, data.as_deref()),
            )
        });
        rows.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn reads_what_was_written(rows in rows(), block_bytes in prop::sample::select(vec![1usize, 64, 256, 1024, 65_536]), codec in 0usize..3, probes in prop::collection::vec(any::<u64>(), 8), cut: (prop::sample::Index, prop::sample::Index)) {
        let fs = write(&rows, CODECS[codec], block_bytes);
        let table = open(&fs);
        let all: Vec<_> = rows.clone().into_iter().collect();
        prop_assert_eq!(table.pinned_bytes(), 0, "nothing is read before it is needed");
        for round in 0..2 {
            for ((token, key), record) in &rows {
                let found = get(&table, *token, key).unwrap();
                prop_assert_eq!(found.as_ref(), Some(record), "round {}", round);
                prop_assert_eq!(get(&table, *token, b"d").unwrap(), None);
            }
            for probe in &probes {
                prop_assert_eq!(get(&table, Token(*probe), b"a").unwrap(), rows.get(&(Token(*probe), b"a".to_vec())).cloned());
            }
        }
        prop_assert!(table.pinned_bytes() > 0 && !table.is_damaged());
        for keep in [true, false] {
            let start = Place { token: Token(0), after: None };
            prop_assert_eq!(&scan(&table, start, Token(u64::MAX), keep).unwrap(), &all);
            // From behind one entry to the token of another.
            let (after, last) = (&all[cut.0.index(all.len())].0, all[cut.1.index(all.len())].0.0);
            let from = Place { token: after.0, after: Some(Bytes::copy_from_slice(&after.1)) };
            let expected: Vec<_> = all.iter().filter(|(place, _)| place > after && place.0 <= last).cloned().collect();
            prop_assert_eq!(scan(&table, from, last, keep).unwrap(), expected);
            let from = Place { token: Token(probes[0]), after: None };
            let expected: Vec<_> = all.iter().filter(|(place, _)| place.0.0 >= probes[0]).cloned().collect();
            prop_assert_eq!(scan(&table, from, Token(u64::MAX), keep).unwrap(), expected);
        }
        prop_assert_eq!(verified(&table), []);
        prop_assert_eq!(collect(SstCursor::salvage(table.clone())).unwrap(), (all, vec![]));
        let mut statistics = SstStatistics::new();
        rows.iter().for_each(|((token, key), record)| statistics.add(*token, key, record).unwrap());
        prop_assert_eq!(table.statistics(), &statistics);
    }

    /// Any one byte changed: every answer is right or an error, verify finds it, and what cannot be salvaged
    /// lies in the ranges that are named as lost.
    #[test]
    fn damage_is_found_and_confined(rows in rows(), codec in 0usize..3, at: prop::sample::Index, to in 1u8..) {
        let fs = write(&rows, CODECS[codec], 300);
        let length = read_file(&fs, PATH).unwrap().len();
        // Every part gets its share, however short.
        let at = if to.is_multiple_of(2) { at.index(length) } else { length - 1 - at.index(length.min(700)) };
        let file = fs.open(PATH, OpenMode::Write).unwrap();
        let mut byte = [0];
        file.read_at(at as u64, &mut byte).unwrap();
        file.write_at(at as u64, &[byte[0] ^ to]).unwrap();
        let table = open(&fs);
        let mut wrong = 0;
        for ((token, key), record) in &rows {
            match get(&table, *token, key) {
                Ok(found) => prop_assert_eq!(found.as_ref(), Some(record)),
                Err(EngineError::Damaged { file, .. }) => {
                    prop_assert_eq!(file, PATH);
                    wrong += 1;
                }
                Err(e) => panic!("{e}"),
            }
        }
        prop_assert!(wrong == 0 || table.is_damaged());
        let start = || Place { token: Token(0), after: None };
        for keep in [true, false] {
            match scan(&table, start(), Token(u64::MAX), keep) {
                Ok(found) => prop_assert_eq!(found, rows.clone().into_iter().collect::<Vec<_>>()),
                Err(EngineError::Damaged { .. }) => prop_assert!(table.is_damaged()),
                Err(e) => panic!("{e}"),
            }
        }
        prop_assert_eq!(verified(&table).len(), 1, "byte {} of {}", at, length);
        prop_assert!(table.is_damaged());
        let (saved, lost) = collect(SstCursor::salvage(table.clone())).unwrap();
        let expected: Vec<_> = rows.into_iter().filter(|((token, _), _)| !lost.iter().any(|range| range.contains(*token))).collect();
        prop_assert_eq!(saved, expected);
        prop_assert_eq!(lost.is_empty(), wrong == 0);
    }
}

/// A caller that goes on after an error does not get the rest as if it were all.
#[test]
fn a_damaged_block_is_not_skipped() {
    let fs = write(&many(), Compression::None, 256);
    assert!(fs.flip_bit(PATH, 20_000, 1));
    for keep in [true, false] {
        let mut cursor =
            SstCursor::new(open(&fs), Place { token: Token(0), after: None }, Token(u64::MAX), keep);
        let error = loop {
            match cursor.advance() {
                Ok(true) => {}
                Ok(false) => panic!("the damage went unnoticed"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, EngineError::Damaged { offset: 19_000..=20_000, .. }), "{error}");
        assert_eq!(cursor.advance(), Err(error));
    }
}

fn many() -> Rows {
    (0..2000u64)
        .map(|n| {
            let token = Token(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            ((token, format!("key-{n}").into_bytes()), record(n + 1, None, Some(&[n as u8; 40])))
        })
        .collect()
}

#[test]
fn opening_reads_the_footer_alone() {
    let fs = write(&many(), Compression::None, 256);
    let before = fs.statistics().bytes_read;
    let table = open(&fs);
    assert_eq!(table.statistics().entries, 2000);
    assert_eq!(fs.statistics().bytes_read - before, FOOTER_BYTES as u64);
}

#[test]
fn absent_keys_touch_no_block() {
    let fs = write(&many(), Compression::None, 256);
    let table = open(&fs);
    let passed =
        (0..1000u64).filter(|&n| get(&table, Token(n << 53 | 77), b"none").unwrap().is_some()).count();
    let cache = &table.shared.cache;
    assert!(passed == 0 && cache.misses() < 40, "{} blocks were read", cache.misses());
    assert!(table.shared.counters.filtered.get() > 900);
}

/// A scan over everything leaves room for what others read.
#[test]
fn long_scans_do_not_fill_the_cache() {
    let fs = write(&many(), Compression::Lz4, 256);
    let table = open(&fs);
    let start = || Place { token: Token(0), after: None };
    assert_eq!(scan(&table, start(), Token(u64::MAX), true).unwrap().len(), 2000);
    let kept = table.shared.cache.bytes();
    assert!(kept > 0 && kept < 40 << 10, "{kept} bytes");
    let reads = || fs.statistics().operations[&OperationKind::Read];
    let before = reads();
    assert_eq!(scan(&table, start(), Token(u64::MAX), false).unwrap().len(), 2000);
    assert_eq!(reads() - before, 1, "large pieces are read at once");
}

/// The whole file, byte for byte: `docs/formats.md`. Compressed files are only read, so that a new version of a
/// compressor may do better. To write them anew: `DUNLIN_GOLDEN=write cargo test -p dunlin-storage golden`.
#[test]
fn golden_sstables() {
    let mut rows = Rows::new();
    for n in 0..24u64 {
        // Two keys share a token, and one block has wide slots.
        let token = Token(if n < 20 { (n / 2) << 40 } else { n << 59 });
        let data = (n % 5 != 0).then_some([b'v'; 30]);
        let expires = (n % 3 == 0).then_some(1_800_000_000_000_000);
        let stored = record(1_700_000_000_000_000 + n, expires, data.as_ref().map(|d| &d[..]));
        rows.insert((token, format!("golden:{n}").into_bytes()), stored);
    }
    for (compression, name) in CODECS.into_iter().zip(["none", "lz4", "zstd"]) {
        let written = read_file(&write(&rows, compression, 300), PATH).unwrap();
        let golden =
            crate::fs::OsFs::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/golden/sstable"))
                .unwrap();
        let path = format!("{name}.sst");
        if std::env::var_os("DUNLIN_GOLDEN").is_some_and(|v| v == "write") {
            golden.open(&path, OpenMode::Truncate).unwrap().write_at(0, &written).unwrap();
        }
        let expected = read_file(&golden, &path).unwrap();
        assert!(
            compression != Compression::None || written == expected,
            "{path} is not as version 2 writes it"
        );
        assert!(compression == Compression::None || expected.len() < written.len() + 300);
        let fs = MemFs::new();
        fs.open(PATH, OpenMode::CreateNew).unwrap().write_at(0, &expected).unwrap();
        let table = open(&fs);
        assert_eq!(verified(&table), []);
        let start = Place { token: Token(0), after: None };
        assert!(scan(&table, start, Token(u64::MAX), true).unwrap().into_iter().eq(rows.clone()));
        assert!(expected.len() > FOOTER_BYTES);
    }
}
