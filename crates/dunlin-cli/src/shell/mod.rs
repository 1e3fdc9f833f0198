//! `dunlin shell`: statements typed by a person, given by `-e`, or read from a file.
//!
//! [`session`] runs one statement and prints its outcome; [`repl`] is the interactive loop; [`copy`] is the one
//! statement that the shell itself carries out.

pub mod copy;
pub mod progress;
mod repl;
mod session;

use crate::args::{RowFormat, ShellArgs};
use anyhow::Context;
use dunlin_cql::Splitter;
use dunlin_terminal::complain;
use session::Session;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;

/// Runs the shell in the mode the arguments ask for. Exit status 1 if any statement failed.
pub async fn run(args: ShellArgs) -> anyhow::Result<ExitCode> {
    let settings = args.settings()?;
    let terminal = std::io::stdout().is_terminal();
    let format = args.format.unwrap_or(if terminal { RowFormat::Table } else { RowFormat::Tsv });
    let mut session = Session::connect(settings.connector(), &settings.hosts()[0], format).await?;

    if let Some(text) = &args.execute {
        return batch(&mut session, text).await;
    }
    if let Some(file) = &args.file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        return batch(&mut session, &text).await;
    }
    if std::io::stdin().is_terminal() {
        return repl::run(&mut session).await;
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("reading statements from standard input")?;
    batch(&mut session, &text).await
}

/// Runs every statement of a text, the last with or without its `;`. Stops at the first that fails.
async fn batch(session: &mut Session, text: &str) -> anyhow::Result<ExitCode> {
    for statement in split(text) {
        // The server would wait for the rest of it for ever.
        if is_open(&statement) {
            let start: String = statement.chars().take(60).collect();
            complain!(
                "a string, a quoted name, a comment or a BATCH is not closed: {}",
                dunlin_terminal::printable(&start)
            );
            return Ok(ExitCode::FAILURE);
        }
        if !session.run(&statement).await? {
            return Ok(ExitCode::FAILURE);
        }
        if session.ended {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The statements of a text, each with its `;`. Blank ones are left out.
fn split(text: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut splitter = Splitter::new();
    let mut rest = text;
    while let Some(end) = splitter.feed(rest.as_bytes()) {
        let (statement, after) = rest.split_at(end);
        if statement.trim() != ";" {
            statements.push(statement.trim().to_owned());
        }
        rest = after;
        splitter = Splitter::new();
    }
    if !rest.trim().is_empty() && !splitter.is_at_start() {
        statements.push(format!("{};", rest.trim()));
    }
    statements
}

/// Whether a text ends inside a statement.
fn is_open(text: &str) -> bool {
    let mut splitter = Splitter::new();
    let mut rest = text.as_bytes();
    while let Some(end) = splitter.feed(rest) {
        rest = &rest[end..];
        splitter = Splitter::new();
    }
    !splitter.is_at_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_where_statements_end() {
        assert_eq!(split("USE a; SELECT ';' ;\n-- done\n"), ["USE a;", "SELECT ';' ;"]);
        assert_eq!(split("SELECT 1"), ["SELECT 1;"]);
        let open = split("USE a; SELECT 'oops");
        assert!(!is_open(&open[0]) && is_open(&open[1]), "{open:?}");
        assert!(is_open("SELECT 'a;") && is_open("SELECT 1") && !is_open("SELECT 1;") && !is_open("  "));
    }
}
