//! The interactive loop: line editing, history, multi-line statements, completion.

use super::session::Session;
use super::{is_open, split};
use dunlin_cql::complete::Names;
use dunlin_terminal::{complain, say};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper, Highlighter, Hinter};
use std::path::PathBuf;
use std::process::ExitCode;

const HISTORY_LINES_MAX: usize = 10_000;

/// Reads statements until QUIT, EXIT or Ctrl-D.
pub async fn run(session: &mut Session) -> anyhow::Result<ExitCode> {
    say!("Connected to {}. Statements end with ; and HELP; lists them. Ctrl-D leaves.", session.host())?;
    let config = Config::builder().max_history_size(HISTORY_LINES_MAX)?.auto_add_history(false).build();
    let mut editor: Editor<Input, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Input { names: names(session).await }));
    let history = history_file();
    if let Some(file) = &history {
        // A first start has none.
        let _ = editor.load_history(file);
    }
    session.timing = true;
    while !session.ended {
        match editor.readline("dunlin> ") {
            Ok(text) => {
                if text.trim().is_empty() {
                    continue;
                }
                let _ = editor.add_history_entry(text.trim_end());
                for statement in split(&text) {
                    if !session.run(&statement).await? || session.ended {
                        break;
                    }
                }
                if let Some(helper) = editor.helper_mut() {
                    helper.names = names(session).await;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(file) = &history
        && let Err(error) = editor.save_history(file)
    {
        complain!("the history could not be kept in {}: {error}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("DUNLIN_HISTORY")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".dunlin_history")))
}

/// Names to complete: every keyspace, table and column.
async fn names(session: &mut Session) -> Names {
    let mut names = Names::default();
    let Ok(reply) = session.ask("SELECT * FROM system.tables").await else { return names };
    let columns = reply.columns.unwrap_or_default();
    for (kind, wanted) in [
        (&mut names.keyspaces, &["keyspace_name"][..]),
        (&mut names.tables, &["table_name"]),
        (&mut names.columns, &["key_column", "value_column"]),
    ] {
        for place in wanted.iter().filter_map(|name| columns.iter().position(|c| c == name)) {
            kind.extend(reply.rows.iter().filter_map(|row| Some(row.get(place)?.as_deref()?.to_owned())));
        }
        kind.sort();
        kind.dedup();
    }
    names
}

#[derive(Helper, Highlighter, Hinter)]
struct Input {
    names: Names,
}

impl Validator for Input {
    /// Enter goes on to the next line while a statement is open.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_open(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Input {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let completion = dunlin_cql::complete::complete(&line[..at], &self.names);
        let pairs = completion
            .candidates
            .into_iter()
            .map(|text| Pair { display: text.clone(), replacement: text })
            .collect();
        Ok((completion.start, pairs))
    }
}
