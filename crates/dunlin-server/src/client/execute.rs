//! Operations to coordinator calls to replies.

use super::admission::Refused;
use super::errors::{self, not_applied};
use super::services::{ClientServices, Readiness};
use super::session::{Prepared, draining, starting};
use super::{describe, explain, read, scan, system};
use dunlin_cql::operation::{SchemaChange, Write};
use dunlin_cql::reply::TraceLine;
use dunlin_cql::statement::Durability;
use dunlin_cql::{Cell, Operation, Reply};
use dunlin_replication::coordinator::PutRequest;
use dunlin_replication::store::Durability as StoreDurability;
use dunlin_types::error::Applied;
use dunlin_types::schema::Replication;
use dunlin_types::{ClusterError, Consistency, ErrorCode, Mono};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Lines of a trace, with the time since the statement was taken up.
pub(super) struct Trace {
    started: Mono,
    lines: Option<Vec<TraceLine>>,
}

impl Trace {
    pub fn new(started: Mono, on: bool) -> Trace {
        Trace { started, lines: on.then(Vec::new) }
    }

    /// Adds a line; its text is made only if tracing is on.
    pub fn add(&mut self, services: &ClientServices, text: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        let since = services.runtime().mono().since(self.started);
        let view = services.view();
        lines.push(TraceLine {
            micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            node: view.name_of(view.me),
            text: text(),
        });
    }
}

/// Executes a statement that does not change its session.
pub(super) async fn run(services: &Arc<ClientServices>, prepared: Prepared, tracing: bool) -> Reply {
    let Prepared { operation, started, session, held: _held } = prepared;
    let (name, consistency) = name_of(&operation);
    let mut trace = Trace::new(started, tracing);
    trace.add(services, || format!("parsed and planned as {name}"));
    let mut reply = dispatch(services, operation, session, &mut trace).await;
    trace.add(services, || "answered".to_owned());
    if let Some(mut lines) = trace.lines {
        reply.trace.append(&mut lines);
    }
    let code = reply.code();
    if code.is_some() {
        services.stats.errors.fetch_add(1, Ordering::Relaxed);
    }
    services.backend.observe(name, consistency, services.runtime().mono().since(started), code);
    reply
}

/// The operation's name and level, for metrics.
fn name_of(operation: &Operation) -> (&'static str, Option<Consistency>) {
    match operation {
        Operation::Write(write) if write.value.is_some() => ("put", Some(write.consistency)),
        Operation::Write(write) => ("delete", Some(write.consistency)),
        Operation::Read(read) if read.keys.len() == 1 => ("get", Some(read.consistency)),
        Operation::Read(read) => ("get_many", Some(read.consistency)),
        Operation::Scan(scan) => ("scan", Some(scan.consistency)),
        Operation::Batch(_) => ("batch", None),
        Operation::Schema(_) => ("schema", None),
        _ => ("other", None),
    }
}

async fn dispatch(
    services: &Arc<ClientServices>,
    mut operation: Operation,
    session: u64,
    trace: &mut Trace,
) -> Reply {
    match operation {
        Operation::Help(text) => {
            let lines = text.lines().map(|line| vec![Cell::text(line)]).collect();
            return Reply::rows(vec!["help".to_owned()], lines);
        }
        Operation::ShowVersion => return describe::version(),
        _ => {}
    }
    match services.backend.readiness() {
        Readiness::Ready => {}
        Readiness::Starting => return starting(services),
        Readiness::Draining => return draining(),
    }
    let patience = timeout_of(services, &mut operation).map_or(Duration::MAX, |timeout| *timeout);
    let asked = services.runtime().mono();
    let place = match services.admission.enter(session, patience).await {
        Ok(place) => place,
        Err(refused) => return overloaded(refused),
    };
    let begun = services.runtime().mono();
    if let Some(timeout) = timeout_of(services, &mut operation) {
        *timeout = timeout.saturating_sub(begun.since(asked));
    }
    let single = matches!(&operation, Operation::Write(_))
        || matches!(&operation, Operation::Read(read) if read.keys.len() == 1);
    let reply = work(services, operation, trace).await;
    // A statement that ran out of time says as much about load as one that took long.
    let late = [Some(ErrorCode::WriteTimeout), Some(ErrorCode::ReadTimeout)].contains(&reply.code());
    if single && (late || reply.code().is_none()) {
        place.ended(services.runtime().mono().since(begun));
    }
    reply
}

