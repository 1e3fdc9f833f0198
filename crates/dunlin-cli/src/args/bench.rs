//! `dunlin bench`.

use super::{Connect, Format};
use crate::settings::Settings;
use clap::{Args, ValueEnum};
use dunlin_client::NodeAddress;
use dunlin_cql::name::TableName;
use dunlin_types::Consistency;
use std::time::Duration;

/// Longest wait for an answer when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Debug, Clone)]
#[command(
    after_help = "Examples:\n  dunlin bench\n  dunlin bench --clients 64 --seconds 10 --mix a,b 10.0.0.1 10.0.0.2 10.0.0.3\n  \
    dunlin bench --rate 5000 --pipeline 8 --format json\n\
    It makes a keyspace and a table of its own and drops them at the end, on Ctrl-C too. With --table it works in yours, under keys that begin\n\
    with dunlin_bench_, and removes the keys it has written. Keys are written once before reads are measured.\n\
    Closed loop: each client sends its next request when the last one was answered. Exit status 1 if anything failed; where a --rate was asked\n\
    for, refusals (OVERLOADED) are no failure."
)]
pub struct BenchArgs {
    /// Nodes: the same as --host
    #[arg(value_name = "HOST[:PORT]", conflicts_with = "host")]
    pub nodes: Vec<NodeAddress>,
    /// Concurrent clients, each with a connection of its own, spread over the hosts
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// How long to measure each mix
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub seconds: Duration,
    /// Bytes of a value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub value_size: u32,
    /// How many different keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub keys: u64,
    /// What to measure
    #[arg(long, value_enum, default_values_t = [Mix::Put, Mix::Get], value_delimiter = ',')]
    pub mix: Vec<Mix>,
    /// Statements that all clients together send a second, however fast they are answered (open loop). Latency
    /// then counts from when a statement was due. Without it each client waits for its answers (closed loop)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Statements in flight on each connection; with --rate, the most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub pipeline: u32,
    /// `synced` (acknowledge after the disk has it) or `buffered`
    #[arg(long, value_enum, default_value_t = Durability::Synced)]
    pub durability: Durability,
    /// Seed of keys and values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Work in this table (table or keyspace.table, both of its columns text) instead of one of its own
    #[arg(long)]
    pub table: Option<TableName>,
    /// How its own table treats concurrent writes
    #[arg(long, value_enum, default_value_t = Conflicts::Siblings, conflicts_with = "table")]
    pub conflicts: Conflicts,
    /// Leave the table, or the keys in the table that was given, as they are at the end
    #[arg(long)]
    pub keep: bool,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM, EACH_QUORUM, ANY [env: DUNLIN_CONSISTENCY] [default: QUORUM]
    #[arg(long, value_name = "LEVEL")]
    pub consistency: Option<Consistency>,
    #[command(flatten)]
    pub connect: Connect,
}

impl BenchArgs {
    /// How the cluster is reached.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let mut connect = self.connect.clone();
        connect.host.extend(self.nodes.iter().cloned());
        Settings::gather(&connect, self.consistency, TIMEOUT)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let good = time.filter(|time| !time.is_zero() && *time <= Duration::from_secs(30 * 24 * 3600));
    good.ok_or_else(|| format!("{text:?} is not a number of seconds above 0 and up to 30 days"))
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Writes only
    Put,
    /// Reads only
    Get,
    /// Half reads, half writes (YCSB A)
    A,
    /// 95 % reads (YCSB B)
    B,
    /// 95 % scans of 50 keys from a random place (YCSB E)
    E,
}

impl Mix {
    /// Its name on the command line and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Mix::Put => "put",
            Mix::Get => "get",
            Mix::A => "a",
            Mix::B => "b",
            Mix::E => "e",
        }
    }

    /// Share of reads.
    pub fn reads(self) -> f64 {
        match self {
            Mix::Put => 0.0,
            Mix::Get => 1.0,
            Mix::A => 0.5,
            Mix::B | Mix::E => 0.95,
        }
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub enum Conflicts {
    /// All concurrent values are kept
    Siblings,
    /// The last one wins
    LastWriteWins,
}

impl Conflicts {
    /// Its name in a statement.
    pub fn name(self) -> &'static str {
        match self {
            Conflicts::Siblings => "siblings",
            Conflicts::LastWriteWins => "last_write_wins",
        }
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Synced,
    Buffered,
}

impl Durability {
    /// Its name on the command line and in a statement.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Synced => "synced",
            Durability::Buffered => "buffered",
        }
    }
}
