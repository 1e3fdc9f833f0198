//! Several nodes as one: picks one, keeps idle connections, tries the next where that is safe.

use crate::columns::{self, Columns};
use crate::connection::Connection;
use crate::error::ClientError;
use crate::reply::Reply;
use crate::text::quote;
use dunlin_types::{Consistency, ErrorCode};
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
}

impl Default for Options {
    fn default() -> Self {
        Options { consistency: None, timeout: Duration::from_secs(10), idle_max: 64 }
    }
}

/// A client of a cluster. Share it: its methods take `&self`.
///
/// A statement goes to another node only when it was certainly not applied: the node could not be reached, or
/// it answered that it is not ready or overloaded with `applied=no`. Reads ([`Client::get`], [`Client::scan`]) go
/// to another node also when a connection breaks or a node cannot serve them now.
#[derive(Debug)]
pub struct Client {
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
        Client::with_options(hosts, Options::default())
    }

    /// A client with options.
    pub fn with_options<S: Into<String>>(hosts: impl IntoIterator<Item = S>, options: Options) -> Client {
        let hosts: Vec<String> = hosts.into_iter().map(Into::into).collect();
        assert!(!hosts.is_empty(), "a client needs at least one host");
        Client {
            hosts,
            options,
            next: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
            columns: Mutex::new(BTreeMap::new()),
        }
    }

    /// Runs one statement. Session statements (USE, CONSISTENCY, ...) have no place here: connections are shared.
    pub async fn execute(&self, statement: &str) -> Result<Reply, ClientError> {
        self.run(statement, |error| match error {
            ClientError::Connect { .. } => true,
            ClientError::Failed(failure) => {
                matches!(failure.code.as_str(), "NOT_READY" | "OVERLOADED") && !failure.maybe_applied()
            }
            _ => false,
        })
        .await
    }

    /// Runs a statement that changes nothing: it may be repeated whatever became of it.
    async fn read(&self, statement: &str) -> Result<Reply, ClientError> {
        self.run(statement, ClientError::is_temporary).await
    }

    /// Tries one node after another, each at most once and the first twice, for as long as `elsewhere` says so.
    async fn run(
        &self,
        statement: &str,
        elsewhere: impl Fn(&ClientError) -> bool,
    ) -> Result<Reply, ClientError> {
        let mut last = None;
        for _ in 0..=self.hosts.len() {
            let error = match self.attempt(statement, last.is_some()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if !elsewhere(&error) {
                return Err(error);
            }
            last = Some(error);
        }
        Err(last.expect("the loop ran at least once"))
    }

    async fn attempt(&self, statement: &str, fresh: bool) -> Result<Reply, ClientError> {
        let mut connection = self.take(fresh).await?;
        let outcome = connection.execute(statement).await;
        if matches!(outcome, Ok(_) | Err(ClientError::Failed(_))) {
            self.give_back(connection);
        }
        outcome
    }

    /// Reads a key of `keyspace.table`. Keys and values of other types than text are given and returned as text.
    pub async fn get(&self, table: &str, key: &str) -> Result<Found, ClientError> {
        let reply = self
            .with_columns(table, true, |columns| {
                let value = columns.value_name();
                format!(
                    "SELECT {value}, CONTEXT({value}) FROM {table} WHERE {} = {}{}",
                    columns.key_name(),
                    columns.key_literal(key),
                    self.using(&[])
                )
            })
            .await?;
        let context = reply.rows.first().and_then(|row| row.get(1).cloned().flatten());
        let context = context.or_else(|| reply.field("context").map(str::to_owned));
        let values = reply.rows.into_iter().filter_map(|mut row| row.swap_remove(0)).collect();
        Ok(Found { values, context })
    }

    /// Writes, superseding what the coordinating replica holds. Returns the write's context.
    pub async fn put(&self, table: &str, key: &str, value: &str) -> Result<Option<String>, ClientError> {
        self.put_with(table, key, value, None).await
    }

    /// Writes, superseding exactly what `context` has seen.
    pub async fn put_with(
        &self,
        table: &str,
        key: &str,
        value: &str,
        context: Option<&str>,
    ) -> Result<Option<String>, ClientError> {
        let context = context.map(|token| format!("CONTEXT {}", quote(token)));
        let reply = self
            .with_columns(table, false, |columns| {
                format!(
                    "INSERT INTO {table} ({}, {}) VALUES ({}, {}){}",
                    columns.key_name(),
                    columns.value_name(),
                    columns.key_literal(key),
                    columns.value_literal(value),
                    self.using(context.as_slice())
                )
            })
            .await?;
        Ok(reply.field("context").map(str::to_owned))
    }

    /// Deletes, superseding what the coordinating replica holds.
    pub async fn delete(&self, table: &str, key: &str) -> Result<Option<String>, ClientError> {
        let reply = self
            .with_columns(table, false, |columns| {
                format!(
                    "DELETE FROM {table}{} WHERE {} = {}",
                    self.using(&[]),
                    columns.key_name(),
                    columns.key_literal(key)
                )
            })
            .await?;
        Ok(reply.field("context").map(str::to_owned))
    }

    /// Runs the statement that is right for the table's columns. They are taken for text columns `key` and
    /// `value`, as in the table `kv`, until a node calls that invalid; then it is asked what they are.
    async fn with_columns(
        &self,
        table: &str,
        reads: bool,
        statement: impl Fn(&Columns) -> String,
    ) -> Result<Reply, ClientError> {
        let taken = self.columns.lock().expect("no holder panics").get(table).cloned().unwrap_or_default();
        let text = statement(&taken);
        let failed = match if reads { self.read(&text).await } else { self.execute(&text).await } {
            Err(ClientError::Failed(failure)) if failure.kind() == Some(ErrorCode::Invalid) => failure,
            other => return other,
        };
        match Columns::find(&self.read(columns::QUERY).await?, table) {
            Some(found) if found != taken => {
                let text = statement(&found);
                self.columns.lock().expect("no holder panics").insert(table.to_owned(), found);
                if reads { self.read(&text).await } else { self.execute(&text).await }
            }
            _ => Err(failed.into()),
        }
    }

    /// One page of the whole table in token order; `page` continues an earlier one.
    pub async fn scan(&self, table: &str, page: Option<&str>) -> Result<Reply, ClientError> {
        let page = page.map(|token| format!("PAGE {}", quote(token)));
        self.read(&format!("SELECT * FROM {table}{}", self.using(page.as_slice()))).await
    }

    fn using(&self, extra: &[String]) -> String {
        let level = self.options.consistency.map(|level| format!("CONSISTENCY {level}"));
        let all: Vec<&str> = level.iter().chain(extra).map(String::as_str).collect();
        if all.is_empty() { String::new() } else { format!(" USING {}", all.join(" AND ")) }
    }

    /// An idle connection, unless a fresh one (to the next node in turn) is asked for.
    async fn take(&self, fresh: bool) -> Result<Connection, ClientError> {
        while !fresh && let Some(connection) = self.take_idle() {
            if connection.is_usable() {
                return Ok(connection);
            }
        }
        let host = &self.hosts[self.next.fetch_add(1, Ordering::Relaxed) % self.hosts.len()];
        Connection::connect(host, self.options.timeout).await
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
