//! `dunlin shell`, `dunlin verify`.

use super::Target;
use super::target::DEFAULT_HOST;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

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
    after_help = "Examples:\n  dunlin shell\n  dunlin shell 10.0.0.5 -e \"SELECT * FROM kv WHERE key = 'alice'\"\n  dunlin shell -e \"COPY kv FROM 'rows.csv' WITH HEADER = true\"\nExit status 1 when a statement fails; -e and -f stop there."
)]
pub struct ShellArgs {
    /// A node: HOST[:PORT]
    #[arg(default_value = DEFAULT_HOST, env = "DUNLIN_HOST")]
    pub host: String,
    /// Run these statements and end
    #[arg(short = 'e', long, value_name = "STATEMENT")]
    pub execute: Option<String>,
    /// Run the statements of this file and end
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "execute")]
    pub file: Option<PathBuf>,
    /// table, tsv (the default when the output is no terminal) or json
    #[arg(long, value_enum)]
    pub format: Option<RowFormat>,
    /// Longest wait for an answer, in seconds
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub timeout: f64,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    Table,
    Tsv,
    Json,
}
