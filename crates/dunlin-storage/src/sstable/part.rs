//! How any part of an SSTable lies in the file: stored bytes, then a trailer of codec, raw length, checksum.
//!
//! The trailer stands behind, so that a part that is not compressed can be used where it was read to. The
//! checksum is seeded with the file's salt and the offset: a part that was read from another place or file
//! does not pass. It is verified before anything is decompressed.

use crate::checksum::{checksum, u32_at, u64_at};
use dunlin_types::schema::Compression;
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// Length behind the stored bytes: codec 1, raw length 4, checksum 8.
pub(crate) const TRAILER_BYTES: usize = 13;
const CODEC_NONE: u8 = 0;
const CODEC_LZ4: u8 = 1;
const CODEC_ZSTD: u8 = 2;
/// Longest raw part that is decompressed: far above the longest record, below what would exhaust memory.
const RAW_BYTES_MAX: usize = 1 << 30;

fn seed(salt: u64, offset: u64) -> u64 {
    salt ^ offset.rotate_left(32)
}

/// Puts parts into their form; keeps the compressor between them.
pub(crate) struct Sealer {
    compression: Compression,
    zstd: Option<Compressor<'static>>,
}

impl Sealer {
    /// `level` is Zstandard's; the other codecs have none.
    pub(crate) fn new(compression: Compression, level: i32) -> Sealer {
        // Without a compressor (out of memory) parts are stored plain.
        let zstd = (compression == Compression::Zstd).then(|| Compressor::new(level).ok()).flatten();
        Sealer { compression, zstd }
    }

    /// Appends `raw` with its trailer to `out`, for a place at `offset` of the file.
    pub(crate) fn seal(&mut self, out: &mut Vec<u8>, raw: &[u8], salt: u64, offset: u64) {
        let start = out.len();
        // Worth the later decompression only if it saves an eighth; bytes that do not shrink are stored plain.
        let most = raw.len() - raw.len().div_ceil(8);
        let codec = match self.compress(out, raw).filter(|(_, length)| *length <= most) {
            Some((codec, length)) => {
                out.truncate(start + length);
                codec
            }
            None => {
                out.truncate(start);
                out.extend_from_slice(raw);
                CODEC_NONE
            }
        };
        out.push(codec);
        out.extend_from_slice(&u32::try_from(raw.len()).expect("parts are cut before 4 GiB").to_le_bytes());
        let sum = checksum(seed(salt, offset), &out[start..]);
        out.extend_from_slice(&sum.to_le_bytes());
    }

    /// Codec, and length of what was appended to `out`.
    fn compress(&mut self, out: &mut Vec<u8>, raw: &[u8]) -> Option<(u8, usize)> {
        let start = out.len();
        if raw.len() > RAW_BYTES_MAX {
            // A reader would not trust the length.
            return None;
        }
        match (self.compression, &mut self.zstd) {
            (Compression::Lz4, _) => {
                out.resize(start + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
                Some((CODEC_LZ4, lz4_flex::block::compress_into(raw, &mut out[start..]).ok()?))
            }
            (Compression::Zstd, Some(zstd)) => {
                out.resize(start + zstd::zstd_safe::compress_bound(raw.len()), 0);
                Some((CODEC_ZSTD, zstd.compress_to_buffer(raw, &mut out[start..]).ok()?))
            }
            _ => None,
        }
    }
}

/// A part whose checksum is right.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    codec: u8,
    raw_bytes: usize,
    stored: &'a [u8],
}

