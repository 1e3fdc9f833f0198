//! Changes of the schema: here first, then on every live node.

use super::Membership;
use crate::schema;
use dunlin_cql::operation::SchemaChange;
use dunlin_types::error::Applied;
use dunlin_types::runtime::timeout as within;
use dunlin_types::{ClusterError, ErrorCode, Micros};
use futures::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;

/// Wait before a node that did not take the schema is asked again.
const RETRY: Duration = Duration::from_millis(50);

/// A change that is in force here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchemaOutcome {
    /// Names of live nodes that did not say in time that they have it; they will by themselves.
    pub missing: Vec<String>,
}

impl Membership {
    /// Applies a change here, durably, and waits until every live node has it, at most `timeout`.
    pub async fn change_schema(
        self: &Arc<Self>,
        change: SchemaChange,
        timeout: Duration,
    ) -> Result<SchemaOutcome, Box<ClusterError>> {
        let refused = |code: ErrorCode, message: String| {
            let mut error = ClusterError::new(code, message);
            error.applied = Some(Applied::No);
            Box::new(error)
        };
        self.act(|state| {
            if state.chain.is_none() {
                return Err(refused(ErrorCode::NotReady, "this node is not part of a cluster yet".into()));
            }
            let wall = self.runtime.wall();
            // Whatever clock made the last change: this one comes after it.
            let after = state.schema.stamp_max().0 + 1;
            let stamp = (Micros(self.clock.tick(wall).0.max(after)), state.me());
            let next = schema::apply(&state.schema, change, stamp, self.runtime.random())
                .map_err(|(code, message)| refused(code, message))?;
            self.adopt_schema(state, next).map_err(|reason| refused(ErrorCode::Internal, reason))
        })?;
        let (nodes, digest) = {
            let state = self.state.lock();
            (state.live_members(), state.schema_digest)
        };
        let mut calls: FuturesUnordered<_> = nodes
            .into_iter()
            .map(|(host, address)| async move {
                let taken = within(&*self.runtime, timeout, async {
                    while !self.exchange_schema(address).await {
                        self.runtime.sleep(RETRY).await;
                        if !self.state.lock().gossip.is_up(host) {
                            return;
                        }
                    }
                });
                (host, taken.await.is_some())
            })
            .collect();
        let mut missing = Vec::new();
        while let Some((host, taken)) = calls.next().await {
            if !taken {
                missing.push(self.state.lock().name(host));
            }
        }
        if !missing.is_empty() {
            tracing::warn!(nodes = ?missing, "a change of the schema is not yet everywhere");
        }
        self.runtime.event("schema_spread", u64::from(digest[0]), missing.len() as u64);
        Ok(SchemaOutcome { missing })
    }
}
