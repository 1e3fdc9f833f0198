//! Names of keyspaces, tables, columns and options.

use crate::lexer::{Lexer, TokenKind, shorten};
use std::fmt;
use std::str::FromStr;

/// Words that a name must quote to use.
pub const RESERVED: &[&str] = &[
    "alter", "and", "apply", "batch", "begin", "create", "delete", "drop", "exists", "false", "from", "if",
    "in", "infinity", "insert", "into", "keyspace", "limit", "nan", "not", "null", "primary", "select",
    "set", "table", "true", "truncate", "update", "use", "using", "values", "where", "with",
];

/// Whether an unquoted word of this (lower-case) spelling cannot be a name.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok()
}

/// Shows a name as it has to be written in a statement: quoted only where it must be.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) {
            return f.write_str(self.0);
        }
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !is_reserved(name)
}

/// A table with the keyspace if one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// `None`: the session's.
    pub keyspace: Option<String>,
    /// The table.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(keyspace) = &self.keyspace {
            write!(f, "{}.", Quoted(keyspace))?;
        }
        write!(f, "{}", Quoted(&self.table))
    }
}

/// Text that is no name of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no table: expected table or keyspace.table, with names that are no plain words in double quotes"
)]
pub struct NotATable {
    text: String,
}

impl FromStr for TableName {
    type Err = NotATable;

    /// Reads a name as statements write it: `t`, `ks.t`, `"Ks"."T"`. Nothing else may stand before or after it, so
    /// the text cannot carry anything but a name into a statement. A reserved word is taken for the name it spells.
    fn from_str(text: &str) -> Result<TableName, NotATable> {
        let bad = || NotATable { text: shorten(text).into_owned() };
        let mut names = Vec::new();
        let mut lexer = Lexer::new(text);
        loop {
            names.push(match lexer.take_token().map_err(|_| bad())?.kind {
                TokenKind::Word(word) => word.to_ascii_lowercase(),
                TokenKind::QuotedName(name) if !name.is_empty() => name.into_owned(),
                _ => return Err(bad()),
            });
            match lexer.take_token().map_err(|_| bad())?.kind {
                TokenKind::End => break,
                TokenKind::Symbol(".") if names.len() == 1 => {}
                _ => return Err(bad()),
            }
        }
        let table = names.pop().ok_or_else(bad)?;
        Ok(TableName { keyspace: names.pop(), table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_is_written() {
        for (text, keyspace, table) in [
            ("kv", None, "kv"),
            ("Shop.T", Some("shop"), "t"),
            ("\"S.x\" . \"T\"\"u\"", Some("S.x"), "T\"u"),
            ("from.table", Some("from"), "table"),
        ] {
            let name: TableName = text.parse().unwrap();
            assert_eq!((name.keyspace.as_deref(), name.table.as_str()), (keyspace, table));
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for text in ["", "a.b.c", "kv WHERE", "kv;", "kv; DROP TABLE kv", "'kv'", "\"\"", "a.", "5", "\"open"]
        {
            assert!(text.parse::<TableName>().is_err(), "{text}");
        }
    }

    #[test]
    fn reserved_words_are_sorted() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn quotes_only_where_needed() {
        assert_eq!(Quoted("kv").to_string(), "kv");
        assert_eq!(Quoted("Kv").to_string(), "\"Kv\"");
        assert_eq!(Quoted("table").to_string(), "\"table\"");
        assert_eq!(Quoted("a\"b").to_string(), "\"a\"\"b\"");
        assert_eq!(Quoted("").to_string(), "\"\"");
    }
}
