//! The opaque text of a causal context: bound to its table and key by a keyed tag, so that a token of
//! another key, or a damaged one, is refused instead of superseding what its holder never saw.

use data_encoding::BASE64URL_NOPAD;
use dunlin_types::codec::Reader;
use dunlin_types::{Context, Key, TableId};

/// Format version, the first byte.
const VERSION: u8 = 1;
/// Bytes of the tag.
const TAG_BYTES: usize = 12;
/// Longest token text accepted.
pub const TOKEN_TEXT_MAX: usize = 256 << 10;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Not the text of any token.
    #[error("the context token is damaged")]
    Damaged,
    /// Of another key, table or cluster; or damaged.
    #[error("the context token does not belong to this key")]
    OtherKey,
}

/// Seals and opens tokens under a key that every node of a cluster derives alike.
#[derive(Clone)]
pub struct ContextTokens {
    secret: [u8; 32],
}

impl std::fmt::Debug for ContextTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContextTokens")
    }
}

impl ContextTokens {
    /// Derives the key from material that the cluster shares and clients do not know: the partitioner
    /// key and the cluster id.
    pub fn new(material: &[u8]) -> ContextTokens {
        ContextTokens { secret: blake3::derive_key("dunlin context token v1", material) }
    }

    /// The text for a context of that key.
    pub fn seal(&self, table: TableId, key: &Key, context: &Context) -> String {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(VERSION);
        bytes.extend_from_slice(&[0; TAG_BYTES]);
        context.encode(&mut bytes);
        let tag = self.tag(table, key, &bytes[1 + TAG_BYTES..]);
        bytes[1..=TAG_BYTES].copy_from_slice(&tag);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The context in a token given with that key.
    pub fn open(&self, table: TableId, key: &Key, text: &str) -> Result<Context, BadToken> {
        if text.len() > TOKEN_TEXT_MAX {
            return Err(BadToken::Damaged);
        }
        let bytes =
            bytes::Bytes::from(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BadToken::Damaged)?);
        if bytes.len() <= 1 + TAG_BYTES || bytes[0] != VERSION {
            return Err(BadToken::Damaged);
        }
        let body = bytes.slice(1 + TAG_BYTES..);
        let expected = self.tag(table, key, &body);
        // The same time whatever differs: a tag is not to be guessed byte by byte.
        let differs = bytes[1..=TAG_BYTES].iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        if differs != 0 {
            return Err(BadToken::OtherKey);
        }
        let mut reader = Reader::new(&body);
        let context = Context::decode(&mut reader).map_err(|_| BadToken::Damaged)?;
        reader.finish("context token").map_err(|_| BadToken::Damaged)?;
        Ok(context)
    }

    fn tag(&self, table: TableId, key: &Key, body: &[u8]) -> [u8; TAG_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&table.0.to_le_bytes());
        hasher.update(&(key.as_bytes().len() as u64).to_le_bytes());
        hasher.update(key.as_bytes());
        hasher.update(body);
        let hash = hasher.finalize();
        hash.as_bytes()[..TAG_BYTES].try_into().expect("a BLAKE3 hash has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::{Actor, Dot, Generation, HostId};
    use proptest::prelude::*;

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    fn key(name: &str) -> Key {
        Key::new(name.to_owned()).unwrap()
    }

    prop_compose! {
        fn contexts()(entries in prop::collection::vec((0..4u8, 1..9u64, 0..100u64, any::<bool>()), 0..8)) -> Context {
            let mut context = Context::new();
            for (host, generation, counter, single) in entries {
                let actor = Actor { host: HostId([host; 16]), generation: Generation(generation) };
                if single { context.add_dot(Dot { actor, counter }) } else { context.advance(actor, counter) }
            }
            context
        }
    }

    proptest! {
        #[test]
        fn opens_for_its_own_key_only(context in contexts()) {
            let tokens = ContextTokens::new(b"cluster");
            let text = tokens.seal(TableId(1), &key("a"), &context);
            prop_assert!(text.bytes().all(|b| ALPHABET.contains(&b)));
            prop_assert_eq!(tokens.open(TableId(1), &key("a"), &text), Ok(context));
            prop_assert_eq!(tokens.open(TableId(1), &key("b"), &text), Err(BadToken::OtherKey));
            prop_assert_eq!(tokens.open(TableId(2), &key("a"), &text), Err(BadToken::OtherKey));
            prop_assert_eq!(ContextTokens::new(b"other").open(TableId(1), &key("a"), &text), Err(BadToken::OtherKey));
        }

        #[test]
        fn refuses_any_other_text(context in contexts(), at: prop::sample::Index, letter in 0..64usize, cut: prop::sample::Index) {
            let tokens = ContextTokens::new(b"cluster");
            let text = tokens.seal(TableId(1), &key("a"), &context);
            let mut changed = text.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] = ALPHABET[letter];
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(tokens.open(TableId(1), &key("a"), &changed).is_ok(), changed == text);
            let cut = &text[..cut.index(text.len())];
            prop_assert!(tokens.open(TableId(1), &key("a"), cut).is_err());
        }

        #[test]
        fn any_text_is_harmless(text: String) {
            prop_assert!(ContextTokens::new(b"cluster").open(TableId(1), &key("a"), &text).is_err());
        }
    }
}
