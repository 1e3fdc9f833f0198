//! The three messages of an exchange, and what is refused of them.
//!
//! A sends [`Syn`] (its digest); B answers [`SynAck`] (its digest, and what A lacks); A closes with
//! [`Ack`] (what B lacks). Losing any of them is harmless.

use crate::delta::Delta;
use crate::digest::Digest;
use crate::key;
use dunlin_types::{ClusterId, Generation, HostId};
use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The sender's cluster; `None` while it has not found one.
    pub cluster: Option<ClusterId>,
    /// The name of its cluster.
    pub cluster_name: String,
    /// The sender.
    pub from: HostId,
    /// Which start of it.
    pub generation: Generation,
    /// Its heartbeat when it sent this.
    pub heartbeat: u64,
}

/// Opens an exchange.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Syn {
    /// Who speaks.
    pub header: Header,
    /// What it knows.
    pub digest: Digest,
}

/// Answers a [`Syn`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SynAck {
    /// Who speaks.
    pub header: Header,
    /// What it knew when the syn arrived.
    pub digest: Digest,
    /// What the other lacked.
    pub delta: Delta,
}

/// Closes an exchange. May also be sent by itself: see `Gossip::farewell`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ack {
    /// Who speaks.
    pub header: Header,
    /// What the other lacked.
    pub delta: Delta,
}

/// Why a message was not taken. Nothing of it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The sender belongs to another cluster.
    #[error("{from} belongs to cluster {theirs} ({name:?}), this node to {ours}")]
    OtherCluster {
        /// The sender.
        from: HostId,
        /// Its cluster.
        theirs: ClusterId,
        /// Its cluster's name.
        name: String,
        /// The cluster of this node.
        ours: ClusterId,
    },
    /// The sender is configured for a cluster of another name.
    #[error("{from} is configured for cluster {theirs:?}, this node for {ours:?}")]
    OtherName {
        /// The sender.
        from: HostId,
        /// Its cluster's name.
        theirs: String,
        /// The name here.
        ours: String,
    },
    /// The message is this node's own: one of the peer addresses leads back here.
    #[error("a message of this node's own came back to it")]
    Myself,
    /// Over a bound, or not in order.
    #[error("malformed gossip: {0}")]
    Malformed(&'static str),
}

impl Header {
    fn check(&self) -> Result<(), Refusal> {
        ensure(self.cluster_name.len() <= key::CLUSTER_NAME_BYTES_MAX, "cluster name too long")
    }
}

impl Digest {
    fn check(&self) -> Result<(), Refusal> {
        ensure(self.nodes.len() <= key::NODES_MAX, "too many nodes in a digest")?;
        ensure(self.nodes.windows(2).all(|w| w[0].host < w[1].host), "digest out of order")
    }
}

impl Delta {
    fn check(&self) -> Result<(), Refusal> {
        ensure(self.nodes.len() <= key::NODES_MAX, "too many nodes in a delta")?;
        for node in &self.nodes {
            ensure(node.values.len() <= key::VALUES_MAX, "too many values of a node")?;
            let mut last = node.after;
            for (name, version, value) in &node.values {
                ensure(name.len() <= key::KEY_BYTES_MAX, "name of a value too long")?;
                ensure(value.len() <= key::VALUE_BYTES_MAX, "value too long")?;
                ensure(*version > last && *version < u64::MAX, "versions out of order")?;
                last = *version;
            }
        }
        Ok(())
    }
}

impl Syn {
    /// Error unless every part is within its bounds and in order. `Gossip` calls it.
    pub fn check(&self) -> Result<(), Refusal> {
        self.header.check()?;
        self.digest.check()
    }
}

impl SynAck {
    /// Error unless every part is within its bounds and in order. `Gossip` calls it.
    pub fn check(&self) -> Result<(), Refusal> {
        self.header.check()?;
        self.digest.check()?;
        self.delta.check()
    }
}

impl Ack {
    /// Error unless every part is within its bounds and in order. `Gossip` calls it.
    pub fn check(&self) -> Result<(), Refusal> {
        self.header.check()?;
        self.delta.check()
    }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::Malformed(otherwise)) }
}
