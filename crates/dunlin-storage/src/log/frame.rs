//! A frame: what one write puts into the log, and the unit of its checksum.
//!
//! Frames start at block borders and no block is written twice in a segment's life, so a torn write
//! never harms an earlier frame. A frame names its segment, its position and the checksum of the frame
//! before it: bytes that an earlier use of a recycled file left behind are never taken for frames of this
//! one. The predecessor's checksum is a field, and not the seed of the checksum, so that a frame behind a
//! damaged one can still be proven whole.

use crate::checksum::{checksum, u32_at, u64_at};
use dunlin_types::codec::{DecodeError, put_bytes};
use dunlin_types::{TableId, Token};
use std::ops::Range;

/// Length of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"DLFR");

/// Header of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) segment: u64,
    /// Of the frame's first byte.
    pub(crate) position: u64,
    /// Checksum of the frame before it, or of the segment's header.
    pub(crate) previous: u64,
    /// Everything before this position was synced when the frame was made.
    pub(crate) synced: u64,
    /// Everything before this position is in SSTables; its segments may be gone.
    pub(crate) low: u64,
    pub(crate) records: u32,
}

/// A frame found in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) checksum: u64,
    /// Where its header starts in the file.
    pub(crate) at: usize,
    /// Where its payload stands in the file.
    pub(crate) payload: Range<usize>,
}

/// Length on disk of a frame with a payload of so many bytes.
pub(crate) fn frame_bytes(payload: usize, block_bytes: u64) -> u64 {
    ((FRAME_HEADER_BYTES + payload) as u64).next_multiple_of(block_bytes)
}

/// Fills in the header at the front of `frame`, in which the payload stands behind it already. Returns the
/// frame's checksum.
pub(crate) fn seal(frame: &mut [u8], payload: usize, header: &FrameHeader) -> u64 {
    let payload_bytes = u32::try_from(payload).expect("a frame is cut before 4 GiB");
    frame[8..12].copy_from_slice(&MAGIC.to_le_bytes());
    frame[12..16].copy_from_slice(&payload_bytes.to_le_bytes());
    frame[16..24].copy_from_slice(&header.segment.to_le_bytes());
    frame[24..32].copy_from_slice(&header.position.to_le_bytes());
    frame[32..40].copy_from_slice(&header.previous.to_le_bytes());
    frame[40..48].copy_from_slice(&header.synced.to_le_bytes());
    frame[48..56].copy_from_slice(&header.low.to_le_bytes());
    frame[56..60].copy_from_slice(&header.records.to_le_bytes());
    frame[60..64].fill(0);
    let sum = checksum(0, &frame[8..FRAME_HEADER_BYTES + payload]);
    frame[..8].copy_from_slice(&sum.to_le_bytes());
    sum
}

impl Frame {
    /// The frame at `at` of a segment file, if its header names that segment and position. Its checksum is not
    /// looked at yet.
    pub(crate) fn parse(file: &[u8], at: usize, segment: u64, position: u64) -> Option<Frame> {
        let bytes = file.get(at..)?;
        if u32_at(bytes, 8)? != MAGIC || u64_at(bytes, 16)? != segment || u64_at(bytes, 24)? != position {
            return None;
        }
        let payload = at + FRAME_HEADER_BYTES;
        let payload = payload..payload.checked_add(u32_at(bytes, 12)? as usize)?;
        if payload.end > file.len() {
            return None;
        }
        let header = FrameHeader {
            segment,
            position,
            previous: u64_at(bytes, 32)?,
            synced: u64_at(bytes, 40)?,
            low: u64_at(bytes, 48)?,
            records: u32_at(bytes, 56)?,
        };
        Some(Frame { header, checksum: u64_at(bytes, 0)?, at, payload })
    }

    /// As [`Frame::parse`], for whatever position the frame names.
    pub(crate) fn parse_anywhere(file: &[u8], at: usize, segment: u64) -> Option<Frame> {
        Frame::parse(file, at, segment, u64_at(file.get(at..)?, 24)?)
    }

    /// Whether its bytes in the file are those that were written.
    pub(crate) fn is_whole(&self, file: &[u8]) -> bool {
        file.get(self.at + 8..self.payload.end).is_some_and(|bytes| checksum(0, bytes) == self.checksum)
    }

    /// Length on disk.
    pub(crate) fn bytes(&self, block_bytes: u64) -> u64 {
        frame_bytes(self.payload.len(), block_bytes)
    }
}

/// One record of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogRecordRef<'a> {
    /// Behind it: what the append returned.
    pub(crate) position: u64,
    pub(crate) table: TableId,
    pub(crate) token: Token,
    pub(crate) key: &'a [u8],
    /// Canonical bytes.
    pub(crate) record: &'a [u8],
}

