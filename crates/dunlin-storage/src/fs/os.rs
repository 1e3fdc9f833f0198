//! The real file system.
// This file implements the seam that the ban on std::fs points to.
#![allow(clippy::disallowed_methods)]

use super::{AlignedBuffer, DirEntry, File, Fs, LockGuard, OpenMode, Space, check_path};
use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files below a directory of the operating system.
#[derive(Debug, Clone)]
pub struct OsFs {
    root: PathBuf,
}

impl OsFs {
    /// Uses `root` as the data directory; creates it if need be.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<OsFs> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(OsFs { root })
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &str) -> io::Result<PathBuf> {
        check_path(path)?;
        Ok(if path.is_empty() { self.root.clone() } else { self.root.join(path) })
    }
}

impl Fs for OsFs {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        if mode == OpenMode::Direct
            && let Some(file) = DirectFile::open(&self.path(path)?)?
        {
            return Ok(Arc::new(file));
        }
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::Write | OpenMode::Direct => options.write(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(OsFile(options.open(self.path(path)?)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn hard_link(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.path(from)?, self.path(to)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path)?)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.path(path)?)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let full = self.path(path)?;
        match fs::create_dir(&full) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && full.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.path(path)?)? {
            let entry = entry?;
            let name = entry.file_name().into_string().map_err(|name| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a file name that is not UTF-8: {}", name.display()),
                )
            })?;
            let metadata = entry.metadata()?;
            let is_dir = metadata.is_dir();
            entries.push(DirEntry { name, is_dir, bytes: if is_dir { 0 } else { metadata.len() } });
        }
        entries.sort();
        Ok(entries)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        fs::File::open(self.path(path)?)?.sync_all()
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn LockGuard>> {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.path(path)?)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(OsLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(Space {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

/// The lock goes with the descriptor.
struct OsLock {
    _file: fs::File,
}

impl LockGuard for OsLock {}

struct OsFile(fs::File);

impl File for OsFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A file opened past the page cache.
struct DirectFile {
    file: OsFile,
    block_bytes: usize,
}

impl DirectFile {
    /// `None` where the file system cannot do that, or wants more alignment than buffers have.
    fn open(path: &Path) -> io::Result<Option<DirectFile>> {
        let flags = OFlags::DIRECT.bits() as i32;
        let file = match fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(None),
            Err(e) => return Err(e),
        };
        let Some(block_bytes) = direct_block_bytes(&file) else { return Ok(None) };
        Ok(Some(DirectFile { file: OsFile(file), block_bytes }))
    }
}

/// What the system asks of direct writes to a file (since Linux 6.1); the safe guess where it does not say.
fn direct_block_bytes(file: &fs::File) -> Option<usize> {
    let Ok(stat) = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else {
        return Some(AlignedBuffer::ALIGNMENT);
    };
    if stat.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return Some(AlignedBuffer::ALIGNMENT);
    }
    let block = stat.stx_dio_mem_align.max(stat.stx_dio_offset_align) as usize;
    (stat.stx_dio_mem_align > 0 && block.is_power_of_two() && block <= AlignedBuffer::ALIGNMENT)
        .then_some(block)
}

impl File for DirectFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    /// One system call that returns when the bytes are durable: on most disks a single command.
    fn write_synced_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let part = [IoSlice::new(&bytes[done..])];
            match rustix::io::pwritev2(&self.file.0, &part, offset + done as u64, ReadWriteFlags::DSYNC) {
                Ok(n) if done + n == bytes.len() => break,
                // What is left must be aligned as well: a block written in part is written again.
                Ok(n) if n >= self.block_bytes => done = (done + n) & !(self.block_bytes - 1),
                Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.write_at(offset, bytes)?;
                    return self.sync();
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_length(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
