//! Segment files: names, headers, creation, writes.
//!
//! A segment has its name only once its header is synced: it is made under another name, so a named
//! segment with a bad header is damage and never a torn creation.

use crate::checksum::{checksum, u32_at, u64_at};
use crate::error::{EngineError, OpenError};
use crate::fs::{AlignedBuffer, File, Fs, OpenMode};
use std::io;
use std::sync::Arc;

/// Folder of the log.
pub(crate) const DIR: &str = "commitlog";
const VERSION: u32 = 2;
const MAGIC: u32 = u32::from_le_bytes(*b"DLOG");
/// The part of a segment's first block that is not padding.
pub(crate) const HEADER_BYTES: usize = 56;
/// Smallest and largest alignment of frames.
pub(crate) const BLOCK_BYTES_MIN: u64 = 512;
pub(crate) const BLOCK_BYTES_MAX: u64 = 64 << 10;

/// First block of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) id: u64,
    /// Position of the file's first byte.
    pub(crate) base: u64,
    /// The segment before this one is whole up to here; what follows there was never acknowledged, or is
    /// repeated here.
    pub(crate) previous_end: u64,
    /// As in frames.
    pub(crate) low: u64,
    /// Frames start at multiples of this, a power of two.
    pub(crate) block_bytes: u64,
}

impl SegmentHeader {
    /// Appends the block. Returns the checksum, with which the chain of frames begins.
    pub(crate) fn encode(&self, out: &mut AlignedBuffer) -> u64 {
        let start = out.len();
        out.resize(start + self.block_bytes as usize);
        let bytes = &mut out[start..];
        bytes[8..12].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.low.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.block_bytes.to_le_bytes());
        let sum = checksum(0, &bytes[8..HEADER_BYTES]);
        bytes[..8].copy_from_slice(&sum.to_le_bytes());
        sum
    }

    /// Checks and reads the header of the segment of that id. Also returns its checksum.
    pub(crate) fn decode(file: &[u8], id: u64) -> Result<(SegmentHeader, u64), OpenError> {
        let path = path(id);
        let damaged = |what: &str| OpenError::from(EngineError::damaged(&path, 0, what));
        let word = |at| u64_at(file, at).ok_or_else(|| damaged("log segment header"));
        if u32_at(file, 8) != Some(MAGIC) {
            return Err(damaged("log segment header"));
        }
        // The checksum of these bytes is where it is in every version: a flipped bit makes no other version.
        let sum = word(0)?;
        if sum != checksum(0, file.get(8..HEADER_BYTES).unwrap_or_default()) {
            return Err(damaged("log segment header"));
        }
        let version = u32_at(file, 12).unwrap_or_default();
        if version != VERSION {
            return Err(OpenError::Version { file: path, version, known: VERSION });
        }
        let header = SegmentHeader {
            id: word(16)?,
            base: word(24)?,
            previous_end: word(32)?,
            low: word(40)?,
            block_bytes: word(48)?,
        };
        if header.id != id {
            return Err(damaged("the header of another log segment"));
        }
        if !header.block_bytes.is_power_of_two()
            || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&header.block_bytes)
        {
            return Err(damaged("block size of a log segment"));
        }
        Ok((header, sum))
    }
}

/// Path of a segment.
pub(crate) fn path(id: u64) -> String {
    format!("{DIR}/{id:016x}.log")
}

/// Path of a spare.
pub(crate) fn spare_path(id: u64) -> String {
    format!("{DIR}/{id:016x}.spare")
}

/// Path of a segment or spare that is being made.
pub(crate) fn temporary_path(id: u64) -> String {
    format!("{DIR}/{id:016x}.tmp")
}

/// A file name in the log's folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFile {
    Segment(u64),
    Spare(u64),
    Temporary,
}

/// What a file name means; `None` for a foreign one.
pub(crate) fn parse_name(name: &str) -> Option<LogFile> {
    let (stem, extension) = name.split_once('.')?;
    if stem.len() != 16 {
        return None;
    }
    let id = u64::from_str_radix(stem, 16).ok()?;
    match extension {
        "log" => Some(LogFile::Segment(id)),
        "spare" => Some(LogFile::Spare(id)),
        "tmp" => Some(LogFile::Temporary),
        _ => None,
    }
}

/// An open segment. Writes that need no sync go through the system's cache, synced ones past it if that is
/// possible: blocks of the two never overlap.
pub(crate) struct SegmentFile {
    plain: Arc<dyn File>,
    direct: Option<Arc<dyn File>>,
    /// Up to here the file was written once: syncing what is written there needs no new place on the disk.
    pub(crate) length: u64,
    /// Plain writes that were not synced.
    pub(crate) unsynced: bool,
}

impl SegmentFile {
    /// Opens a file whose blocks have this size.
    pub(crate) fn open(fs: &dyn Fs, path: &str, mode: OpenMode, block_bytes: u64) -> io::Result<SegmentFile> {
        let plain = fs.open(path, mode)?;
        let direct = fs.open(path, OpenMode::Direct)?;
        let fits = (1..=block_bytes).contains(&(direct.block_bytes() as u64));
        let length = plain.length()?;
        Ok(SegmentFile { plain, direct: fits.then_some(direct), length, unsynced: false })
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Writes whole blocks to the system's cache.
    pub(crate) fn write(&mut self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.unsynced = true;
        self.plain.write_at(offset, blocks)?;
        self.length = self.length.max(offset + blocks.len() as u64);
        Ok(())
    }

    /// Writes whole blocks; everything in the file is durable when this returns.
    pub(crate) fn write_synced(&mut self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        if !self.unsynced && self.bypass(|direct| direct.write_synced_at(offset, blocks))? {
            self.length = self.length.max(offset + blocks.len() as u64);
            return Ok(());
        }
        self.write(offset, blocks)?;
        self.sync()
    }

    /// Writes whole blocks, past the cache if possible; durable after [`SegmentFile::sync`].
    pub(crate) fn fill(&mut self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.unsynced = true;
        if !self.bypass(|direct| direct.write_at(offset, blocks))? {
            self.plain.write_at(offset, blocks)?;
        }
        self.length = self.length.max(offset + blocks.len() as u64);
        Ok(())
    }

    /// False if the write cannot be a direct one: some file systems refuse them only when they come.
    fn bypass(&mut self, write: impl FnOnce(&dyn File) -> io::Result<()>) -> io::Result<bool> {
        let Some(direct) = &self.direct else { return Ok(false) };
        match write(&**direct) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                self.direct = None;
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.plain.sync()?;
        self.unsynced = false;
        Ok(())
    }
}

/// Creates a segment that begins with `blocks` (its header, and frames perhaps), from a spare if one is given.
/// All of it, the name too, is durable when this returns.
pub(crate) fn create(
    fs: &dyn Fs,
    header: &SegmentHeader,
    blocks: &[u8],
    spare: Option<u64>,
) -> Result<SegmentFile, EngineError> {
    let path = path(header.id);
    let attempt = || {
        let (made, mode) = match spare {
            Some(spare) => (spare_path(spare), OpenMode::Write),
            None => (temporary_path(header.id), OpenMode::Truncate),
        };
        let mut file = SegmentFile::open(fs, &made, mode, header.block_bytes)?;
        file.write_synced(0, blocks)?;
        fs.rename(&made, &path)?;
        fs.sync_dir(DIR)?;
        Ok(file)
    };
    attempt().map_err(|e: io::Error| EngineError::io(format!("create log segment {path}"), &e))
}
