//! Rows as JSON, one object a line, with the names in the columns' order.

use dunlin_client::Text;
use serde_json::{Number, Value};
use std::fmt::Write as _;

/// Whole numbers beyond it do not fit the numbers of most readers of JSON: they are text.
const WHOLE_MAX: u64 = 1 << 53;

/// What a cell's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellType {
    /// Text, and everything that JSON has no type for.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// `true` or `false`.
    Boolean,
}

impl CellType {
    /// By the name of a column's type.
    pub fn of(type_name: &str) -> CellType {
        match type_name {
            "bigint" => CellType::Integer,
            "double" => CellType::Double,
            "boolean" => CellType::Boolean,
            _ => CellType::Text,
        }
    }

    /// The text as that; as text if JSON's readers would make something else of it.
    pub fn value(self, text: &str) -> Value {
        let value = match self {
            CellType::Text => None,
            CellType::Integer => {
                text.parse::<i64>().ok().filter(|n| n.unsigned_abs() <= WHOLE_MAX).map(Value::from)
            }
            CellType::Double => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            CellType::Boolean => text.parse::<bool>().ok().map(Value::Bool),
        };
        value.unwrap_or_else(|| text.into())
    }
}

/// An object a line; columns beyond `types` are text.
pub fn lines(columns: &[String], rows: &[Vec<Option<Text>>], types: &[CellType]) -> String {
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(i, cell)| {
            let of = types.get(i).copied().unwrap_or(CellType::Text);
            cell.as_deref().map_or(Value::Null, |text| of.value(text))
        });
        out.push_str(&object(columns.iter().map(String::as_str).zip(cells)));
    }
    out
}

/// An object on a line of its own. Control characters, and those that turn the direction of writing, are escaped, so
/// that it can be shown on a terminal.
pub fn object<'a>(members: impl Iterator<Item = (&'a str, Value)>) -> String {
    let mut out = String::from("{");
    let mut separator = "";
    for (name, value) in members {
        let text = format!("{separator}{}:{value}", Value::from(name));
        separator = ",";
        for c in text.chars() {
            if c.is_control() || dunlin_terminal::turns(c) {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            } else {
                out.push(c);
            }
        }
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_as_long_as_they_are_exact() {
        for (of, text, json) in [
            ("bigint", "5", "5"),
            ("bigint", "-9007199254740992", "-9007199254740992"),
            ("bigint", "9007199254740993", "\"9007199254740993\""),
            ("double", "1.5", "1.5"),
            ("double", "NaN", "\"NaN\""),
            ("boolean", "true", "true"),
            ("text", "5", "\"5\""),
            ("uuid", "x", "\"x\""),
        ] {
            assert_eq!(CellType::of(of).value(text).to_string(), json);
        }
    }

    #[test]
    fn columns_keep_their_order_and_nothing_steers_a_terminal() {
        let columns = ["z".to_owned(), "a".to_owned()];
        let rows = [vec![Some("\u{1b}[1m\u{9b}\u{7f}\u{202e}é".into()), None]];
        let text = lines(&columns, &rows, &[]);
        assert_eq!(text, "{\"z\":\"\\u001b[1m\\u009b\\u007f\\u202eé\",\"a\":null}\n");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["z"].as_str(), rows[0][0].as_deref());
    }
}