/// Most bytes that [`put_record`] appends besides key and record.
pub(crate) const RECORD_OVERHEAD_BYTES_MAX: usize = 8 + 8 + 10 + 10;

/// Appends a record to a frame's payload.
pub(crate) fn put_record(out: &mut Vec<u8>, table: TableId, token: Token, key: &[u8], record: &[u8]) {
    out.extend_from_slice(&table.0.to_le_bytes());
    out.extend_from_slice(&token.0.to_le_bytes());
    put_bytes(out, key);
    put_bytes(out, record);
}

/// Reads the records of a payload, one after the other.
pub(crate) struct Records<'a> {
    payload: &'a [u8],
    at: usize,
    left: u32,
    /// Of the payload's first byte.
    position: u64,
}

impl<'a> Records<'a> {
    pub(crate) fn new(file: &'a [u8], frame: &Frame) -> Records<'a> {
        let payload = file.get(frame.payload.clone()).unwrap_or_default();
        let position = frame.header.position + FRAME_HEADER_BYTES as u64;
        Records { payload, at: 0, left: frame.header.records, position }
    }

    fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, offset: self.at }
    }

    fn word(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let word = u64_at(self.payload, self.at).ok_or(self.error(what))?;
        self.at += 8;
        Ok(word)
    }

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = *self.payload.get(self.at).ok_or(self.error(what))?;
            self.at += 1;
            length |= ((byte & 0x7f) as usize) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 35 {
                return Err(self.error(what));
            }
        }
        let end = self.at.checked_add(length).ok_or(self.error(what))?;
        let bytes = self.payload.get(self.at..end).ok_or(self.error(what))?;
        self.at = end;
        Ok(bytes)
    }

    fn read(&mut self) -> Result<LogRecordRef<'a>, DecodeError> {
        let table = TableId(self.word("table id")?);
        let token = Token(self.word("token")?);
        let key = self.bytes("key")?;
        let record = self.bytes("record")?;
        Ok(LogRecordRef { position: self.position + self.at as u64, table, token, key, record })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<LogRecordRef<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        if read.is_err() {
            self.left = 0;
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], records: u32) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend_from_slice(payload);
        let header = FrameHeader { segment: 7, position: 512, previous: 9, synced: 3, low: 1, records };
        seal(&mut bytes, payload.len(), &header);
        bytes
    }

    #[test]
    fn a_frame_is_read_as_it_was_sealed() {
        let (mut payload, mut ends) = (Vec::new(), Vec::new());
        let keys: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; n * 10]).collect();
        for (n, key) in keys.iter().enumerate() {
            put_record(&mut payload, TableId(n as u64), Token(n as u64 + 100), key, b"record");
            ends.push((512 + FRAME_HEADER_BYTES + payload.len()) as u64);
        }
        let bytes = frame(&payload, 40);
        let found = Frame::parse(&bytes, 0, 7, 512).expect("a frame");
        assert!(found.is_whole(&bytes));
        assert_eq!((found.header.previous, found.header.synced, found.header.low), (9, 3, 1));
        let records: Vec<_> = Records::new(&bytes, &found).map(|r| r.expect("a record")).collect();
        assert_eq!(records.len(), 40);
        for (n, record) in records.iter().enumerate() {
            assert_eq!((record.table.0, record.token.0), (n as u64, n as u64 + 100));
            assert_eq!((record.key, record.record, record.position), (&keys[n][..], &b"record"[..], ends[n]));
        }
        assert_eq!(Frame::parse(&bytes, 0, 8, 512), None, "another segment");
        assert_eq!(Frame::parse(&bytes, 0, 7, 1024), None, "another position");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            let whole = Frame::parse(&damaged, 0, 7, 512).is_some_and(|f| f.is_whole(&damaged));
            assert!(!whole, "byte {at}");
        }
    }

    #[test]
    fn wrong_payloads_are_errors() {
        let mut payload = Vec::new();
        put_record(&mut payload, TableId(1), Token(2), b"key", b"record");
        for end in 0..payload.len() {
            let bytes = frame(&payload[..end], 1);
            let found = Frame::parse(&bytes, 0, 7, 512).expect("a frame");
            let read: Vec<_> = Records::new(&bytes, &found).collect();
            assert!(matches!(read[..], [Err(_)]), "{end}: {read:?}");
        }
        let mut endless = payload[..16].to_vec();
        endless.extend_from_slice(&[0xff; 20]);
        let bytes = frame(&endless, 5);
        let found = Frame::parse(&bytes, 0, 7, 512).expect("a frame");
        assert_eq!(Records::new(&bytes, &found).filter(|r| r.is_err()).count(), 1);
    }
}
