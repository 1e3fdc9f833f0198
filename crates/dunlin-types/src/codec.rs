//! Hand-written bytes for what goes to disk: little-endian fixed integers, LEB128 varints,
//! length-prefixed bytes. Decoders never panic and never allocate more than the input is long.

use bytes::Bytes;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {what} at byte {offset}")]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// Where in the input.
    pub offset: usize,
}

/// Appends a LEB128 varint (1 to 10 bytes).
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of bytes; if they are shared, what it hands out shares them.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    shared: Option<&'a Bytes>,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a Bytes) -> Self {
        Reader { bytes, shared: Some(bytes), at: 0 }
    }

    /// As [`Reader::new`], over bytes that are not shared: [`Reader::bytes`] copies.
    pub fn of_slice(bytes: &'a [u8]) -> Self {
        Reader { bytes, shared: None, at: 0 }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The error for `what` at this place.
    pub fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, offset: self.at }
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(self.error(what))?;
        self.at += 1;
        Ok(byte)
    }

    /// A canonical LEB128 varint: no longer than needed.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let part = u64::from(byte & 0x7f);
            if (shift == 63 && part > 1) || (byte == 0 && shift > 0) {
                return Err(DecodeError { what, offset: start });
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError { what, offset: start })
    }

    /// A varint that counts items of at least `item_bytes_min` bytes each still to come.
    pub fn count(&mut self, item_bytes_min: usize, what: &'static str) -> Result<usize, DecodeError> {
        let at = self.at;
        let count = self.varint(what)?;
        match usize::try_from(count) {
            Ok(n) if n.saturating_mul(item_bytes_min) <= self.remaining() => Ok(n),
            _ => Err(DecodeError { what, offset: at }),
        }
    }

    /// Exactly `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let slice = self.bytes.get(self.at..self.at + N).ok_or(self.error(what))?;
        self.at += N;
        Ok(slice.try_into().expect("the slice has N bytes"))
    }

    /// A varint length and as many bytes, shared with the input.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let slice = self.slice(what)?;
        Ok(match self.shared {
            Some(shared) => shared.slice(self.at - slice.len()..self.at),
            None => Bytes::copy_from_slice(slice),
        })
    }

    /// A varint length and as many bytes, borrowed from the input.
    pub fn slice(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.count(1, what)?;
        let slice = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(slice)
    }

    /// Error unless all was read.
    pub fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(what)) }
    }
}
