//! What nodes say to one another about hints.

use super::segment::Hint;
use dunlin_types::HostId;
use serde::{Deserialize, Serialize};

/// Most hints of one message.
pub const HINTS_MAX: usize = 512;
/// Bytes of hints after which a message is full; one larger hint still goes, alone.
pub const HINTS_BYTES_MAX: u64 = 1 << 20;

/// What the receiver is to do with hints. It answers when that is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HintsPurpose {
    /// Join them into its own copy.
    Deliver,
    /// Stand in for that host, which is down: keep them for it.
    StandIn(HostId),
    /// Keep them for that host, in place of the sender, which leaves the cluster.
    Move(HostId),
}

/// Hints for the receiver, or for it to keep.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HintsRequest {
    /// What to do with them.
    pub purpose: HintsPurpose,
    /// At most [`HINTS_MAX`].
    pub hints: Vec<Hint>,
}

/// What became of one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HintFate {
    /// Joined, or kept.
    Taken,
    /// The receiver owns the token in no active layout.
    NotOwner,
    /// The receiver does not know the table.
    UnknownTable,
    /// Not kept, by a rule of the receiver's.
    Refused,
    /// A write failed; nothing is known of it.
    Failed,
}

/// The answer: the fate of each, and how many bytes a second the receiver takes from this sender.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HintsAnswer {
    /// As many as there were hints, in their order.
    pub fates: Vec<HintFate>,
    /// At least 1.
    pub rate_bytes: u64,
}
