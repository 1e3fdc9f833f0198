//! `dunlin verify`: reads every key of a CSV file back, one read a key, and compares.

#![allow(clippy::disallowed_methods, reason = "a tool: it reads the file it is given")]

use crate::args::VerifyArgs;
use crate::copy::dialect::Dialect;
use crate::copy::mapping::{Field, Mapping};
use crate::copy::records::{Cells, Records};
use anyhow::{Context, bail};
use dunlin_client::{Columns, Connection, Reply};
use dunlin_terminal::{Progress, printable, say};
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;

/// Reads in flight, and bytes of the values that they should give.
const WINDOW: usize = 256;
const WINDOW_BYTES: usize = 16 << 20;
/// Differences printed before only counting them.
const SHOWN_MAX: u64 = 10;
/// Differences of which it is remembered that a later row of the key may undo them.
const DIFFERENCES_MAX: usize = 1 << 20;

/// What a key should have.
struct Expected {
    line: u64,
    key: String,
    context: String,
    /// As constants, so that `1` and `01` are the same number.
    values: Vec<String>,
}

#[derive(Default)]
struct Tally {
    checked: u64,
    unreadable: u64,
    /// By key: what is wrong, unless a later row of the key says otherwise.
    wrong: BTreeMap<String, (u64, Wrong)>,
    /// Those that are not remembered.
    more: u64,
}

enum Wrong {
    Missing,
    Different(String),
    Siblings(usize),
}

/// Exit status 1 if a key is missing, differs, has siblings that the file has not, or a row cannot be read.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let name = args.file.display().to_string();
    let file = tokio::fs::File::open(&args.file).await.with_context(|| format!("cannot read {name}"))?;
    let bytes = file.metadata().await?.len();
    let settings = args.target.settings()?;
    let mut connection = settings.connector().connect(&settings.hosts()[0]).await?;
    connection.execute(&format!("CONSISTENCY {}", settings.consistency)).await?;
    let table = &args.target.table;
    let columns = connection.columns(table).await?.with_context(|| format!("there is no table {table}"))?;
    let mut records = Records::new(file, Dialect::default());
    let mut mapping = Mapping::plain();
    if args.header {
        let Some(header) = records.next().await.with_context(|| name.clone())? else {
            bail!("{name} is empty, and has no header");
        };
        let found = header.cells.and_then(|cells| Mapping::of_header(&columns, &cells, &[]));
        mapping = found.map_err(|why| anyhow::anyhow!("{name}: header: {why}"))?;
    }
    let mut run =
        Run { select: select(&columns, table), waiting: VecDeque::new(), bytes: 0, connection, columns };
    let mut tally = Tally::default();
    let mut progress = Progress::start();
    let mut open: Option<Expected> = None;
    while let Some(record) = records.next().await.with_context(|| name.clone())? {
        let row = record.cells.and_then(|cells| expected(&run.columns, &mapping, record.line, &cells));
        let row = match row {
            Ok(row) => row,
            Err(why) => {
                tally.unreadable += 1;
                if tally.unreadable <= SHOWN_MAX {
                    say!("line {}: {}", record.line, printable(&why))?;
                }
                continue;
            }
        };
        match &mut open {
            Some(open) if !row.context.is_empty() && open.key == row.key && open.context == row.context => {
                open.values.extend(row.values);
            }
            _ => {
                if let Some(complete) = open.replace(row) {
                    run.ask(complete, &mut tally).await?;
                }
            }
        }
        let share = (bytes > 0).then(|| records.position() as f64 / bytes as f64);
        progress.show(&format!("{} keys checked", tally.checked), share);
    }
    if let Some(last) = open {
        run.ask(last, &mut tally).await?;
    }
    run.finish(&mut tally).await?;
    drop(progress);
    tell(&tally)
}

fn select(columns: &Columns, table: &dunlin_client::TableName) -> String {
    format!("SELECT {} FROM {table} WHERE {} = ", columns.value_name(), columns.key_name())
}

