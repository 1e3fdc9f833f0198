//! Keys and values, of the types that columns have.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use dunlin_cql::Literal;
use dunlin_cql::reply::Text;
use dunlin_cql::value::{TypeError, value_bytes, value_literal_from_text};
use dunlin_types::schema::ValueType;
use std::fmt;
use uuid::Uuid;

/// A key or a value.
///
/// Made from Rust's own types with `into()`: `&str` and `String` are text, [`Bytes`], `Vec<u8>` and `&[u8]` are bytes,
/// which a `blob` column holds as they are and a `text` column if they are UTF-8. Each can be given to the calls of
/// [`crate::Client`] as it is. What a column does not hold is refused before anything is sent.
///
/// Its [`fmt::Display`] is the text of a cell.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Of a `text` column.
    Text(Text),
    /// Of a `blob` column.
    Blob(Bytes),
    /// Of a `bigint` column.
    Bigint(i64),
    /// Of a `double` column.
    Double(f64),
    /// Of a `boolean` column.
    Boolean(bool),
    /// Of a `uuid` column.
    Uuid(Uuid),
}

impl Value {
    /// The text of a `text` column.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes of a `text` or `blob` column.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Text(text) => Some(text.as_bytes()),
            Value::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The same, shared: long ones are not copied.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Value::Text(text) => Some(text.into_bytes()),
            Value::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number of a `bigint` column.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Bigint(n) => Some(*n),
            _ => None,
        }
    }

    /// The number of a `double` column.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Double(x) => Some(*x),
            _ => None,
        }
    }

    /// Of a `boolean` column.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(b) => Some(*b),
            _ => None,
        }
    }

    /// Of a `uuid` column.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match self {
            Value::Uuid(id) => Some(*id),
            _ => None,
        }
    }

    /// What the text of a cell stands for in a column of that type.
    pub fn from_text(value_type: ValueType, text: &str) -> Result<Value, TypeError> {
        Ok(match value_literal_from_text(value_type, text)? {
            Literal::Blob(bytes) => Value::Blob(bytes.into()),
            Literal::Integer(n) => Value::Bigint(n as i64),
            Literal::Double(x) => Value::Double(x),
            Literal::Boolean(b) => Value::Boolean(b),
            Literal::Uuid(id) => Value::Uuid(id),
            Literal::Text(_) | Literal::Null => Value::Text(text.into()),
        })
    }

    /// The same of a cell that a node sent: stored bytes that are not of the column's type come as a blob.
    pub(crate) fn from_cell(value_type: ValueType, cell: Text) -> Result<Value, TypeError> {
        match value_type {
            ValueType::Text => Ok(Value::Text(cell)),
            _ => Value::from_text(value_type, &cell)
                .or_else(|error| Value::from_text(ValueType::Blob, &cell).map_err(|_| error)),
        }
    }

    /// The constant of a statement for a column of that type.
    pub(crate) fn into_literal(self, value_type: ValueType) -> Result<Literal, TypeError> {
        let literal = match (value_type, self) {
            (ValueType::Text, Value::Blob(bytes)) => match Text::from_utf8(bytes) {
                Ok(text) => return Ok(Literal::Text(text.into())),
                Err(error) => return Err(TypeError(format!("expected text, found bytes: {error}"))),
            },
            (ValueType::Blob, Value::Text(text)) => return Ok(Literal::Blob(text.as_bytes().to_vec())),
            (ValueType::Text, Value::Text(text)) => return Ok(Literal::Text(text.into())),
            (ValueType::Blob, Value::Blob(bytes)) => return Ok(Literal::Blob(bytes.into())),
            (_, Value::Text(text)) => Literal::Text(text.into()),
            (_, Value::Blob(bytes)) => Literal::Blob(bytes.into()),
            (_, Value::Bigint(n)) => Literal::Integer(n.into()),
            (_, Value::Double(x)) => Literal::Double(x),
            (_, Value::Boolean(b)) => Literal::Boolean(b),
            (_, Value::Uuid(id)) => Literal::Uuid(id),
        };
        value_bytes(value_type, literal.clone())?;
        Ok(literal)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => text.fmt(f),
            Value::Blob(bytes) => write!(f, "0x{}", HEXLOWER.encode(bytes)),
            Value::Bigint(n) => n.fmt(f),
            Value::Double(x) => Literal::Double(*x).fmt(f),
            Value::Boolean(b) => b.fmt(f),
            Value::Uuid(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => text.fmt(f),
            other => fmt::Display::fmt(other, f),
        }
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident,)*) => {
        $(impl From<$from> for Value {
            fn from(from: $from) -> Value {
                Value::$variant(from.into())
            }
        })*
    };
}

from! {
    Text => Text,
    String => Text,
    &str => Text,
    Bytes => Blob,
    Vec<u8> => Blob,
    i64 => Bigint,
    i32 => Bigint,
    u32 => Bigint,
    f64 => Double,
    bool => Boolean,
    Uuid => Uuid,
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        text.as_str().into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::Blob(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Value {
        bytes.as_slice().into()
    }
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Value {
        value.clone()
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_holds_what_is_of_its_type() {
        for (value_type, value, literal) in [
            (ValueType::Text, Value::from("it's"), "'it''s'"),
            (ValueType::Text, Value::from(b"bytes"), "'bytes'"),
            (ValueType::Blob, Value::from(&[0xca, 0xfe][..]), "0xcafe"),
            (ValueType::Blob, Value::from("AZ"), "0x415a"),
            (ValueType::Bigint, Value::from(-5), "-5"),
            (ValueType::Double, Value::from(5), "5"),
            (ValueType::Double, Value::from(f64::NEG_INFINITY), "-Infinity"),
            (ValueType::Boolean, Value::from(true), "true"),
            (ValueType::Uuid, Value::from(Uuid::nil()), "00000000-0000-0000-0000-000000000000"),
        ] {
            assert_eq!(value.into_literal(value_type).unwrap().to_string(), literal);
        }
    }

    #[test]
    fn what_a_column_does_not_hold_is_said() {
        for (value_type, value, part) in [
            (ValueType::Text, Value::from(5), "a string such as 'abc'"),
            (ValueType::Text, Value::from(&[0xff][..]), "expected text"),
            (ValueType::Bigint, Value::from("5; DROP TABLE t"), "an integer such as 42"),
            (ValueType::Bigint, Value::from(1.5), "an integer such as 42"),
            (ValueType::Boolean, Value::from(1), "true or false"),
        ] {
            let error = value.into_literal(value_type).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn cells_are_values_and_bytes_of_another_type_are_a_blob() {
        for (value_type, cell, value) in [
            (ValueType::Text, "0x00", Value::from("0x00")),
            (ValueType::Blob, "0x00ff", Value::from(&[0x00, 0xff][..])),
            (ValueType::Bigint, "-7", Value::from(-7)),
            (ValueType::Bigint, "0x07", Value::from(&[0x07][..])),
            (ValueType::Double, "-Infinity", Value::from(f64::NEG_INFINITY)),
            (ValueType::Boolean, "false", Value::from(false)),
        ] {
            let found = Value::from_cell(value_type, cell.into()).unwrap();
            assert_eq!(found, value);
            assert_eq!(found.to_string(), cell);
        }
        assert!(Value::from_cell(ValueType::Bigint, "x".into()).is_err());
    }
}
