//! Snapshots: what the engine keeps under a name, and how a stopped node goes back to it.
//!
//! A snapshot is a folder `snapshots/<name>` with the catalog, the manifests and hard links of the SSTables as
//! they were, and an index with a checksum. Without its index it counts for nothing: the index is written last and
//! removed first.

use crate::error::{EngineError, OpenError};
use crate::fs::Fs;
use dunlin_types::{Micros, TableId};

/// Folder of the snapshots.
pub const DIR: &str = "snapshots";
/// Left in the data directory by [`restore`] before it changes anything. A node that finds it went back in
/// time: it must take a new generation of its host id, as after an unclean stop, and remove the file
/// only once that generation is durable.
pub const RESTORED: &str = "restored";
/// Longest name of a snapshot.
pub const NAME_BYTES_MAX: usize = 64;

/// A snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Its name: letters, digits, `-`, `_` and `.`, not first.
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
    /// Number of SSTables.
    pub files: u64,
    /// Their length. They take space of their own only once the table has rewritten or dropped them.
    pub bytes: u64,
}

/// Makes a snapshot the content of a data directory that no engine has open. The commit log is emptied.
///
/// All its files are checked first. A crash at any point leaves the old or the new content: what was begun is
/// ended by the next [`crate::Engine::open`], or by calling this again. [`RESTORED`] tells the node.
pub fn restore(_fs: &dyn Fs, name: &str) -> Result<Snapshot, OpenError> {
    Err(EngineError::Refused(format!("snapshot {name} cannot be restored: not built yet")).into())
}
