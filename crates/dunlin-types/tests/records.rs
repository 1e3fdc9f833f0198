//! Laws of merging, and bytes: round trip, canonical form, hostile input.

use bytes::Bytes;
use dunlin_types::codec::Reader;
use dunlin_types::record::{Latest, SiblingSet};
use dunlin_types::view::{Joined, RecordView, join};
use dunlin_types::{Actor, Context, Dot, Generation, HostId, Micros, Record, Value};
use proptest::prelude::*;

fn actor(host: u8, generation: u64) -> Actor {
    Actor { host: HostId([host; 16]), generation: Generation(generation) }
}

prop_compose! {
    fn dots()(host in 0..3u8, generation in 1..3u64, counter in 1..12u64) -> Dot {
        Dot { actor: actor(host, generation), counter }
    }
}

prop_compose! {
    fn contexts()(vector in prop::collection::vec(dots(), 0..4), single in prop::collection::vec(dots(), 0..4)) -> Context {
        let mut context = Context::new();
        vector.iter().for_each(|d| match d.counter {
            11 => context.close(d.actor),
            counter => context.advance(d.actor, counter),
        });
        single.iter().for_each(|d| context.add_dot(*d));
        context
    }
}

/// One dot is one write: what it wrote follows from it.
fn value_of(dot: Dot) -> Value {
    let seed = dot.counter + u64::from(dot.actor.host.0[0]) * 3 + dot.actor.generation.0;
    Value {
        written: Micros(seed * 1000),
        expires: seed.is_multiple_of(3).then_some(Micros(seed * 2000)),
        data: (!seed.is_multiple_of(4)).then(|| Bytes::from(vec![seed as u8; (seed % 5) as usize])),
    }
}

prop_compose! {
    fn sibling_sets()(context in contexts(), values in prop::collection::vec(dots(), 0..6)) -> SiblingSet {
        // Any set of values under any covering vector can come about.
        let mut set = SiblingSet::default();
        for dot in values {
            set.merge(&SiblingSet::detached(&Context::new(), dot, value_of(dot)));
        }
        let kept: Vec<Dot> = set.values().iter().map(|v| v.0).collect();
        let mut rest = SiblingSet::default();
        let sentinel = Dot { actor: actor(9, 1), counter: 1 };
        rest.merge(&SiblingSet::detached(&context, sentinel, value_of(sentinel)));
        rest.supersede(|dot| dot == sentinel);
        // What `rest` covers it supersedes, unless it is joined the other way round by a copy that holds it.
        if kept.len().is_multiple_of(2) { set.merge(&rest); }
        set
    }
}

fn latest() -> impl Strategy<Value = Latest> {
    (0..3u8, 0..3u64, prop::option::of(0..3u64), prop::option::of(0..3u8)).prop_map(
        |(host, written, expires, data)| Latest {
            host: HostId([host; 16]),
            value: Value {
                written: Micros(written),
                expires: expires.map(Micros),
                data: data.map(|d| vec![d; d as usize].into()),
            },
        },
    )
}

fn records() -> impl Strategy<Value = Record> {
    prop_oneof![3 => sibling_sets().prop_map(Record::Siblings), 1 => latest().prop_map(Record::Latest)]
}

