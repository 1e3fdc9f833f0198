//! Typed values: constants and cells of text to the bytes that are stored, and back.
//!
//! Keys are stored so that their bytes sort as they do: a `bigint` key is 8 bytes big-endian with the
//! sign bit flipped. Values: `bigint` is 8 bytes big-endian two's complement, `double` its IEEE 754
//! bits big-endian, `boolean` one byte 0 or 1, `uuid` 16 bytes, `text` UTF-8, `blob` itself.

use crate::literal::Literal;
use crate::reply::Cell;
use bytes::Bytes;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use dunlin_types::schema::{KeyType, ValueType};
use uuid::Uuid;

/// A constant or text that is not of the type asked for; says so in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TypeError(pub String);

const SIGN: u64 = 1 << 63;

/// The type of a value that a key of that type would have.
fn as_value_type(key: KeyType) -> ValueType {
    match key {
        KeyType::Text => ValueType::Text,
        KeyType::Blob => ValueType::Blob,
        KeyType::Bigint => ValueType::Bigint,
        KeyType::Uuid => ValueType::Uuid,
    }
}

/// Bytes of a key constant. Its length is not checked.
pub fn key_bytes(key_type: KeyType, literal: Literal) -> Result<Bytes, TypeError> {
    match (key_type, literal) {
        (KeyType::Bigint, Literal::Integer(n)) => Ok(Bytes::copy_from_slice(&sortable(bigint(n)?))),
        (_, literal) => value_bytes(as_value_type(key_type), literal),
    }
}

/// Bytes of a value constant. Its length is not checked.
pub fn value_bytes(value_type: ValueType, literal: Literal) -> Result<Bytes, TypeError> {
    Ok(match (value_type, literal) {
        (ValueType::Text, Literal::Text(text)) => text.into_bytes().into(),
        (ValueType::Blob, Literal::Blob(bytes)) => bytes.into(),
        (ValueType::Bigint, Literal::Integer(n)) => Bytes::copy_from_slice(&bigint(n)?.to_be_bytes()),
        (ValueType::Double, Literal::Double(x)) => double(x),
        (ValueType::Double, Literal::Integer(n)) => double(n as f64),
        (ValueType::Boolean, Literal::Boolean(b)) => Bytes::from_static(if b { &[1] } else { &[0] }),
        (ValueType::Uuid, Literal::Uuid(id)) => Bytes::copy_from_slice(id.as_bytes()),
        (_, literal) => {
            return Err(TypeError(format!("expected {}, found {}", sample(value_type), found(&literal))));
        }
    })
}

fn bigint(n: i128) -> Result<i64, TypeError> {
    i64::try_from(n).map_err(|_| TypeError(format!("{n} does not fit into a bigint (-2^63 to 2^63 - 1)")))
}

fn double(x: f64) -> Bytes {
    // One bit pattern for NaN, so that equal concurrent values are equal bytes.
    let x = if x.is_nan() { f64::NAN } else { x };
    Bytes::copy_from_slice(&x.to_be_bytes())
}

fn sortable(n: i64) -> [u8; 8] {
    ((n as u64) ^ SIGN).to_be_bytes()
}

fn sample(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Text => "a string such as 'abc'",
        ValueType::Blob => "a blob such as 0xCAFE",
        ValueType::Bigint => "an integer such as 42",
        ValueType::Double => "a number such as 1.5",
        ValueType::Boolean => "true or false",
        ValueType::Uuid => "a uuid such as 550e8400-e29b-41d4-a716-446655440000",
    }
}

fn found(literal: &Literal) -> String {
    match literal {
        Literal::Null => "null".to_owned(),
        Literal::Text(_) | Literal::Blob(_) => literal.kind().to_owned(),
        _ => format!("{} {literal}", literal.kind()),
    }
}

/// The cell of a stored key. Bytes that are not of the type show as a blob.
pub fn key_cell(key_type: KeyType, bytes: &Bytes) -> Cell {
    match (key_type, <[u8; 8]>::try_from(bytes.as_ref())) {
        (KeyType::Bigint, Ok(sortable)) => {
            Cell::text(((u64::from_be_bytes(sortable) ^ SIGN) as i64).to_string())
        }
        (KeyType::Bigint, Err(_)) => blob_cell(bytes),
        _ => value_cell(as_value_type(key_type), bytes),
    }
}

/// The cell of a stored value. Bytes that are not of the type show as a blob.
pub fn value_cell(value_type: ValueType, bytes: &Bytes) -> Cell {
    match value_type {
        ValueType::Text => Cell::shared(bytes).unwrap_or_else(|| blob_cell(bytes)),
        _ => match value_literal(value_type, bytes) {
            Some(literal) => Cell::text(literal.to_string()),
            None => blob_cell(bytes),
        },
    }
}

fn blob_cell(bytes: &[u8]) -> Cell {
    Cell::text(format!("0x{}", HEXLOWER.encode(bytes)))
}

/// The constant of a stored key; `None` if the bytes are not of the type.
pub fn key_literal(key_type: KeyType, bytes: &[u8]) -> Option<Literal> {
    match key_type {
        KeyType::Bigint => {
            let n = (u64::from_be_bytes(bytes.try_into().ok()?) ^ SIGN) as i64;
            Some(Literal::Integer(n.into()))
        }
        _ => value_literal(as_value_type(key_type), bytes),
    }
}

