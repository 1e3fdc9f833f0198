//! `dunlin server`, `dunlin check-config`.

use crate::args::{CheckArgs, ConfigArgs};
use dunlin_terminal::{complain, explain, say};
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

/// Says what is wrong with a file.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    match dunlin_server::config::check(&args.file) {
        Ok(_) => {
            say!("{} is fine", args.file.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            complain!("{}", explain(&error.into()));
            Ok(ExitCode::FAILURE)
        }
    }
}
