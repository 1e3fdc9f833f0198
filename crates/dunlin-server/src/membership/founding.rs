//! The first layout: the first seed in the list founds the cluster, if it has no data and no other seed
//! answers with one.

use super::Membership;
use super::message::MembershipMessage;
use crate::schema;
use dunlin_ring::{Layout, LayoutChain, VnodeCount};
use dunlin_types::{ClusterId, PartitionerKey};
use futures::stream::{FuturesUnordered, StreamExt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long the first seed looks for a cluster at seeds that do not answer.
const SEARCH_FOR: Duration = Duration::from_secs(3);
/// Wait before a failed attempt to found is repeated.
const RETRY: Duration = Duration::from_secs(1);

impl Membership {
    /// Whether founding is this node's part.
    pub(super) fn may_found(&self) -> bool {
        let first = self.seeds.first();
        self.state.lock().chain.is_none() && first.is_none_or(|seed| *seed == self.transport.local_addr())
    }

    /// Asks every other seed for its cluster; founds one when all said that they have none, or when those
    /// that did not answer had time enough.
    pub(super) async fn found_if_alone(self: Arc<Self>) {
        let me = self.transport.local_addr();
        let others: Vec<SocketAddr> = self.seeds.iter().copied().filter(|s| *s != me).collect();
        let mut search: FuturesUnordered<_> = others.into_iter().map(|seed| self.answered(seed)).collect();
        let mut time_over = self.runtime.sleep(SEARCH_FOR);
        loop {
            tokio::select! {
                biased;
                answer = search.next() => if answer.is_none() { break },
                () = &mut time_over => break,
            }
        }
        drop(search);
        while self.state.lock().chain.is_none() {
            match self.found() {
                Ok(()) => return,
                Err(reason) => tracing::error!(reason, "cannot found a cluster; trying again"),
            }
            self.runtime.sleep(RETRY).await;
        }
    }

    /// Ends when the seed has answered. An answer with a cluster is taken in.
    async fn answered(self: &Arc<Self>, seed: SocketAddr) {
        while !self.fetch_chain(seed).await {
            self.runtime.sleep(Duration::from_millis(50)).await;
        }
    }

    fn found(self: &Arc<Self>) -> Result<(), String> {
        let word = || self.runtime.random();
        let cluster = ClusterId::from_words(word(), word());
        let mut partitioner = [0; 16];
        partitioner[..8].copy_from_slice(&word().to_le_bytes());
        partitioner[8..].copy_from_slice(&word().to_le_bytes());
        let vnodes = VnodeCount::try_from(self.settings.vnodes).map_err(|e| e.to_string())?;
        let name = self.settings.cluster_name.clone();
        self.act(|state| {
            if state.chain.is_some() {
                return Ok(());
            }
            let layout =
                Layout::found(cluster, name, PartitionerKey(partitioner), vnodes, state.member.clone());
            let chain = LayoutChain::found(layout);
            let stamp = (self.clock.tick(self.runtime.wall()), state.me());
            let first = schema::default_schema(stamp, word() | 1, self.settings.default_replication_factor);
            // A crash in between leaves files that belong together or a directory that founds anew.
            super::persist::save_schema(&*self.fs, &first).map_err(|e| e.to_string())?;
            super::persist::save_chain(&*self.fs, &chain).map_err(|e| e.to_string())?;
            self.identity.set_cluster(cluster).map_err(|e| e.to_string())?;
            state.gossip.set_cluster(cluster);
            state.chain = Some(chain);
            self.adopt_schema(state, first)?;
            self.runtime.event("cluster_founded", cluster.short(), 0);
            tracing::info!(%cluster, "founded the cluster");
            Ok(())
        })
    }

    /// Whether some node answers at that address at all: for tests and diagnosis.
    pub async fn probe(&self, address: SocketAddr) -> bool {
        let message = MembershipMessage::Chain(self.chain_message());
        self.ask(address, &message).await.is_some()
    }
}
