//! Calls of other nodes, by lane: membership or replication.

use crate::membership::Membership;
use bytes::Bytes;
use dunlin_replication::message::{Refusal, Response};
use dunlin_replication::replica::Replica;
use dunlin_transport::{Handler, Incoming, Lane};
use dunlin_types::runtime::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Semaphore;

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

/// Answers the calls of other nodes.
pub struct NodeHandler {
    membership: Arc<Membership>,
    replica: Replica,
    places: Semaphore,
    stopped: AtomicBool,
    /// Counters.
    pub stats: HandlerStats,
}

impl NodeHandler {
    /// At most `requests_max` requests are worked on at a time; gossip is never refused.
    pub fn new(membership: Arc<Membership>, replica: Replica, requests_max: usize) -> NodeHandler {
        NodeHandler {
            membership,
            replica,
            places: Semaphore::new(requests_max),
            stopped: AtomicBool::new(false),
            stats: HandlerStats::default(),
        }
    }

    /// Refuses requests from now on: the store is about to close.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
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
        if incoming.lane == Lane::Gossip {
            let answer = self.membership.handle(&incoming);
            return Box::pin(std::future::ready(answer));
        }
        Box::pin(async move {
            if self.stopped.load(Ordering::Acquire) {
                return Response::Refused(Refusal::NotReady).encode();
            }
            let Ok(_place) = self.places.try_acquire() else {
                self.stats.overloaded.fetch_add(1, Ordering::Relaxed);
                return Response::Refused(Refusal::Overloaded { retry_after_ms: 50 }).encode();
            };
            self.replica.serve(incoming).await
        })
    }
}
