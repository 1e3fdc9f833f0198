//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use dunlin_types::Consistency;
use std::path::PathBuf;
use std::time::Duration;

/// Where the client verbs connect when nothing else is said.
pub const DEFAULT_HOST: &str = "127.0.0.1:9041";
/// Port of the text protocol.
pub const CLIENT_PORT: u16 = 9041;

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
    /// Say what is wrong with a configuration file
    CheckConfig(CheckArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin server --config /etc/dunlin/dunlin.toml")]
pub struct ConfigArgs {
    /// The node's TOML file; conf/dunlin.toml is the annotated reference
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin check-config /etc/dunlin/dunlin.toml")]
pub struct CheckArgs {
    /// The file to check
    pub file: PathBuf,
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

/// Which cluster, and how sure.
#[derive(Args, Debug, Clone)]
pub struct Target {
    /// A node: HOST[:PORT]; may be given several times
    #[arg(long, value_name = "HOST[:PORT]", default_value = DEFAULT_HOST, env = "DUNLIN_HOST", value_delimiter = ',')]
    pub host: Vec<String>,
    /// Table, as table or keyspace.table
    #[arg(long, default_value = "dunlin.kv")]
    pub table: String,
    /// ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM, EACH_QUORUM, ANY
    #[arg(long, default_value = "QUORUM")]
    pub consistency: Consistency,
    /// Longest wait for an answer, in seconds
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub timeout: f64,
}

impl Target {
    /// Hosts with their port.
    pub fn hosts(&self) -> Vec<String> {
        self.host.iter().map(|host| with_port(host)).collect()
    }

    /// The wait as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout).unwrap_or(Duration::from_secs(10))
    }

    /// Options of a client for this target.
    pub fn options(&self) -> dunlin_client::Options {
        dunlin_client::Options {
            consistency: Some(self.consistency),
            timeout: self.timeout(),
            ..Default::default()
        }
    }
}

/// `host` or `host:port` with the port added where it is missing.
pub fn with_port(host: &str) -> String {
    let bare_v6 = host.matches(':').count() > 1 && !host.contains(']');
    match host.rsplit_once(':') {
        _ if bare_v6 => format!("[{host}]:{CLIENT_PORT}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:{CLIENT_PORT}"),
    }
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin get alice\nExit status 1 when there is no such key. Concurrent values are printed one a line."
)]
pub struct GetArgs {
    /// The key
    pub key: String,
    #[command(flatten)]
    pub target: Target,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin put alice '3 apples' --consistency ALL")]
pub struct PutArgs {
    /// The key
    pub key: String,
    /// The value
    pub value: String,
    /// Supersede exactly what this context has seen
    #[arg(long)]
    pub context: Option<String>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin delete alice")]
pub struct DeleteArgs {
    /// The key
    pub key: String,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dunlin scan --table shop.baskets --limit 100")]
pub struct ScanArgs {
    #[command(flatten)]
    pub target: Target,
    /// Stop after this many rows
    #[arg(long)]
    pub limit: Option<u64>,
    /// text or json (one object a line)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

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

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example: dunlin certs init --dir certs && dunlin certs issue n1 --san 10.0.0.5 --dir certs"
)]
pub struct CertsArgs {
    #[command(subcommand)]
    pub verb: CertsVerb,
}

#[derive(Subcommand, Debug)]
pub enum CertsVerb {
    /// Make the cluster's certificate authority: ca.crt and ca.key (keep the key away from the nodes)
    Init {
        /// Folder for the files
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
    },
    /// Make a node's certificate and key, signed by the authority in the folder
    Issue {
        /// The node's name, as in [node] name of its configuration
        name: String,
        /// Further host names or addresses the certificate is good for
        #[arg(long = "san", value_name = "NAME|IP")]
        sans: Vec<String>,
        /// Folder with ca.crt and ca.key; the node's files go there too
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
    },
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ports_are_added() {
        for (given, full) in [
            ("127.0.0.1", "127.0.0.1:9041"),
            ("node:7", "node:7"),
            ("::1", "[::1]:9041"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(with_port(given), full);
        }
    }
}
