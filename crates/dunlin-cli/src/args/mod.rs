//! The command line.

mod bench;
mod certs;
mod keys;
mod shell;
mod target;

pub use bench::{BenchArgs, Mix};
pub use certs::{CertsArgs, CertsVerb};
pub use dunlin_terminal::Format;
pub use keys::{DeleteArgs, GetArgs, PutArgs, ScanArgs};
pub use shell::{RowFormat, ShellArgs, VerifyArgs};
pub use target::{Connect, DEFAULT_HOST, Target};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser, Debug)]
#[command(
    name = "dunlin",
    version,
    about = "A leaderless key-value store: nodes, a local cluster, a shell, a load generator"
)]
#[command(
    after_help = "Start with a cluster on this computer:  dunlin local\nand in another terminal:                dunlin shell"
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Run one node in the foreground; logs to stderr; SIGTERM drains and exits
    Server(ConfigArgs),
    /// Run a whole cluster of node processes on this computer
    Local(LocalArgs),
    /// Type statements: history, multi-line, completion, tables, COPY from and to CSV
    Shell(ShellArgs),
    /// Read one key
    Get(GetArgs),
    /// Write one key
    Put(PutArgs),
    /// Delete one key
    Delete(DeleteArgs),
    /// Print every key and value, tab-separated
    Scan(ScanArgs),
    /// Read every key of a CSV file back and compare
    Verify(VerifyArgs),
    /// Make the cluster's certificate authority and nodes' certificates
    Certs(CertsArgs),
    /// Put load on a cluster and measure it
    Bench(BenchArgs),
    /// Say what is wrong with a configuration file, and with the files, names and ports that it names
    CheckConfig(CheckArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

impl Verb {
    /// How its failure is told.
    pub fn format(&self) -> Format {
        match self {
            Verb::Get(args) => args.format,
            Verb::Put(args) => args.format,
            Verb::Delete(args) => args.format,
            Verb::Scan(args) => args.format,
            Verb::Bench(args) => args.format,
            _ => Format::Text,
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin server --config /etc/dunlin/dunlin.toml")]
pub struct ConfigArgs {
    /// The node's TOML file; conf/dunlin.toml is the annotated reference
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Stop also when standard input ends: a node that is started with a pipe there does not outlive its starter
    #[arg(long)]
    pub until_stdin_closes: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  dunlin check-config /etc/dunlin/dunlin.toml\n  dunlin check-config --text-only dunlin.toml\n\
    It looks at all that a node looks at when it starts, with the same environment: unknown keys, values, certificates and their dates,\n\
    the data directory, host names, ports. It changes nothing. Exit status 1 if there is something wrong; notes are no failure."
)]
pub struct CheckArgs {
    /// The file to check
    pub file: PathBuf,
    /// Look at the text alone, not at what it names: for a file that is made for another computer
    #[arg(long)]
    pub text_only: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin local --nodes 5 --dir /tmp/five\nWithout --base-port node i listens on 127.0.0.i with the standard ports \
    (client 9041, internode 7000, admin 7199).\nWith it all are on 127.0.0.1: node i (from 0) has client N+10i, internode N+10i+1, admin N+10i+2."
)]
pub struct LocalArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub nodes: u16,
    /// Where certificates, configuration, data and logs go; kept, and found again at the next start
    #[arg(long, default_value = "dunlin-data")]
    pub dir: PathBuf,
    /// Put all nodes on 127.0.0.1 from this port on (default elsewhere than on Linux: 9041)
    #[arg(long, value_name = "N")]
    pub base_port: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
