//! Errors of statements: the place pointed at, and what a node said of them.

use super::origin::Origin;
use crate::args::RowFormat;
use crate::output;
use dunlin_client::Failure;
use dunlin_terminal::{complain, printable};
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

/// Columns of a line that are shown where no terminal says how wide it is.
const WIDTH: usize = 100;

/// Why a statement has no result.
#[derive(Debug, Default)]
pub struct Trouble {
    /// A node's error code; empty where the shell itself complains.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Line and column in the chunk, from 1.
    pub place: Option<(u32, u32)>,
    /// Further fields of a node's error.
    pub fields: Vec<(String, String)>,
}

impl Trouble {
    /// What the shell itself finds wrong.
    pub fn new(message: impl Into<String>) -> Trouble {
        Trouble { message: message.into(), ..Trouble::default() }
    }

    /// A node's error; its positions count from the beginning of what was sent.
    pub fn of(failure: Failure) -> Trouble {
        let number = |name| failure.field(name).and_then(|text| text.parse::<u32>().ok());
        let place = number("line").zip(number("column"));
        let fields = failure.fields.into_iter();
        let fields = fields.filter(|(name, _)| !["line", "column"].contains(&name.as_str())).collect();
        Trouble { code: failure.code, message: failure.message, place, fields }
    }

    /// Says it. `text` is what the place counts in, `start` where that begins in the chunk.
    pub fn complain(&self, format: RowFormat, origin: &Origin<'_>, text: &str, start: (u32, u32)) {
        let (line, column) = match self.place {
            Some((line, column)) => {
                let shift = if line <= 1 { start.1 - 1 } else { 0 };
                origin.place(start.0 + line.saturating_sub(1), column + shift)
            }
            None => origin.place(start.0, start.1),
        };
        if format == RowFormat::Json {
            complain!("{}", self.as_json(origin, line, column));
            return;
        }
        let place = match (origin.name, self.place) {
            (Some(name), Some(_)) => format!("{name}:{line}:{column}: "),
            (Some(name), None) => format!("{name}:{line}: "),
            (None, _) => String::new(),
        };
        let code = if self.code.is_empty() { String::new() } else { format!("{}: ", self.code) };
        complain!("{}", printable(&format!("{place}{code}{}", self.message)));
        if let Some((line, column)) = self.place
            && let Some(text) = text.lines().nth(line.saturating_sub(1) as usize)
        {
            let width = output::terminal_width_of_errors().unwrap_or(WIDTH);
            let (shown, mark) = pointed_at(text, column as usize, width.saturating_sub(2));
            complain!("  {shown}\n  {mark}");
        }
        if !self.fields.is_empty() {
            let fields: Vec<String> = self.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
            complain!("  {}", printable(&fields.join(" ")));
        }
    }

    fn as_json(&self, origin: &Origin<'_>, line: u32, column: u32) -> Value {
        let mut error = Map::new();
        let mut add = |name: &str, value: Value| error.insert(name.to_owned(), value);
        if !self.code.is_empty() {
            add("code", self.code.as_str().into());
        }
        add("message", self.message.as_str().into());
        if let Some(name) = origin.name {
            add("file", name.into());
        }
        add("line", line.into());
        if self.place.is_some() {
            add("column", column.into());
        }
        for (name, value) in &self.fields {
            add(name, value.as_str().into());
        }
        Value::Object(Map::from_iter([("error".to_owned(), Value::Object(error))]))
    }
}

/// At most `width` columns of the line around a place (a column from 1, in characters), and a mark that stands under it.
fn pointed_at(line: &str, column: usize, width: usize) -> (String, String) {
    let chars: Vec<char> = line.chars().collect();
    let at = (column - 1).min(chars.len());
    let text = |range: &[char]| printable(&range.iter().collect::<String>());
    let mut from = at;
    while from > 0 && text(&chars[from - 1..at]).width() < width / 2 {
        from -= 1;
    }
    let mut to = at;
    while to < chars.len() && text(&chars[from..=to]).width() + 2 <= width {
        to += 1;
    }
    let dots = |cut: bool| if cut { "…" } else { "" };
    let before = format!("{}{}", dots(from > 0), text(&chars[from..at]));
    let mark = format!("{}^", " ".repeat(before.width()));
    (format!("{before}{}{}", text(&chars[at..to]), dots(to < chars.len())), mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_the_place() {
        for (line, column, shown, mark) in [
            ("SELEC 1", 1, "SELEC 1", "^"),
            ("a\tb", 3, "a⇥b", "  ^"),
            ("'日本' x", 6, "'日本' x", "       ^"),
            ("\x1b x", 3, "\\x1b x", "     ^"),
            ("end", 9, "end", "   ^"),
        ] {
            assert_eq!(pointed_at(line, column, 40), (shown.to_owned(), mark.to_owned()), "{line}");
        }
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let line = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let (shown, mark) = pointed_at(&line, 501, 20);
        assert_eq!(shown, "…aaaaaaaaa!bbbbbbbb…");
        assert_eq!(mark, "          ^");
    }
}
