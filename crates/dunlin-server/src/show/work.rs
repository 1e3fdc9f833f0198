//! What takes a while, and what changes something.

use crate::admin::{AdminError, Params};
use crate::membership::OperateError;
use crate::node::Node;
use dunlin_replication::repair::{PairOutcome, RepairProgress, RepairScope};
use dunlin_replication::store::StoreError;
use dunlin_replication::view::View;
use dunlin_types::runtime::TaskHandle;
use dunlin_types::{HostId, TableId};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Repairs that are remembered after their end.
const REPAIRS_MAX: usize = 64;
/// Repairs that run at a time.
const RUNNING_MAX: usize = 8;

/// The tables that `keyspace=` and `table=` name; all without them.
pub(super) fn tables(node: &Node, params: &Params) -> Result<Vec<TableId>, AdminError> {
    let view = node.view();
    let (keyspace, table) = (params.get("keyspace"), params.get("table"));
    let fits = |given: Option<&String>, name: &str| given.is_none_or(|g| g == name);
    let found: Vec<TableId> = view
        .schema
        .tables()
        .filter(|t| fits(keyspace, &t.keyspace) && fits(table, &t.name))
        .map(|t| t.id)
        .collect();
    if found.is_empty() && (keyspace.is_some() || table.is_some()) {
        let name = [keyspace, table].into_iter().flatten().cloned().collect::<Vec<_>>().join(".");
        return Err(AdminError::Wrong(format!("there is no table {name}")));
    }
    Ok(found)
}

pub(super) fn failed(error: StoreError) -> AdminError {
    AdminError::Failed(reason(error))
}

/// Why the store did not do what an operator asked for. To clients whatever the engine says means that it cannot be read
/// here; to an operator it says itself what was wrong.
pub(super) fn reason(error: StoreError) -> String {
    match error {
        StoreError::Damaged(what) => what,
        other => other.to_string(),
    }
}

/// Memtables to SSTables.
pub(super) async fn flush(node: &Node, params: &Params) -> Result<Value, AdminError> {
    let tables = tables(node, params)?;
    for table in &tables {
        let table = *table;
        node.store.run(Box::new(move |engine| engine.flush(Some(table)))).await.map_err(failed)?;
    }
    Ok(json!({ "tables_flushed": tables.len() }))
}

/// No more clients, everything to disk. The node stays a replica until it is stopped.
pub(super) async fn drain(node: &Node) -> Result<Value, AdminError> {
    node.drain();
    node.hints.flush(true);
    node.flush().await.map_err(failed)?;
    Ok(json!({ "drained": true }))
}

/// The answer to an operator's word about membership.
pub(super) fn operated(done: Result<(), OperateError>) -> Result<Value, AdminError> {
    match done {
        Ok(()) => Ok(json!({ "staged": true, "see": "nodetool layout" })),
        Err(error) => Err(AdminError::Conflict(error.to_string())),
    }
}

/// The host that `host=` names.
pub(super) fn host(node: &Node, params: &Params) -> Result<HostId, AdminError> {
    let text = params.get("host").ok_or_else(|| AdminError::Wrong("host= is missing".to_owned()))?;
    node.membership.host_of(text).map_err(AdminError::Wrong)
}

/// What comparing came to.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    ranges: u64,
    ranges_differing: u64,
    ranges_doubtful: u64,
    records_differing: u64,
    records_sent: u64,
    records_received: u64,
    bytes: u64,
}

impl Compared {
    fn add(&mut self, more: &PairOutcome) {
        self.ranges += more.ranges;
        self.ranges_differing += more.ranges_differing;
        self.ranges_doubtful += more.ranges_doubtful;
        self.records_differing += more.outcome.records_differing;
        self.records_sent += more.outcome.records_sent;
        self.records_received += more.outcome.records_received;
        self.bytes += more.outcome.bytes;
    }

    fn json(&self) -> Map<String, Value> {
        [
            ("ranges", self.ranges),
            ("ranges_differing", self.ranges_differing),
            ("ranges_doubtful", self.ranges_doubtful),
            ("records_differing", self.records_differing),
            ("records_sent", self.records_sent),
            ("records_received", self.records_received),
            ("bytes", self.bytes),
        ]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect()
    }
}

/// One repair that an operator asked for.
#[derive(Clone, Debug, Default)]
struct RepairState {
    running: bool,
    cancelled: bool,
    preview: bool,
    done: u64,
    total: u64,
    all: Compared,
    peers: BTreeMap<String, Compared>,
    /// Tables not repaired, by peer and reason.
    failures: BTreeMap<(String, String), Vec<String>>,
}

impl RepairState {
    fn json(&self, id: u64) -> Value {
        let error = match self.cancelled {
            true => Some("it was cancelled; what was compared until then is equal".to_owned()),
            false => (!self.running && !self.failures.is_empty()).then(|| self.error()),
        };
        let peers: Vec<Value> = self
            .peers
            .iter()
            .map(|(peer, compared)| {
                let mut row = compared.json();
                row.insert("peer".to_owned(), peer.as_str().into());
                Value::Object(row)
            })
            .collect();
        let mut state = self.all.json();
        for (name, value) in [
            ("id", json!(id)),
            ("running", json!(self.running)),
            ("preview", json!(self.preview)),
            ("done", json!(self.done)),
            ("total", json!(self.total.max(1))),
            ("peers", json!(peers)),
            ("error", json!(error)),
        ] {
            state.insert(name.to_owned(), value);
        }
        Value::Object(state)
    }