fn expected(columns: &Columns, mapping: &Mapping, line: u64, cells: &Cells) -> Result<Expected, String> {
    if cells.len() != mapping.width() {
        return Err(format!("it has {} columns, not {}", cells.len(), mapping.width()));
    }
    let key = columns.key_literal(&cells.text(mapping.key())?).map_err(|error| error.0)?;
    let value = columns.value_literal(&cells.text(mapping.value())?).map_err(|error| error.0)?;
    let context = match mapping.place(Field::Context) {
        Some(place) => cells.text(place)?.into_owned(),
        None => String::new(),
    };
    Ok(Expected { line, key: key.to_string(), context, values: vec![value.to_string()] })
}

struct Run {
    select: String,
    columns: Columns,
    connection: Connection,
    waiting: VecDeque<Expected>,
    /// Of the values waited for.
    bytes: usize,
}

impl Run {
    async fn ask(&mut self, expected: Expected, tally: &mut Tally) -> anyhow::Result<()> {
        self.connection.queue(&format!("{}{}", self.select, expected.key));
        self.bytes += expected.values.iter().map(String::len).sum::<usize>();
        self.waiting.push_back(expected);
        if self.waiting.len() >= WINDOW || self.bytes > WINDOW_BYTES {
            self.connection.flush().await?;
            while self.waiting.len() > WINDOW / 2 || self.bytes > WINDOW_BYTES {
                self.compare(tally).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        self.connection.flush().await?;
        while !self.waiting.is_empty() {
            self.compare(tally).await?;
        }
        Ok(())
    }

    async fn compare(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        let Some(Expected { line, key, mut values, .. }) = self.waiting.pop_front() else { return Ok(()) };
        let reply = self.connection.receive().await?.with_context(|| format!("reading {key}"))?;
        self.bytes -= values.iter().map(String::len).sum::<usize>();
        tally.checked += 1;
        values.sort_unstable();
        values.dedup();
        match self.wrong(&reply, &values) {
            None => drop(tally.wrong.remove(&key)),
            Some(wrong) if tally.wrong.len() < DIFFERENCES_MAX || tally.wrong.contains_key(&key) => {
                tally.wrong.insert(key, (line, wrong));
            }
            Some(_) => tally.more += 1,
        }
        Ok(())
    }

    fn wrong(&self, reply: &Reply, expected: &[String]) -> Option<Wrong> {
        let cell = |row: &Vec<Option<dunlin_client::Text>>| {
            let text = row.first().and_then(|cell| cell.as_deref()).unwrap_or_default();
            match self.columns.value_literal(text) {
                Ok(literal) => literal.to_string(),
                Err(_) => text.to_owned(),
            }
        };
        let mut found: Vec<String> = reply.rows.iter().map(cell).collect();
        found.sort_unstable();
        match found.as_slice() {
            [] => Some(Wrong::Missing),
            found if found == expected => None,
            [value] => Some(Wrong::Different(value.clone())),
            many => Some(Wrong::Siblings(many.len())),
        }
    }
}

fn tell(tally: &Tally) -> anyhow::Result<ExitCode> {
    let (mut missing, mut different, mut siblings) = (0, 0, 0);
    let mut lines: Vec<(u64, String)> = Vec::new();
    for (key, (line, wrong)) in &tally.wrong {
        let what = match wrong {
            Wrong::Missing => {
                missing += 1;
                "is missing".to_owned()
            }
            Wrong::Different(found) => {
                different += 1;
                format!("is {}", shorten(found))
            }
            Wrong::Siblings(n) => {
                siblings += 1;
                format!("has {n} values, which are not those of the file")
            }
        };
        lines.push((*line, format!("line {line}: {} {what}", shorten(key))));
    }
    lines.sort_unstable();
    for (_, line) in lines.iter().take(SHOWN_MAX as usize) {
        say!("{}", printable(line))?;
    }
    let mismatches = tally.wrong.len() as u64 + tally.more;
    say!(
        "checked: {}, mismatches: {mismatches} (missing {missing}, different {different}, with siblings {siblings}), unreadable rows: {}",
        tally.checked,
        tally.unreadable
    )?;
    Ok(if mismatches + tally.unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A constant of which the beginning is enough.
fn shorten(literal: &str) -> String {
    const SHOWN: usize = 60;
    match literal.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &literal[..end]),
        None => literal.to_owned(),
    }
}
