//! Rows in a frame, or one below the other.

use super::NULL;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use dunlin_client::Text;
use dunlin_terminal::printable;
use std::fmt::Write as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Narrowest column that values are cut to.
const CELL_WIDTH_MIN: usize = 4;

/// A table. Cells are cut where it would be wider than `width`; the second part says whether any was.
pub fn framed(columns: &[String], rows: &[Vec<Option<Text>>], width: Option<usize>) -> (String, bool) {
    let mut lines = vec![columns.iter().map(|name| printable(name)).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| row.iter().map(shown).collect()));
    let natural: Vec<usize> = (0..columns.len())
        .map(|i| lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.width()).max().unwrap_or(0))
        .collect();
    let widths = width.map(|width| fitted(&natural, width));
    let mut is_cut = false;
    let mut fit = |line: Vec<String>| -> Vec<String> {
        let cells = line.into_iter().enumerate();
        cells
            .map(|(i, cell)| match widths.as_ref().and_then(|widths| widths.get(i)) {
                Some(max) if cell.width() > *max => {
                    is_cut = true;
                    cut(&cell, *max)
                }
                _ => cell,
            })
            .collect()
    };
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    let mut lines = lines.into_iter();
    table.set_header(fit(lines.next().unwrap_or_default()));
    for line in lines {
        table.add_row(fit(line));
    }
    (format!("{table}\n"), is_cut)
}

/// Every row as lines of name and value, the rows counted from `first`.
pub fn expanded(columns: &[String], rows: &[Vec<Option<Text>>], first: u64) -> String {
    let names: Vec<String> = columns.iter().map(|name| printable(name)).collect();
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let mut out = String::new();
    for (number, row) in (first..).zip(rows) {
        let _ = writeln!(out, "@ row {number}");
        for (name, cell) in names.iter().zip(row) {
            let _ = writeln!(out, "  {name}{} │ {}", " ".repeat(width - name.width()), shown(cell));
        }
    }
    out
}

fn shown(cell: &Option<Text>) -> String {
    cell.as_deref().map_or_else(|| NULL.to_owned(), printable)
}

/// Widths of columns for a table of at most `width`: narrow columns keep what they need, the others share the rest.
fn fitted(natural: &[usize], width: usize) -> Vec<usize> {
    // A frame's line before each column and behind the last, and a blank on either side of each cell.
    let mut room = width.saturating_sub(3 * natural.len() + 1);
    let mut order: Vec<usize> = (0..natural.len()).collect();
    order.sort_by_key(|i| natural[*i]);
    let mut widths = vec![0; natural.len()];
    for (turn, i) in order.iter().enumerate() {
        let share = room / (order.len() - turn);
        widths[*i] = natural[*i].min(share.max(CELL_WIDTH_MIN));
        room = room.saturating_sub(widths[*i]);
    }
    widths
}

/// The beginning of a text that is wider than `width`, with a mark that there is more.
fn cut(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> [String; 2] {
        ["k".to_owned(), "v".to_owned()]
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let rows = [vec![Some("a".into()), Some("日本".repeat(100).into())], vec![Some("b".into()), None]];
        for width in [20, 33, 80] {
            let (text, is_cut) = framed(&columns(), &rows, Some(width));
            assert!(is_cut && text.contains('…'), "{text}");
            assert!(text.lines().all(|line| line.width() <= width), "{width}\n{text}");
        }
        let (text, is_cut) = framed(&columns(), &rows, None);
        assert!(!is_cut && text.contains(&"日本".repeat(100)));
    }

    #[test]
    fn narrow_columns_keep_what_they_need() {
        assert_eq!(fitted(&[3, 100, 100], 60), [3, 23, 24]);
        assert_eq!(fitted(&[3, 5], 60), [3, 5]);
        assert_eq!(fitted(&[30, 30], 5), [4, 4]);
    }

    #[test]
    fn expanded_rows_are_whole_and_on_one_line_each() {
        let rows = [vec![Some("a".into()), Some("x\ny".repeat(100).into())], vec![Some("null".into()), None]];
        let text = expanded(&columns(), &rows, 3);
        assert!(
            text.starts_with(&format!("@ row 3\n  k │ a\n  v │ {}\n@ row 4\n", "x⏎y".repeat(100))),
            "{text}"
        );
        assert!(text.ends_with("  k │ null\n  v │ (null)\n"), "{text}");
    }
}
