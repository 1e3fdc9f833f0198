//! The files of this format version, byte by byte: what this version writes, and that it reads them.
//!
//! A change here is a change of the format: raise the version. To write the
//! files anew: `DUNLIN_GOLDEN=write cargo test -p dunlin-storage golden`.

use crate::support::{key, latest};
use dunlin_storage::fs::{Fs, MemFs, OpenMode, OsFs, create_dirs, parent, read_file};
use dunlin_storage::{Engine, EngineOptions, Strategy, TableOptions};
use dunlin_types::record::SiblingSet;
use dunlin_types::schema::Compression;
use dunlin_types::{Actor, Context, Generation, HostId, Micros, Record, TableId, TokenRange, Value};
use std::sync::Arc;

const TABLE: TableId = TableId(0x5a5a);

fn options() -> EngineOptions {
    EngineOptions { block_bytes: 128, ..EngineOptions::small() }
}

/// Records of both modes: a value, a tombstone, an expiry, siblings.
fn records() -> Vec<Record> {
    let value = |written, expires, data: Option<&str>| Value {
        written: Micros(written),
        expires: expires_at(expires),
        data: data.map(|d| d.as_bytes().to_vec().into()),
    };
    let mut set = SiblingSet::default();
    for host in [1, 2] {
        let actor = Actor { host: HostId([host; 16]), generation: Generation(77) };
        set.write(&Context::new(), actor, 300, value(1_000, None, Some("sibling")));
    }
    vec![
        latest(value(1_700_000_000_000_000, None, Some("a value"))),
        latest(value(1_700_000_000_000_001, None, None)),
        latest(value(1_700_000_000_000_002, Some(1_800_000_000_000_000), Some(""))),
        Record::Siblings(set),
    ]
}

fn expires_at(us: Option<u64>) -> Option<Micros> {
    us.map(Micros)
}

fn write() -> MemFs {
    let fs = MemFs::new();
    let engine = Engine::open(Arc::new(fs.clone()), options()).expect("open");
    let table = TableOptions {
        dir: "tables/ks/golden".to_owned(),
        compression: Compression::None,
        compaction: Strategy::Leveled,
    };
    engine.create_table(TABLE, table).expect("create");
    for (n, record) in (0..).zip(records()) {
        let (token, key) = key(n);
        engine.merge(TABLE, token, &key, &record, true).expect("write");
    }
    engine.commit().expect("commit");
    engine.flush(None).expect("flush");
    let (token, key) = key(9);
    engine.merge(TABLE, token, &key, &records()[0], true).expect("write");
    engine.commit().expect("commit");
    drop(engine);
    fs
}

fn check(engine: &Engine) {
    let scanned = engine.scan(TABLE, TokenRange::ALL, None, 100, usize::MAX).expect("scan");
    assert_eq!(scanned.entries.len(), 5);
    for (n, record) in (0..).zip(records()).chain([(9, records()[0].clone())]) {
        let (token, key) = key(n);
        assert_eq!(engine.get(TABLE, token, &key).expect("get").map(|f| f.record), Some(record));
    }
}

#[test]
fn golden_files_are_written_and_read() {
    let golden = OsFs::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/golden")).expect("a folder");
    let written = write();
    let files: Vec<String> =
        written.files().into_iter().map(|(path, _)| path).filter(|path| !path.ends_with(".lock")).collect();
    if std::env::var_os("DUNLIN_GOLDEN").is_some_and(|v| v == "write") {
        for path in &files {
            create_dirs(&golden, parent(path)).expect("create");
            let file = golden.open(path, OpenMode::Truncate).expect("create");
            file.write_at(0, &read_file(&written, path).expect("read")).expect("write");
        }
    }
    assert_eq!(files.len(), 4, "catalog, log, manifest, SSTable: {files:?}");
    let copy = MemFs::new();
    for path in &files {
        let expected = read_file(&golden, path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let found = read_file(&written, path).expect("read");
        assert!(found == expected, "{path} is not as this version writes it");
        create_dirs(&copy, parent(path)).expect("create");
        let file = copy.open(path, OpenMode::CreateNew).expect("create");
        file.write_at(0, &expected).expect("write");
    }
    check(&Engine::open(Arc::new(copy), options()).expect("it opens"));
}
