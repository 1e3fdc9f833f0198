//! Page tokens: where a scan goes on. Opaque text, checked for damage but not secret.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use dunlin_types::codec::{DecodeError, Reader, put_bytes, put_varint};
use dunlin_types::{Key, TableId, Token};

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;

/// Where a scan goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    /// Strictly after this place.
    pub after: (Token, Key),
    /// Keys that the statement's LIMIT leaves.
    pub left: Option<u64>,
}

impl Page {
    /// The text for that table.
    pub fn seal(&self, table: TableId) -> String {
        let mut bytes = vec![VERSION];
        put_varint(&mut bytes, self.left.map_or(0, |left| left.saturating_add(1)));
        bytes.extend_from_slice(&self.after.0.0.to_le_bytes());
        put_bytes(&mut bytes, self.after.1.as_bytes());
        let check = check(table, &bytes);
        bytes.extend_from_slice(&check);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The page in a text; `None` if it is damaged or of another table.
    pub fn open(table: TableId, text: &str) -> Option<Page> {
        let mut bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let check_given = bytes.split_off(bytes.len().checked_sub(CHECK_BYTES)?);
        if bytes.first() != Some(&VERSION) || check(table, &bytes) != check_given[..] {
            return None;
        }
        Page::decode(&Bytes::from(bytes)).ok()
    }

    fn decode(bytes: &Bytes) -> Result<Page, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.u8("version")?;
        let left = reader.varint("limit")?;
        let token = Token(u64::from_le_bytes(reader.array("token")?));
        let bad = reader.error("key");
        let key = Key::new(reader.bytes("key")?).map_err(|_| bad)?;
        reader.finish("page")?;
        Ok(Page { after: (token, key), left: left.checked_sub(1) })
    }
}

fn check(table: TableId, bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&table.0.to_le_bytes());
    hasher.update(bytes);
    let hash = hasher.finalize();
    hash.as_bytes()[..CHECK_BYTES].try_into().expect("a BLAKE3 hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn opens_for_its_own_table_only(key in prop::collection::vec(any::<u8>(), 1..20), token: u64, left: Option<u64>) {
            let left = left.map(|n| n.min(u64::MAX - 1));
            let page = Page { after: (Token(token), Key::new(key).unwrap()), left };
            let text = page.seal(TableId(7));
            prop_assert_eq!(Page::open(TableId(7), &text), Some(page));
            prop_assert_eq!(Page::open(TableId(8), &text), None);
        }

        #[test]
        fn any_text_is_harmless(text in "[A-Za-z0-9_-]{0,60}") {
            prop_assert_eq!(Page::open(TableId(7), &text), None);
        }
    }
}
