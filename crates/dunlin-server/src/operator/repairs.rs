//! Repairs that an operator began: one at a time, the last few remembered.

use super::Operator;
use crate::admin::{AdminError, Params};
use dunlin_replication::repair::{RepairProgress, RepairReport, RepairScope};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Repairs whose outcome is kept for those who ask.
const REMEMBERED_MAX: usize = 16;

#[derive(Default)]
struct State {
    last: u64,
    known: BTreeMap<u64, Value>,
}

/// See the module's comment.
#[derive(Default)]
pub(super) struct Repairs(Mutex<State>);

impl Repairs {
    /// The repair of that id, or the last one.
    pub(super) fn show(&self, params: &Params) -> Result<Value, AdminError> {
        let state = self.0.lock();
        let id = match params.get("id") {
            Some(text) => {
                text.parse().map_err(|_| AdminError::Wrong(format!("not the id of a repair: {text:?}")))?
            }
            None => state.last,
        };
        state.known.get(&id).cloned().ok_or_else(|| AdminError::Wrong(format!("no repair {id} is known")))
    }

    fn begin(&self) -> Result<(u64, Value), AdminError> {
        let mut state = self.0.lock();
        if state.known.values().any(|repair| repair["running"] == true) {
            return Err(AdminError::Conflict("a repair is running already; wait for it".to_owned()));
        }
        state.last += 1;
        let id = state.last;
        let repair = json!({ "id": id, "running": true, "done": 0, "total": 0 });
        state.known.insert(id, repair.clone());
        while state.known.len() > REMEMBERED_MAX {
            state.known.pop_first();
        }
        Ok((id, repair))
    }

    fn progress(&self, id: u64, progress: &RepairProgress<'_>) {
        let mut state = self.0.lock();
        if let Some(repair) = state.known.get_mut(&id) {
            repair["done"] = progress.done.into();
            repair["total"] = progress.total.into();
        }
    }

    fn end(&self, id: u64, report: &RepairReport, name: impl Fn(dunlin_types::HostId) -> String) {
        let total = report.total();
        let failed: Vec<String> = report
            .pairs
            .iter()
            .filter_map(|pair| match &pair.result {
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(format!("{} with {}: {error}", pair.table, name(pair.peer))),
                None => Some(format!("{} with {}: it is down", pair.table, name(pair.peer))),
            })
            .collect();
        let pairs = report.pairs.len();
        let repair = json!({
            "id": id, "running": false, "done": pairs, "total": pairs, "complete": report.is_complete(),
            "ranges": total.ranges, "ranges_differing": total.ranges_differing,
            "leaves_differing": total.outcome.leaves_differing, "records_sent": total.outcome.records_sent,
            "records_received": total.outcome.records_received, "bytes": total.outcome.bytes, "incomplete": failed,
        });
        self.0.lock().known.insert(id, repair);
    }
}

impl Operator {
    /// Begins a repair of everything in scope with every live co-replica.
    pub(super) fn begin_repair(&self, params: &Params) -> Result<Value, AdminError> {
        self.scope(params)?;
        let (id, begun) = self.0.repairs.begin()?;
        let scope = RepairScope {
            keyspace: params.get("keyspace").cloned(),
            table: params.get("table").cloned(),
            ..RepairScope::default()
        };
        let operator = self.clone();
        let work = async move {
            let told = Arc::clone(&operator.0);
            let report = operator
                .node()
                .repairer
                .run_once(&scope, &move |progress| told.repairs.progress(id, &progress))
                .await;
            let view = operator.core().views.load();
            operator.0.repairs.end(id, &report, |host| view.name_of(host));
        };
        drop(self.core().runtime.spawn("operator-repair", Box::pin(work)));
        Ok(begun)
    }
}
