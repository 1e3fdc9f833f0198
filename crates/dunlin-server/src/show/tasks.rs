//! What operators start and what may take hours: runs on the store's own thread for it, one after the other; how
//! far it is, and how it ended, is shown under a number.

use super::work;
use crate::admin::{AdminError, Params};
use crate::node::Node;
use dunlin_storage::{Engine, EngineError, Progress};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Tasks that are remembered after their end.
const TASKS_MAX: usize = 64;
/// Tasks that wait or run at a time.
const RUNNING_MAX: usize = 8;

/// What a task tells on its way; [`ControlFlow::Break`] means that the node stops.
pub(super) type Report<'a> = &'a mut dyn FnMut(&str, Progress) -> ControlFlow<()>;

/// The work, on the store's thread: its result is what `nodetool` prints.
pub(super) type Work = Box<dyn FnOnce(&Engine, Report<'_>) -> Result<Value, EngineError> + Send>;

#[derive(Clone, Debug, Default)]
struct State {
    verb: &'static str,
    running: bool,
    table: String,
    file: String,
    bytes_done: u64,
    bytes_total: u64,
    result: Value,
    error: Option<String>,
}

impl State {
    fn json(&self, id: u64) -> Value {
        json!({
            "id": id, "verb": self.verb, "running": self.running, "table": self.table, "file": self.file,
            "bytes_done": self.bytes_done, "bytes_total": self.bytes_total, "result": self.result,
            "error": self.error,
        })
    }
}

/// Tasks by number.
#[derive(Default)]
pub(super) struct Tasks {
    states: Mutex<BTreeMap<u64, State>>,
}

impl Tasks {
    /// Starts one, or puts it behind those that run.
    pub(super) fn start(
        self: &Arc<Self>,
        node: &Arc<Node>,
        verb: &'static str,
        work: Work,
    ) -> Result<Value, AdminError> {
        let id = self.add(verb)?;
        let (tasks, store) = (Arc::clone(self), Arc::downgrade(&node.store));
        let job = Box::new(move |engine: &Engine| {
            let mut report = |table: &str, step: Progress| {
                tasks.with(id, |state| {
                    table.clone_into(&mut state.table);
                    (state.file, state.bytes_done, state.bytes_total) =
                        (step.file, step.bytes_done, step.bytes_total);
                });
                match store.upgrade().is_none_or(|store| store.stopping()) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let result = work(engine, &mut report)?;
            tasks.with(id, |state| state.result = result);
            Ok(())
        });
        let done = node.store.run_long(job);
        let tasks = Arc::clone(self);
        let task = async move {
            let error = done.await.err().map(work::reason);
            tasks.with(id, |state| (state.running, state.error) = (false, error));
        };
        drop(node.runtime.spawn("operator", Box::pin(task)));
        Ok(self.with(id, |state| state.json(id)).unwrap_or_default())
    }

    fn add(&self, verb: &'static str) -> Result<u64, AdminError> {
        let mut states = self.states.lock();
        if states.values().filter(|s| s.running).count() >= RUNNING_MAX {
            let message =
                "too many tasks are waiting; let one end first (nodetool compactionstats shows them)";
            return Err(AdminError::Conflict(message.to_owned()));
        }
        while states.len() >= TASKS_MAX {
            let Some(oldest) = states.iter().find(|(_, s)| !s.running).map(|(id, _)| *id) else { break };
            states.remove(&oldest);
        }
        let id = states.last_key_value().map_or(1, |(id, _)| id + 1);
        states.insert(id, State { verb, running: true, ..State::default() });
        Ok(id)
    }

    fn with<T>(&self, id: u64, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.states.lock().get_mut(&id).map(change)
    }

    /// Those that run or wait.
    pub(super) fn running(&self) -> Vec<Value> {
        let states = self.states.lock();
        states.iter().filter(|(_, s)| s.running).map(|(id, s)| s.json(*id)).collect()
    }

    /// One, or all.
    pub(super) fn show(&self, params: &Params) -> Result<Value, AdminError> {
        let Some(id) = params.get("id") else {
            let states = self.states.lock();
            return Ok(json!({ "tasks": states.iter().map(|(id, s)| s.json(*id)).collect::<Vec<_>>() }));
        };
        let id: u64 = id.parse().map_err(|_| AdminError::Wrong(format!("id={id} is not a number")))?;
        self.with(id, |state| state.json(id)).ok_or_else(|| {
            AdminError::Wrong(format!(
                "there is no task {id}: the node was started again, or it ended long ago"
            ))
        })
    }
}
