//! The command line.

use clap::{Parser, Subcommand};
use dunlin_terminal::Format;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser, Debug)]
#[command(name = "nodetool", version, about = "Look at a Dunlin cluster and look after it")]
#[command(
    after_help = "Examples:\n  nodetool status\n  nodetool --host 10.0.0.5:7199 repair shop\n  nodetool --format json info | jq .load_bytes\n\
    Exit status: 0 done, 1 the operation failed, 2 wrong usage. With --format json an error is an object, {\"error\": \"...\"}, on standard error."
)]
pub struct Cli {
    /// The node's admin HTTP [default: 127.0.0.1, or the variable DUNLIN_ADMIN_HOST]
    #[arg(long, value_name = "HOST[:PORT]", global = true)]
    pub host: Option<String>,
    /// Its port [default: 7199, or the variable DUNLIN_ADMIN_PORT]
    #[arg(long, global = true)]
    pub port: Option<u16>,
    /// Longest wait for the whole verb, in seconds [default: 5 for an answer that the node has at hand; work such as flush,
    /// repair or compact is waited for as long as the node lives]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, global = true)]
    pub timeout: Option<Duration>,
    /// text or json
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub format: Format,
    #[command(subcommand)]
    pub verb: Verb,
}

/// A time that can be waited.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a number of seconds above 0 and up to a year");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    let longest = Duration::from_secs(365 * 24 * 3600);
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero() && *time <= longest)
        .ok_or_else(wrong)
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
    /// SSTables of this node that may hold a key
    Getsstables {
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
    /// Flushes and compactions: running, pending, write amplification; tasks that operators have started
    Compactionstats,
    /// Tables: size, SSTables, memtables, damage; how the block cache and the filters do
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
    /// Read every SSTable and check it; exit status 1 if something is damaged
    Verify {
        /// Only this keyspace
        keyspace: Option<String>,
        /// Only this table of it
        table: Option<String>,
    },
    /// Rewrite damaged SSTables without what cannot be read; that is fetched from the other replicas.
    /// With --data-dir, mend the commit log of a node that is stopped because its log is damaged
    Scrub {
        /// Only this keyspace
        keyspace: Option<String>,
        /// Only this table of it
        table: Option<String>,
        /// The data directory of a stopped node (node.data_dir)
        #[arg(long, conflicts_with = "keyspace")]
        data_dir: Option<PathBuf>,
    },
    /// Remove data that this node does not own any more, after other nodes have joined
    Cleanup {
        /// Only this keyspace
        keyspace: Option<String>,
        /// Only this table of it
        table: Option<String>,
    },
    /// Keep all tables of this node as they are now, under a name
    Snapshot {
        /// Letters, digits, `-`, `_` and `.`; without it the time in seconds
        #[arg(long)]
        name: Option<String>,
    },
    /// Snapshots of this node: age, size, tables
    Listsnapshots,
    /// Remove a snapshot
    Clearsnapshot {
        /// Its name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// Remove all snapshots of this node
        #[arg(long)]
        all: bool,
    },
    /// Put a stopped node's data back to a snapshot; what was written since is fetched from the other replicas
    Restore {
        /// The snapshot
        name: String,
        /// The data directory of the stopped node (node.data_dir)
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// Compare this node's vnodes with every other replica now, and mend what differs
    Repair(Repair),
    /// Deletions that are still kept, and what keeps them
    Tombstones {
        /// Only this keyspace
        keyspace: Option<String>,
        /// Only this table of it
        table: Option<String>,
    },
    /// Hints waiting for nodes that were away; without a further word, `hints list`
    Hints {
        #[command(subcommand)]
        verb: Option<HintsVerb>,
    },
    /// The same as `hints list`
    Listpendinghints,
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
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What is repaired, and how.
#[derive(clap::Args, Debug, Default)]
pub struct Repair {
    /// Only this keyspace
    pub keyspace: Option<String>,
    /// Only this table of it
    pub table: Option<String>,
    /// Only this keyspace
    #[arg(long = "keyspace", value_name = "KEYSPACE", conflicts_with = "keyspace")]
    pub only_keyspace: Option<String>,
    /// Only tables of this name
    #[arg(long = "table", value_name = "TABLE", conflicts_with = "table")]
    pub only_table: Option<String>,
    /// Only with this node (name or host id)
    #[arg(long)]
    pub peer: Option<String>,
    /// Only vnodes whose first replica is this node: run on every node, each vnode is compared once
    #[arg(long)]
    pub primary: bool,
    /// Count what differs, and move nothing
    #[arg(long)]
    pub preview: bool,
    /// End the repairs that run on this node
    #[arg(long)]
    pub cancel: bool,
}

#[derive(Subcommand, Debug)]
pub enum HintsVerb {
    /// For each target: count, bytes, age of the oldest, rate, time left, and what was dropped by which rule
    List,
    /// Wait until all hints kept before now are delivered (or dropped by a rule); --timeout gives up, with exit status 1
    Wait {
        /// Only those for this node, by name or host id
        #[arg(long)]
        target: Option<String>,
    },
    /// Deliver none until `resume` or a restart of this node; hints are still kept
    Pause {
        /// Only those for this node, by name or host id
        #[arg(long)]
        target: Option<String>,
    },
    /// Deliver them again
    Resume {
        /// Only those for this node, by name or host id
        #[arg(long)]
        target: Option<String>,
    },
    /// Throw them away; repair owns the difference then
    Truncate {
        /// Only those for this node, by name or host id
        #[arg(long)]
        target: Option<String>,
    },
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
            Verb::Getsstables { .. } => "getsstables",
            Verb::Netstats => "netstats",
            Verb::Tpstats => "tpstats",
            Verb::Compactionstats => "compactionstats",
            Verb::Tablestats => "tablestats",
            Verb::Flush { .. } => "flush",
            Verb::Compact { .. } => "compact",
            Verb::Verify { .. } => "verify",
            Verb::Scrub { .. } => "scrub",
            Verb::Cleanup { .. } => "cleanup",
            Verb::Snapshot { .. } => "snapshot",
            Verb::Listsnapshots => "listsnapshots",
            Verb::Clearsnapshot { .. } => "clearsnapshot",
            Verb::Restore { .. } => "restore",
            Verb::Repair(_) => "repair",
            Verb::Tombstones { .. } => "tombstones",
            Verb::Hints { .. } | Verb::Listpendinghints => "hints",
            Verb::Drain => "drain",
            Verb::Decommission => "decommission",
            Verb::Removenode { .. } => "removenode",
            Verb::Abort { .. } => "abort",
            Verb::Version => "version",
            Verb::Completions { .. } => "completions",
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
        assert_eq!((cli.format, cli.port, cli.verb.name()), (Format::Json, Some(1), "status"));
        let cli = Cli::parse_from(["nodetool", "removenode", "h", "--force"]);
        assert!(matches!(cli.verb, Verb::Removenode { force: true, .. }));
        let cli = Cli::parse_from(["nodetool", "hints", "wait", "--target", "n2", "--timeout", "5"]);
        assert!(matches!(cli.verb, Verb::Hints { verb: Some(HintsVerb::Wait { .. }) }));
        assert_eq!(cli.timeout, Some(Duration::from_secs(5)));
        assert!(matches!(Cli::parse_from(["nodetool", "hints"]).verb, Verb::Hints { verb: None }));
        let wrong = |args: &[&str]| Cli::try_parse_from([&["nodetool"], args].concat()).is_err();
        assert!(
            wrong(&["--timeout", "0", "status"])
                && wrong(&["--timeout", "-1", "status"])
                && wrong(&["clearsnapshot"])
                && wrong(&["clearsnapshot", "a", "--all"])
                && wrong(&["restore", "a"])
        );
        let cli = Cli::parse_from(["nodetool", "restore", "a", "--data-dir", "d"]);
        assert_eq!(cli.verb.name(), "restore");
    }
}
