//! The `Fs` seam: every file operation of a node goes through it.
//!
//! Paths are relative to the data directory, with `/` between parts and no `.` or `..`. A change of a
//! file is durable after [`File::sync`]; a created, renamed or removed name is durable after
//! [`Fs::sync_dir`] of the directory that holds it (for a rename over two directories: of both), and a
//! new directory after `sync_dir` of its parent. Nothing else is promised, in any order: that is what
//! [`memory::MemFs`] takes away in a crash.
//!
//! [`os::OsFs`] is the real thing; [`conformance`] holds both to the same words.

mod aligned;
pub mod conformance;
pub mod memory;
pub mod os;

pub use aligned::AlignedBuffer;
pub use memory::MemFs;
pub use os::OsFs;

use std::io;
use std::sync::Arc;

/// How [`Fs::open`] opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, to read and write; an existing one is an error.
    CreateNew,
    /// Read and write; created if absent, emptied if present.
    Truncate,
    /// An existing file, for writes that bypass the system's cache where the file system can do that (see
    /// [`File::block_bytes`]); elsewhere as [`OpenMode::Write`]. Reads need another handle.
    Direct,
}

/// One name in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DirEntry {
    /// Last part of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length of a file.
    pub bytes: u64,
}

/// Room on the file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// In all.
    pub total_bytes: u64,
    /// Free for this process.
    pub free_bytes: u64,
}

/// A file system below one data directory.
pub trait Fs: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name; a file of that name is replaced in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file one more name, which must be free. Content is shared from then on; each name is removed by
    /// itself, and a rename of one over another of the same file does nothing.
    fn hard_link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes the name of a file. Open handles keep working.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Creates a directory; it may exist, its parent must. The data directory itself is the empty path.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// What a directory holds, by name.
    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Locks a file (created if absent) against other processes and other locks of this one until the
    /// guard is dropped or the process ends; `WouldBlock` if it is locked.
    fn lock(&self, path: &str) -> io::Result<Box<dyn LockGuard>>;
    /// Room on the file system.
    fn space(&self) -> io::Result<Space>;
}

/// Holds a lock until it is dropped.
pub trait LockGuard: Send + Sync {}

/// An open file. Shared by threads; there is no cursor.
pub trait File: Send + Sync {
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes; the file grows as needed, with zeros in between. After an error any part of
    /// them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// As [`File::write_at`], and these bytes (with the length they need) are durable when it returns. Says
    /// nothing about other writes. After an error any part of them may be durable.
    fn write_synced_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(offset, bytes)?;
        self.sync()
    }
    /// 0 unless writes bypass the cache; then offset, length and address in memory of every write must be
    /// multiples of this power of two ([`AlignedBuffer`] gives such addresses). At most
    /// [`AlignedBuffer::ALIGNMENT`].
    fn block_bytes(&self) -> usize {
        0
    }
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts, or grows with zeros.
    fn set_length(&self, bytes: u64) -> io::Result<()>;
    /// Makes content and length durable (`fdatasync`). After an error the state of everything written
    /// since the last success is unknown, and a later success says nothing about it.
    fn sync(&self) -> io::Result<()>;
}

/// Reads exactly `length` bytes at `offset`; `UnexpectedEof` if the file is shorter.
pub fn read_exact_at(file: &dyn File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let got = file.read_at(offset, &mut bytes)?;
    if got < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(bytes)
}

/// Reads a whole file.
pub fn read_file(fs: &dyn Fs, path: &str) -> io::Result<Vec<u8>> {
    let file = fs.open(path, OpenMode::Read)?;
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    read_exact_at(&*file, 0, length)
}

/// Creates a directory with its parents, and makes their names durable.
pub fn create_dirs(fs: &dyn Fs, path: &str) -> io::Result<()> {
    let mut end = 0;
    while end < path.len() {
        end = path[end + 1..].find('/').map_or(path.len(), |at| end + 1 + at);
        fs.create_dir(&path[..end])?;
        fs.sync_dir(parent(&path[..end]))?;
    }
    Ok(())
}

/// Replaces a small file in one durable step: temporary file, sync, rename, sync of the directory.
/// After an error the old or the new content is there, never a mixture.
pub fn replace_file(fs: &dyn Fs, path: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{path}.tmp");
    let file = fs.open(&temporary, OpenMode::Truncate)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    fs.rename(&temporary, path)?;
    fs.sync_dir(parent(path))
}

/// Removes a directory with all that is in it; nothing happens if there is none. Not durable by itself.
pub fn remove_tree(fs: &dyn Fs, path: &str) -> io::Result<()> {
    let entries = match fs.list(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let inner = format!("{path}/{}", entry.name);
        if entry.is_dir { remove_tree(fs, &inner)? } else { fs.remove(&inner)? }
    }
    fs.remove_dir(path)
}

/// The path of the directory that holds `path`; empty for the data directory.
pub fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// Refuses paths that are absolute or climb.
fn check_path(path: &str) -> io::Result<()> {
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if !path.is_empty() && path.split('/').any(bad) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("not a path below the data directory: {path:?}"),
        ));
    }
    Ok(())
}