/// The constant of a stored value; `None` if the bytes are not of the type.
pub fn value_literal(value_type: ValueType, bytes: &[u8]) -> Option<Literal> {
    Some(match value_type {
        ValueType::Text => Literal::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        ValueType::Blob => Literal::Blob(bytes.to_vec()),
        ValueType::Bigint => Literal::Integer(i64::from_be_bytes(bytes.try_into().ok()?).into()),
        ValueType::Double => Literal::Double(f64::from_be_bytes(bytes.try_into().ok()?)),
        ValueType::Boolean => Literal::Boolean(match bytes {
            [0] => false,
            [1] => true,
            _ => return None,
        }),
        ValueType::Uuid => Literal::Uuid(Uuid::from_slice(bytes).ok()?),
    })
}

/// The constant that the text of a cell stands for in a column of that type: the way back of [`key_cell`].
pub fn key_literal_from_text(key_type: KeyType, text: &str) -> Result<Literal, TypeError> {
    value_literal_from_text(as_value_type(key_type), text)
}

/// The constant that the text of a cell stands for in a column of that type: the way back of [`value_cell`].
pub fn value_literal_from_text(value_type: ValueType, text: &str) -> Result<Literal, TypeError> {
    let literal = match value_type {
        ValueType::Text => Some(Literal::Text(text.to_owned())),
        ValueType::Blob => text
            .strip_prefix("0x")
            .and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok())
            .map(Literal::Blob),
        ValueType::Bigint => text.parse::<i64>().ok().map(|n| Literal::Integer(n.into())),
        ValueType::Double => text.parse().ok().map(Literal::Double),
        ValueType::Boolean => text.parse().ok().map(Literal::Boolean),
        ValueType::Uuid => Uuid::parse_str(text).ok().map(Literal::Uuid),
    };
    literal.ok_or_else(|| {
        TypeError(format!("expected {}, found {:?}", sample(value_type), crate::lexer::shorten(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn literal() -> impl Strategy<Value = (ValueType, Literal)> {
        prop_oneof![
            any::<String>().prop_map(|s| (ValueType::Text, Literal::Text(s))),
            any::<Vec<u8>>().prop_map(|b| (ValueType::Blob, Literal::Blob(b))),
            any::<i64>().prop_map(|n| (ValueType::Bigint, Literal::Integer(n.into()))),
            any::<f64>().prop_map(|x| (ValueType::Double, Literal::Double(x))),
            any::<bool>().prop_map(|b| (ValueType::Boolean, Literal::Boolean(b))),
            any::<u128>().prop_map(|id| (ValueType::Uuid, Literal::Uuid(Uuid::from_u128(id)))),
        ]
    }

    fn same(a: &Literal, b: &Literal) -> bool {
        a == b || matches!((a, b), (Literal::Double(x), Literal::Double(y)) if x.is_nan() && y.is_nan())
    }

    proptest! {
        #[test]
        fn a_value_survives_bytes_and_cells((value_type, literal) in literal()) {
            let bytes = value_bytes(value_type, literal.clone()).unwrap();
            prop_assert!(same(&value_literal(value_type, &bytes).unwrap(), &literal));
            let cell = value_cell(value_type, &bytes);
            let back = value_literal_from_text(value_type, cell.as_str().unwrap()).unwrap();
            prop_assert!(same(&back, &literal), "{:?}", cell);
        }

        #[test]
        fn bigint_keys_sort_as_numbers(a: i64, b: i64) {
            let bytes = |n: i64| key_bytes(KeyType::Bigint, Literal::Integer(n.into())).unwrap();
            prop_assert_eq!(a.cmp(&b), bytes(a).cmp(&bytes(b)));
            prop_assert_eq!(key_literal(KeyType::Bigint, &bytes(a)), Some(Literal::Integer(a.into())));
            let text = a.to_string();
            prop_assert_eq!(key_cell(KeyType::Bigint, &bytes(a)), Cell::text(text));
        }

        #[test]
        fn any_bytes_can_be_shown(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            for value_type in [ValueType::Text, ValueType::Bigint, ValueType::Double, ValueType::Boolean, ValueType::Uuid] {
                prop_assert!(value_cell(value_type, &bytes).as_str().is_some());
            }
            prop_assert!(key_cell(KeyType::Bigint, &bytes).as_str().is_some());
        }
    }

    #[test]
    fn wrong_types_say_what_is_expected() {
        let check = |value_type, literal, message: &str| {
            assert_eq!(value_bytes(value_type, literal), Err(TypeError(message.into())));
        };
        check(ValueType::Text, Literal::Integer(5), "expected a string such as 'abc', found an integer 5");
        check(ValueType::Bigint, Literal::Text("x".into()), "expected an integer such as 42, found a string");
        check(ValueType::Boolean, Literal::Null, "expected true or false, found null");
        check(
            ValueType::Bigint,
            Literal::Integer(1 << 64),
            "18446744073709551616 does not fit into a bigint (-2^63 to 2^63 - 1)",
        );
    }
}
