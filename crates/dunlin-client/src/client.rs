//! Several nodes as one: picks one, keeps idle connections, tries the next where that is safe.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it runs on its user's tokio, never in the simulator"
)]

use crate::columns::Columns;
use crate::connection::Connection;
use crate::connector::Connector;
use crate::error::ClientError;
use crate::reply::Reply;
use crate::retry::{Repetition, pause_before_next};
use crate::statement;
use dunlin_cql::Literal;
use dunlin_cql::name::TableName;
use dunlin_cql::value::TypeError;
use dunlin_types::{ConflictMode, Consistency, ErrorCode};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Level of the verbs; `None` leaves it to the session's default (QUORUM).
    pub consistency: Option<Consistency>,
    /// Bound of connecting and of each wait for a reply.
    pub timeout: Duration,
    /// Idle connections kept.
    pub idle_max: usize,
    /// Writes carry a request id, and are repeated under it where the first attempt may have been applied. The
    /// nodes ask one another before they make such a write: it takes one more exchange between them.
    pub identified_writes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { consistency: None, timeout: Duration::from_secs(10), idle_max: 64, identified_writes: true }
    }
}

fn quote(text: &str) -> Literal {
    Literal::Text(text.to_owned())
}

/// Attempts of a statement that may be repeated, however few nodes there are.
const ATTEMPTS_MIN: u32 = 3;

/// A client of a cluster. Share it: its methods take `&self`.
///
/// A statement of [`Client::execute`] is tried again only when it was certainly not applied: the node could not be
/// reached, or it answered that it is not ready or overloaded with `applied=no`. Reads ([`Client::get`],
/// [`Client::scan`]) and the writes of [`Client::put`] and [`Client::delete`], which carry a request id, are tried
/// again also when a connection breaks or replicas fail. The next attempt goes to the next node, after the time
/// that the last one asked for.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    hosts: Vec<String>,
    options: Options,
    next: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
    /// Columns of tables that turned out to be others than `key` and `value`.
    columns: Mutex<BTreeMap<String, Columns>>,
}

/// What a read of one key found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Concurrent values; none if the key is absent, one in the usual case.
    pub values: Vec<String>,
    /// Give it to the write that replaces them. Empty in a last_write_wins table.
    pub context: Option<String>,
}

impl Client {
    /// A client of these nodes (`host:port`). Connects on first use.
    pub fn new<S: Into<String>>(hosts: impl IntoIterator<Item = S>) -> Client {
        let options = Options::default();
        Client::with_options(Connector::new(options.timeout), hosts, options)
    }

    /// A client with options.
    pub fn with_options<S: Into<String>>(
        connector: Connector,
        hosts: impl IntoIterator<Item = S>,
        options: Options,
    ) -> Client {
        let hosts: Vec<String> = hosts.into_iter().map(Into::into).collect();
        assert!(!hosts.is_empty(), "a client needs at least one host");
        Client {
            connector,
            hosts,
            options,
            next: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
            columns: Mutex::new(BTreeMap::new()),
        }
    }

    /// Runs one statement. Session statements (USE, CONSISTENCY, ...) have no place here: connections are shared.
    pub async fn execute(&self, statement: &str) -> Result<Reply, ClientError> {
        statement::append_shared(&mut Vec::new(), statement)?;
        self.run(statement, Repetition::Harms).await
    }

