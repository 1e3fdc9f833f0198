//! What is known about one node.

use crate::delta::NodeDelta;
use crate::digest::NodeDigest;
use crate::key;
use bytes::Bytes;
use dunlin_types::{Generation, HostId};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A value and the version at which its node set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Versioned {
    /// Position in the node's own sequence of changes, 1 and up.
    pub version: u64,
    /// The bytes.
    pub value: Bytes,
}

/// The state of one start of one node, as far as it is known here.
///
/// Only the node itself changes it, so copies are ordered: by generation, then by version. Values are
/// never removed within a generation.
///
/// Invariant: every value that the node set last at or below `version` is in `values`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeState {
    generation: Generation,
    heartbeat: u64,
    version: u64,
    values: BTreeMap<String, Versioned>,
}

/// What a delta did to a state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Names of values that are new or changed.
    pub changed: Vec<String>,
    /// The heartbeat went up.
    pub heartbeat: bool,
}

impl NodeState {
    /// A start of a node of which nothing else is known yet.
    pub fn new(generation: Generation) -> NodeState {
        NodeState { generation, heartbeat: 0, version: 0, values: BTreeMap::new() }
    }

    /// Which start of the node.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its ticks so far.
    pub fn heartbeat(&self) -> u64 {
        self.heartbeat
    }

    /// The highest version up to which everything is known.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All values by name.
    pub fn values(&self) -> &BTreeMap<String, Versioned> {
        &self.values
    }

    /// One value.
    pub fn value(&self, name: &str) -> Option<&Bytes> {
        self.values.get(name).map(|v| &v.value)
    }

    /// One value as text; none if it is not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.value(name)?).ok()
    }

    /// Where peers reach the node, once it has said so.
    pub fn address(&self) -> Option<SocketAddr> {
        self.text(key::INTERNODE)?.parse().ok()
    }

    /// Whether the node said that this start of it is over.
    pub fn is_shut_down(&self) -> bool {
        self.text(key::STATUS) == Some(key::STATUS_SHUTDOWN)
    }

    /// The node's own tick.
    pub fn beat(&mut self) {
        self.heartbeat += 1;
    }

    /// The node's own change; false if the value is that already.
    pub fn set(&mut self, name: &str, value: Bytes) -> bool {
        if self.value(name) == Some(&value) {
            return false;
        }
        self.version += 1;
        self.values.insert(name.to_owned(), Versioned { version: self.version, value });
        true
    }

    /// Learns a heartbeat; true if it is news.
    pub fn learn_heartbeat(&mut self, heartbeat: u64) -> bool {
        let news = heartbeat > self.heartbeat;
        self.heartbeat = self.heartbeat.max(heartbeat);
        news
    }

    /// In short, for a digest.
    pub fn digest(&self, host: HostId) -> NodeDigest {
        NodeDigest { host, generation: self.generation, heartbeat: self.heartbeat, version: self.version }
    }

    /// Values set after version `after`, oldest change first, as many as fit into `bytes_max`; at least
    /// one if there is any. The prefix of a longer sequence keeps the invariant at the receiver.
    pub fn since(&self, host: HostId, after: u64, bytes_max: usize) -> NodeDelta {
        let mut newer: Vec<(&String, &Versioned)> =
            self.values.iter().filter(|(_, v)| v.version > after).collect();
        newer.sort_by_key(|(_, v)| v.version);
        let mut delta = NodeDelta {
            host,
            generation: self.generation,
            heartbeat: self.heartbeat,
            after,
            values: Vec::new(),
        };
        let mut bytes = 0;
        for (name, v) in newer {
            bytes += name.len() + v.value.len() + crate::delta::VALUE_OVERHEAD_BYTES;
            if bytes > bytes_max && !delta.values.is_empty() {
                break;
            }
            delta.values.push((name.clone(), v.version, v.value.clone()));
        }
        delta
    }

    /// Takes what is news of a delta about the same generation. A delta that begins above what is known
    /// here would leave a gap and is ignored, but for its heartbeat.
    pub fn apply(&mut self, delta: NodeDelta) -> Applied {
        debug_assert_eq!(self.generation, delta.generation);
        let mut applied = Applied { heartbeat: self.learn_heartbeat(delta.heartbeat), changed: Vec::new() };
        if delta.after > self.version {
            return applied;
        }
        for (name, version, value) in delta.values {
            if version <= self.version {
                continue;
            }
            if !self.values.contains_key(&name) && self.values.len() >= key::VALUES_MAX {
                break;
            }
            self.version = version;
            let before = self.values.insert(name.clone(), Versioned { version, value: value.clone() });
            if before.is_none_or(|b| b.value != value) {
                applied.changed.push(name);
            }
        }
        applied
    }
}
