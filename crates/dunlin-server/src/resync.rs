//! Gets back what this node lost: compares tables with every other replica until all of them agree.

use crate::membership::Membership;
use crate::store::LostRanges;
use dunlin_replication::repair::{RepairScope, Repairer};
use dunlin_types::TableId;
use dunlin_types::runtime::SharedRuntime;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether something was lost, or a comparison that failed is tried again.
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
            if view.read_layout().is_some_and(|layout| layout.contains(view.me)) {
                for (table, ranges) in self.lost.all() {
                    if self.is_back(table).await
                        && let Err(error) = self.lost.remove(table, &ranges)
                    {
                        tracing::warn!(%table, %error, "it could not be noted that lost data is back");
                    }
                }
            }
            self.runtime.sleep(EVERY).await;
        }
    }

    /// Compares a table with every other replica.
    async fn is_back(&self, table: TableId) -> bool {
        let view = self.membership.views().load();
        let Some(def) = view.schema.table_by_id(table) else {
            // The schema is durable before the engine's tables: this one was dropped.
            return true;
        };
        let (keyspace, name) = (def.keyspace.clone(), def.name.clone());
        let scope = RepairScope { keyspace: Some(keyspace.clone()), table: Some(name.clone()), peer: None };
        let report = self.repairer.run_once(&scope, &|_| {}).await;
        if report.pairs.is_empty() {
            tracing::warn!(%keyspace, table = %name, "data was lost, and no other node has a copy of it");
        }
        let complete = report.is_complete();
        if complete {
            let records = report.total().outcome.records_received;
            tracing::info!(%keyspace, table = %name, records, "data that was lost is back");
        }
        self.runtime.event("resync", table.0, u64::from(complete));
        complete
    }
}
