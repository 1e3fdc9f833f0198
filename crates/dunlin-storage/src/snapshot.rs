//! Snapshots: what the engine keeps under a name.
//!
//! A snapshot is a folder `snapshots/<name>` with the catalog, the manifests and hard links of the SSTables as
//! they were, and an index with a checksum. Without its index it counts for nothing: the index is written last and
//! removed first. [`restore`] is how a stopped node goes back to one.

mod restore;

pub use restore::restore;
pub(crate) use restore::{REPLACED, end, resume};

use crate::document;
use crate::error::{EngineError, OpenError};
use crate::fs::{Fs, remove_tree};
use crate::manifest;
use dunlin_types::codec::{DecodeError, Reader, put_bytes, put_varint};
use dunlin_types::{Micros, TableId};
use std::io;

/// Folder of the snapshots.
pub const DIR: &str = "snapshots";
/// Left in the data directory by [`restore`] before it changes anything. A node that finds it went back in
/// time: it must take a new generation of its host id, as after an unclean stop, and remove the file only once that
/// generation is durable.
pub const RESTORED: &str = "restored";
/// Longest name of a snapshot.
pub const NAME_BYTES_MAX: usize = 64;

const INDEX: &str = "index";
const MAGIC: [u8; 4] = *b"DSNP";
const VERSION: u32 = 1;

/// A snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Its name: letters, digits, `-`, `_` and `.`, which is not the first.
    pub name: String,
    /// When it was taken, by the clock of whoever asked for it.
    pub created: Micros,
    /// By table id.
    pub tables: Vec<SnapshotTable>,
}

/// A table in a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotTable {
    /// Which.
    pub table: TableId,
    /// Its folder below the data directory.
    pub dir: String,
    /// Sequence numbers of its SSTables, ascending, and their lengths. They take space of their own only once the
    /// table has rewritten or dropped them.
    pub sstables: Vec<(u64, u64)>,
}

impl SnapshotTable {
    /// Length of the SSTables.
    pub fn bytes(&self) -> u64 {
        self.sstables.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// The folder of a snapshot.
pub(crate) fn folder(name: &str) -> String {
    format!("{DIR}/{name}")
}

/// Refuses names that could not be part of a path everywhere.
pub(crate) fn check_name(name: &str) -> Result<(), EngineError> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(fits) {
        return Err(EngineError::Refused(format!(
            "{name:?} cannot be the name of a snapshot: 1 to {NAME_BYTES_MAX} letters, digits, '-', '_', '.', and no '.' first"
        )));
    }
    Ok(())
}

/// Writes the index: from now on the snapshot counts.
pub(crate) fn write_index(fs: &dyn Fs, snapshot: &Snapshot) -> Result<(), EngineError> {
    let mut body = Vec::new();
    put_varint(&mut body, snapshot.created.0);
    put_varint(&mut body, snapshot.tables.len() as u64);
    for table in &snapshot.tables {
        body.extend_from_slice(&table.table.0.to_le_bytes());
        put_bytes(&mut body, table.dir.as_bytes());
        put_varint(&mut body, table.sstables.len() as u64);
        for &(sequence, bytes) in &table.sstables {
            put_varint(&mut body, sequence);
            put_varint(&mut body, bytes);
        }
    }
    let path = format!("{}/{INDEX}", folder(&snapshot.name));
    manifest::write(fs, &path, &document::encode(MAGIC, VERSION, &body))
}

/// Reads the index; `None` if there is no such snapshot.
pub(crate) fn read_index(fs: &dyn Fs, name: &str) -> Result<Option<Snapshot>, OpenError> {
    let path = format!("{}/{INDEX}", folder(name));
    let Some(bytes) = manifest::read(fs, &path)? else { return Ok(None) };
    let body = document::decode(&path, bytes, MAGIC, VERSION)?;
    let parse = || -> Result<Snapshot, DecodeError> {
        let mut reader = Reader::new(&body);
        let created = Micros(reader.varint("time")?);
        let mut tables = Vec::new();
        for _ in 0..reader.count(10, "tables")? {
            let table = TableId(u64::from_le_bytes(reader.array("table id")?));
            let bad = reader.error("folder");
            let dir = String::from_utf8(reader.bytes("folder")?.into()).map_err(|_| bad)?;
            let mut sstables = Vec::new();
            for _ in 0..reader.count(2, "SSTables")? {
                sstables.push((reader.varint("sequence")?, reader.varint("length")?));
            }
            tables.push(SnapshotTable { table, dir, sstables });
        }
        reader.finish("end of index")?;
        Ok(Snapshot { name: name.to_owned(), created, tables })
    };
    parse().map(Some).map_err(|e| manifest::malformed(&path, e))
}

/// Names of all folders of snapshots, and whether they count.
pub(crate) fn folders(fs: &dyn Fs) -> io::Result<Vec<(String, bool)>> {
    let entries = match fs.list(DIR) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let dirs = entries.into_iter().filter(|e| e.is_dir);
    dirs.map(|dir| {
        let counts = fs.list(&folder(&dir.name))?.iter().any(|e| e.name == INDEX);
        Ok((dir.name, counts))
    })
    .collect()
}

/// Removes a snapshot, or what an unfinished one has left.
pub(crate) fn clear(fs: &dyn Fs, name: &str) -> Result<(), EngineError> {
    let folder = folder(name);
    let attempt = || {
        match fs.remove(&format!("{folder}/{INDEX}")) {
            Ok(()) => fs.sync_dir(&folder)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        remove_tree(fs, &folder)?;
        fs.sync_dir(DIR)
    };
    attempt().map_err(|e| EngineError::io(format!("remove {folder}"), &e))
}