impl<'a> Part<'a> {
    /// Checks a part; `None` if anything is wrong.
    pub(crate) fn check(part: &'a [u8], salt: u64, offset: u64) -> Option<Part<'a>> {
        let sum_at = part.len().checked_sub(8)?;
        if checksum(seed(salt, offset), &part[..sum_at]) != u64_at(part, sum_at)? {
            return None;
        }
        Part::parse(part)
    }

    /// [`Part::check`] without the checksum.
    pub(crate) fn parse(part: &'a [u8]) -> Option<Part<'a>> {
        let (stored, trailer) = part.split_at(part.len().checked_sub(TRAILER_BYTES)?);
        let (codec, raw_bytes) = (trailer[0], u32_at(trailer, 1)? as usize);
        let fits = match codec {
            CODEC_NONE => raw_bytes == stored.len(),
            CODEC_LZ4 | CODEC_ZSTD => raw_bytes <= RAW_BYTES_MAX,
            _ => false,
        };
        fits.then_some(Part { codec, raw_bytes, stored })
    }

    /// The raw bytes, if they are stored as they are.
    pub(crate) fn plain(&self) -> Option<&'a [u8]> {
        (self.codec == CODEC_NONE).then_some(self.stored)
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    /// Writes the raw bytes to `out`, which is [`Part::raw_bytes`] long; `None` if they are not that many.
    pub(crate) fn unpack(&self, out: &mut [u8]) -> Option<()> {
        let length = match self.codec {
            CODEC_NONE => {
                out.get_mut(..self.stored.len())?.copy_from_slice(self.stored);
                self.stored.len()
            }
            CODEC_LZ4 => lz4_flex::block::decompress_into(self.stored, out).ok()?,
            _ => decompress_zstd(self.stored, out)?,
        };
        (length == out.len()).then_some(())
    }
}

/// A decompressor is 100 KiB to make: each thread keeps one.
fn decompress_zstd(stored: &[u8], out: &mut [u8]) -> Option<usize> {
    thread_local!(static ZSTD: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) });
    ZSTD.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Decompressor::new().ok();
        }
        kept.as_mut()?.decompress_to_buffer(stored, out).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

    fn open(part: &[u8], salt: u64, offset: u64) -> Option<Vec<u8>> {
        let part = Part::check(part, salt, offset)?;
        let mut raw = vec![0; part.raw_bytes()];
        part.unpack(&mut raw)?;
        Some(raw)
    }

    proptest! {
        #[test]
        fn opens_what_was_sealed(mut raw in prop::collection::vec(any::<u8>(), 0..3000), like in 0usize..3000, salt: u64, offset: u64, flip: usize) {
            let like = like.min(raw.len());
            raw[..like].fill(b'a');
            for compression in CODECS {
                let mut out = b"before".to_vec();
                Sealer::new(compression, -5).seal(&mut out, &raw, salt, offset);
                let part = &mut out[6..];
                prop_assert_eq!(open(part, salt, offset), Some(raw.clone()));
                prop_assert_eq!(open(part, salt, offset.wrapping_add(1)), None, "another place");
                prop_assert_eq!(open(part, !salt, offset), None, "another file");
                let at = flip % part.len();
                part[at] ^= 1 << (flip % 8);
                prop_assert_eq!(open(part, salt, offset), None, "byte {}", at);
            }
        }

        /// Even a part that passes its checksum may be nonsense.
        #[test]
        fn unpacks_no_nonsense(mut part in prop::collection::vec(any::<u8>(), 13..200), codec in 0u8..4, raw_bytes in 0u32..400) {
            let trailer = part.len() - TRAILER_BYTES;
            part[trailer] = codec;
            part[trailer + 1..trailer + 5].copy_from_slice(&raw_bytes.to_le_bytes());
            if let Some(part) = Part::parse(&part) {
                let _ = part.unpack(&mut vec![0; part.raw_bytes()]);
            }
        }
    }

    #[test]
    fn compresses_what_shrinks_by_an_eighth() {
        let shrinks = vec![b'x'; 1000];
        let mut hash = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            hash = checksum(hash, b"noise");
            hash as u8
        })
        .take(1000)
        .collect();
        for compression in CODECS {
            let stored = |raw: &[u8]| {
                let mut out = Vec::new();
                Sealer::new(compression, -5).seal(&mut out, raw, 1, 2);
                out.len() - TRAILER_BYTES
            };
            assert_eq!(stored(&noise), 1000);
            assert_eq!(stored(&shrinks) < 100, compression != Compression::None);
            assert_eq!(stored(&[]), 0);
        }
    }
}
