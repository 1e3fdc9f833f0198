//! Constants as they are written in statements.

use data_encoding::HEXLOWER;
use std::fmt;
use uuid::Uuid;

/// A constant. Its [`fmt::Display`] is the text that the parser reads back as the same constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `'it''s'` or `$$raw$$`.
    Text(String),
    /// `0xCAFE`.
    Blob(Vec<u8>),
    /// `-42`.
    Integer(i128),
    /// `1.5`, `1e9`, `NaN`, `Infinity`, `-Infinity`.
    Double(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `550e8400-e29b-41d4-a716-446655440000`.
    Uuid(Uuid),
    /// `null`.
    Null,
}

impl Literal {
    /// What kind it is, with an article, for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Literal::Text(_) => "a string",
            Literal::Blob(_) => "a blob",
            Literal::Integer(_) => "an integer",
            Literal::Double(_) => "a decimal number",
            Literal::Boolean(_) => "a boolean",
            Literal::Uuid(_) => "a uuid",
            Literal::Null => "null",
        }
    }
}

/// Writes a string constant: quotes around, quotes inside doubled.
pub fn write_string(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_char('\'')?;
    for (i, part) in text.split('\'').enumerate() {
        if i > 0 {
            out.write_str("''")?;
        }
        out.write_str(part)?;
    }
    out.write_char('\'')
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Text(text) => write_string(f, text),
            Literal::Blob(bytes) => write!(f, "0x{}", HEXLOWER.encode(bytes)),
            Literal::Integer(n) => write!(f, "{n}"),
            Literal::Double(x) if x.is_nan() => f.write_str("NaN"),
            Literal::Double(x) if x.is_infinite() => {
                f.write_str(if *x > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Literal::Double(x) => write!(f, "{x:?}"),
            Literal::Boolean(b) => write!(f, "{b}"),
            Literal::Uuid(id) => write!(f, "{id}"),
            Literal::Null => f.write_str("null"),
        }
    }
}
