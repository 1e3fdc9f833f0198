//! The sections of the configuration with their defaults.

use super::Size;
use dunlin_types::limits;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[cluster]`: what all nodes of a cluster agree on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSection {
    /// The cluster's name; nodes of another name are refused.
    pub name: String,
    /// Internode addresses (`host:port`) where a node looks for the cluster. The first one founds it.
    /// Empty: this node founds a cluster of its own.
    pub seeds: Vec<String>,
    /// Replication factor of the keyspace `dunlin`, which the founder makes.
    pub default_replication_factor: u32,
    /// Virtual nodes of the ring, a power of two; fixed at founding.
    pub vnodes: u32,
}

impl Default for ClusterSection {
    fn default() -> Self {
        ClusterSection {
            name: "dunlin".into(),
            seeds: Vec::new(),
            default_replication_factor: 3,
            vnodes: 256,
        }
    }
}

/// `[node]`: this node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// Its name: the one in its certificate.
    pub name: String,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Its rack; replicas of a key stand on different racks while there are enough.
    pub rack: String,
    /// Its data centre.
    pub data_center: String,
    /// Its share of the ring relative to the others.
    pub weight: u32,
}

impl Default for NodeSection {
    fn default() -> Self {
        NodeSection {
            name: "n1".into(),
            data_dir: "dunlin-data".into(),
            rack: "r1".into(),
            data_center: "dc1".into(),
            weight: 100,
        }
    }
}

/// `[internode]`: QUIC with mutual TLS between nodes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternodeSection {
    /// UDP address to listen on.
    pub address: String,
    /// Where other nodes reach this one; empty: at `address`.
    pub advertise: String,
    /// The cluster's CA, PEM.
    pub ca: PathBuf,
    /// This node's certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Default for InternodeSection {
    fn default() -> Self {
        InternodeSection {
            address: "127.0.0.1:7000".into(),
            advertise: String::new(),
            ca: "certs/ca.crt".into(),
            certificate: "certs/n1.crt".into(),
            key: "certs/n1.key".into(),
        }
    }
}

/// `[client]`: the text protocol.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSection {
    /// TCP address to listen on.
    pub address: String,
    /// Where clients reach this node; empty: at `address`.
    pub advertise: String,
    /// TLS on that port.
    pub tls: bool,
    /// Certificate for it, PEM; empty: that of `[internode]`.
    pub certificate: PathBuf,
    /// Its key, PEM; empty: that of `[internode]`.
    pub key: PathBuf,
    /// Allows plain text on an address other than loopback.
    pub allow_plaintext: bool,
}

impl Default for ClientSection {
    fn default() -> Self {
        ClientSection {
            address: "127.0.0.1:9041".into(),
            advertise: String::new(),
            tls: false,
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            allow_plaintext: false,
        }
    }
}

/// `[admin]`: HTTP for operators, metrics and health.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// TCP address to listen on.
    pub address: String,
}

impl Default for AdminSection {
    fn default() -> Self {
        AdminSection { address: "127.0.0.1:7199".into() }
    }
}

/// `[storage]`: the engine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSection {
    /// A table's memtable is written to an SSTable at this size.
    pub memtable_size: Size,
    /// Writes are refused while all memtables together hold this much.
    pub memtables_size_max: Size,
    /// Size of a commit log segment.
    pub log_segment_size: Size,
    /// Tables are flushed so that the log stays below this.
    pub log_size_max: Size,
    /// Cache of decompressed blocks.
    pub block_cache_size: Size,
    /// Threads that merge SSTables.
    pub compaction_threads: usize,
    /// Most bytes a second that all of them write together; 0: as fast as they can.
    pub compaction_bytes_per_second: Size,
}

impl Default for StorageSection {
    fn default() -> Self {
        StorageSection {
            memtable_size: Size::mib(64),
            memtables_size_max: Size::mib(512),
            log_segment_size: Size::mib(64),
            log_size_max: Size::mib(512),
            block_cache_size: Size::mib(256),
            compaction_threads: 1,
            compaction_bytes_per_second: Size::mib(64),
        }
    }
}

/// `[replication]`: requests and hints.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationSection {
    /// Longest wait of a read that names none.
    pub read_timeout_ms: u64,
    /// Longest wait of a write that names none.
    pub write_timeout_ms: u64,
    /// Longest that a read waits for an answer before it asks one more replica; a table's `speculative_retry` may
    /// say less.
    pub speculative_after_ms: u64,
    /// No new hints for a node whose oldest one is older than this.
    pub hints_window_s: u64,
    /// Most bytes of hints for one node.
    pub hints_target_size_max: Size,
    /// Hints that this node takes from all that deliver to it, bytes a second; less while clients keep it busy.
    pub hints_rate: Size,
}

impl Default for ReplicationSection {
    fn default() -> Self {
        ReplicationSection {
            read_timeout_ms: 5_000,
            write_timeout_ms: 5_000,
            speculative_after_ms: 50,
            hints_window_s: 10_800,
            hints_target_size_max: Size::mib(1024),
            hints_rate: Size::mib(16),
        }
    }
}

/// `[repair]`: anti-entropy.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepairSection {
    /// Every virtual node is compared with each co-replica about once in this time; 0: only on demand.
    pub interval_s: u64,
    /// A deletion is kept at least for the table's `gc_grace_seconds` and this time: more than the longest life of a
    /// message and the largest error of clocks together.
    pub purge_margin_s: u64,
}

impl Default for RepairSection {
    fn default() -> Self {
        RepairSection { interval_s: 600, purge_margin_s: 240 }
    }
}

/// `[gossip]`: membership and failure detection. All nodes should agree.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GossipSection {
    /// Time between two rounds.
    pub interval_ms: u64,
    /// Suspicion at which a silent node is taken for down.
    pub phi_threshold: f64,
}

impl Default for GossipSection {
    fn default() -> Self {
        GossipSection { interval_ms: 200, phi_threshold: 8.0 }
    }
}

/// `[limits]`: bounds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Client connections.
    pub connections: usize,
    /// Statements of one connection that are read before the first is answered.
    pub pipeline: usize,
    /// Longest statement.
    pub statement_size_max: Size,
    /// Longest value.
    pub value_size_max: Size,
    /// Requests of other nodes that are handled at once; more are refused as overloaded.
    pub internode_requests: usize,
    /// Statements of all clients that are worked on at once, at most.
    pub statements: usize,
    /// Mean latency above which fewer statements are worked on at once.
    pub latency_target_ms: u64,
    /// Longest wait of a statement for its turn.
    pub queue_wait_ms: u64,
    /// Operators' requests that are handled at once.
    pub admin_requests: usize,
}

impl Default for LimitsSection {
    fn default() -> Self {
        LimitsSection {
            connections: limits::CONNECTIONS_MAX,
            pipeline: limits::PIPELINE_MAX,
            statement_size_max: Size(limits::STATEMENT_BYTES_MAX as u64),
            value_size_max: Size(limits::VALUE_BYTES_MAX as u64),
            internode_requests: 16_384,
            statements: 8192,
            latency_target_ms: 100,
            queue_wait_ms: 250,
            admin_requests: 32,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what goes to standard error.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,dunlin_gossip=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection { level: "info".into(), format: LogFormat::Text }
    }
}
