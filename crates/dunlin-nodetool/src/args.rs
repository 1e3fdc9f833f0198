//! The command line.

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser, Debug)]
#[command(name = "nodetool", version, about = "Look at a Dunlin cluster and look after it")]
#[command(after_help = "Example: nodetool --host 127.0.0.1 status")]
pub struct Cli {
    /// Address of the node's admin HTTP
    #[arg(long, default_value = "127.0.0.1", env = "DUNLIN_ADMIN_HOST", global = true)]
    pub host: String,
    /// Its port
    #[arg(long, default_value_t = 7199, env = "DUNLIN_ADMIN_PORT", global = true)]
    pub port: u16,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub format: Format,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Nodes of the cluster: up or down, load, ownership, and what needs attention
    Status,
    /// This node: identity, uptime, load, counters
    Info,
    /// Vnodes and their owners
    Ring,
    /// Name, id, partitioner, schema and layout versions of the cluster
    Describecluster,
    /// What gossip knows of every node
    Gossipinfo,
    /// Layouts in force, staged changes, watermarks of every member
    Layout,
    /// The replicas of a key
    Getendpoints {
        /// Keyspace
        keyspace: String,
        /// Table
        table: String,
        /// Key, as in a statement without quotes
        key: String,
    },
    /// Messages between nodes
    Netstats,
    /// Tasks and queues
    Tpstats,
    /// Compactions
    Compactionstats,
    /// Tables: size, SSTables, memtables
    Tablestats,
    /// Write memtables to SSTables
    Flush {
        /// Only this keyspace
        keyspace: Option<String>,
        /// Only this table of it
        table: Option<String>,
    },
    /// Merge SSTables into as few as possible
    Compact {
        /// Only this keyspace
        keyspace: Option<String>,
        /// Only this table of it
        table: Option<String>,
    },
    /// Compare this node's vnodes with every other replica now, and mend what differs
    Repair {
        /// Only this keyspace
        keyspace: Option<String>,
        /// Only this table of it
        table: Option<String>,
    },
    /// Hints waiting for nodes that were away
    Hints {
        #[command(subcommand)]
        verb: HintsVerb,
    },
    /// Take no more client requests and bring everything to disk
    Drain,
    /// Take this node out of the cluster; its data moves to the others first
    Decommission,
    /// Take a node that is dead for good out of the cluster
    Removenode {
        /// Its host id or name
        host_id: String,
        /// Also when no majority of the members remains: you vouch that those removed never come back
        #[arg(long)]
        force: bool,
    },
    /// Give up a staged change of membership
    Abort {
        /// Host id or name of the node that was to join or leave
        host_id: String,
    },
    /// Version of the node
    Version,
}

#[derive(Subcommand, Debug)]
pub enum HintsVerb {
    /// Count, bytes and age for each target
    List,
}

impl Verb {
    /// Its name on the command line and in the path of the admin HTTP.
    pub fn name(&self) -> &'static str {
        match self {
            Verb::Status => "status",
            Verb::Info => "info",
            Verb::Ring => "ring",
            Verb::Describecluster => "describecluster",
            Verb::Gossipinfo => "gossipinfo",
            Verb::Layout => "layout",
            Verb::Getendpoints { .. } => "getendpoints",
            Verb::Netstats => "netstats",
            Verb::Tpstats => "tpstats",
            Verb::Compactionstats => "compactionstats",
            Verb::Tablestats => "tablestats",
            Verb::Flush { .. } => "flush",
            Verb::Compact { .. } => "compact",
            Verb::Repair { .. } => "repair",
            Verb::Hints { .. } => "hints",
            Verb::Drain => "drain",
            Verb::Decommission => "decommission",
            Verb::Removenode { .. } => "removenode",
            Verb::Abort { .. } => "abort",
            Verb::Version => "version",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["nodetool", "status", "--format", "json", "--port", "1"]);
        assert_eq!((cli.format, cli.port, cli.verb.name()), (Format::Json, 1, "status"));
        let cli = Cli::parse_from(["nodetool", "removenode", "h", "--force"]);
        assert!(matches!(cli.verb, Verb::Removenode { force: true, .. }));
    }
}
