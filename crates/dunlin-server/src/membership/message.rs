//! What nodes say to one another about the cluster: lane `Gossip`.

use dunlin_gossip::{Ack, Syn, SynAck};
use dunlin_ring::LayoutChain;
use dunlin_transport::codec;
use dunlin_types::HostId;
use dunlin_types::schema::Schema;
use serde::{Deserialize, Serialize};

/// A call or its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MembershipMessage {
    /// Opens an exchange of gossip; answered with `SynAck`.
    Syn(Syn),
    /// Answers `Syn`.
    SynAck(SynAck),
    /// Closes an exchange, or says farewell; answered with `Done`.
    Ack(Ack),
    /// The sender's chain of layouts, none if it has found no cluster. Answered in kind, after the two were
    /// merged. So it asks for the cluster, spreads news of it, and fetches them.
    Chain(ChainMessage),
    /// The sender's schema. Answered in kind, after the two were merged and the result is durable.
    Schema(SchemaMessage),
    /// Nothing more to say.
    Done,
    /// The message was not taken.
    Refused(String),
}

/// See [`MembershipMessage::Chain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChainMessage {
    /// The sender.
    pub from: HostId,
    /// Its cluster's name.
    pub cluster_name: String,
    /// Its chain.
    pub chain: Option<LayoutChain>,
}

/// See [`MembershipMessage::Schema`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SchemaMessage {
    /// The sender.
    pub from: HostId,
    /// Its cluster, in canonical form.
    pub cluster: Option<dunlin_types::ClusterId>,
    /// Its schema.
    pub schema: Schema,
}

impl MembershipMessage {
    /// The bytes for the transport.
    pub fn encode(&self) -> bytes::Bytes {
        codec::encode(self)
    }

    /// From the transport's bytes.
    pub fn decode(bytes: &bytes::Bytes) -> Result<MembershipMessage, codec::CodecError> {
        codec::decode(bytes)
    }
}
