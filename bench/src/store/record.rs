//! Canonical bytes of a `last_write_wins` record, written without a [`dunlin_types::Record`].

use dunlin_types::codec::{put_bytes, put_varint};

const HOST: [u8; 16] = *b"enginebench-host";
/// Kind of the record, host, flags of the value.
const HEAD: usize = 1 + 16 + 1;

/// Encodes a value written at `written` (microseconds).
pub fn encode(written: u64, value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(2);
    out.extend_from_slice(&HOST);
    out.push(1);
    put_varint(out, written);
    put_bytes(out, value);
}

/// The value in a record that [`encode`] made.
pub fn value(record: &[u8]) -> Option<&[u8]> {
    let rest = after_varint(record.get(HEAD..)?)?;
    after_varint(rest)
}

fn after_varint(bytes: &[u8]) -> Option<&[u8]> {
    let last = bytes.iter().position(|b| b & 0x80 == 0)?;
    Some(&bytes[last + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::record::{Latest, Record, Value};
    use dunlin_types::{HostId, Micros};

    #[test]
    fn bytes_are_those_of_the_record() {
        let (written, data) = (1_700_000_000_000_000, vec![9; 300]);
        let mut bytes = Vec::new();
        encode(written, &data, &mut bytes);
        let value = Value { written: Micros(written), expires: None, data: Some(data.clone().into()) };
        let record = Record::Latest(Latest { host: HostId(HOST), value });
        assert_eq!(bytes, record.to_bytes());
        assert_eq!(super::value(&bytes), Some(data.as_slice()));
    }
}
