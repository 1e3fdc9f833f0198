//! Small files that are replaced whole: checksum, magic, version, body.

use crate::checksum::{checksum, u32_at, u64_at};
use crate::error::{EngineError, OpenError};
use bytes::Bytes;

/// Length before the body.
pub(crate) const HEADER_BYTES: usize = 16;

/// The file's bytes.
pub(crate) fn encode(magic: [u8; 4], version: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 8];
    out.extend_from_slice(&magic);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(body);
    let sum = checksum(0, &out[8..]);
    out[..8].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The body, if the file is whole and of a known version.
pub(crate) fn decode(file: &str, bytes: Vec<u8>, magic: [u8; 4], known: u32) -> Result<Bytes, OpenError> {
    let damaged = || OpenError::Engine(EngineError::damaged(file, 0, "checksum or kind of the file"));
    let sum = checksum(0, bytes.get(8..).ok_or_else(damaged)?);
    if u64_at(&bytes, 0) != Some(sum) || bytes.get(8..12) != Some(&magic[..]) {
        return Err(damaged());
    }
    let version = u32_at(&bytes, 12).ok_or_else(damaged)?;
    if version != known {
        return Err(OpenError::Version { file: file.to_owned(), version, known });
    }
    Ok(Bytes::from(bytes).slice(HEADER_BYTES..))
}
