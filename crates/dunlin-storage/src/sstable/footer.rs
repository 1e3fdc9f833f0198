//! The end of an SSTable: where its parts lie, and its statistics. All that is read when a file is opened.

use super::statistics::{STATISTICS_BYTES, SstStatistics};
use crate::checksum::{checksum, u32_at, u64_at};
use crate::error::{EngineError, OpenError};
use dunlin_types::TableId;

/// Length of the footer, always the last bytes of the file.
pub(crate) const FOOTER_BYTES: usize = 256;
const MAGIC: u32 = u32::from_le_bytes(*b"DSST");
const VERSION: u32 = 2;
const STATISTICS_AT: usize = 80;
/// Where version 1 had its footer: from the end of the file.
const FIRST_VERSION_BYTES: usize = 128;

/// Offset and stored length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Place {
    fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.bytes)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) table: TableId,
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
    /// Behind the blocks.
    pub(crate) index: Place,
    /// Behind the index, before the footer.
    pub(crate) filter: Place,
    pub(crate) statistics: SstStatistics,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 8];
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        let Footer { table, sequence, salt, index, filter, statistics } = self;
        let offset = filter.offset + filter.bytes;
        let words =
            [table.0, *sequence, *salt, index.offset, index.bytes, filter.offset, filter.bytes, offset];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        statistics.encode(&mut out);
        out.resize(FOOTER_BYTES, 0);
        let sum = checksum(0, &out[8..]);
        out[..8].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads the footer that lies at `offset` of the file.
    pub(crate) fn decode(bytes: &[u8], file: &str, offset: u64) -> Result<Footer, OpenError> {
        let damaged = || OpenError::Engine(EngineError::damaged(file, offset, "SSTable footer"));
        let bytes: &[u8; FOOTER_BYTES] = bytes.try_into().map_err(|_| damaged())?;
        if is_first_version(&bytes[FOOTER_BYTES - FIRST_VERSION_BYTES..]) {
            return Err(OpenError::Version { file: file.to_owned(), version: 1, known: VERSION });
        }
        if u64_at(bytes, 0) != Some(checksum(0, &bytes[8..])) || u32_at(bytes, 8) != Some(MAGIC) {
            return Err(damaged());
        }
        let version = u32_at(bytes, 12).unwrap_or_default();
        if version != VERSION {
            return Err(OpenError::Version { file: file.to_owned(), version, known: VERSION });
        }
        Footer::fields(bytes, offset).ok_or_else(damaged)
    }

    /// `None` unless blocks, index, filter and the footer follow one another.
    fn fields(bytes: &[u8; FOOTER_BYTES], offset: u64) -> Option<Footer> {
        let word = |i: usize| u64_at(bytes, 16 + i * 8);
        let place = |i: usize| Some(Place { offset: word(i)?, bytes: word(i + 1)? });
        let (index, filter) = (place(3)?, place(5)?);
        if index.end()? != filter.offset || filter.end()? != offset || word(7)? != offset {
            return None;
        }
        let statistics = SstStatistics::decode(&bytes[STATISTICS_AT..])?;
        let used = STATISTICS_AT + STATISTICS_BYTES;
        if statistics.entries == 0
            || statistics.first > statistics.last
            || bytes[used..].iter().any(|b| *b != 0)
        {
            return None;
        }
        Some(Footer {
            table: TableId(word(0)?),
            sequence: word(1)?,
            salt: word(2)?,
            index,
            filter,
            statistics,
        })
    }
}

fn is_first_version(bytes: &[u8]) -> bool {
    u64_at(bytes, 0) == Some(checksum(0, &bytes[8..96])) && bytes[8..16] == *b"DSST\x01\0\0\0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_is_noticed() {
        let mut statistics = SstStatistics::new();
        let record = [&[2][..], &[7; 16], &[0, 5]].concat();
        statistics.add(dunlin_types::Token(9), b"key", &record).unwrap();
        let footer = Footer {
            table: TableId(1),
            sequence: 2,
            salt: 3,
            index: Place { offset: 1000, bytes: 10 },
            filter: Place { offset: 1010, bytes: 90 },
            statistics,
        };
        let bytes = footer.encode();
        assert_eq!(Footer::decode(&bytes, "f", 1100), Ok(footer));
        assert!(Footer::decode(&bytes, "f", 1101).is_err(), "another place");
        assert!(Footer::decode(&bytes[1..], "f", 1100).is_err());
        for bit in 0..FOOTER_BYTES * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Footer::decode(&bytes, "f", 1100).expect_err("a flipped bit");
            assert_eq!(error, EngineError::damaged("f", 1100, "SSTable footer").into());
        }
    }

    #[test]
    fn the_first_version_is_refused_by_name() {
        let mut bytes = vec![0; FOOTER_BYTES];
        bytes[136..144].copy_from_slice(b"DSST\x01\0\0\0");
        let sum = checksum(0, &bytes[136..224]);
        bytes[128..136].copy_from_slice(&sum.to_le_bytes());
        let refused = Footer::decode(&bytes, "f", 1100);
        assert_eq!(refused, Err(OpenError::Version { file: "f".to_owned(), version: 1, known: 2 }));
    }
}
