//! `dunlin bench`.

use super::{Format, Target};
use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin bench --clients 64 --seconds 10 --mix a,b --host 127.0.0.1 --host 127.0.0.2 --host 127.0.0.3\n\
    Closed loop: each client sends its next request when the last one was answered. Keys are written once before reads are measured."
)]
pub struct BenchArgs {
    /// Concurrent clients, each with a connection of its own, spread over the hosts
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// How long to measure each mix
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Bytes of a value
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub value_size: u32,
    /// How many different keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
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
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    #[command(flatten)]
    pub target: Target,
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
pub enum Durability {
    Synced,
    Buffered,
}
