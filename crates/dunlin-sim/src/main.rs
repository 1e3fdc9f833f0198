//! `dunlin-sim`: runs simulated clusters under seeds.

use clap::Parser;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    dunlin_sim::cli::execute(dunlin_sim::cli::Cli::parse())
}
