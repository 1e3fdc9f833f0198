//! `dunlin shell`, `dunlin verify`.

use super::{Connect, Target};
use crate::settings::Settings;
use clap::{Args, ValueEnum};
use dunlin_client::NodeAddress;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Debug)]
#[command(
    after_help = "The file has two columns, key and value, and no header (unless --header). Exits 1 if a key is missing or differs."
)]
pub struct VerifyArgs {
    /// The CSV file
    pub file: PathBuf,
    /// The first row is a header
    #[arg(long)]
    pub header: bool,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  dunlin shell\n  dunlin shell 10.0.0.5 -e \"SELECT * FROM kv WHERE key = 'alice'\"\n  dunlin shell -e \"COPY kv FROM 'rows.csv' WITH HEADER = true\"\n-e, -f and a pipe stop at the first statement that fails, with status 1; Ctrl-C ends them with 130.\nHistory: ~/.dunlin_history, or $DUNLIN_HISTORY (empty: none)."
)]
pub struct ShellArgs {
    /// A node, as with --host
    #[arg(value_name = "HOST[:PORT]", conflicts_with = "host")]
    pub node: Option<NodeAddress>,
    /// Run these statements and end
    #[arg(short = 'e', long, value_name = "STATEMENTS", allow_hyphen_values = true)]
    pub execute: Option<String>,
    /// Run the statements of this file and end; - is standard input
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "execute")]
    pub file: Option<PathBuf>,
    /// table, tsv (the default when the output is no terminal) or json
    #[arg(long, value_enum)]
    pub format: Option<RowFormat>,
    #[command(flatten)]
    pub connect: Connect,
}

/// How long the shell waits for an answer when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(30);

impl ShellArgs {
    /// The options with what the environment and the file say where they are silent.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let mut connect = self.connect.clone();
        connect.host.extend(self.node.clone());
        Settings::gather(&connect, None, TIMEOUT)
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    Table,
    Tsv,
    Json,
}
