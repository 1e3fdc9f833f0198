//! Calls of other nodes, by lane: membership or replication.

use crate::membership::Membership;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use dunlin_replication::message::{Refusal, Response};
use dunlin_replication::replica::Replica;
use dunlin_transport::{Handler, Incoming, Lane};
use dunlin_types::runtime::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// When a caller that met a full queue may come again.
const RETRY_AFTER_MS: u32 = 50;

/// Counters, for metrics.
#[derive(Debug, Default)]
pub struct HandlerStats {
    /// Calls of lane `Gossip`.
    pub gossip: AtomicU64,
    /// Calls of lane `Request`.
    pub requests: AtomicU64,
    /// Calls of lane `Bulk`.
    pub bulk: AtomicU64,
    /// Calls that were refused because there were too many.
    pub overloaded: AtomicU64,
}

struct Parts {
    membership: Arc<Membership>,
    replica: Replica,
}

/// Answers the calls of other nodes until it is stopped.
pub struct NodeHandler {
    /// Emptied at the stop, which also lets go of the node: the transport keeps its handler for ever.
    parts: ArcSwapOption<Parts>,
    places: Semaphore,
    /// Counters.
    pub stats: HandlerStats,
}

impl NodeHandler {
    /// At most `requests_max` requests are worked on at a time; gossip is never refused.
    pub fn new(membership: Arc<Membership>, replica: Replica, requests_max: usize) -> NodeHandler {
        NodeHandler {
            parts: ArcSwapOption::from_pointee(Parts { membership, replica }),
            places: Semaphore::new(requests_max),
            stats: HandlerStats::default(),
        }
    }

    /// Refuses everything from now on.
    pub fn stop(&self) {
        self.parts.store(None);
    }
}

impl Handler for NodeHandler {
    fn handle(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Bytes> {
        let counter = match incoming.lane {
            Lane::Gossip => &self.stats.gossip,
            Lane::Request => &self.stats.requests,
            Lane::Bulk => &self.stats.bulk,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let Some(parts) = self.parts.load_full() else {
            return Box::pin(std::future::ready(Response::Refused(Refusal::NotReady).encode()));
        };
        if incoming.lane == Lane::Gossip {
            return Box::pin(std::future::ready(parts.membership.handle(&incoming)));
        }
        Box::pin(async move {
            let Ok(_place) = self.places.try_acquire() else {
                self.stats.overloaded.fetch_add(1, Ordering::Relaxed);
                return Response::Refused(Refusal::Overloaded { retry_after_ms: RETRY_AFTER_MS }).encode();
            };
            parts.replica.serve(incoming).await
        })
    }
}