    /// Tries one node after another, each at most once and the first twice (three times in all at least).
    async fn run(&self, statement: &str, repetition: Repetition) -> Result<Reply, ClientError> {
        let attempts =
            u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).saturating_add(1).max(ATTEMPTS_MIN);
        for failed in 1.. {
            let error = match self.attempt(statement, failed > 1).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let fresh = (failed as usize) < self.hosts.len();
            match pause_before_next(repetition, &error, failed, fresh) {
                Some(pause) if failed < attempts => tokio::time::sleep(pause).await,
                _ => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn attempt(&self, statement: &str, fresh: bool) -> Result<Reply, ClientError> {
        let mut connection = self.take(fresh).await?;
        let outcome = connection.execute(statement).await;
        if matches!(outcome, Ok(_) | Err(ClientError::Failed(_))) {
            self.give_back(connection);
        }
        outcome
    }

    /// Reads a key. Keys and values of other types than text are given and returned as text.
    pub async fn get(&self, table: &TableName, key: &str) -> Result<Found, ClientError> {
        let reply = self
            .with_columns(table, Repetition::ReadsAgain, |columns| {
                let value = columns.value_name();
                let context = match columns.conflicts {
                    ConflictMode::Siblings => format!(", CONTEXT({value})"),
                    ConflictMode::LastWriteWins => String::new(),
                };
                let key = columns.key_literal(key)?;
                Ok(format!(
                    "SELECT {value}{context} FROM {table} WHERE {} = {key}{}",
                    columns.key_name(),
                    self.using(&[])
                ))
            })
            .await?;
        let context = reply.rows.first().and_then(|row| Some(row.get(1)?.as_deref()?.to_owned()));
        let context = context.or_else(|| reply.field("context").map(str::to_owned));
        let values = reply.rows.into_iter().filter_map(|mut row| Some(row.swap_remove(0)?.into())).collect();
        Ok(Found { values, context })
    }

    /// Writes, superseding what the coordinating replica holds. Returns the write's context.
    pub async fn put(
        &self,
        table: &TableName,
        key: &str,
        value: &str,
    ) -> Result<Option<String>, ClientError> {
        self.put_with(table, key, value, None).await
    }

    /// Writes, superseding exactly what `context` has seen.
    pub async fn put_with(
        &self,
        table: &TableName,
        key: &str,
        value: &str,
        context: Option<&str>,
    ) -> Result<Option<String>, ClientError> {
        let (repetition, mut using) = self.identify();
        using.extend(context.map(|token| format!("CONTEXT {}", quote(token))));
        let reply = self
            .with_columns(table, repetition, |columns| {
                Ok(format!(
                    "INSERT INTO {table} ({}, {}) VALUES ({}, {}){}",
                    columns.key_name(),
                    columns.value_name(),
                    columns.key_literal(key)?,
                    columns.value_literal(value)?,
                    self.using(&using)
                ))
            })
            .await?;
        Ok(reply.field("context").map(str::to_owned))
    }

    /// Deletes, superseding what the coordinating replica holds.
    pub async fn delete(&self, table: &TableName, key: &str) -> Result<Option<String>, ClientError> {
        let (repetition, using) = self.identify();
        let reply = self
            .with_columns(table, repetition, |columns| {
                Ok(format!(
                    "DELETE FROM {table}{} WHERE {} = {}",
                    self.using(&using),
                    columns.key_name(),
                    columns.key_literal(key)?
                ))
            })
            .await?;
        Ok(reply.field("context").map(str::to_owned))
    }

    /// Runs the statement that is right for the table's columns; asks for them anew when a node calls it invalid.
    async fn with_columns(
        &self,
        table: &TableName,
        repetition: Repetition,
        statement: impl Fn(&Columns) -> Result<String, TypeError>,
    ) -> Result<Reply, ClientError> {
        let name = table.to_string();
        let known = self.columns.lock().expect("no holder panics").get(&name).cloned();
        if let Some(known) = known {
            match self.run(&statement(&known)?, repetition).await {
                Err(ClientError::Failed(failure)) if failure.kind() == Some(ErrorCode::Invalid) => {}
                other => return other,
            }
        }
        let listed = self.run(&Columns::query(table), Repetition::ReadsAgain).await?;
        let found =
            Columns::find(&listed, table).ok_or_else(|| ClientError::NoTable { table: name.clone() })?;
        let text = statement(&found)?;
        self.columns.lock().expect("no holder panics").insert(name, found);
        self.run(&text, repetition).await
    }

    /// One page of the whole table in token order; `page` continues an earlier one.
    pub async fn scan(&self, table: &TableName, page: Option<&str>) -> Result<Reply, ClientError> {
        let page = page.map(|token| format!("PAGE {}", quote(token)));
        let statement = format!("SELECT * FROM {table}{}", self.using(page.as_slice()));
        self.run(&statement, Repetition::ReadsAgain).await
    }

    /// A new request id as an option of a write, if writes carry one.
    fn identify(&self) -> (Repetition, Vec<String>) {
        match self.options.identified_writes {
            true => (Repetition::IsRecognised, vec![format!("REQUEST '{}'", uuid::Uuid::new_v4())]),
            false => (Repetition::Harms, Vec::new()),
        }
    }

    fn using(&self, extra: &[String]) -> String {
        let level = self.options.consistency.map(|level| format!("CONSISTENCY {level}"));
        let all: Vec<&str> = level.iter().chain(extra).map(String::as_str).collect();
        if all.is_empty() { String::new() } else { format!(" USING {}", all.join(" AND ")) }
    }

    /// An idle connection, unless a fresh one (to the next node in turn) is asked for.
    async fn take(&self, fresh: bool) -> Result<Connection, ClientError> {
        while !fresh && let Some(connection) = self.take_idle() {
            let mut connection = connection;
            if connection.is_usable() {
                return Ok(connection);
            }
        }
        let host = &self.hosts[self.next.fetch_add(1, Ordering::Relaxed) % self.hosts.len()];
        self.connector.connect(host).await
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().expect("no holder panics").pop()
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().expect("no holder panics");
        if idle.len() < self.options.idle_max {
            idle.push(connection);
        }
    }
}
