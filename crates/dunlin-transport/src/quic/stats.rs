//! What a transport counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Default)]
        pub(super) struct Counters { $(pub $name: AtomicU64,)* }

        impl Counters {
            pub fn snapshot(&self) -> TransportStats {
                TransportStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        /// Counters of a transport since its start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct TransportStats { $($(#[$doc])* pub $name: u64,)* }
    };
}
counters! {
    /// Calls that were sent or queued for a connection being made.
    calls,
    /// Calls refused because too many were in flight.
    overloaded,
    /// Calls whose time ran out.
    timeouts,
    /// Calls that arrived and were handled.
    handled,
    /// Of those, the ones whose answer was not ready at once.
    handled_later,
    /// Frames sent on shared streams, requests and answers.
    frames,
    /// Writes that carried them: `frames / writes` is the batching.
    writes,
    /// Messages that had a stream of their own.
    large_messages,
    /// Connections dialled with success.
    connections,
    /// Attempts that failed.
    connect_failures,
    /// Connections accepted.
    accepted,
    /// Peers refused for want of a certificate of the cluster's CA, or because of a limit.
    refused,
}

impl Counters {
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// A peer as the dialling side sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerStats {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether a connection stands.
    pub connected: bool,
    /// Calls without an answer yet.
    pub calls_in_flight: usize,
    /// Their bytes.
    pub bytes_in_flight: usize,
    /// Round trip time of the connection, microseconds; 0 without one.
    pub rtt_us: u64,
    /// UDP datagrams sent on the connection.
    pub packets_sent: u64,
    /// Why the last attempt to connect failed, until one succeeds.
    pub last_failure: Option<String>,
}
