//! The prompt: line editing, history, statements of several lines, completion.

use super::Shell;
use super::command::{first_word, typed_alone};
use super::execute::Status;
use super::history::{self, History};
use super::input::Input;
use super::origin::Origin;
use dunlin_cql::complete::Names;
use dunlin_cql::splitter::{self, Piece};
use dunlin_terminal::{complain, say};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use std::pin::pin;
use std::process::ExitCode;

const PROMPT: &str = "dunlin> ";
/// While a statement goes on.
const CONTINUATION: &str = "   ... ";

/// Reads statements until QUIT, EXIT or Ctrl-D.
pub async fn run(shell: &mut Shell) -> anyhow::Result<ExitCode> {
    let host = shell.session.host();
    say!("Connected to {host}. Statements end with ; and HELP; lists them. Ctrl-D leaves.")?;
    let config = Config::builder().max_history_size(history::ENTRIES_MAX)?.auto_add_history(false).build();
    let mut editor: Editor<Input, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Input::new(names(shell).await.unwrap_or_default())));
    let mut history = History::open(&mut editor);
    while !shell.ended {
        let Some(text) = read(&mut editor)? else { break };
        shell.interrupts.forget().await;
        if text.trim().is_empty() {
            if shell.rest.is_some() {
                run_all(shell, "MORE;").await?;
            }
            continue;
        }
        let is_secret = splitter::statements(&text).any(|piece| first_word(piece.body) == "LOGIN");
        history.add(&mut editor, &text, is_secret);
        run_all(shell, &typed_alone(&text).unwrap_or(text)).await?;
        if std::mem::take(&mut shell.names_changed)
            && let Some(names) = names(shell).await
            && let Some(input) = editor.helper_mut()
        {
            input.names = names;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was typed up to the end of a statement; `None` when nobody types any more.
fn read(editor: &mut Editor<Input, FileHistory>) -> anyhow::Result<Option<String>> {
    let mut text = String::new();
    loop {
        if let Some(input) = editor.helper_mut() {
            input.before.clone_from(&text);
        }
        match editor.readline(if text.is_empty() { PROMPT } else { CONTINUATION }) {
            Ok(line) if text.is_empty() && (line.trim().is_empty() || typed_alone(&line).is_some()) => {
                return Ok(Some(line));
            }
            Ok(line) => {
                text.push_str(&line);
                if splitter::statements(&text).last().is_none_or(|last| !is_open(&last)) {
                    return Ok(Some(text));
                }
                text.push('\n');
            }
            // The line is given up, and with it what it goes on from.
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => {
                if !text.is_empty() {
                    complain!(
                        "not run, since it has no end: {}",
                        dunlin_terminal::printable(text.trim_end())
                    );
                }
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_open(piece: &Piece<'_>) -> bool {
    piece.unfinished.is_some() || !piece.is_blank() && !piece.is_terminated
}

/// Runs the statements of what was typed, up to the first that fails.
async fn run_all(shell: &mut Shell, text: &str) -> anyhow::Result<()> {
    let mut pieces = splitter::statements(text);
    for piece in pieces.by_ref() {
        let status = shell.run(&piece, &Origin::PROMPT).await?;
        if status != Status::Done || shell.ended {
            break;
        }
    }
    match pieces.filter(|piece| !piece.is_blank()).count() {
        0 => {}
        1 => complain!("the statement behind it was not run"),
        n => complain!("the {n} statements behind it were not run"),
    }
    Ok(())
}

/// Names to complete: every keyspace, table and column. `None` if they cannot be had at once.
async fn names(shell: &mut Shell) -> Option<Names> {
    let mut interrupted = pin!(shell.interrupts.next());
    let reply = tokio::select! {
        biased;
        () = &mut interrupted => return None,
        reply = shell.session.ask("SELECT * FROM system.tables;") => reply.ok()?,
    };
    let mut names = Names::default();
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
    Some(names)
}
