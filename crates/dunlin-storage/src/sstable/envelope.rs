//! How any part of an SSTable lies in the file: checksum, codec, raw length, bytes.
//!
//! The checksum is seeded with the file's salt and the offset, so a part that was read from another place
//! or file does not pass. It is verified before anything is decompressed.

use crate::checksum::{checksum, u32_at, u64_at};
use bytes::Bytes;
use dunlin_types::schema::Compression;

/// Length before the stored bytes.
pub(crate) const ENVELOPE_BYTES: usize = 13;
const CODEC_NONE: u8 = 0;
const CODEC_LZ4: u8 = 1;

fn seed(salt: u64, offset: u64) -> u64 {
    salt ^ offset.rotate_left(32)
}

/// Appends `raw` to `out` in its envelope, for a place at `offset` of the file.
pub(crate) fn seal(out: &mut Vec<u8>, raw: &[u8], compression: Compression, salt: u64, offset: u64) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.push(CODEC_NONE);
    out.extend_from_slice(&u32::try_from(raw.len()).expect("parts are cut before 4 GiB").to_le_bytes());
    let body = out.len();
    if compression == Compression::None {
        out.extend_from_slice(raw);
    } else {
        out.resize(body + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
        match lz4_flex::block::compress_into(raw, &mut out[body..]) {
            // Worth the later decompression only if it saves an eighth.
            Ok(length) if length < raw.len() - raw.len() / 8 => {
                out.truncate(body + length);
                out[start + 8] = CODEC_LZ4;
            }
            _ => {
                out.truncate(body);
                out.extend_from_slice(raw);
            }
        }
    }
    let sum = checksum(seed(salt, offset), &out[start + 8..]);
    out[start..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// Checks an envelope and takes it off; `None` if anything is wrong.
pub(crate) fn open(stored: &Bytes, salt: u64, offset: u64) -> Option<Bytes> {
    if checksum(seed(salt, offset), stored.get(8..)?) != u64_at(stored, 0)? {
        return None;
    }
    let raw_bytes = u32_at(stored, 9)? as usize;
    let body = stored.get(ENVELOPE_BYTES..)?;
    match stored[8] {
        CODEC_NONE if body.len() == raw_bytes => Some(stored.slice(ENVELOPE_BYTES..)),
        CODEC_LZ4 => lz4_flex::block::decompress(body, raw_bytes)
            .ok()
            .filter(|raw| raw.len() == raw_bytes)
            .map(Bytes::from),
        _ => None,
    }
}
