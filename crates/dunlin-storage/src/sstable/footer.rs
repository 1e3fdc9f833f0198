//! The end of an SSTable: where its parts lie, and what is in it.

use crate::checksum::{checksum, u32_at, u64_at};
use crate::error::{EngineError, OpenError};
use dunlin_types::{Hlc, Micros, TableId, Token};

/// Length of the footer, always the last bytes of the file.
pub(crate) const FOOTER_BYTES: usize = 128;
const MAGIC: u32 = u32::from_le_bytes(*b"DSST");
const VERSION: u32 = 1;
const CHECKED_BYTES: usize = 96;

/// Offset and stored length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) table: TableId,
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
    pub(crate) index: Part,
    pub(crate) filter: Part,
    pub(crate) statistics: Part,
}

impl Footer {
    /// Offset of the footer: the sum of all parts.
    pub(crate) fn offset(&self) -> u64 {
        self.statistics.offset.saturating_add(self.statistics.bytes)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; FOOTER_BYTES];
        out[8..12].copy_from_slice(&MAGIC.to_le_bytes());
        out[12..16].copy_from_slice(&VERSION.to_le_bytes());
        let Footer { table, sequence, salt, index, filter, statistics } = *self;
        let words = [
            table.0,
            sequence,
            salt,
            index.offset,
            index.bytes,
            filter.offset,
            filter.bytes,
            statistics.offset,
            statistics.bytes,
            self.offset(),
        ];
        for (i, word) in words.into_iter().enumerate() {
            out[16 + i * 8..24 + i * 8].copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(0, &out[8..CHECKED_BYTES]);
        out[..8].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads the footer that lies at `offset` of the file.
    pub(crate) fn decode(bytes: &[u8], file: &str, offset: u64) -> Result<Footer, OpenError> {
        let damaged = || OpenError::Engine(EngineError::damaged(file, offset, "SSTable footer"));
        let sum = checksum(0, bytes.get(8..CHECKED_BYTES).ok_or_else(damaged)?);
        if u64_at(bytes, 0) != Some(sum) || u32_at(bytes, 8) != Some(MAGIC) {
            return Err(damaged());
        }
        let version = u32_at(bytes, 12).unwrap_or_default();
        if version > VERSION {
            return Err(OpenError::Version { file: file.to_owned(), version, known: VERSION });
        }
        let word = |i: usize| u64_at(bytes, 16 + i * 8).ok_or_else(damaged);
        let part = |i: usize| Ok::<_, OpenError>(Part { offset: word(i)?, bytes: word(i + 1)? });
        let footer = Footer {
            table: TableId(word(0)?),
            sequence: word(1)?,
            salt: word(2)?,
            index: part(3)?,
            filter: part(5)?,
            statistics: part(7)?,
        };
        if footer.offset() != offset || word(9)? != offset {
            return Err(damaged());
        }
        Ok(footer)
    }
}

/// What an SSTable holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SstStatistics {
    pub(crate) entries: u64,
    /// Records of nothing but tombstones.
    pub(crate) tombstones: u64,
    pub(crate) key_bytes: u64,
    pub(crate) record_bytes: u64,
    pub(crate) first: Token,
    pub(crate) last: Token,
    /// Latest write time of any record.
    pub(crate) written_max: Hlc,
}

impl SstStatistics {
    /// A count of words, then the words: later versions may append some.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = [
            self.entries,
            self.tombstones,
            self.key_bytes,
            self.record_bytes,
            self.first.0,
            self.last.0,
            self.written_max.0,
        ];
        let mut out = (words.len() as u32).to_le_bytes().to_vec();
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<SstStatistics> {
        let count = u32_at(bytes, 0)? as usize;
        if bytes.len() != count.checked_mul(8)?.checked_add(4)? {
            return None;
        }
        let word = |i: usize| u64_at(bytes, 4 + i * 8);
        Some(SstStatistics {
            entries: word(0)?,
            tombstones: word(1)?,
            key_bytes: word(2)?,
            record_bytes: word(3)?,
            first: Token(word(4)?),
            last: Token(word(5)?),
            written_max: Micros(word(6)?),
        })
    }
}