/// The reply to a statement that is not taken up.
pub(super) fn overloaded(refused: Refused) -> Reply {
    not_applied(ErrorCode::Overloaded, "this node has more to do than it can do soon")
        .with("retry_after_ms", refused.retry_after.as_millis().to_string())
}

/// How long an operation of single keys may take, filled in where the statement is silent.
fn timeout_of<'a>(services: &ClientServices, operation: &'a mut Operation) -> Option<&'a mut Duration> {
    let settings = &services.settings;
    match operation {
        Operation::Write(write) => Some(write.timeout.get_or_insert(settings.write_timeout)),
        Operation::Read(read) => Some(read.timeout.get_or_insert(settings.read_timeout)),
        _ => None,
    }
}

async fn work(services: &Arc<ClientServices>, operation: Operation, trace: &mut Trace) -> Reply {
    match operation {
        Operation::Write(write) => match put(services, write, trace).await {
            Ok(reply) | Err(reply) => reply,
        },
        Operation::Batch(writes) => batch(services, writes).await,
        Operation::Read(request) => read::read(services, request, trace).await,
        Operation::Scan(request) => scan::scan(services, request, trace).await,
        Operation::System(select) => select.apply(system::rows(services, select.table)),
        Operation::Schema(change) => change_schema(services, change).await,
        Operation::Describe(what) => describe::describe(services, what),
        Operation::Explain { table, key, consistency } => {
            explain::explain(services, &table, &key, consistency)
        }
        Operation::Nothing => Reply::ok(),
        // The session's own: it keeps them from coming here.
        _ => Reply::error(ErrorCode::Internal, "a session statement came to the wrong place"),
    }
}

/// Writes one key.
async fn put(services: &ClientServices, write: Write, trace: &mut Trace) -> Result<Reply, Reply> {
    let tokens = services.tokens().ok_or_else(|| starting(services))?;
    let context = match &write.context {
        Some(text) => Some(tokens.open(write.table.id, &write.key, text).map_err(bad_context)?),
        None => None,
    };
    let request = PutRequest {
        table: Arc::clone(&write.table),
        key: write.key.clone(),
        value: write.value,
        // The planner filled in the table's default: no TTL is none.
        ttl_s: Some(write.ttl_s.unwrap_or(0)),
        context,
        timestamp: write.timestamp,
        request_id: write.request.map(|id| id.into_bytes()),
        consistency: write.consistency,
        timeout: write.timeout.unwrap_or(services.settings.write_timeout),
        durability: match write.durability {
            Durability::Synced => StoreDurability::Synced,
            Durability::Buffered => StoreDurability::Buffered,
        },
    };
    match services.coordinator.put(request).await {
        Ok(outcome) => {
            trace.add(services, || format!("acknowledged at {}", write.consistency));
            Ok(match outcome.context {
                Some(context) => Reply::ok_with("context", tokens.seal(write.table.id, &write.key, &context)),
                None => Reply::ok(),
            })
        }
        Err(error) => Err(errors::reply(services, *error, Some((&write.table, &write.key)))),
    }
}

/// A token that is refused.
pub(super) fn bad_context(error: dunlin_replication::context_token::BadToken) -> Reply {
    not_applied(ErrorCode::BadContext, error.to_string())
}

