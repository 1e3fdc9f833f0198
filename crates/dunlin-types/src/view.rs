//! What can be told of a record's canonical bytes without building the record.
//!
//! The engine moves records as bytes: it asks for write times and expiry, and joins two copies of a key. For
//! last_write_wins that is a comparison; only siblings have to be built to be joined.

use crate::codec::{DecodeError, Reader};
use crate::host::HostId;
use crate::record::{Record, rank, read_value};
use crate::time::{Hlc, Micros};
use crate::version::{DOT_BYTES_MIN, read_dot};

/// A record's times, read from its bytes in one pass, without allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView {
    /// Earliest write time of any value or tombstone; zero if there is none.
    pub written_min: Hlc,
    /// As [`Record::written_max`].
    pub written_max: Hlc,
    /// As [`Record::is_tombstone`].
    pub tombstone: bool,
    /// Earliest expiry of any value.
    pub expires_min: Option<Micros>,
    /// From when on nothing but tombstones and expired values is left; `None`: a value never expires. Zero if
    /// there are only tombstones.
    pub gone_at: Option<Micros>,
}

/// One value of a record.
struct ValueView<'a> {
    written: Hlc,
    expires: Option<Micros>,
    data: Option<&'a [u8]>,
}

impl<'a> ValueView<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<ValueView<'a>, DecodeError> {
        let (written, expires, data) = read_value(reader, |reader| reader.slice("value"))?;
        Ok(ValueView { written, expires, data })
    }
}

/// A last_write_wins record.
struct LatestView<'a> {
    host: HostId,
    value: ValueView<'a>,
}

impl<'a> LatestView<'a> {
    /// `Ok(None)`: a record of another kind.
    fn parse(bytes: &'a [u8]) -> Result<Option<LatestView<'a>>, DecodeError> {
        let mut reader = Reader::of_slice(bytes);
        if reader.u8("record kind")? != Record::LATEST {
            return Ok(None);
        }
        let view = LatestView { host: HostId(reader.array("host")?), value: ValueView::read(&mut reader)? };
        reader.finish("end of record")?;
        Ok(Some(view))
    }

    fn rank(&self) -> impl Ord + '_ {
        let ValueView { written, expires, data } = self.value;
        rank(written, self.host, data, expires)
    }
}

impl RecordView {
    /// Reads canonical bytes. Of last_write_wins records, what passes is canonical; of siblings the order and
    /// cover of dots are not checked ([`Record::decode`] does).
    pub fn parse(bytes: &[u8]) -> Result<RecordView, DecodeError> {
        let mut reader = Reader::of_slice(bytes);
        let bad = reader.error("record kind");
        let mut view = RecordView {
            written_min: Micros(u64::MAX),
            written_max: Micros(0),
            tombstone: true,
            expires_min: None,
            gone_at: Some(Micros(0)),
        };
        match reader.u8("record kind")? {
            Record::SIBLINGS => {
                for what in ["version vector", "dots"] {
                    for _ in 0..reader.count(DOT_BYTES_MIN, what)? {
                        read_dot(&mut reader)?;
                    }
                }
                for _ in 0..reader.count(DOT_BYTES_MIN + 2, "siblings")? {
                    read_dot(&mut reader)?;
                    view.add(&ValueView::read(&mut reader)?);
                }
            }
            Record::LATEST => {
                reader.array::<16>("host")?;
                view.add(&ValueView::read(&mut reader)?);
            }
            _ => return Err(bad),
        }
        reader.finish("end of record")?;
        view.written_min = view.written_min.min(view.written_max);
        Ok(view)
    }

    fn add(&mut self, value: &ValueView<'_>) {
        self.written_min = self.written_min.min(value.written);
        self.written_max = self.written_max.max(value.written);
        if value.data.is_none() {
            return;
        }
        self.tombstone = false;
        self.expires_min = [self.expires_min, value.expires].into_iter().flatten().min();
        self.gone_at = match (self.gone_at, value.expires) {
            (Some(so_far), Some(expires)) => Some(so_far.max(expires)),
            _ => None,
        };
    }
}

/// What [`join`] of two records' bytes is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// The first one's bytes.
    First,
    /// The second one's bytes.
    Second,
    /// New bytes, written to `out`.
    New,
}

/// [`Record::merge`] of canonical bytes. Writes to `out` (cleared before) only what neither of them is.
pub fn join(first: &[u8], second: &[u8], out: &mut Vec<u8>) -> Result<Joined, DecodeError> {
    out.clear();
    if first == second {
        return Ok(Joined::First);
    }
    if let (Some(a), Some(b)) = (LatestView::parse(first)?, LatestView::parse(second)?) {
        return Ok(if a.rank() < b.rank() { Joined::Second } else { Joined::First });
    }
    let mut merged = Record::decode_slice(first)?;
    merged.merge(&Record::decode_slice(second)?);
    merged.encode(out);
    Ok(match () {
        () if out == first => Joined::First,
        () if out == second => Joined::Second,
        () => Joined::New,
    })
}
