//! Rows for people and for programs.

mod json;
mod table;

pub use json::{CellType, object};
pub use table::{expanded, framed};

use crate::args::RowFormat;
use dunlin_client::{Reply, Text};
use dunlin_terminal::printable;
use std::fmt::Write as _;
use std::io::IsTerminal;

/// What a null is for a person: no text looks like it by chance.
const NULL: &str = "(null)";

/// The rows of a reply as text that ends in a newline; empty for a statement without rows.
pub fn rows(reply: &Reply, format: RowFormat) -> String {
    match (format, &reply.columns) {
        (_, None) => String::new(),
        (RowFormat::Table, Some(columns)) => framed(columns, &reply.rows, terminal_width()).0,
        (RowFormat::Tsv, Some(_)) => tsv(&reply.rows),
        (RowFormat::Json, Some(columns)) => json::lines(columns, &reply.rows, &[]),
    }
}

/// The same as JSON with the columns' types, as many as are known.
pub fn typed_rows(reply: &Reply, types: &[CellType]) -> String {
    reply.columns.as_ref().map_or_else(String::new, |columns| json::lines(columns, &reply.rows, types))
}

/// Rows in the field format of the protocol; on a terminal without anything that steers it.
pub fn tsv(rows: &[Vec<Option<Text>>]) -> String {
    let terminal = std::io::stdout().is_terminal();
    let cell = |cell: &Option<Text>| match cell {
        None => "\\N".to_owned(),
        Some(text) if terminal => printable(&escape(text)),
        Some(text) => escape(text),
    };
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        let _ = writeln!(out, "{}", cells.join("\t"));
    }
    out
}

/// A cell in the field format of the protocol.
pub fn escape(cell: &str) -> String {
    cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

/// Text to be read, or to be run again: every cell as it is, but that it steers no terminal.
pub fn text(reply: &Reply) -> String {
    let terminal = std::io::stdout().is_terminal();
    let mut out = String::new();
    for cell in reply.rows.iter().filter_map(|row| row.first()?.as_deref()) {
        if terminal {
            cell.split('\n').for_each(|line| {
                let _ = writeln!(out, "{}", printable(line));
            });
        } else {
            let _ = writeln!(out, "{cell}");
        }
    }
    out
}

/// Columns of the terminal that standard output is; `None` if it is none.
pub fn terminal_width() -> Option<usize> {
    width_of(std::io::stdout())
}

/// Columns of the terminal that standard error is; `None` if it is none.
pub fn terminal_width_of_errors() -> Option<usize> {
    width_of(std::io::stderr())
}

fn width_of(out: impl IsTerminal + std::os::fd::AsFd) -> Option<usize> {
    if !out.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(out).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format() {
        let reply = Reply {
            columns: Some(vec!["key".into(), "value".into()]),
            rows: vec![vec![Some("a".into()), Some("x\ty".into())], vec![Some("b".into()), None]],
            ..Reply::default()
        };
        assert_eq!(rows(&reply, RowFormat::Tsv), "a\tx\\ty\nb\t\\N\n");
        assert_eq!(
            rows(&reply, RowFormat::Json),
            "{\"key\":\"a\",\"value\":\"x\\ty\"}\n{\"key\":\"b\",\"value\":null}\n"
        );
        let table = rows(&reply, RowFormat::Table);
        assert!(table.contains("x⇥y") && table.contains("(null)"), "{table}");
        assert_eq!(rows(&Reply::default(), RowFormat::Table), "");
    }
}
