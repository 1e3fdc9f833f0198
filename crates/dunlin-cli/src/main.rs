//! The `dunlin` command: a node, a whole local cluster, and everything a developer types.
//!
//! One file a verb. Exit status: 0 done, 1 the operation failed, 2 wrong usage.

// A closed pipe or a full disk must not end in a panic: `dunlin_terminal::say!`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod admin;
mod args;
mod bench;
mod certs;
mod copy;
mod local;
mod oneshot;
mod output;
mod server;
mod settings;
mod shell;
mod verify;

use args::{Cli, Verb};
use clap::CommandFactory;
use dunlin_terminal::Output;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli: Cli = match dunlin_terminal::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let format = cli.verb.format();
    let done = match cli.verb {
        Verb::Server(args) => server::run(&args),
        Verb::CheckConfig(args) => server::check(&args),
        Verb::Local(args) => block_on(local::run(args)),
        Verb::Shell(args) => block_on(shell::run(args)),
        Verb::Get(args) => block_on(oneshot::get(args)),
        Verb::Put(args) => block_on(oneshot::put(args)),
        Verb::Delete(args) => block_on(oneshot::delete(args)),
        Verb::Scan(args) => block_on(oneshot::scan(args)),
        Verb::Verify(args) => block_on(verify::run(args)),
        Verb::Bench(args) => block_on(bench::run(args)),
        Verb::Certs(args) => certs::run(args),
        Verb::Completions { shell } => completions(shell),
    };
    dunlin_terminal::finish_as("dunlin", format, done)
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dunlin", &mut text);
    let mut out = Output::new();
    out.write(&text)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(future);
    // Nothing is waited for: a terminal's line reader may still sit in its read.
    runtime.shutdown_background();
    done
}
