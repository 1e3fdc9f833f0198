//! `dunlin verify`: reads every key of a CSV file back, one read a key, and compares.

#![allow(clippy::disallowed_methods, reason = "a tool: it reads the file it is given")]

use crate::args::VerifyArgs;
use crate::shell::progress;
use anyhow::Context;
use dunlin_client::Connection;
use dunlin_terminal::say;
use std::collections::VecDeque;
use std::process::ExitCode;

/// Reads in flight.
const WINDOW: usize = 256;
/// Differences printed before only counting them.
const SHOWN_MAX: u64 = 10;

#[derive(Default)]
struct Tally {
    checked: u64,
    missing: u64,
    different: u64,
    siblings: u64,
}

/// Exit status 1 if a key is missing, differs, or has siblings.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let file =
        std::fs::File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
    let bytes = file.metadata()?.len();
    let bar = progress::bytes(bytes, "verifying");
    let mut rows =
        csv::ReaderBuilder::new().has_headers(args.header).flexible(true).from_reader(bar.wrap_read(file));

    let settings = args.target.settings()?;
    let mut connection = settings.connector().connect(&settings.hosts()[0]).await?;
    connection.execute(&format!("CONSISTENCY {}", settings.consistency)).await?;
    let mut waiting: VecDeque<(String, String)> = VecDeque::new();
    let mut tally = Tally::default();
    let table = &args.target.table;
    let columns = connection.columns(table).await?.with_context(|| format!("there is no table {table}"))?;
    for row in rows.records() {
        let row = row.with_context(|| format!("in {}", args.file.display()))?;
        let (Some(key), Some(value)) = (row.get(0), row.get(1)) else {
            anyhow::bail!(
                "{}: row {} has fewer than two columns",
                args.file.display(),
                tally.checked + waiting.len() as u64 + 1
            );
        };
        connection.queue(&format!(
            "SELECT {} FROM {table} WHERE {} = {}",
            columns.value_name(),
            columns.key_name(),
            columns.key_literal(key)?
        ));
        waiting.push_back((key.to_owned(), value.to_owned()));
        if waiting.len() >= WINDOW {
            connection.flush().await?;
            while waiting.len() > WINDOW / 2 {
                compare(&mut connection, &mut waiting, &mut tally).await?;
            }
        }
    }
    connection.flush().await?;
    while !waiting.is_empty() {
        compare(&mut connection, &mut waiting, &mut tally).await?;
    }
    bar.finish_and_clear();
    let mismatches = tally.missing + tally.different + tally.siblings;
    say!(
        "checked: {}, mismatches: {mismatches} (missing {}, different {}, with siblings {})",
        tally.checked,
        tally.missing,
        tally.different,
        tally.siblings
    )?;
    Ok(if mismatches == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn compare(
    connection: &mut Connection,
    waiting: &mut VecDeque<(String, String)>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let Some((key, expected)) = waiting.pop_front() else { return Ok(()) };
    let reply = connection.receive().await?.with_context(|| format!("reading {key:?}"))?;
    tally.checked += 1;
    let found: Vec<Option<&str>> =
        reply.rows.iter().map(|row| row.first().and_then(|cell| cell.as_deref())).collect();
    let what = match found.as_slice() {
        [] => {
            tally.missing += 1;
            "is missing".to_owned()
        }
        [Some(value)] if *value == expected => return Ok(()),
        [value] => {
            tally.different += 1;
            format!("is {:?}, not {expected:?}", value.unwrap_or("null"))
        }
        many => {
            tally.siblings += 1;
            format!("has {} siblings", many.len())
        }
    };
    if tally.missing + tally.different + tally.siblings <= SHOWN_MAX {
        say!("{key:?} {what}")?;
    }
    Ok(())
}
