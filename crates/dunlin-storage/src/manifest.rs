//! Which tables there are (the catalog), and which SSTables of each count (its manifest).
//!
//! Both are replaced in one durable step. A file that no manifest names is left over from an unfinished
//! flush or compaction, or a finished one's input: it is removed when the engine opens.

use crate::LogPosition;
use crate::compaction::LEVEL_MAX;
use crate::document;
use crate::error::{EngineError, OpenError};
use crate::fs::{Fs, read_file, replace_file};
use crate::options::{Strategy, TableOptions};
use dunlin_types::TableId;
use dunlin_types::codec::{DecodeError, Reader, put_bytes, put_varint};
use dunlin_types::schema::Compression;
use std::collections::BTreeMap;
use std::io;

/// Path of the catalog.
pub(crate) const CATALOG: &str = "catalog";
const CATALOG_MAGIC: [u8; 4] = *b"DCAT";
const CATALOG_VERSION: u32 = 2;
const MANIFEST_MAGIC: [u8; 4] = *b"DMAN";
const MANIFEST_VERSION: u32 = 2;

/// Tables by id.
pub(crate) type Catalog = BTreeMap<TableId, TableOptions>;

/// The SSTables of a table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Manifest {
    /// No SSTable has this sequence number or a higher one.
    pub(crate) next_sequence: u64,
    /// Records of the table in the log up to this position are in SSTables, or were forgotten for good: they
    /// must not be replayed.
    pub(crate) flushed: LogPosition,
    /// Sequence number and level, ascending.
    pub(crate) sstables: Vec<(u64, u8)>,
}

pub(crate) fn write(fs: &dyn Fs, path: &str, bytes: &[u8]) -> Result<(), EngineError> {
    replace_file(fs, path, bytes).map_err(|e| EngineError::io(format!("write {path}"), &e))
}

pub(crate) fn read(fs: &dyn Fs, path: &str) -> Result<Option<Vec<u8>>, EngineError> {
    match read_file(fs, path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(EngineError::io(format!("read {path}"), &e)),
    }
}

pub(crate) fn malformed(path: &str, e: DecodeError) -> OpenError {
    EngineError::damaged(path, (document::HEADER_BYTES + e.offset) as u64, e.what).into()
}

fn codec(compression: Compression) -> u8 {
    match compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    }
}

/// Replaces the catalog below a folder (the data directory is the empty one). After an error the old or the new
/// one counts.
pub(crate) fn write_catalog_in(fs: &dyn Fs, root: &str, catalog: &Catalog) -> Result<(), EngineError> {
    let mut body = Vec::new();
    put_varint(&mut body, catalog.len() as u64);
    for (table, options) in catalog {
        body.extend_from_slice(&table.0.to_le_bytes());
        body.push(codec(options.compression));
        body.push(match options.compaction {
            Strategy::Leveled => 0,
            Strategy::Tiered => 1,
        });
        put_bytes(&mut body, options.dir.as_bytes());
    }
    write(fs, &below(root, CATALOG), &document::encode(CATALOG_MAGIC, CATALOG_VERSION, &body))
}

/// As [`write_catalog_in`], in the data directory.
pub(crate) fn write_catalog(fs: &dyn Fs, catalog: &Catalog) -> Result<(), EngineError> {
    write_catalog_in(fs, "", catalog)
}

/// A path below a folder.
pub(crate) fn below(root: &str, path: &str) -> String {
    if root.is_empty() { path.to_owned() } else { format!("{root}/{path}") }
}

