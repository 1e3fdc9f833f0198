//! The calls that move canonical bytes: the same data as the ones that move records.

use crate::support::{Driver, TABLES, key, latest, tiny};
use bytes::Bytes;
use dunlin_storage::{EngineError, RangeDigest};
use dunlin_types::record::SiblingSet;
use dunlin_types::{Actor, Context, Generation, HostId, Micros, Record, Token, TokenRange, Value};
use std::ops::ControlFlow;

fn value(written: u64) -> Value {
    Value {
        written: Micros(written),
        expires: None,
        data: Some(Bytes::from(vec![b'x'; written as usize % 50])),
    }
}

fn siblings(counter: u64) -> Record {
    let mut set = SiblingSet::default();
    let actor = Actor { host: HostId([1; 16]), generation: Generation(1) };
    set.write(&Context::new(), actor, counter, value(counter));
    Record::Siblings(set)
}

#[test]
fn bytes_and_records_are_the_same_data() {
    let mut driver = Driver::new(1, tiny());
    driver.start().expect("open");
    let engine = driver.engine();
    for n in 0..60u64 {
        let (token, key) = key(n % 20);
        let (one, other) = (latest(value(n)), siblings(n + 1));
        engine.merge_bytes(TABLES[0], token, key.as_bytes(), &one.to_bytes(), true).expect("write");
        engine.merge(TABLES[1], token, &key, &other, true).expect("write");
        if n % 25 == 24 {
            engine.flush(None).expect("flush");
        }
    }
    for n in 0..25 {
        let (token, key) = key(n);
        for table in TABLES {
            let found = engine.get(table, token, &key).expect("get");
            let bytes = engine.get_bytes(table, token, key.as_bytes()).expect("get");
            assert_eq!(bytes.as_ref().map(|b| b.visible_at), found.as_ref().map(|f| f.visible_at));
            assert_eq!(bytes.map(|b| b.record), found.map(|f| f.record.to_bytes()), "{n}");
        }
    }
    for table in TABLES {
        let scanned = engine.scan(table, TokenRange::ALL, None, 100, usize::MAX).expect("scan");
        let mut shown = Vec::new();
        let show = |token: Token, key: &[u8], record: &[u8]| {
            shown.push((token, key.to_vec(), record.to_vec()));
            if shown.len() == 15 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        engine.visit(table, TokenRange::ALL, None, 15, show).expect("visit");
        let expected = scanned.entries.iter().take(15);
        let expected = expected.map(|(t, k, r)| (*t, k.as_bytes().to_vec(), r.to_bytes().to_vec()));
        assert_eq!(shown, expected.collect::<Vec<_>>());
    }
}

#[test]
fn what_is_no_record_is_refused() {
    let mut driver = Driver::new(2, tiny());
    driver.start().expect("open");
    let engine = driver.engine();
    let good = siblings(3).to_bytes();
    let put = |key: &[u8], record: &[u8]| engine.merge_bytes(TABLES[1], Token(5), key, record, true);
    for cut in 0..good.len() {
        assert!(matches!(put(b"key", &good[..cut]), Err(EngineError::Malformed { .. })), "{cut}");
    }
    assert!(matches!(put(b"", &good), Err(EngineError::Malformed { .. })));
    assert!(matches!(put(&[7; 70_000], &good), Err(EngineError::Malformed { .. })));
    assert_eq!(engine.get_bytes(TABLES[1], Token(5), b"key").expect("get"), None);
    put(b"key", &good).expect("a record");
    assert_eq!(engine.get_bytes(TABLES[1], Token(5), b"key").expect("get").expect("there").record, good);
}

#[test]
fn a_digest_tells_what_is_there_and_not_how_it_is_stored() {
    let mut driver = Driver::new(3, tiny());
    driver.start().expect("open");
    let engine = driver.engine();
    let digest = |range| engine.digest(TABLES[0], range).expect("digest");
    let empty: RangeDigest = digest(TokenRange::ALL);
    assert_eq!((empty.entries, empty.bytes), (0, 0));
    for n in 0..40 {
        let (token, key) = key(n);
        engine.merge(TABLES[0], token, &key, &latest(value(n + 1)), true).expect("write");
        if n % 10 == 9 {
            engine.flush(None).expect("flush");
        }
    }
    let before = digest(TokenRange::ALL);
    assert_eq!(before.entries, 40);
    let middle = Token(u64::MAX / 2);
    let (low, high) = (
        TokenRange { first: Token(0), last: middle },
        TokenRange { first: Token(middle.0 + 1), last: Token(u64::MAX) },
    );
    assert_eq!(digest(low).entries + digest(high).entries, 40);
    assert_eq!(digest(low).bytes + digest(high).bytes, before.bytes);
    engine.compact(None).expect("compact");
    assert_eq!(digest(TokenRange::ALL), before);
    let (token, key) = key(7);
    engine.merge(TABLES[0], token, &key, &latest(value(3)), true).expect("an older write");
    assert_eq!(digest(TokenRange::ALL), before);
    engine.merge(TABLES[0], token, &key, &latest(value(99)), true).expect("write");
    let after = digest(TokenRange::ALL);
    assert!(after.entries == 40 && after.digest != before.digest);
}
