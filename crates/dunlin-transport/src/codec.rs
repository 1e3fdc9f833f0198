//! Values of the internode protocol <-> bytes: one version byte, then bincode (standard
//! configuration: variable-length integers, little-endian).
//!
//! The only place that knows bincode. Nothing on disk is written with it. Byte slices inside
//! messages should be `Bytes` or marked `serde_bytes`, else they are encoded item by item.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the encoding that this build writes and reads.
pub const VERSION: u8 = 1;

/// What decoding a message of up to [`SMALL_BYTES`] may allocate.
const SMALL_LIMIT: usize = 4 << 20;
/// What decoding any larger message may allocate.
const LARGE_LIMIT: usize = 256 << 20;
const SMALL_BYTES: usize = 64 << 10;

/// Bytes that are not a message of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// No bytes at all.
    #[error("an empty message")]
    Empty,
    /// Written by another version.
    #[error("message of protocol version {found}, this node speaks {VERSION}")]
    Version {
        /// Its version byte.
        found: u8,
    },
    /// Not a value of the type expected, or larger than its bytes can justify.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The value ends before its bytes do.
    #[error("{extra} bytes after the end of the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

/// The bytes of a value.
///
/// # Panics
/// If the type's `Serialize` fails, which none of the protocol's types does: a programmer's error.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Bytes {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    bincode::serde::encode_into_std_write(value, &mut out, bincode::config::standard())
        .expect("writing to memory cannot fail, and the protocol's types serialise");
    Bytes::from(out)
}

/// The value of bytes written by [`encode`]. Never panics, and allocates no more than a bounded
/// multiple of what arrived.
pub fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, CodecError> {
    let (&version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if version != VERSION {
        return Err(CodecError::Version { found: version });
    }
    let standard = bincode::config::standard();
    let decoded = if body.len() <= SMALL_BYTES {
        bincode::serde::decode_from_slice(body, standard.with_limit::<SMALL_LIMIT>())
    } else {
        bincode::serde::decode_from_slice(body, standard.with_limit::<LARGE_LIMIT>())
    };
    let (value, used): (T, usize) = decoded.map_err(|error| CodecError::Malformed(error.to_string()))?;
    match body.len() - used {
        0 => Ok(value),
        extra => Err(CodecError::Trailing { extra }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
    enum Sample {
        Ping,
        Put { key: Bytes, layout: u64, ttl_s: Option<u32>, tags: Vec<(u8, String)> },
    }

    fn put() -> Sample {
        Sample::Put {
            key: Bytes::from_static(b"alice"),
            layout: 300,
            ttl_s: Some(7),
            tags: vec![(1, "x".into()), (2, "yz".into())],
        }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(encode(&Sample::Ping).as_ref(), [1, 0]);
        let expected =
            [1, 1, 5, b'a', b'l', b'i', b'c', b'e', 251, 0x2c, 0x01, 1, 7, 2, 1, 1, b'x', 2, 2, b'y', b'z'];
        assert_eq!(encode(&put()).as_ref(), expected);
        assert_eq!(decode::<Sample>(&Bytes::copy_from_slice(&expected)), Ok(put()));
    }

    #[test]
    fn refuses_what_is_not_a_message() {
        let check = |bytes: &[u8]| decode::<Sample>(&Bytes::copy_from_slice(bytes));
        assert_eq!(check(&[]), Err(CodecError::Empty));
        assert_eq!(check(&[2, 0]), Err(CodecError::Version { found: 2 }));
        assert_eq!(check(&[1, 0, 0]), Err(CodecError::Trailing { extra: 1 }));
        assert!(matches!(check(&[1, 9]), Err(CodecError::Malformed(_))));
        assert!(matches!(check(&[1, 1, 5, b'a']), Err(CodecError::Malformed(_))));
        // A length that claims 2^60 bytes is refused before anything is allocated for it.
        let huge = [1, 1, 253, 0, 0, 0, 0, 0, 0, 0, 0x10];
        assert!(matches!(check(&huge), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn large_messages_pass() {
        let value = Bytes::from(vec![7u8; 20 << 20]);
        assert_eq!(decode::<Bytes>(&encode(&value)), Ok(value));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = vec![VERSION];
            message.extend(bytes);
            let _ = decode::<Sample>(&Bytes::from(message));
        }
    }
}
