//! Who: hosts, their starts, and the actors that version vectors name.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// From two random words (big-endian, high first).
            pub fn from_words(high: u64, low: u64) -> Self {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&high.to_be_bytes());
                bytes[8..].copy_from_slice(&low.to_be_bytes());
                Self(bytes)
            }

            /// The first four bytes as a short tag for logs and trace hashes; not unique.
            pub fn short(&self) -> u64 {
                u64::from(u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                uuid::Uuid::parse_str(text)
                    .map(|id| Self(id.into_bytes()))
                    .map_err(|_| format!("not an id in canonical form (8-4-4-4-12 hex digits): {text:?}"))
            }
        }
    };
}

id128! {
    /// Identity of a node: random, made on first start, kept in the data directory. Canonical uuid form.
    HostId
}
id128! {
    /// Identity of a cluster, drawn at founding. Two clusters never merge.
    ClusterId
}

/// Grows at every start of a node; persisted and synced before the node speaks to anybody:
/// `max(previous + 1, unix seconds)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// The actor of version vectors, also called incarnation: a host and the generation of its last
/// start that was not preceded by a clean shutdown. A node that may have lost unsynced writes, was
/// wiped or restored therefore never reuses a dot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The node.
    pub host: HostId,
    /// Generation of the start that opened this incarnation.
    pub generation: Generation,
}

impl Actor {
    /// The actor of writes that this incarnation mints for keys it holds no copy of. It differs from
    /// the incarnation itself, whose counters say "and everything before" of its own copies.
    pub fn without_copy(self) -> Actor {
        let mut host = self.host;
        for (byte, mask) in host.0.iter_mut().zip(*b"without any copy") {
            *byte ^= mask;
        }
        Actor { host, generation: self.generation }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}/{}", self.host.short(), self.generation.0)
    }
}
