//! `dunlin server`, `dunlin check-config`.

use crate::args::{CheckArgs, ConfigArgs};
use dunlin_server::run::Findings;
use dunlin_terminal::{complain, explain, printable, say};
use std::process::ExitCode;

/// Runs a node until it is told to stop.
pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    Ok(match dunlin_server::run::serve(&args.config, args.until_stdin_closes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("dunlin server: {}", explain(&error));
            ExitCode::FAILURE
        }
    })
}

/// Says what is wrong with a file, and with what it names on this computer.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let Findings { problems, notes } = dunlin_server::run::check(&args.file, args.text_only);
    if problems.is_empty() {
        say!("{} is fine", args.file.display())?;
    }
    for note in &notes {
        complain!("note: {}", printable(note));
    }
    for problem in &problems {
        // An error of the parser shows the lines around it.
        complain!("{}", problem.lines().map(printable).collect::<Vec<_>>().join("\n"));
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
