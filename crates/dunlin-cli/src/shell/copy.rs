//! COPY as a statement of the shell: where its bytes come from and go to, and what is told of it.

#![allow(clippy::disallowed_methods, reason = "an edge: it opens the files that it is given, in real time")]

use super::Shell;
use super::execute::{Status, Told};
use super::failure::Trouble;
use super::terminal::Terminal;
use crate::args::RowFormat;
use crate::copy::records::Records;
use crate::copy::{self, Cluster, Copy, Direction, Source, Tally};
use anyhow::{Context, bail};
use dunlin_client::{Columns, Failure, TableName};
use dunlin_cql::Statement;
use dunlin_terminal::{Progress, Unwritten, complain, explain, printable, say};
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How a COPY ended.
enum End {
    Done,
    Failed(anyhow::Error),
    Interrupted,
}

impl Shell {
    /// Carries a COPY out and tells what became of its rows, however it ends.
    pub(super) async fn copy(&mut self, body: &str, told: &Told<'_>) -> anyhow::Result<Status> {
        self.rest = None;
        let told = &Told { text: body, ..*told };
        let copy = match copy::parse(body) {
            Ok(copy) => copy,
            Err(error) => {
                let place = Some((error.line, error.column));
                return Ok(told.complain(&Trouble { place, ..Trouble::new(error.message) }));
            }
        };
        let tally = match Tally::with_rejects(copy.rejects.as_deref()) {
            Ok(tally) => tally,
            Err(error) => return Ok(told.complain(&Trouble::new(explain(&error)))),
        };
        let began = Instant::now();
        let work = run(&mut self.session, told, &copy, &tally);
        let end = tokio::select! {
            biased;
            () = self.interrupts.next() => End::Interrupted,
            done = work => match done {
                Ok(()) => End::Done,
                Err(error) if error.is::<Unwritten>() => return Err(error),
                Err(error) => End::Failed(error),
            },
        };
        tell(told, &copy, &tally, began.elapsed(), end)
    }
}

async fn run(
    session: &mut super::session::Session,
    told: &Told<'_>,
    copy: &Copy,
    tally: &Tally,
) -> anyhow::Result<()> {
    // A file that cannot be read is told before anybody is asked for anything.
    let file = match (&copy.file, copy.direction) {
        (Some(path), Direction::From) => Some((path, open(path).await?)),
        _ => None,
    };
    let (table, columns) = columns(session, &copy.table, tally).await?;
    let cluster = Rc::new(Cluster {
        hosts: session.hosts_from_here(),
        connector: session.connector().clone(),
        settings: session.settings(&["USE", "CONSISTENCY", "LOGIN"]).map(str::to_owned).collect(),
    });
    if copy.direction == Direction::To {
        return copy::unload(cluster, table, columns, copy, tally).await;
    }
    if let Some((path, (file, bytes))) = file {
        let mut records = Records::new(file, copy.dialect);
        let source =
            Source { name: &path.display().to_string(), records: &mut records, bytes, is_typed: false };
        return copy::load(cluster, table, columns, copy, source, tally).await;
    }
    let name = "STDIN";
    if let Some(statements) = told.origin.statements.filter(|statements| statements.is_standard_input()) {
        // The data stand behind the statement, up to a line `\.`.
        let (input, read) = statements.lend().await.context(name)?;
        let mut records = Records::until_mark(input, read, copy.dialect);
        let source = Source { name, records: &mut records, bytes: None, is_typed: false };
        let done = copy::load(cluster, table, columns, copy, source, tally).await;
        let lines = records.lines();
        let (input, rest) = records.into_rest();
        statements.take_back(input, rest, lines);
        return done;
    }
    if std::io::stdin().is_terminal() {
        complain!("rows to load, then a line with \\. or Ctrl-D:");
        let mut records = Records::until_mark(Terminal::default(), bytes::BytesMut::new(), copy.dialect);
        let source = Source { name, records: &mut records, bytes: None, is_typed: true };
        return copy::load(cluster, table, columns, copy, source, tally).await;
    }
    let mut records = Records::new(tokio::io::stdin(), copy.dialect);
    let source = Source { name, records: &mut records, bytes: None, is_typed: false };
    copy::load(cluster, table, columns, copy, source, tally).await
}