/// Reads the catalog below a folder; `None` if there is none.
pub(crate) fn read_catalog(fs: &dyn Fs, root: &str) -> Result<Option<Catalog>, OpenError> {
    let path = below(root, CATALOG);
    let Some(bytes) = read(fs, &path)? else { return Ok(None) };
    let body = document::decode(&path, bytes, CATALOG_MAGIC, CATALOG_VERSION)?;
    let parse = || -> Result<Catalog, DecodeError> {
        let mut reader = Reader::new(&body);
        let mut catalog = Catalog::new();
        for _ in 0..reader.count(11, "tables")? {
            let table = TableId(u64::from_le_bytes(reader.array("table id")?));
            let bad = reader.error("compression");
            let compression = match reader.u8("compression")? {
                0 => Compression::None,
                1 => Compression::Lz4,
                2 => Compression::Zstd,
                _ => return Err(bad),
            };
            let bad = reader.error("compaction");
            let compaction = match reader.u8("compaction")? {
                0 => Strategy::Leveled,
                1 => Strategy::Tiered,
                _ => return Err(bad),
            };
            let bad = reader.error("folder");
            let dir = String::from_utf8(reader.bytes("folder")?.into()).map_err(|_| bad)?;
            catalog.insert(table, TableOptions { dir, compression, compaction });
        }
        reader.finish("end of catalog")?;
        Ok(catalog)
    };
    parse().map(Some).map_err(|e| malformed(&path, e))
}

/// Path of a table's manifest.
pub(crate) fn manifest_path(dir: &str, table: TableId) -> String {
    format!("{dir}/{table}.manifest")
}

/// Path of an SSTable.
pub(crate) fn sstable_path(dir: &str, table: TableId, sequence: u64) -> String {
    format!("{dir}/{table}-{sequence:016x}.sst")
}

/// The table a file in a table's folder belongs to; `None` for a foreign file.
pub(crate) fn table_of(name: &str) -> Option<TableId> {
    let (stem, extension) = name.split_once('.')?;
    let stem = match extension {
        "sst" => stem.split_once('-')?.0,
        "manifest" | "manifest.tmp" => stem,
        _ => return None,
    };
    if stem.len() == 16 { u64::from_str_radix(stem, 16).ok().map(TableId) } else { None }
}

/// Replaces a table's manifest. After an error the old or the new one counts.
pub(crate) fn write_manifest(
    fs: &dyn Fs,
    dir: &str,
    table: TableId,
    manifest: &Manifest,
) -> Result<(), EngineError> {
    let mut body = table.0.to_le_bytes().to_vec();
    put_varint(&mut body, manifest.next_sequence);
    put_varint(&mut body, manifest.flushed.0);
    put_varint(&mut body, manifest.sstables.len() as u64);
    for &(sequence, level) in &manifest.sstables {
        put_varint(&mut body, sequence);
        body.push(level);
    }
    write(fs, &manifest_path(dir, table), &document::encode(MANIFEST_MAGIC, MANIFEST_VERSION, &body))
}

/// Reads the manifest of a table that the catalog names: there is always one.
pub(crate) fn read_manifest(fs: &dyn Fs, dir: &str, table: TableId) -> Result<Manifest, OpenError> {
    let path = manifest_path(dir, table);
    let bytes = read(fs, &path)?.ok_or_else(|| EngineError::damaged(&path, 0, "manifest is missing"))?;
    let body = document::decode(&path, bytes, MANIFEST_MAGIC, MANIFEST_VERSION)?;
    let parse = || -> Result<Manifest, DecodeError> {
        let mut reader = Reader::new(&body);
        let bad = reader.error("table id");
        if reader.array("table id")? != table.0.to_le_bytes() {
            return Err(bad);
        }
        let next_sequence = reader.varint("next sequence")?;
        let flushed = LogPosition(reader.varint("flushed position")?);
        let mut sstables: Vec<(u64, u8)> = Vec::new();
        for _ in 0..reader.count(2, "SSTables")? {
            let bad = reader.error("SSTable sequence");
            let sequence = reader.varint("SSTable sequence")?;
            if sequence >= next_sequence || sstables.last().is_some_and(|&(last, _)| last >= sequence) {
                return Err(bad);
            }
            let bad = reader.error("SSTable level");
            let level = reader.u8("SSTable level")?;
            if level > LEVEL_MAX {
                return Err(bad);
            }
            sstables.push((sequence, level));
        }
        reader.finish("end of manifest")?;
        Ok(Manifest { next_sequence, flushed, sstables })
    };
    parse().map_err(|e| malformed(&path, e))
}
