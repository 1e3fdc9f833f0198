//! The names and types of a table's two columns.

use crate::reply::Reply;
use crate::text::quote;

/// Lists every table with its columns.
pub(crate) const QUERY: &str = "SELECT * FROM system.tables";

/// A table's two columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Name of the key column.
    pub key: String,
    /// Its type: text, blob, bigint or uuid.
    pub key_type: String,
    /// Name of the value column.
    pub value: String,
    /// Its type: text, blob, bigint, double, boolean or uuid.
    pub value_type: String,
}

impl Default for Columns {
    /// Those of the table `kv`.
    fn default() -> Self {
        let text = || "text".to_owned();
        Columns { key: "key".to_owned(), key_type: text(), value: "value".to_owned(), value_type: text() }
    }
}

impl Columns {
    /// The key column as statements name it.
    pub fn key_name(&self) -> String {
        name(&self.key)
    }

    /// The value column as statements name it.
    pub fn value_name(&self) -> String {
        name(&self.value)
    }

    /// A key as a literal of its column's type.
    pub fn key_literal(&self, text: &str) -> String {
        literal(&self.key_type, text)
    }

    /// A value as a literal of its column's type.
    pub fn value_literal(&self, text: &str) -> String {
        literal(&self.value_type, text)
    }

    /// The columns of a table (`t` of the keyspace `dunlin`, or `ks.t`) in the answer to [`QUERY`].
    pub(crate) fn find(reply: &Reply, table: &str) -> Option<Columns> {
        let names = reply.columns.as_ref()?;
        let place = |name: &str| names.iter().position(|n| n == name);
        let (keyspace, table) = split(table);
        let row = reply.rows.iter().find(|row| {
            let is = |name, wanted: &str| {
                place(name).and_then(|i| row.get(i)?.as_deref()).is_some_and(|cell| cell == wanted)
            };
            is("keyspace_name", &keyspace) && is("table_name", &table)
        })?;
        let cell = |name| row.get(place(name)?)?.clone();
        Some(Columns {
            key: cell("key_column")?,
            key_type: cell("key_type")?,
            value: cell("value_column")?,
            value_type: cell("value_type")?,
        })
    }
}

/// Plain where that means the same name, else in double quotes.
fn name(column: &str) -> String {
    let plain = column.starts_with(|c: char| c.is_ascii_lowercase())
        && column.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { column.to_owned() } else { format!("\"{}\"", column.replace('"', "\"\"")) }
}

/// Keyspace and table of a name as statements write it.
fn split(table: &str) -> (String, String) {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in table.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => {
                let last = parts.last_mut().expect("never empty");
                last.push(if quoted { c } else { c.to_ascii_lowercase() });
            }
        }
    }
    let table = parts.pop().unwrap_or_default();
    (parts.pop().unwrap_or_else(|| "dunlin".to_owned()), table)
}

/// Text as a literal of a type. What is none of that type becomes a string, so that it can do no harm and the
/// server says what it expected.
pub fn literal(type_name: &str, text: &str) -> String {
    let cell = text.trim();
    let fits = match type_name {
        "bigint" => cell.parse::<i64>().is_ok() && !cell.starts_with('+'),
        "double" => cell.parse::<f64>().is_ok_and(f64::is_finite) && !cell.starts_with(['+', '.']),
        "boolean" => cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false"),
        "blob" => cell.strip_prefix("0x").is_some_and(|hex| hex.chars().all(|c| c.is_ascii_hexdigit())),
        "uuid" => cell.len() == 36 && cell.chars().all(|c| c.is_ascii_hexdigit() || c == '-'),
        _ => false,
    };
    if fits || (type_name == "double" && ["NaN", "Infinity", "-Infinity"].contains(&cell)) {
        cell.to_owned()
    } else {
        quote(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_of_their_type_or_strings() {
        for (type_name, text, out) in [
            ("text", "5", "'5'"),
            ("bigint", "5", "5"),
            ("bigint", " -5", "-5"),
            ("bigint", "5; DROP TABLE t", "'5; DROP TABLE t'"),
            ("double", "1e9", "1e9"),
            ("double", "NaN", "NaN"),
            ("double", "x", "'x'"),
            ("boolean", "true", "true"),
            ("boolean", "yes", "'yes'"),
            ("blob", "0xCAFE", "0xCAFE"),
            ("blob", "CAFE", "'CAFE'"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
            ("uuid", "n1", "'n1'"),
        ] {
            assert_eq!(literal(type_name, text), out, "{type_name} {text}");
        }
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (column, out) in [("k", "k"), ("K", "\"K\""), ("v v", "\"v v\""), ("a\"b", "\"a\"\"b\"")] {
            assert_eq!(name(column), out);
        }
    }

    #[test]
    fn tables_are_found_by_their_written_names() {
        for (text, keyspace, table) in
            [("kv", "dunlin", "kv"), ("Shop.T", "shop", "t"), ("\"S.x\".\"T\"", "S.x", "T")]
        {
            assert_eq!(split(text), (keyspace.to_owned(), table.to_owned()));
        }
    }
}
