//! The `Transport` seam: whole messages as bytes between nodes, by address and lane.
//!
//! What a caller may rely on: a call is delivered at most once, whole or not at all; an error does not
//! say whether it was delivered; calls are not ordered among each other.

use bytes::Bytes;
use dunlin_types::runtime::BoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Class of a message. Lanes do not hold one another up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Lane {
    /// Heartbeats, membership, layouts, schema: first priority.
    Gossip,
    /// Reads and writes of clients.
    Request,
    /// Hints, Merkle exchange, range transfer: last priority, rate-limited.
    Bulk,
}

/// Why a call has no answer. Whether the peer acted on it is not known, except where said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No answer within the time given.
    #[error("no answer in time")]
    Timeout,
    /// No connection to the peer, and nothing was sent.
    #[error("cannot reach the peer: {0}")]
    Unreachable(String),
    /// The connection broke after the call was sent.
    #[error("the connection broke")]
    Broken,
    /// Too many calls or bytes in flight to that peer; nothing was sent.
    #[error("too many calls in flight to the peer")]
    Overloaded,
    /// Larger than `limits::MESSAGE_BYTES_MAX`; nothing was sent.
    #[error("message of {bytes} bytes is over the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// A call that arrived.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Node name in the peer's certificate (its SAN); in simulation the name the peer was given.
    pub peer_name: Arc<str>,
    /// Where it came from.
    pub peer_addr: SocketAddr,
    /// Its lane.
    pub lane: Lane,
    /// How long the caller will wait for the answer; work past it is wasted.
    pub timeout: Duration,
    /// The message.
    pub body: Bytes,
}

/// Answers calls. Not cancel-safe: once polled, the future runs to its end or is dropped with the node.
pub trait Handler: Send + Sync {
    /// The answer's bytes.
    fn handle(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Bytes>;
}

/// Messages between nodes.
pub trait Transport: Send + Sync {
    /// Sends a message and waits for the answer, at most `timeout`. Connects on first use; backs off
    /// from a peer that cannot be reached. Dropping the future forgets the answer, not the call.
    fn call(
        &self,
        to: SocketAddr,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;

    /// Takes the handler; calls that arrive before are refused.
    fn listen(&self, handler: Arc<dyn Handler>);

    /// Where peers reach this node.
    fn local_addr(&self) -> SocketAddr;

    /// Closes every connection; later calls fail.
    fn close(&self);
}
