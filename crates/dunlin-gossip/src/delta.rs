//! Deltas: the values that a digest showed to be missing.

use crate::digest::Digest;
use crate::state::NodeState;
use bytes::Bytes;
use dunlin_types::{Generation, HostId};
use serde::{Deserialize, Serialize};

/// What a value costs on the wire beyond its name and bytes, at most about.
pub(crate) const VALUE_OVERHEAD_BYTES: usize = 16;
/// What a node costs beyond its values, at most about.
const NODE_OVERHEAD_BYTES: usize = 56;

/// News of one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeDelta {
    /// The node.
    pub host: HostId,
    /// Which start of it.
    pub generation: Generation,
    /// Its heartbeat.
    pub heartbeat: u64,
    /// The values are those set after this version.
    pub after: u64,
    /// Name, version, value; by version, ascending.
    pub values: Vec<(String, u64, Bytes)>,
}

/// News of several nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Delta {
    /// At most one entry a node.
    pub nodes: Vec<NodeDelta>,
}

impl Delta {
    /// What the owner of `digest` lacks, within about `bytes_max`: news of `first` (the sender) before
    /// all others, then the nodes of which it lacks most ("scuttle-depth" of the paper, which spreads
    /// news evenly when not all of it fits). What is left out goes with a later exchange.
    pub fn for_digest<'a>(
        digest: &Digest,
        states: impl Iterator<Item = (HostId, &'a NodeState)>,
        first: HostId,
        bytes_max: usize,
    ) -> Delta {
        let mut stale: Vec<(bool, u64, HostId, u64, &NodeState)> = Vec::new();
        for (host, state) in states {
            let after = match digest.get(host) {
                Some(known) if known.generation > state.generation() => continue,
                Some(known) if known.generation == state.generation() => {
                    if known.version >= state.version() {
                        continue;
                    }
                    known.version
                }
                _ => 0,
            };
            stale.push((host != first, state.version() - after, host, after, state));
        }
        stale.sort_by_key(|&(other, depth, host, ..)| (other, std::cmp::Reverse(depth), host));
        let mut delta = Delta::default();
        let mut left = bytes_max;
        for (_, _, host, after, state) in stale {
            let news = state.since(host, after, left.saturating_sub(NODE_OVERHEAD_BYTES));
            let bytes = news.bytes();
            if bytes > left && !delta.nodes.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            delta.nodes.push(news);
        }
        delta
    }
}

impl NodeDelta {
    /// Size on the wire, about.
    pub fn bytes(&self) -> usize {
        let values = self.values.iter().map(|(name, _, v)| name.len() + v.len() + VALUE_OVERHEAD_BYTES);
        NODE_OVERHEAD_BYTES + values.sum::<usize>()
    }
}
