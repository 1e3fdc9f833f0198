//! `dunlin shell`: statements typed by a person, given by `-e`, or read from a file or a pipe.
//!
//! [`repl`] is the prompt, [`batch`] everything else: both cut texts into statements and hand them to [`execute`], which
//! carries out what is the shell's own ([`command`]) and sends the rest through [`session`]. [`answer`] and [`failure`]
//! show what came of it.

mod answer;
mod batch;
mod command;
mod copy;
mod execute;
mod failure;
mod help;
mod history;
mod input;
mod interrupts;
mod nature;
mod origin;
mod repl;
mod select;
mod session;
mod statements;
mod terminal;

use crate::args::{RowFormat, ShellArgs};
use answer::Style;
use dunlin_terminal::Unwritten;
use execute::Status;
use interrupts::Interrupts;
use select::Rest;
use session::Session;
use statements::Statements;
use std::io::IsTerminal;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

/// Exit status of what Ctrl-C ended: that of a process that died of its signal.
const INTERRUPTED: u8 = 130;

/// What a shell is in the middle of.
struct Shell {
    session: Session,
    style: Style,
    interrupts: Interrupts,
    /// What MORE goes on with.
    rest: Option<Rest>,
    /// QUIT or EXIT was said.
    ended: bool,
    /// Names may have come or gone since they were last asked for.
    names_changed: bool,
    /// Files at work, each by SOURCE of the one before.
    depth: usize,
}

/// Runs the shell in the mode the arguments ask for. Exit status 1 if any statement failed, 130 after Ctrl-C; at the
/// prompt neither ends it.
pub async fn run(args: ShellArgs) -> anyhow::Result<ExitCode> {
    let terminal = std::io::stdout().is_terminal();
    let format = args.format.unwrap_or(if terminal { RowFormat::Table } else { RowFormat::Tsv });
    match run_as(args, format).await {
        Err(error) if format == RowFormat::Json && !error.is::<Unwritten>() => {
            batch::complain_of(format, &error);
            Ok(ExitCode::FAILURE)
        }
        done => done,
    }
}

async fn run_as(args: ShellArgs, format: RowFormat) -> anyhow::Result<ExitCode> {
    let settings = args.settings()?;
    let statements = match (&args.execute, &args.file) {
        (Some(text), _) => Some(Statements::of_argument(text)),
        (None, Some(file)) if file == Path::new("-") => Some(Statements::of_standard_input()),
        (None, Some(file)) => Some(Statements::of_file(file).await?),
        // Without either end of a terminal there is nobody to talk to.
        (None, None) if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => None,
        (None, None) => Some(Statements::of_standard_input()),
    };
    let mut interrupts = Interrupts::new()?;
    let connected = Session::connect(&settings, &mut pin!(interrupts.next())).await?;
    let Some(session) = connected else { return Ok(ExitCode::from(INTERRUPTED)) };
    let mut shell = Shell {
        session,
        style: Style { format, expanded: false },
        interrupts,
        rest: None,
        ended: false,
        names_changed: false,
        depth: 0,
    };
    let Some(statements) = statements else { return repl::run(&mut shell).await };
    Ok(match batch::run(&mut shell, statements).await? {
        Status::Done => ExitCode::SUCCESS,
        Status::Failed => ExitCode::FAILURE,
        Status::Interrupted => ExitCode::from(INTERRUPTED),
    })
}