fn merged(left: &Record, right: &Record) -> Record {
    let mut out = left.clone();
    out.merge(right);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn merge_is_commutative_associative_idempotent(a in records(), b in records(), c in records()) {
        prop_assert_eq!(merged(&a, &b).to_bytes(), merged(&b, &a).to_bytes());
        prop_assert_eq!(merged(&merged(&a, &b), &c).to_bytes(), merged(&a, &merged(&b, &c)).to_bytes());
        prop_assert_eq!(&merged(&a, &a), &a);
        prop_assert_eq!(merged(&merged(&a, &b), &b), merged(&a, &b));
        prop_assert!(merged(&a, &b).written_max() <= a.written_max().max(b.written_max()));
    }

    #[test]
    fn contexts_are_sets(a in contexts(), b in contexts(), probe in dots()) {
        let mut union = a.clone();
        union.join(&b);
        prop_assert_eq!(union.covers(probe), a.covers(probe) || b.covers(probe));
        prop_assert!(union.covers_all(&a) && union.covers_all(&b));
        let mut other = b.clone();
        other.join(&a);
        prop_assert_eq!(&union, &other);
        if a.covers_all(&b) {
            prop_assert_eq!(&union, &a);
        }
        let mut grown = a.clone();
        grown.add_dot(probe);
        prop_assert!(grown.covers(probe));
        let before = Dot { actor: probe.actor, counter: probe.counter - 1 };
        prop_assert!(before.counter == 0 || grown.covers(before) == a.covers(before));
    }

    #[test]
    fn records_read_back(record in records()) {
        let bytes = record.to_bytes();
        let decoded = Record::decode(&bytes).unwrap();
        prop_assert_eq!(&decoded, &record);
        prop_assert_eq!(decoded.digest(), record.digest());
        prop_assert!(Record::decode(&bytes.slice(..bytes.len() - 1)).is_err());
        let longer: Bytes = [&bytes[..], &[0]].concat().into();
        prop_assert!(Record::decode(&longer).is_err());
    }

    #[test]
    fn damaged_records_are_refused_or_canonical(record in records(), at: prop::sample::Index, byte: u8) {
        let mut bytes = record.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let bytes = Bytes::from(bytes);
        if let Ok(decoded) = Record::decode(&bytes) {
            prop_assert_eq!(decoded.to_bytes(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_harmless(bytes: Vec<u8>, kind in 0..3u8) {
        let mut with_kind = vec![kind];
        with_kind.extend(&bytes);
        for bytes in [Bytes::from(bytes), Bytes::from(with_kind)] {
            if let Ok(decoded) = Record::decode(&bytes) {
                prop_assert_eq!(decoded.to_bytes(), bytes.clone());
            }
            let mut reader = Reader::new(&bytes);
            if let Ok(context) = Context::decode(&mut reader) {
                let mut again = Vec::new();
                context.encode(&mut again);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - reader.remaining()]);
            }
        }
    }

    #[test]
    fn expiry_and_tombstones_hide_values(record in records(), now in 0..40_000u64) {
        let now = Micros(now);
        let shown = record.visible(now);
        prop_assert!(shown.iter().all(|v| v.data.is_some() && v.expires.is_none_or(|at| at > now)));
        let data: Vec<_> = shown.iter().map(|v| v.data.clone()).collect();
        prop_assert!((1..data.len()).all(|i| !data[..i].contains(&data[i])), "equal values are shown once");
        prop_assert!(!record.is_tombstone() || shown.is_empty());
    }
}

#[test]
fn the_larger_of_two_latest_wins_by_time_then_deletion_then_host_then_value() {
    let make = |host: u8, written: u64, data: Option<&'static str>| {
        let value = Value { written: Micros(written), expires: None, data: data.map(Bytes::from) };
        Record::Latest(Latest { host: HostId([host; 16]), value })
    };
    let check = |smaller: Record, larger: Record| {
        assert_eq!(merged(&smaller, &larger), larger);
        assert_eq!(merged(&larger, &smaller), larger);
    };
    check(make(9, 1, Some("z")), make(0, 2, Some("a")));
    check(make(1, 2, Some("z")), make(2, 2, Some("a")));
    check(make(2, 2, Some("a")), make(2, 2, Some("b")));
    check(make(2, 2, Some("")), make(2, 2, None));
    check(make(2, 2, Some("a")), make(1, 2, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn views_tell_what_records_tell(record in records()) {
        let bytes = record.to_bytes();
        let view = RecordView::parse(&bytes).unwrap();
        prop_assert_eq!(view.written_max, record.written_max());
        prop_assert_eq!(view.tombstone, record.is_tombstone());
        for now in (0..60_000).step_by(500).map(Micros) {
            prop_assert_eq!(view.gone_at.is_some_and(|at| at <= now), record.visible(now).is_empty());
        }
        prop_assert_eq!(Record::decode_slice(&bytes).unwrap(), record);
        for cut in 0..bytes.len() {
            prop_assert!(RecordView::parse(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn joined_bytes_are_those_of_the_merged_record(left in records(), right in records()) {
        let (a, b) = (left.to_bytes(), right.to_bytes());
        let mut out = vec![1, 2, 3];
        let got = match join(&a, &b, &mut out).unwrap() {
            Joined::First => a.to_vec(),
            Joined::Second => b.to_vec(),
            Joined::New => out,
        };
        prop_assert_eq!(got, merged(&left, &right).to_bytes().to_vec());
    }
}