    fn failed(&mut self, peer: String, why: String, table: String) {
        self.failures.entry((peer, why)).or_default().push(table);
    }

    /// Each reason once for a peer, with the tables it stopped.
    fn error(&self) -> String {
        let reasons: Vec<String> = self
            .failures
            .iter()
            .map(|((peer, why), tables)| {
                let more = tables.len().saturating_sub(TABLES_NAMED_MAX);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                let named: Vec<&str> = tables.iter().take(TABLES_NAMED_MAX).map(String::as_str).collect();
                format!("{peer}: {why} ({}{more})", named.join(", "))
            })
            .collect();
        reasons.join("; ")
    }

    fn note(&mut self, step: &RepairProgress<'_>, view: &View) {
        (self.done, self.total) = (step.done, step.total);
        let Some(pair) = step.pair else { return };
        let peer = view.name_of(pair.peer);
        match &pair.result {
            Some(Ok(outcome)) => {
                self.all.add(outcome);
                self.peers.entry(peer).or_default().add(outcome);
            }
            Some(Err(error)) => self.failed(peer, error.to_string(), pair.table.to_string()),
            None => self.failed(peer, "it is down".to_owned(), pair.table.to_string()),
        }
    }
}

/// Tables named for each reason why a repair did not finish.
const TABLES_NAMED_MAX: usize = 3;

/// Repairs that operators asked for, by number.
#[derive(Default)]
pub(super) struct Repairs {
    states: Mutex<BTreeMap<u64, RepairState>>,
    tasks: Mutex<BTreeMap<u64, TaskHandle>>,
}

/// Whether a switch is on.
fn on(params: &Params, name: &str) -> bool {
    params.get(name).is_some_and(|value| value == "true")
}

impl Repairs {
    /// Starts one; its progress is shown under its number.
    pub(super) fn start(self: &Arc<Self>, node: &Arc<Node>, params: &Params) -> Result<Value, AdminError> {
        if on(params, "cancel") {
            return self.cancel(params);
        }
        tables(node, params)?;
        let peer = params.get("peer").map(|p| node.membership.host_of(p)).transpose();
        let scope = RepairScope {
            keyspace: params.get("keyspace").cloned(),
            table: params.get("table").cloned(),
            peer: peer.map_err(AdminError::Wrong)?,
            primary: on(params, "primary"),
            preview: on(params, "preview"),
        };
        let (id, first) = {
            let mut states = self.states.lock();
            if states.values().filter(|s| s.running).count() >= RUNNING_MAX {
                return Err(AdminError::Conflict(
                    "too many repairs are running; wait for one to end".to_owned(),
                ));
            }
            while states.len() >= REPAIRS_MAX {
                let Some(oldest) = states.iter().find(|(_, s)| !s.running).map(|(id, _)| *id) else { break };
                states.remove(&oldest);
            }
            let id = states.last_key_value().map_or(1, |(id, _)| id + 1);
            let state = RepairState { running: true, preview: scope.preview, ..RepairState::default() };
            let first = state.json(id);
            states.insert(id, state);
            (id, first)
        };
        let (repairs, repairer, view) = (Arc::clone(self), node.repairer.clone(), node.view());
        let task = async move {
            let progress = |step: RepairProgress<'_>| repairs.with(id, |state| state.note(&step, &view));
            repairer.run_once(&scope, &progress).await;
            repairs.with(id, |state| state.running = false);
        };
        let task = node.runtime.spawn("repair-asked", Box::pin(task));
        let mut tasks = self.tasks.lock();
        tasks.retain(|_, task| !task.is_finished());
        tasks.insert(id, task);
        Ok(first)
    }

    /// Ends the repair that `id=` names, or all that run. What they moved is moved.
    fn cancel(&self, params: &Params) -> Result<Value, AdminError> {
        let only: Option<u64> = match params.get("id") {
            Some(id) => Some(id.parse().map_err(|_| AdminError::Wrong(format!("id={id} is not a number")))?),
            None => None,
        };
        let mut cancelled = 0;
        for (id, state) in
            self.states.lock().iter_mut().filter(|(id, s)| s.running && only.is_none_or(|o| o == **id))
        {
            if let Some(task) = self.tasks.lock().remove(id) {
                task.abort();
            }
            (state.running, state.cancelled) = (false, true);
            cancelled += 1;
        }
        Ok(json!({ "cancelled": cancelled }))
    }

    fn with(&self, id: u64, change: impl FnOnce(&mut RepairState)) {
        if let Some(state) = self.states.lock().get_mut(&id) {
            change(state);
        }
    }

    /// The progress of one, or of all.
    pub(super) fn show(&self, params: &Params) -> Result<Value, AdminError> {
        let states = self.states.lock();
        let Some(id) = params.get("id") else {
            return Ok(json!({ "repairs": states.iter().map(|(id, s)| s.json(*id)).collect::<Vec<_>>() }));
        };
        let id: u64 = id.parse().map_err(|_| AdminError::Wrong(format!("id={id} is not a number")))?;
        states
            .get(&id)
            .map(|s| s.json(id))
            .ok_or_else(|| AdminError::Wrong(format!("there is no repair {id}")))
    }
}
