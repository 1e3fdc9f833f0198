//! Several nodes as one: picks one, keeps idle connections, tries the next where that is safe.

use crate::connection::Connection;
use crate::error::ClientError;
use crate::reply::Reply;
use crate::text::{push_quoted, quote};
use dunlin_types::Consistency;
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
/// it answered that it is not ready or overloaded with `applied=no`.
#[derive(Debug)]
pub struct Client {
    hosts: Vec<String>,
    options: Options,
    next: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
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
        Client { hosts, options, next: AtomicUsize::new(0), idle: Mutex::new(Vec::new()) }
    }

    /// Runs one statement. Session statements (USE, CONSISTENCY, ...) have no place here: connections are shared.
    pub async fn execute(&self, statement: &str) -> Result<Reply, ClientError> {
        let mut last = None;
        for _ in 0..=self.hosts.len() {
            let mut connection = match self.take().await {
                Ok(connection) => connection,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            match connection.execute(statement).await {
                Ok(reply) => {
                    self.give_back(connection);
                    return Ok(reply);
                }
                Err(ClientError::Failed(failure)) => {
                    self.give_back(connection);
                    let elsewhere = matches!(failure.code.as_str(), "NOT_READY" | "OVERLOADED")
                        && !failure.maybe_applied();
                    if !elsewhere {
                        return Err(failure.into());
                    }
                    last = Some(failure.into());
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("the loop ran at least once"))
    }

    /// Reads a text key of `keyspace.table` whose columns are `key` and `value`.
    pub async fn get(&self, table: &str, key: &str) -> Result<Found, ClientError> {
        let statement = format!(
            "SELECT value, CONTEXT(value) FROM {table} WHERE key = {}{}",
            quote(key),
            self.using(&[])
        );
        let reply = self.execute(&statement).await?;
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
        let mut statement = format!("INSERT INTO {table} (key, value) VALUES (");
        push_quoted(&mut statement, key);
        statement.push_str(", ");
        push_quoted(&mut statement, value);
        statement.push(')');
        let context = context.map(|token| format!("CONTEXT {}", quote(token)));
        statement.push_str(&self.using(context.as_slice()));
        Ok(self.execute(&statement).await?.field("context").map(str::to_owned))
    }

    /// Deletes, superseding what the coordinating replica holds.
    pub async fn delete(&self, table: &str, key: &str) -> Result<Option<String>, ClientError> {
        let statement = format!("DELETE FROM {table}{} WHERE key = {}", self.using(&[]), quote(key));
        Ok(self.execute(&statement).await?.field("context").map(str::to_owned))
    }

    /// One page of the whole table in token order; `page` continues an earlier one.
    pub async fn scan(&self, table: &str, page: Option<&str>) -> Result<Reply, ClientError> {
        let page = page.map(|token| format!("PAGE {}", quote(token)));
        self.execute(&format!("SELECT * FROM {table}{}", self.using(page.as_slice()))).await
    }

    fn using(&self, extra: &[String]) -> String {
        let level = self.options.consistency.map(|level| format!("CONSISTENCY {level}"));
        let all: Vec<&str> = level.iter().chain(extra).map(String::as_str).collect();
        if all.is_empty() { String::new() } else { format!(" USING {}", all.join(" AND ")) }
    }

    async fn take(&self) -> Result<Connection, ClientError> {
        if let Some(connection) = self.idle.lock().expect("no holder panics").pop() {
            return Ok(connection);
        }
        let host = &self.hosts[self.next.fetch_add(1, Ordering::Relaxed) % self.hosts.len()];
        Connection::connect(host, self.options.timeout).await
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().expect("no holder panics");
        if idle.len() < self.options.idle_max {
            idle.push(connection);
        }
    }
}
