//! Rows for people and for programs.

use crate::args::RowFormat;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use dunlin_client::Reply;
use dunlin_terminal::printable;
use std::fmt::Write as _;

/// The rows of a reply as text that ends in a newline; empty for a statement without rows.
pub fn rows(reply: &Reply, format: RowFormat) -> String {
    let Some(columns) = &reply.columns else { return String::new() };
    let mut out = String::new();
    match format {
        // Text for a person, or to be copied: a frame would only be in the way.
        RowFormat::Table if matches!(columns.as_slice(), [only] if only == "help" || only == "statement") => {
            for cell in reply.rows.iter().filter_map(|row| row.first()?.as_deref()) {
                let _ = writeln!(out, "{}", printable(cell));
            }
        }
        RowFormat::Table => {
            let mut table = Table::new();
            table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
            table.set_header(columns.iter().map(|c| printable(c)));
            for row in &reply.rows {
                table.add_row(
                    row.iter().map(|cell| cell.as_deref().map_or_else(|| "null".to_owned(), printable)),
                );
            }
            let _ = writeln!(out, "{table}");
            let _ =
                writeln!(out, "({} row{})", reply.rows.len(), if reply.rows.len() == 1 { "" } else { "s" });
        }
        RowFormat::Tsv => {
            for row in &reply.rows {
                let cells: Vec<String> =
                    row.iter().map(|cell| cell.as_deref().map_or("\\N".to_owned(), escape)).collect();
                let _ = writeln!(out, "{}", cells.join("\t"));
            }
        }
        RowFormat::Json => {
            for row in &reply.rows {
                let object: serde_json::Map<String, serde_json::Value> =
                    columns.iter().cloned().zip(row.iter().map(|cell| cell.as_deref().into())).collect();
                let _ = writeln!(out, "{}", serde_json::Value::Object(object));
            }
        }
    }
    out
}

/// A cell in the field format of the protocol.
pub fn escape(cell: &str) -> String {
    cell.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply {
            columns: Some(vec!["key".into(), "value".into()]),
            rows: vec![vec![Some("a".into()), Some("x\ty".into())], vec![Some("b".into()), None]],
            ..Reply::default()
        }
    }

    #[test]
    fn every_format() {
        assert_eq!(rows(&reply(), RowFormat::Tsv), "a\tx\\ty\nb\t\\N\n");
        assert_eq!(
            rows(&reply(), RowFormat::Json),
            "{\"key\":\"a\",\"value\":\"x\\ty\"}\n{\"key\":\"b\",\"value\":null}\n"
        );
        let table = rows(&reply(), RowFormat::Table);
        assert!(table.contains("x⇥y") && table.contains("null") && table.ends_with("(2 rows)\n"), "{table}");
        assert_eq!(rows(&Reply::default(), RowFormat::Table), "");
    }
}
