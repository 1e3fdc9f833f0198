//! `dunlin server`, `dunlin check-config`.

use crate::args::{CheckArgs, ConfigArgs};
use std::process::ExitCode;

/// Runs a node until it is told to stop.
pub fn run(args: &ConfigArgs) -> ExitCode {
    match dunlin_server::run::serve(&args.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dunlin server: {}", crate::explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with a file.
pub fn check(args: &CheckArgs) -> ExitCode {
    match dunlin_server::config::check(&args.file) {
        Ok(_) => {
            println!("{} is fine", args.file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", crate::explain(&error.into()));
            ExitCode::FAILURE
        }
    }
}
