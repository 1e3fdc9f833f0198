//! Doors to the engine's decoders for fuzzing (`fuzz/`); no part of the crate's interface. Each takes any bytes
//! and must not panic.

use crate::checksum::checksum;
use crate::fs::{Fs, MemFs, OpenMode, create_dirs, parent, read_file};
use crate::log::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, Records, seal};
use crate::log::segment;
use crate::{Engine, EngineOptions, Strategy, TableOptions, manifest};
use dunlin_types::record::Latest;
use dunlin_types::schema::Compression;
use dunlin_types::{HostId, Micros, Record, TableId, Token, TokenRange, Value};
use std::sync::Arc;

pub use crate::sstable::fuzzing as sstable;

const TABLE: TableId = TableId(5);
const DIR: &str = "tables/k/t";

/// A frame of the commit log, and the payload of one.
pub fn log_frame(data: &[u8]) {
    let word = |at| crate::checksum::u64_at(data, at).unwrap_or_default();
    if let Some(frame) = Frame::parse(data, 0, word(16), word(24)) {
        frame.is_whole(data);
        Records::new(data, &frame).for_each(drop);
    }
    let mut sealed = vec![0; FRAME_HEADER_BYTES];
    sealed.extend_from_slice(data);
    let header =
        FrameHeader { segment: 1, position: 4096, previous: 2, synced: 0, low: 0, records: u32::MAX };
    seal(&mut sealed, data.len(), &header);
    let frame = Frame::parse(&sealed, 0, 1, 4096).expect("what was sealed is a frame");
    assert!(frame.is_whole(&sealed));
    Records::new(&sealed, &frame).for_each(drop);
}

/// A segment of the commit log, as the only one of a data directory.
pub fn log_segment(data: &[u8]) {
    open_with(&segment::path(1), data);
}

/// A catalog; also with a checksum that is right.
pub fn catalog(data: &[u8]) {
    open_with(manifest::CATALOG, data);
    open_with(manifest::CATALOG, &document(data));
}

/// The manifest of a table; also with a checksum that is right.
pub fn table_manifest(data: &[u8]) {
    open_with(&manifest::manifest_path(DIR, TABLE), data);
    open_with(&manifest::manifest_path(DIR, TABLE), &document(data));
}

fn document(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if let Some((sum, rest)) = bytes.split_first_chunk_mut::<8>() {
        *sum = checksum(0, rest).to_le_bytes();
    }
    bytes
}

/// Opens a data directory with one file of it replaced, and reads all of it.
fn open_with(path: &str, data: &[u8]) {
    let fs = directory();
    let file = fs.open(path, OpenMode::Truncate).expect("a file in memory");
    file.write_at(0, data).expect("a write to memory");
    if let Ok(engine) = Engine::open(Arc::new(fs), EngineOptions::small()) {
        for table in engine.tables() {
            let _ = engine.scan(table, TokenRange::ALL, None, 100, 1 << 16);
        }
    }
}

/// A small data directory with every kind of file.
fn directory() -> MemFs {
    let fs = MemFs::new();
    for (path, bytes) in files() {
        create_dirs(&fs, parent(path)).expect("a folder in memory");
        let file = fs.open(path, OpenMode::CreateNew).expect("a file in memory");
        file.write_at(0, bytes).expect("a write to memory");
    }
    fs
}

/// Its files, written once.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: std::sync::OnceLock<Vec<(String, Vec<u8>)>> = std::sync::OnceLock::new();
    FILES.get_or_init(|| {
        let fs = MemFs::new();
        let options =
            EngineOptions { block_bytes: 200, log_segment_bytes: 8 << 10, ..EngineOptions::small() };
        let engine = Engine::open(Arc::new(fs.clone()), options).expect("an engine in memory");
        let options = TableOptions {
            dir: DIR.to_owned(),
            compression: Compression::None,
            compaction: Strategy::Leveled,
        };
        engine.create_table(TABLE, options).expect("a table");
        for n in 0..20u64 {
            if n == 15 {
                engine.flush(None).expect("a flush");
            }
            let value = Value {
                written: Micros(n + 1),
                expires: n.is_multiple_of(3).then_some(Micros(n + 9)),
                data: (n % 5 > 0).then(|| vec![n as u8; 20].into()),
            };
            let record = Record::Latest(Latest { host: HostId([3; 16]), value }).to_bytes();
            let key = format!("key-{n}");
            engine.merge_bytes(TABLE, Token(n << 59), key.as_bytes(), &record, true).expect("a write");
        }
        engine.commit().expect("a commit");
        drop(engine);
        let paths = fs.files().into_iter().map(|(path, _)| path);
        let paths = paths.filter(|path| !path.ends_with(".lock") && !path.ends_with(".spare"));
        paths.map(|path| (path.clone(), read_file(&fs, &path).expect("a read of memory"))).collect()
    })
}

/// A valid file whose path ends so.
pub fn valid_file(end: &str) -> Option<Vec<u8>> {
    files().iter().find(|(path, _)| path.ends_with(end)).map(|(_, bytes)| bytes.clone())
}
