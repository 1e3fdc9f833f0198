//! Gets back what this node lost, from every other replica; until then its copy is read by nobody and given to nobody.

use crate::membership::Membership;
use crate::store::{LostMark, LostRanges};
use dunlin_replication::repair::Repairer;
use dunlin_types::TableId;
use dunlin_types::runtime::SharedRuntime;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether something was lost, or what failed is tried again.
const EVERY: Duration = Duration::from_secs(1);

/// The task; see the module's comment.
pub(crate) struct Resync {
    pub(crate) lost: Arc<LostRanges>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) repairer: Arc<Repairer>,
    pub(crate) runtime: SharedRuntime,
}

impl Resync {
    pub(crate) async fn run(self) {
        loop {
            // Without a layout nobody can tell who the other replicas are.
            let view = self.membership.views().load();
            if view.layouts.iter().any(|layout| layout.contains(view.me)) {
                for (table, mark) in self.lost.marks() {
                    if self.is_back(table, &mark).await
                        && let Err(error) = self.lost.remove(table, &mark)
                    {
                        tracing::warn!(%table, %error, "it could not be noted that lost data is back");
                    }
                }
            }
            self.runtime.sleep(EVERY).await;
        }
    }

    async fn is_back(&self, table: TableId, mark: &LostMark) -> bool {
        let view = self.membership.views().load();
        let Some(def) = view.schema.table_by_id(table) else {
            // The schema is durable before the engine's tables: this one was dropped.
            return true;
        };
        let (keyspace, name) = (&def.keyspace, &def.name);
        let done = self.repairer.resync(table, &mark.ranges).await;
        // Owners of a new layout have to be asked too.
        let cut = done.as_ref().is_ok_and(|done| done.cut && done.deleted > 0);
        let complete = done.is_ok() && !cut && !self.membership.views().load().supersedes(&view);
        self.runtime.event("resync", table.0, u64::from(complete));
        match done {
            Ok(done) if complete => {
                let records = done.outcome.records_received;
                match done.peers {
                    0 => {
                        tracing::info!(%keyspace, table = %name, "data here was in doubt, and no other node has a copy to compare it with")
                    }
                    _ => {
                        tracing::info!(%keyspace, table = %name, records, deleted = done.deleted, "data that was in doubt was compared with every other copy")
                    }
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%keyspace, table = %name, %error, "lost data is not back yet"),
        }
        complete
    }
}
