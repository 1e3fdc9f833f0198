//! A node's answer, in the format asked for.

use super::nature::Nature;
use crate::args::RowFormat;
use crate::output::{self, CellType};
use dunlin_client::Reply;
use dunlin_terminal::{Output, Unwritten, complain, printable, say};
use serde_json::Value;

/// How answers are shown.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The format.
    pub format: RowFormat,
    /// Rows of a table one below the other.
    pub expanded: bool,
}

/// An answer that comes in one piece or in many: its pages.
pub struct Answer<'a> {
    style: Style,
    nature: &'a Nature,
    /// Types of the columns, as many as are known; for JSON alone.
    types: Vec<CellType>,
    warned: Vec<String>,
    rows: u64,
    is_cut: bool,
}

impl<'a> Answer<'a> {
    /// An answer of which nothing was shown yet. `rows` were shown before, with the same statement.
    pub fn new(style: Style, nature: &'a Nature, types: Vec<CellType>, rows: u64) -> Answer<'a> {
        Answer { style, nature, types, warned: Vec::new(), rows, is_cut: false }
    }

    /// Rows shown so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Shows a reply, but for what comes at the end of the last one.
    pub fn show(&mut self, reply: &Reply) -> Result<(), Unwritten> {
        let mut out = Output::new();
        if let Some(columns) = &reply.columns {
            let text = match self.style.format {
                RowFormat::Json => output::typed_rows(reply, &self.types),
                _ if self.nature.is_text => output::text(reply),
                RowFormat::Tsv => output::rows(reply, RowFormat::Tsv),
                RowFormat::Table if self.style.expanded => {
                    output::expanded(columns, &reply.rows, self.rows + 1)
                }
                // A further page without rows has nothing to frame.
                RowFormat::Table if reply.rows.is_empty() && self.rows > 0 => String::new(),
                RowFormat::Table => {
                    let (text, is_cut) = output::framed(columns, &reply.rows, output::terminal_width());
                    self.is_cut |= is_cut;
                    text
                }
            };
            out.write(text.as_bytes())?;
            self.rows += reply.rows.len() as u64;
        }
        out.flush()?;
        if reply.columns.is_some() {
            self.say_beside(reply);
        }
        Ok(())
    }

    /// Says what is not the answer itself, behind it: if that could not be written, nothing else is said.
    fn say_beside(&mut self, reply: &Reply) {
        for warning in &reply.warnings {
            // Every page of a statement has the same.
            if !self.warned.contains(warning) {
                complain!("warning: {}", printable(warning));
                self.warned.push(warning.clone());
            }
        }
        for trace in &reply.trace {
            let line = format!("{:>8} us  {}  {}", trace.micros, trace.node, trace.text);
            complain!("trace: {}", printable(&line));
        }
    }

    /// Shows what the last reply says beside its rows. `there_are_more`: how a person goes on.
    pub fn finish(&mut self, reply: &Reply, there_are_more: bool) -> Result<(), Unwritten> {
        let fields = || reply.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        if reply.columns.is_none() {
            show_fields(self.style.format, self.nature.changes, fields())?;
            self.say_beside(reply);
            return Ok(());
        }
        // The number of rows is seen, or shown below; the page is for the shell where it goes on itself.
        let extra: Vec<(&str, &str)> =
            fields().filter(|(name, _)| *name != "rows" && !(*name == "page" && there_are_more)).collect();
        let count = format!("{} row{}", self.rows, if self.rows == 1 { "" } else { "s" });
        let go_on = format!("{count} so far, there are more: Enter or MORE; goes on");
        match self.style.format {
            RowFormat::Table if self.nature.is_text => {}
            RowFormat::Table => {
                let extra: String =
                    extra.iter().map(|(name, value)| format!(", {name}={}", printable(value))).collect();
                say!("({})", if there_are_more { go_on } else { format!("{count}{extra}") })?;
                if self.is_cut {
                    say!("… marks what is cut to the terminal's width: EXPAND ON; shows it whole")?;
                }
            }
            _ if there_are_more => complain!("{go_on}"),
            // Among rows they would be taken for one.
            RowFormat::Tsv => extra.iter().for_each(|(name, value)| complain!("{name}={}", printable(value))),
            RowFormat::Json if extra.is_empty() => {}
            RowFormat::Json => {
                let rows = self.rows.to_string();
                show_object([("rows", rows.as_str())].into_iter().chain(extra.iter().copied()))?;
            }
        }
        Ok(())
    }
}

/// Shows `name=value` fields of an answer without rows.
pub fn show_fields<'a>(
    format: RowFormat,
    changes: bool,
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), Unwritten> {
    let fields: Vec<(&str, &str)> = fields.collect();
    match format {
        RowFormat::Table if changes || fields.is_empty() => {
            let fields: String =
                fields.iter().map(|(name, value)| format!("  {name}={}", printable(value))).collect();
            say!("OK{fields}")
        }
        RowFormat::Table => {
            let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            fields.iter().try_for_each(|(name, value)| say!("{name:width$}  {}", printable(value)))
        }
        RowFormat::Tsv => {
            let cell = |text: &str| Some(text.into());
            let rows: Vec<_> = fields.iter().map(|(name, value)| vec![cell(name), cell(value)]).collect();
            let mut out = Output::new();
            out.write(output::tsv(&rows).as_bytes())?;
            out.flush()
        }
        RowFormat::Json if fields.is_empty() => Ok(()),
        RowFormat::Json => show_object(fields.into_iter()),
    }
}

fn show_object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Unwritten> {
    let typed = fields.map(|(name, value)| {
        let of = if ["rows", "applied"].contains(&name) { CellType::Integer } else { CellType::Text };
        (name, of.value(value))
    });
    say!("{}", output::object(typed.collect::<Vec<(&str, Value)>>().into_iter()).trim_end())
}