/// Writes of one key go one after the other, different keys beside each other. After an error nothing more is
/// started; the error reported is that of the first statement that failed.
async fn batch(services: &Arc<ClientServices>, writes: Vec<Write>) -> Reply {
    let mut by_key: BTreeMap<_, VecDeque<(usize, Write)>> = BTreeMap::new();
    for (index, write) in writes.into_iter().enumerate() {
        by_key.entry((write.table.id, write.key.clone())).or_default().push_back((index, write));
    }
    let run = |mut queue: VecDeque<(usize, Write)>| async move {
        let (index, write) = queue.pop_front()?;
        let mut trace = Trace::new(Mono(0), false);
        let result = put(services, write, &mut trace).await;
        Some((index, result, queue))
    };
    let mut waiting = by_key.into_values();
    let mut running: FuturesUnordered<_> =
        waiting.by_ref().take(services.settings.keys_in_parallel).map(run).collect();
    let mut applied = 0u64;
    let mut unknown = false;
    let mut first_error: Option<(usize, Reply)> = None;
    while let Some(done) = running.next().await {
        let Some((index, result, queue)) = done else { continue };
        match result {
            Ok(_) => applied += 1,
            Err(reply) => {
                unknown |= reply.field("applied") == Some(Applied::Maybe.name());
                if first_error.as_ref().is_none_or(|(first, _)| index < *first) {
                    first_error = Some((index, reply));
                }
            }
        }
        if first_error.is_none() {
            let next = if queue.is_empty() { waiting.next() } else { Some(queue) };
            running.extend(next.map(run));
        }
    }
    match first_error {
        None => Reply::ok_with("applied", applied.to_string()),
        Some((index, reply)) => batch_error(reply, index, applied, unknown),
    }
}

/// Says which statement failed and how many others were applied. Once any was or may have been, the whole may not
/// be repeated as if nothing had happened.
fn batch_error(mut reply: Reply, index: usize, applied: u64, unknown: bool) -> Reply {
    if let dunlin_cql::Body::Error { message, fields, .. } = &mut reply.body {
        *message = format!("statement {} of the batch: {message}", index + 1);
        if applied > 0 || unknown {
            fields.retain(|(name, _)| name != "applied");
            fields.push(("applied".to_owned(), Applied::Maybe.name().to_owned()));
        }
    }
    reply.with("batch_applied", applied.to_string()).with("batch_failed", (index + 1).to_string())
}

async fn change_schema(services: &ClientServices, change: SchemaChange) -> Reply {
    let thin = match &change {
        SchemaChange::CreateKeyspace(def) | SchemaChange::AlterKeyspace(def) => {
            too_few_nodes(services, &def.replication)
        }
        _ => Vec::new(),
    };
    match services.backend.change_schema(change, services.settings.schema_timeout).await {
        Ok(missing) => {
            let mut reply = Reply::ok();
            reply.warnings = thin;
            if !missing.is_empty() {
                let nodes = missing.join(", ");
                reply.warnings.push(format!("not yet known to {nodes}; they learn it by themselves"));
            }
            reply
        }
        Err(error) => errors::reply(services, *error, None),
    }
}

/// Says where a replication asks for more nodes than the cluster has now.
fn too_few_nodes(services: &ClientServices, replication: &Replication) -> Vec<String> {
    let view = services.coordinator.core().views.load();
    let Some(layout) = view.read_layout() else { return Vec::new() };
    let there = |center: Option<&str>| {
        layout.members.iter().filter(|m| center.is_none_or(|c| m.data_center == c)).count() as u32
    };
    match replication {
        Replication::Simple(wanted) if *wanted > there(None) => {
            vec![format!("{wanted} replicas are asked for and the cluster has {} nodes", there(None))]
        }
        Replication::Simple(_) => Vec::new(),
        Replication::NetworkTopology(centers) => centers
            .iter()
            .filter(|(center, wanted)| **wanted > there(Some(center)))
            .map(|(center, wanted)| {
                let there = there(Some(center));
                format!("{wanted} replicas are asked for and data center {center} has {there} nodes")
            })
            .collect(),
    }
}

/// The reply to a request whose node lost its cluster between planning and execution.
pub(super) fn no_layout() -> Box<ClusterError> {
    Box::new(ClusterError::new(ErrorCode::NotReady, "this node is not part of a cluster yet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_claims_that_nothing_was_applied_only_if_that_is_known_of_all() {
        for (applied, unknown, claimed) in [(0, false, "no"), (1, false, "maybe"), (0, true, "maybe")] {
            let first = not_applied(ErrorCode::Unavailable, "too few");
            let reply = batch_error(first, 0, applied, unknown);
            assert_eq!(reply.field("applied"), Some(claimed), "{applied} applied, unknown: {unknown}");
        }
    }
}