async fn open(path: &Path) -> anyhow::Result<(tokio::fs::File, Option<u64>)> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = tokio::fs::File::open(path).await.with_context(cannot)?;
    file.set_max_buf_size(1 << 20);
    let found = file.metadata().await.with_context(cannot)?;
    if found.is_dir() {
        bail!("{}: it is a directory", cannot());
    }
    Ok((file, found.is_file().then_some(found.len())))
}

/// The table's whole name and its columns.
async fn columns(
    session: &mut super::session::Session,
    table: &TableName,
    tally: &Tally,
) -> anyhow::Result<(TableName, Columns)> {
    let described = ask(session, &format!("DESCRIBE TABLE {table}"), tally).await?;
    let text: Vec<&str> = described.rows.iter().filter_map(|row| row.last()?.as_deref()).collect();
    let Ok(Statement::CreateTable { table: whole, .. }) = dunlin_cql::parse(&text.join("\n")) else {
        bail!("the node describes {table} in a way that this shell does not know");
    };
    let listed = ask(session, &Columns::query(&whole), tally).await?;
    let columns = Columns::find(&listed, &whole).with_context(|| format!("there is no table {whole}"))?;
    Ok((whole, columns))
}

/// Asks as patiently as rows are sent.
async fn ask(
    session: &mut super::session::Session,
    statement: &str,
    tally: &Tally,
) -> anyhow::Result<dunlin_client::Reply> {
    let mut progress = Progress::start();
    loop {
        let error = match session.ask(statement).await {
            Ok(reply) => {
                tally.go_on(0);
                return Ok(reply);
            }
            Err(error) => error,
        };
        tally.wait(0, explain(&error));
        let is_passing = error.downcast_ref::<Failure>().is_some_and(Failure::is_temporary);
        if !is_passing || tally.waited(0) > copy::PATIENCE {
            return Err(error);
        }
        progress.show(&format!("COPY{}", tally.waits()), None);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn tell(told: &Told<'_>, copy: &Copy, tally: &Tally, took: Duration, end: End) -> anyhow::Result<Status> {
    let rejects = tally.tell_rejects();
    let mut failed = rejects.is_err();
    for line in rejects.unwrap_or_else(|error| vec![explain(&error)]) {
        complain!("{}", printable(&line));
    }
    let (rows, rejected) = (tally.rows.get(), tally.rejected());
    let (verb, is_load) = match copy.direction {
        Direction::From => ("loaded", true),
        Direction::To => ("written", false),
    };
    let seconds = took.as_secs_f64();
    let mut summary =
        format!("{rows} rows {verb} in {seconds:.1} s ({:.0} rows/s)", rows as f64 / seconds.max(0.001));
    if is_load {
        summary += &format!(", {rejected} rejected");
    }
    let rest = match tally.undone() {
        _ if !is_load => "; no file was written".to_owned(),
        0 => String::new(),
        n => format!(
            "; every row before line {} is done, {n} others were on their way and may be in",
            tally.done_before()
        ),
    };
    let is_whole = matches!(end, End::Done);
    let status = match end {
        End::Done => Status::Done,
        End::Interrupted => Status::Interrupted,
        End::Failed(error) => {
            let text = explain(&error);
            told.complain(&Trouble::new(if copy.file.is_none() || rows > 0 {
                format!("COPY: {text}")
            } else {
                text
            }));
            failed = true;
            Status::Failed
        }
    };
    if status == Status::Interrupted {
        complain!("cancelled: {summary}{rest}");
        return Ok(status);
    }
    if !is_whole {
        if rows > 0 || rejected > 0 || tally.undone() > 0 {
            complain!("{summary}{rest}");
        }
        return Ok(status);
    }
    let is_of_data = copy.direction == Direction::To && copy.file.is_none();
    match told.format {
        // Standard output has the rows.
        _ if is_of_data => complain!("{summary}"),
        RowFormat::Json if is_load => {
            say!("{}", json!({ "rows": rows, "rejected": rejected, "seconds": seconds }))?;
        }
        RowFormat::Json => say!("{}", json!({ "rows": rows, "seconds": seconds }))?,
        _ => say!("{summary}")?,
    }
    Ok(if failed || rejected > 0 { Status::Failed } else { status })
}
