//! Copying the data of ranges that this node gains in a new layout.

use super::Membership;
use super::state::State;
use dunlin_replication::transfer::{TransferError, TransferProgress, sync_layout};
use dunlin_replication::view::stamp;
use dunlin_ring::{Layout, LayoutDigest};
use dunlin_types::runtime::PlantedBug;
use std::sync::Arc;
use std::time::Duration;

/// Wait before the schema is compared again.
const SCHEMA_PAUSE: Duration = Duration::from_millis(20);
/// Wait before a failed transfer is begun anew.
const RETRY: Duration = Duration::from_millis(500);

/// How far the copying for a layout is.
#[derive(Clone, Debug)]
pub struct SyncProgress {
    /// The layout's version.
    pub version: u64,
    /// Details; `None` before the first range.
    pub transfer: Option<TransferProgress>,
}

impl Membership {
    /// Starts, changes or stops the copying. Called under the lock.
    pub(super) fn change_sync(self: &Arc<Self>, state: &mut State, wanted: Option<Arc<Layout>>) {
        if let Some((_, task)) = state.syncing.take() {
            task.abort();
        }
        *self.progress.lock() = None;
        let Some(layout) = wanted else { return };
        *self.progress.lock() = Some(SyncProgress { version: layout.version, transfer: None });
        let digest = layout.digest();
        let membership = Arc::clone(self);
        let task = self.runtime.spawn("transfer", Box::pin(async move { membership.sync(layout).await }));
        state.syncing = Some((digest, task));
    }

    async fn sync(self: Arc<Self>, layout: Arc<Layout>) {
        let version = layout.version;
        tracing::info!(version, "copying data for the new layout");
        let lost = self.state.lock().lost(&layout);
        if !self.runtime.planted(PlantedBug::JoinEarly) {
            // A node that has not heard of the tables would find nothing to copy.
            while !self.knows_schema() {
                self.runtime.sleep(SCHEMA_PAUSE).await;
            }
            loop {
                let Some(repairer) = self.repairer.get() else { return };
                let progress = |p: &TransferProgress| {
                    *self.progress.lock() = Some(SyncProgress { version, transfer: Some(p.clone()) });
                };
                match sync_layout(repairer, stamp(&layout), &lost, &progress).await {
                    Ok(done) => {
                        let received = done.outcome.records_received;
                        tracing::info!(
                            version,
                            ranges = done.ranges,
                            records = received,
                            "data for the new layout is here"
                        );
                        break;
                    }
                    // The next layout starts its own task.
                    Err(TransferError::Superseded(_)) => {}
                    Err(error) => tracing::warn!(version, %error, "copying data failed; trying again"),
                }
                self.runtime.sleep(RETRY).await;
            }
        }
        if self.runtime.buggify("synced_late") {
            self.runtime.sleep(Duration::from_millis(700)).await;
        }
        self.runtime.event("layout_synced", version, self.me().short());
        let digest = layout.digest();
        // A chain that could not be saved is taken back, and this node's word with it: then it is said again.
        loop {
            self.act(|state| {
                let me = state.me();
                if let Some(chain) = &mut state.chain {
                    chain.set_synced(me, &digest);
                }
            });
            if !self.is_to_sync(&digest) {
                return;
            }
            self.runtime.sleep(RETRY).await;
        }
    }

    /// Whether this node's schema is that of every live node.
    fn knows_schema(&self) -> bool {
        let me = self.me();
        let digests = self.schema_digests();
        let mine = digests.iter().find(|(host, _)| *host == me).and_then(|(_, digest)| digest.clone());
        mine.is_some() && digests.iter().all(|(_, digest)| *digest == mine)
    }

    /// Whether the others still wait for this node's word on that layout.
    fn is_to_sync(&self, digest: &LayoutDigest) -> bool {
        let state = self.state.lock();
        let me = state.me();
        state
            .chain
            .as_ref()
            .and_then(|chain| chain.to_sync(me))
            .is_some_and(|layout| layout.digest() == *digest)
    }

    /// How far the copying is, if there is any.
    pub fn sync_progress(&self) -> Option<SyncProgress> {
        self.progress.lock().clone()
    }
}
