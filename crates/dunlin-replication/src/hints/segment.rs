//! The bytes of a hint segment (`docs/formats.md`): a header, then records each with its length and
//! checksum. Segments are only appended to, and removed as a whole.

use bytes::Bytes;
use dunlin_types::codec::{DecodeError, Reader, put_bytes, put_varint};
use dunlin_types::{HostId, Key, Micros, Record, TableId, Token};

/// First bytes of every segment; the last two are the format's version.
pub const MAGIC: &[u8; 8] = b"DNLHNT01";

/// Length of the header: magic, target, checksum of both.
pub const HEADER_BYTES: usize = 28;

/// Length and checksum before each record.
const FRAME_BYTES: usize = 8;

/// A record kept for a host that missed it.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Hint {
    /// When it was kept, by the wall clock of its keeper.
    pub created: Micros,
    /// The table.
    pub table: TableId,
    /// Place on the ring.
    pub token: Token,
    /// The key.
    pub key: Key,
    /// The record.
    pub record: Record,
}

/// The header of a segment for that host.
pub fn header(target: HostId) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(&target.0);
    let sum = crc32fast::hash(&bytes[..24]);
    bytes[24..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Whether the bytes begin with the header of a segment for that host.
pub fn check_header(bytes: &[u8], target: HostId) -> bool {
    bytes.get(..HEADER_BYTES) == Some(&header(target)[..])
}

/// Appends a hint.
pub fn put_hint(
    out: &mut Vec<u8>,
    created: Micros,
    table: TableId,
    token: Token,
    key: &Key,
    record: &Record,
) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    put_varint(out, created.0);
    out.extend_from_slice(&table.0.to_le_bytes());
    out.extend_from_slice(&token.0.to_le_bytes());
    put_bytes(out, key.as_bytes());
    record.encode(out);
    let body = &out[start + FRAME_BYTES..];
    let length = u32::try_from(body.len()).expect("a record is bounded by the limits of values");
    let sum = crc32fast::hash(body);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// Reads hints one by one; ends at the first that is torn or damaged.
pub struct Hints {
    bytes: Bytes,
    at: usize,
}

impl Hints {
    /// Reads what follows a checked header.
    pub fn new(segment: Bytes) -> Hints {
        Hints { bytes: segment, at: HEADER_BYTES }
    }

    /// Bytes up to the end of the last hint read.
    pub fn position(&self) -> usize {
        self.at
    }

    fn frame(&self) -> Option<Bytes> {
        let frame = self.bytes.get(self.at..self.at + FRAME_BYTES)?;
        let length = u32::from_le_bytes(frame[..4].try_into().ok()?) as usize;
        let sum = u32::from_le_bytes(frame[4..].try_into().ok()?);
        let start = self.at + FRAME_BYTES;
        let body = self.bytes.get(start..start.checked_add(length)?)?;
        (crc32fast::hash(body) == sum).then(|| self.bytes.slice(start..start + length))
    }
}

impl Iterator for Hints {
    type Item = Hint;

    fn next(&mut self) -> Option<Hint> {
        let body = self.frame()?;
        let hint = decode(&body).ok()?;
        self.at += FRAME_BYTES + body.len();
        Some(hint)
    }
}

fn decode(body: &Bytes) -> Result<Hint, DecodeError> {
    let mut reader = Reader::new(body);
    let created = Micros(reader.varint("hint time")?);
    let table = TableId(u64::from_le_bytes(reader.array("hint table")?));
    let token = Token(u64::from_le_bytes(reader.array("hint token")?));
    let bad = reader.error("hint key");
    let key = Key::new(reader.bytes("hint key")?).map_err(|_| bad)?;
    let record = Record::decode(&body.slice(body.len() - reader.remaining()..))?;
    Ok(Hint { created, table, token, key, record })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::Value;
    use dunlin_types::record::Latest;
    use proptest::prelude::*;

    fn record(data: Vec<u8>) -> Record {
        Record::Latest(Latest {
            host: HostId([7; 16]),
            value: Value { written: Micros(5), expires: None, data: Some(data.into()) },
        })
    }

    fn segment(values: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = header(HostId([1; 16])).to_vec();
        for (i, value) in values.iter().enumerate() {
            put_hint(
                &mut bytes,
                Micros(i as u64),
                TableId(3),
                Token(9),
                &Key::new("k").unwrap(),
                &record(value.clone()),
            );
        }
        bytes
    }

    #[test]
    fn the_format_stays() {
        let mut bytes = header(HostId([1; 16])).to_vec();
        put_hint(
            &mut bytes,
            Micros(300),
            TableId(3),
            Token(9),
            &Key::new("k").unwrap(),
            &record(b"v".to_vec()),
        );
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = concat!(
        "444e4c484e54303101010101010101010101010101010101598295122900000056b88479ac0203000000000000000900000000000000",
        "016b020707070707070707070707070707070701050176",
    );

    proptest! {
        #[test]
        fn reads_back_what_was_written_up_to_any_cut(values: Vec<Vec<u8>>, cut: prop::sample::Index) {
            let bytes = segment(&values);
            let whole: Vec<Hint> = Hints::new(bytes.clone().into()).collect();
            prop_assert_eq!(whole.len(), values.len());
            for (i, (hint, value)) in whole.iter().zip(&values).enumerate() {
                prop_assert_eq!(hint.created, Micros(i as u64));
                prop_assert_eq!(&hint.record, &record(value.clone()));
            }
            let end = cut.index(bytes.len() + 1);
            let torn: Vec<Hint> = Hints::new(bytes[..end].to_vec().into()).collect();
            prop_assert!(torn.len() <= whole.len());
            prop_assert_eq!(&torn[..], &whole[..torn.len()]);
        }

        #[test]
        fn a_flipped_bit_never_gives_another_hint(values: Vec<Vec<u8>>, at: prop::sample::Index, bit in 0..8u32) {
            let mut bytes = segment(&values);
            let whole: Vec<Hint> = Hints::new(bytes.clone().into()).collect();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let damaged: Vec<Hint> = Hints::new(bytes.clone().into()).collect();
            prop_assert_eq!(&damaged[..], &whole[..damaged.len()]);
            prop_assert_eq!(check_header(&bytes, HostId([1; 16])), at >= HEADER_BYTES);
        }
    }
}
