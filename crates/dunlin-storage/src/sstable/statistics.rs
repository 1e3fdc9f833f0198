//! What an SSTable holds, in numbers: what compaction and purge choose by.

use crate::checksum::{u32_at, u64_at};
use crate::error::EngineError;
use dunlin_types::view::RecordView;
use dunlin_types::{Hlc, Micros, Token};

/// What an SSTable holds. Least and latest times of nothing are the highest and the lowest time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SstStatistics {
    pub(crate) entries: u64,
    /// Records of nothing but tombstones.
    pub(crate) tombstones: u64,
    /// Records that are tombstones or will be gone once all their values have expired: they may be purged some day.
    pub(crate) gone: u64,
    pub(crate) key_bytes: u64,
    pub(crate) record_bytes: u64,
    pub(crate) first: Token,
    pub(crate) last: Token,
    /// Earliest write time of any value or tombstone.
    pub(crate) written_min: Hlc,
    /// Latest one.
    pub(crate) written_max: Hlc,
    /// The least latest write time of any record of tombstones only.
    pub(crate) tombstone_written_min: Hlc,
    /// Earliest expiry of any value.
    pub(crate) expires_min: Micros,
    /// When the first of the `gone` records is gone (zero: it is a tombstone).
    pub(crate) gone_at_min: Micros,
    /// When the last of them is.
    pub(crate) gone_at_max: Micros,
}

const WORDS: usize = 13;
/// Length in the footer.
pub(crate) const STATISTICS_BYTES: usize = 4 + WORDS * 8;

impl SstStatistics {
    /// Of no entry yet.
    pub(crate) fn new() -> SstStatistics {
        let (never, zero) = (Micros(u64::MAX), Micros(0));
        SstStatistics {
            entries: 0,
            tombstones: 0,
            gone: 0,
            key_bytes: 0,
            record_bytes: 0,
            first: Token(0),
            last: Token(0),
            written_min: never,
            written_max: zero,
            tombstone_written_min: never,
            expires_min: never,
            gone_at_min: never,
            gone_at_max: zero,
        }
    }

    /// Of an SSTable that cannot say: it may hold any key and any time.
    pub(crate) fn unknown() -> SstStatistics {
        let (never, zero) = (Micros(u64::MAX), Micros(0));
        SstStatistics {
            last: Token(u64::MAX),
            written_min: zero,
            written_max: never,
            gone_at_max: never,
            ..SstStatistics::new()
        }
    }

    /// Adds an entry; they come in order. Error: the record is not one.
    pub(crate) fn add(&mut self, token: Token, key: &[u8], record: &[u8]) -> Result<(), EngineError> {
        let view = RecordView::parse(record).map_err(|e| {
            EngineError::damaged("a record on its way to an SSTable", e.offset as u64, e.what)
        })?;
        if self.entries == 0 {
            self.first = token;
        }
        self.last = token;
        self.entries += 1;
        self.key_bytes += key.len() as u64;
        self.record_bytes += record.len() as u64;
        self.written_min = self.written_min.min(view.written_min);
        self.written_max = self.written_max.max(view.written_max);
        if view.tombstone {
            self.tombstones += 1;
            self.tombstone_written_min = self.tombstone_written_min.min(view.written_max);
        }
        self.expires_min = view.expires_min.map_or(self.expires_min, |at| at.min(self.expires_min));
        if let Some(at) = view.gone_at {
            self.gone += 1;
            self.gone_at_min = self.gone_at_min.min(at);
            self.gone_at_max = self.gone_at_max.max(at);
        }
        Ok(())
    }

    /// Whether a key of that token may be here.
    #[inline]
    pub(crate) fn covers(&self, token: Token) -> bool {
        self.first <= token && token <= self.last
    }

    /// A count of words, then the words: later versions may append some.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let words: [u64; WORDS] = [
            self.entries,
            self.tombstones,
            self.gone,
            self.key_bytes,
            self.record_bytes,
            self.first.0,
            self.last.0,
            self.written_min.0,
            self.written_max.0,
            self.tombstone_written_min.0,
            self.expires_min.0,
            self.gone_at_min.0,
            self.gone_at_max.0,
        ];
        out.extend_from_slice(&(WORDS as u32).to_le_bytes());
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<SstStatistics> {
        let count = u32_at(bytes, 0)? as usize;
        if count < WORDS || bytes.len() < count.checked_mul(8)?.checked_add(4)? {
            return None;
        }
        let word = |i: usize| u64_at(bytes, 4 + i * 8);
        let time = |i: usize| word(i).map(Micros);
        Some(SstStatistics {
            entries: word(0)?,
            tombstones: word(1)?,
            gone: word(2)?,
            key_bytes: word(3)?,
            record_bytes: word(4)?,
            first: Token(word(5)?),
            last: Token(word(6)?),
            written_min: time(7)?,
            written_max: time(8)?,
            tombstone_written_min: time(9)?,
            expires_min: time(10)?,
            gone_at_min: time(11)?,
            gone_at_max: time(12)?,
        })
    }
}
