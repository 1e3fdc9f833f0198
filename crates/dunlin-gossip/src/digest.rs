//! Digests: how much is known about each node.

use crate::state::NodeState;
use dunlin_types::{Generation, HostId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much is known about one node. Also carries its heartbeat, so that an exchange without news
/// spreads liveness.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeDigest {
    /// The node.
    pub host: HostId,
    /// Its latest known start.
    pub generation: Generation,
    /// Its latest known heartbeat.
    pub heartbeat: u64,
    /// Everything up to this version is known; `u64::MAX` if nothing is wanted.
    pub version: u64,
}

/// How much is known about every node, by host id.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Digest {
    /// One entry a node, sorted by host id.
    pub nodes: Vec<NodeDigest>,
}

impl Digest {
    /// Of all states, and of forgotten nodes whose old generations are not wanted again.
    pub fn of<'a>(
        states: impl Iterator<Item = (HostId, &'a NodeState)>,
        forgotten: &BTreeMap<HostId, Generation>,
    ) -> Digest {
        let mut nodes: Vec<NodeDigest> = states.map(|(host, state)| state.digest(host)).collect();
        for (&host, &generation) in forgotten {
            nodes.push(NodeDigest { host, generation, heartbeat: 0, version: u64::MAX });
        }
        nodes.sort_by_key(|n| n.host);
        Digest { nodes }
    }

    /// The entry of a node.
    pub fn get(&self, host: HostId) -> Option<&NodeDigest> {
        self.nodes.binary_search_by_key(&host, |n| n.host).ok().map(|i| &self.nodes[i])
    }
}
