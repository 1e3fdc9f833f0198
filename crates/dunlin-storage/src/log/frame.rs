//! A frame: what one write puts into the log, and the unit of its checksum.
//!
//! Frames start at sector borders and no sector is written twice in a segment's life, so a torn write
//! never harms an earlier frame. A frame names its own segment and position: bytes that an earlier use of
//! a recycled file left behind are never taken for frames of this one.

use crate::checksum::{checksum, u32_at, u64_at};
use bytes::Bytes;
use dunlin_types::codec::{DecodeError, Reader, put_bytes};
use dunlin_types::{TableId, Token};

/// Alignment of frames, and length of a segment's header.
pub(crate) const SECTOR_BYTES: u64 = 512;
/// Length of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 56;
const MAGIC: u32 = u32::from_le_bytes(*b"DLFR");

/// Header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) segment: u64,
    /// Of the frame's first byte.
    pub(crate) position: u64,
    /// Everything before this position was synced when the frame was made.
    pub(crate) synced: u64,
    /// Everything before this position is in SSTables; its segments may be gone.
    pub(crate) low: u64,
    pub(crate) records: u32,
}

/// Length on disk of a frame with a payload of so many bytes.
pub(crate) fn frame_bytes(payload: usize) -> u64 {
    ((FRAME_HEADER_BYTES + payload) as u64).next_multiple_of(SECTOR_BYTES)
}

/// Fills in the header at the front of `frame` (which has room for it) and pads the end.
pub(crate) fn seal(frame: &mut Vec<u8>, header: &FrameHeader) {
    let payload = frame.len() - FRAME_HEADER_BYTES;
    let payload_bytes = u32::try_from(payload).expect("a frame is cut before 4 GiB");
    frame[8..12].copy_from_slice(&MAGIC.to_le_bytes());
    frame[12..16].copy_from_slice(&payload_bytes.to_le_bytes());
    frame[16..24].copy_from_slice(&header.segment.to_le_bytes());
    frame[24..32].copy_from_slice(&header.position.to_le_bytes());
    frame[32..40].copy_from_slice(&header.synced.to_le_bytes());
    frame[40..48].copy_from_slice(&header.low.to_le_bytes());
    frame[48..52].copy_from_slice(&header.records.to_le_bytes());
    frame[52..56].fill(0);
    let sum = checksum(0, &frame[8..]);
    frame[..8].copy_from_slice(&sum.to_le_bytes());
    frame.resize(frame_bytes(payload) as usize, 0);
}

/// The frame at `at` of a segment file, if a whole one of that segment and position is there.
pub(crate) fn parse(
    file: &[u8],
    at: usize,
    segment: u64,
    position: u64,
    checked: bool,
) -> Option<(FrameHeader, std::ops::Range<usize>)> {
    let bytes = file.get(at..)?;
    if u32_at(bytes, 8)? != MAGIC || u64_at(bytes, 16)? != segment || u64_at(bytes, 24)? != position {
        return None;
    }
    let payload = u32_at(bytes, 12)? as usize;
    let end = FRAME_HEADER_BYTES.checked_add(payload)?;
    if checked && checksum(0, bytes.get(8..end)?) != u64_at(bytes, 0)? {
        return None;
    }
    let header = FrameHeader {
        segment,
        position,
        synced: u64_at(bytes, 32)?,
        low: u64_at(bytes, 40)?,
        records: u32_at(bytes, 48)?,
    };
    Some((header, at + FRAME_HEADER_BYTES..(at + end).min(file.len())))
}

/// One record of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogRecord {
    /// Of the frame it stands in.
    pub(crate) position: u64,
    pub(crate) table: TableId,
    pub(crate) token: Token,
    pub(crate) key: Bytes,
    /// Canonical bytes.
    pub(crate) record: Bytes,
}

/// Appends a record to a frame's payload.
pub(crate) fn put_record(out: &mut Vec<u8>, table: TableId, token: Token, key: &[u8], record: &[u8]) {
    out.extend_from_slice(&table.0.to_le_bytes());
    out.extend_from_slice(&token.0.to_le_bytes());
    put_bytes(out, key);
    put_bytes(out, record);
}

/// Reads the next record of a payload.
pub(crate) fn read_record(reader: &mut Reader<'_>, position: u64) -> Result<LogRecord, DecodeError> {
    let table = TableId(u64::from_le_bytes(reader.array("table id")?));
    let token = Token(u64::from_le_bytes(reader.array("token")?));
    let key = reader.bytes("key")?;
    let record = reader.bytes("record")?;
    Ok(LogRecord { position, table, token, key, record })
}
