//! Where: keys, and their tokens on the ring.

use crate::limits;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;

/// The bytes of a key: 1..=65535 of them. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct Key(Bytes);

/// A key of no bytes, or of too many.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key is 1 to {} bytes long, this one has {length}", limits::KEY_BYTES_MAX)]
pub struct KeyLength {
    /// Bytes given.
    pub length: usize,
}

impl Key {
    /// Takes the bytes of a key. Error: empty, or longer than [`limits::KEY_BYTES_MAX`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Key, KeyLength> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > limits::KEY_BYTES_MAX {
            return Err(KeyLength { length: bytes.len() });
        }
        Ok(Key(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl TryFrom<Bytes> for Key {
    type Error = KeyLength;
    fn try_from(bytes: Bytes) -> Result<Key, KeyLength> {
        Key::new(bytes)
    }
}

impl From<Key> for Bytes {
    fn from(key: Key) -> Bytes {
        key.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A point of the ring, which is the full circle of `u64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Token(pub u64);

/// The cluster's 128-bit key of the partitioner: drawn at founding, part of every layout, so that
/// nobody outside can aim keys at one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionerKey(pub [u8; 16]);

impl PartitionerKey {
    /// `SipHash-2-4` (Aumasson, Bernstein 2012; 64-bit) of the key's bytes alone.
    pub fn token(&self, key: &Key) -> Token {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(key.as_bytes());
        Token(hasher.finish())
    }
}

/// Tokens from `first` to `last`, both included; never wraps (a range over the top of the circle is two).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRange {
    /// The lowest token.
    pub first: Token,
    /// The highest token.
    pub last: Token,
}

impl TokenRange {
    /// Every token.
    pub const ALL: TokenRange = TokenRange { first: Token(0), last: Token(u64::MAX) };

    /// Whether the token lies in the range.
    pub fn contains(&self, token: Token) -> bool {
        self.first <= token && token <= self.last
    }
}
