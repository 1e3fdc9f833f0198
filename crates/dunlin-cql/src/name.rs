//! Names of keyspaces, tables, columns and options.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
