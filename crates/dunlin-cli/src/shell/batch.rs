//! Statements that nobody types: from `-e`, a file or a pipe, each run as soon as it is read.

use super::Shell;
use super::execute::Status;
use super::failure::Trouble;
use super::origin::Origin;
use super::statements::Statements;
use crate::args::RowFormat;
use dunlin_cql::splitter;
use dunlin_terminal::complain;

/// Runs statement after statement up to the first that fails. The last needs no `;`.
pub async fn run(shell: &mut Shell, mut statements: Statements) -> anyhow::Result<Status> {
    while !shell.ended {
        let read = tokio::select! {
            biased;
            () = shell.interrupts.next() => return Ok(Status::Interrupted),
            read = statements.next() => read,
        };
        let chunk = match read {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                // It names the place itself.
                complain_of(shell.style.format, &error);
                return Ok(Status::Failed);
            }
        };
        let origin = Origin::of(&statements, &chunk);
        for piece in splitter::statements(&chunk.text) {
            let status = shell.run(&piece, &origin).await?;
            if status != Status::Done {
                if statements.has_more() {
                    complain!("{}: what follows was not run", statements.name());
                }
                return Ok(status);
            }
        }
    }
    Ok(Status::Done)
}

/// An error that is about no statement.
pub fn complain_of(format: RowFormat, error: &anyhow::Error) {
    let text = dunlin_terminal::explain(error);
    Trouble::new(text).complain(format, &Origin::PROMPT, "", (1, 1));
}
