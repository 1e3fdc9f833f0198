//! How a statement gets to a node and is tried again: by the nodes' word, the time that is left, and which nodes are well.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it runs on its user's tokio, never in the simulator"
)]

use crate::cluster::Cluster;
use crate::columns::Columns;
use crate::error::ClientError;
use crate::node::{Limits, Node, PEERS, Statement};
use crate::reply::Reply;
use crate::retry::{Repetition, pause_before_next};
use bytes::Bytes;
use dunlin_cql::name::TableName;
use dunlin_types::ErrorCode;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Attempts of a statement that may be repeated, however few nodes there are.
const ATTEMPTS_MIN: usize = 3;
/// Longest wait for a connection while there are other nodes to ask.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How often the list of nodes is read anew.
const REFRESHED_EVERY: Duration = Duration::from_secs(60);

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub cluster: Cluster,
    /// The longest wait of a call that sets none.
    pub timeout: Duration,
    pub identified_writes: bool,
    pub discovery: bool,
    /// Columns of the tables used so far.
    columns: Mutex<BTreeMap<String, Arc<Columns>>>,
    /// Reads the list of nodes anew; begun with the first statement.
    keeper: OnceLock<JoinHandle<()>>,
}

impl Drop for Dispatch {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
    }
}

/// When a call ends, whatever it is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Dispatch {
    pub(crate) fn new(
        cluster: Cluster,
        timeout: Duration,
        identified_writes: bool,
        discovery: bool,
    ) -> Dispatch {
        Dispatch {
            cluster,
            timeout,
            identified_writes,
            discovery,
            columns: Mutex::default(),
            keeper: OnceLock::new(),
        }
    }

    /// From now on.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Deadline {
        let timeout = timeout.unwrap_or(self.timeout);
        // A caller in a hurry does not make the connection worthless for the others.
        Deadline { at: Instant::now() + timeout, patience: timeout.max(self.timeout) }
    }

    /// The answer to a statement: of one node after another, each at most once and the first twice (three times in all at
    /// least).
    pub(crate) async fn run(
        self: &Arc<Self>,
        text: Bytes,
        repetition: Repetition,
        deadline: Deadline,
    ) -> Result<Reply, ClientError> {
        self.keep();
        let statement = Statement { text, changes: repetition != Repetition::ReadsAgain };
        let mut tried: Vec<Arc<Node>> = Vec::new();
        let mut earlier: Option<ClientError> = None;
        loop {
            let node = self.cluster.pick(&tried);
            let attempts_max = (self.cluster.len() + 1).max(ATTEMPTS_MIN);
            let is_last = tried.len() + 1 >= attempts_max;
            let began = Instant::now();
            let limits = self.limits(deadline, began, repetition, is_last);
            let greeted = |peers: &Reply| {
                if self.discovery {
                    self.cluster.learn(peers, &node);
                }
            };
            let outcome = node.exchange(&self.cluster.sharing, &statement, limits, greeted).await;
            node.note(outcome.as_ref(), began.elapsed());
            let error = match outcome {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            tried.push(node);
            let failed = u32::try_from(tried.len()).unwrap_or(u32::MAX);
            let pause = pause_before_next(repetition, &error, failed, self.cluster.has_fresh(&tried));
            let error = worse(earlier, error);
            match pause {
                Some(pause) if !is_last && Instant::now() + pause < deadline.at => sleep(pause).await,
                _ => return Err(error),
            }
            earlier = Some(error);
        }
    }

    /// While there are other nodes, one that does not answer gets half of the time that is left.
    fn limits(&self, deadline: Deadline, now: Instant, repetition: Repetition, is_last: bool) -> Limits {
        let Deadline { at, patience } = deadline;
        let goes_on = !is_last && self.cluster.len() > 1;
        let half = now + at.saturating_duration_since(now) / 2;
        let answer = if goes_on && repetition != Repetition::Harms { half } else { at };
        let connect = if goes_on { half.min(now + CONNECT_MAX) } else { at };
        Limits { answer, connect, patience }
    }

    /// Runs the statement that is right for the table's columns; asks for them anew when a node calls it invalid.
    pub(crate) async fn with_columns(
        self: &Arc<Self>,
        table: &TableName,
        repetition: Repetition,
        deadline: Deadline,
        statement: impl Fn(&Columns) -> Result<dunlin_cql::Statement, ClientError>,
    ) -> Result<(Reply, Arc<Columns>), ClientError> {
        let known = self.known_columns(table);
        let columns = match &known {
            Some(known) => known.clone(),
            None => self.columns(table, deadline).await?,
        };
        let error = match self.run(text(&statement(&columns)?), repetition, deadline).await {
            Ok(reply) => return Ok((reply, columns)),
            Err(error) => error,
        };
        let invalid =
            matches!(&error, ClientError::Failed(failure) if failure.kind() == Some(ErrorCode::Invalid));
        if known.is_none() || !invalid {
            return Err(error);
        }
        let fresh = self.columns(table, deadline).await?;
        if fresh == columns {
            return Err(error);
        }
        let reply = self.run(text(&statement(&fresh)?), repetition, deadline).await?;
        Ok((reply, fresh))
    }

    /// The table's columns as the cluster has them now.
    pub(crate) async fn columns(
        self: &Arc<Self>,
        table: &TableName,
        deadline: Deadline,
    ) -> Result<Arc<Columns>, ClientError> {
        let query = Bytes::from(format!("{};\n", Columns::query(table)));
        let listed = self.run(query, Repetition::ReadsAgain, deadline).await?;
        let name = table.to_string();
        let mut all = self.columns.lock().expect("no holder panics");
        let Some(found) = Columns::find(&listed, table) else {
            all.remove(&name);
            return Err(ClientError::NoTable { table: name });
        };
        let found = Arc::new(found);
        all.insert(name, found.clone());
        Ok(found)
    }

    /// The table's columns if it was used before.
    pub(crate) fn known_columns(&self, table: &TableName) -> Option<Arc<Columns>> {
        self.columns.lock().expect("no holder panics").get(&table.to_string()).cloned()
    }

    fn keep(self: &Arc<Self>) {
        if self.discovery {
            self.keeper.get_or_init(|| tokio::spawn(refresh(Arc::downgrade(self))));
        }
    }

    async fn relearn(self: &Arc<Self>) {
        let node = self.cluster.pick(&[]);
        let statement = Statement { text: Bytes::from(format!("{PEERS};\n")), changes: false };
        let deadline = self.deadline(None);
        let limits = self.limits(deadline, Instant::now(), Repetition::ReadsAgain, true);
        let began = Instant::now();
        let outcome = node.exchange(&self.cluster.sharing, &statement, limits, |_| ()).await;
        node.note(outcome.as_ref(), began.elapsed());
        // Where it fails, the list stays as it is until the next time.
        if let Ok(peers) = outcome {
            self.cluster.learn(&peers, &node);
        }
    }
}

async fn refresh(dispatch: Weak<Dispatch>) {
    loop {
        sleep(REFRESHED_EVERY).await;
        match dispatch.upgrade() {
            Some(dispatch) => dispatch.relearn().await,
            None => return,
        }
    }
}

/// What is sent for a statement.
fn text(statement: &dunlin_cql::Statement) -> Bytes {
    Bytes::from(format!("{statement};\n"))
}

/// The later of two errors, unless the earlier one leaves open whether a write was applied: no later refusal can take
/// that back.
fn worse(earlier: Option<ClientError>, later: ClientError) -> ClientError {
    match earlier {
        Some(earlier) if earlier.maybe_applied() && !later.maybe_applied() => earlier,
        _ => later,
    }
}
