//! `COPY table [(key, value)] FROM|TO 'file.csv' [WITH option = value [AND ...]]`.
//!
//! FROM sends rows over several connections, each with many statements in flight. A row that fails for a passing
//! reason (a node dies, a time-out) is sent again: a row is an upsert of one value, so repeating it is harmless.
//! TO scans the table page by page.

#![allow(clippy::disallowed_methods, reason = "an edge: the shell runs on tokio")]

mod load;
mod statement;

use super::progress;
use super::session::Session;
use anyhow::{Context, bail};
use dunlin_terminal::{complain, say};
use statement::{Copy, Direction};
use std::io::Write;
use std::time::Instant;

/// A table's columns as COPY needs them.
#[derive(Debug, Clone)]
pub struct Columns {
    /// `keyspace.table` or `table`, quoted as given.
    pub table: String,
    /// Name of the key column.
    pub key: String,
    /// Type of the key column.
    pub key_type: String,
    /// Name of the value column.
    pub value: String,
    /// Type of the value column.
    pub value_type: String,
}

/// Runs a COPY statement. False if rows were rejected; an error if it could not be carried out.
pub async fn run(session: &mut Session, text: &str) -> anyhow::Result<bool> {
    let copy = match statement::parse(text) {
        Ok(copy) => copy,
        Err(what) => {
            complain!("SYNTAX: {what}\n  {}", statement::USAGE);
            return Ok(false);
        }
    };
    let columns = match columns(session, &copy).await {
        Ok(columns) => columns,
        Err(error) => {
            complain!("COPY: {error:#}");
            return Ok(false);
        }
    };
    let began = Instant::now();
    let done = match copy.direction {
        Direction::From => load::from_file(session, &copy, &columns).await,
        Direction::To => to_file(session, &copy, &columns).await.map(|rows| (rows, 0)),
    };
    match done {
        Ok((rows, rejected)) => {
            let seconds = began.elapsed().as_secs_f64();
            let verb = if copy.direction == Direction::From { "loaded" } else { "written" };
            say!(
                "{rows} rows {verb} in {seconds:.1} s ({:.0} rows/s), {rejected} rejected",
                rows as f64 / seconds.max(0.001)
            )?;
            Ok(rejected == 0)
        }
        Err(error) => {
            complain!("COPY: {error:#}");
            Ok(false)
        }
    }
}

async fn columns(session: &mut Session, copy: &Copy) -> anyhow::Result<Columns> {
    let described = session.ask(&format!("DESCRIBE TABLE {}", copy.table)).await?;
    let text: Vec<&str> = described.rows.iter().filter_map(|row| row.last()?.as_deref()).collect();
    let parsed = dunlin_cql::parse(text.join("\n").trim_end_matches(';'))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let dunlin_cql::Statement::CreateTable { columns, .. } = parsed else {
        bail!("{} is not a table", copy.table)
    };
    let [key, value] = columns.as_slice() else { bail!("{} has other than two columns", copy.table) };
    if let Some(named) = &copy.columns
        && (named[0] != key.name || named[1] != value.name)
    {
        bail!("the columns of {} are ({}, {}), in this order", copy.table, key.name, value.name);
    }
    Ok(Columns {
        table: copy.table.clone(),
        key: key.name.clone(),
        key_type: key.type_name.clone(),
        value: value.name.clone(),
        value_type: value.type_name.clone(),
    })
}

async fn to_file(session: &mut Session, copy: &Copy, columns: &Columns) -> anyhow::Result<u64> {
    let file = std::fs::File::create(&copy.file).with_context(|| format!("cannot write {}", copy.file))?;
    let mut out =
        csv::WriterBuilder::new().delimiter(copy.delimiter).from_writer(std::io::BufWriter::new(file));
    if copy.header {
        out.write_record([&columns.key, &columns.value])?;
    }
    let bar = progress::rows("writing");
    let mut rows = 0;
    let mut page: Option<String> = None;
    loop {
        let using = page.as_ref().map(|token| format!(" USING PAGE '{token}'")).unwrap_or_default();
        let reply = session.ask(&format!("SELECT * FROM {}{using}", columns.table)).await?;
        for row in &reply.rows {
            out.write_record(row.iter().map(|cell| cell.as_deref().unwrap_or("")))?;
        }
        rows += reply.rows.len() as u64;
        bar.set_position(rows);
        page = reply.field("page").map(str::to_owned);
        if page.is_none() {
            break;
        }
    }
    out.into_inner().map_err(|error| anyhow::anyhow!("{}", error.error()))?.flush()?;
    bar.finish_and_clear();
    Ok(rows)
}
