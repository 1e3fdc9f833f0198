//! Segment files: names, headers, creation.
//!
//! A segment has its name only once its header is synced: it is made under a temporary name, so a named
//! segment with a bad header is damage and never a torn creation.

use super::frame::SECTOR_BYTES;
use crate::checksum::{checksum, u32_at, u64_at};
use crate::error::{EngineError, OpenError};
use crate::fs::{File, Fs, OpenMode};
use std::sync::Arc;

/// Folder of the log.
pub(crate) const DIR: &str = "commitlog";
const VERSION: u32 = 1;
const MAGIC: u32 = u32::from_le_bytes(*b"DLOG");
const HEADER_BYTES: usize = 48;

/// First sector of a segment.
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
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; SECTOR_BYTES as usize];
        out[8..12].copy_from_slice(&MAGIC.to_le_bytes());
        out[12..16].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.id.to_le_bytes());
        out[24..32].copy_from_slice(&self.base.to_le_bytes());
        out[32..40].copy_from_slice(&self.previous_end.to_le_bytes());
        out[40..48].copy_from_slice(&self.low.to_le_bytes());
        let sum = checksum(0, &out[8..HEADER_BYTES]);
        out[..8].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Checks and reads the header of the segment of that id.
    pub(crate) fn decode(file: &[u8], id: u64) -> Result<SegmentHeader, OpenError> {
        let path = path(id);
        let damaged = |what: &str| OpenError::Engine(EngineError::damaged(&path, 0, what));
        let word = |at| u64_at(file, at).ok_or_else(|| damaged("log segment header"));
        if u32_at(file, 8) != Some(MAGIC)
            || word(0)? != checksum(0, file.get(8..HEADER_BYTES).unwrap_or_default())
        {
            return Err(damaged("log segment header"));
        }
        let version = u32_at(file, 12).unwrap_or_default();
        if version > VERSION {
            return Err(OpenError::Version { file: path, version, known: VERSION });
        }
        let header =
            SegmentHeader { id: word(16)?, base: word(24)?, previous_end: word(32)?, low: word(40)? };
        if header.id != id {
            return Err(damaged("the header of another log segment"));
        }
        Ok(header)
    }
}

/// Path of a segment.
pub(crate) fn path(id: u64) -> String {
    format!("{DIR}/{id:016x}.log")
}

/// Path of a spare made of a segment.
pub(crate) fn spare_path(id: u64) -> String {
    format!("{DIR}/{id:016x}.spare")
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

/// Creates a segment that already holds `frames`, from a spare if one is given. All of it, the name too,
/// is durable when this returns.
pub(crate) fn create(
    fs: &dyn Fs,
    header: &SegmentHeader,
    frames: &[u8],
    spare: Option<u64>,
) -> Result<Arc<dyn File>, EngineError> {
    let path = path(header.id);
    let temporary = format!("{DIR}/{:016x}.tmp", header.id);
    let attempt = || {
        let file = match spare {
            Some(spare) => {
                fs.rename(&spare_path(spare), &temporary)?;
                fs.open(&temporary, OpenMode::Write)?
            }
            None => fs.open(&temporary, OpenMode::Truncate)?,
        };
        let mut bytes = header.encode();
        bytes.extend_from_slice(frames);
        file.write_at(0, &bytes)?;
        file.sync()?;
        fs.rename(&temporary, &path)?;
        fs.sync_dir(DIR)?;
        Ok(file)
    };
    attempt().map_err(|e: std::io::Error| EngineError::io(format!("create log segment {path}"), &e))
}
