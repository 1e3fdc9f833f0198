//! A client of a whole cluster.

use crate::builder::Builder;
use crate::call::{Batch, Execute, Get, MultiGet, Scan, Write};
use crate::columns::Columns;
use crate::dispatch::Dispatch;
use crate::error::ClientError;
use crate::value::Value;
use dunlin_cql::name::TableName;
use std::sync::Arc;

/// A client of a cluster. Clones share everything; use one for the whole process.
///
/// Each call is a builder: set what it should have, then await it.
///
/// ```no_run
/// # use dunlin_client::{Client, Consistency, TableName};
/// # use std::time::Duration;
/// # async fn example(client: Client, table: TableName) -> Result<(), dunlin_client::ClientError> {
/// client.put(&table, "session-7", "logged in").ttl(Duration::from_secs(3600)).await?;
/// let found = client.get(&table, "session-7").consistency(Consistency::One).await?;
/// # Ok(()) }
/// ```
///
/// **Where calls go.** To all nodes that are well, in turn, of two the one with less in flight; a node that failed is left
/// alone for a while. Many calls share a few connections to each node, and are sent without waiting for those before.
///
/// **What is tried again.** A statement of [`Client::execute`] that changes something is tried again only when it was
/// certainly not applied: no node was reached, or it answered that it is not ready or overloaded with `applied=no`.
/// Reads, and the writes of [`Client::put`], [`Client::delete`] and [`Client::batch`], which carry a request id by which
/// nodes know a repetition, are tried again also when a connection breaks, replicas fail or a node does not answer.
/// The next attempt goes to the next node, after the time that the last one asked for, and never after the time limit. An
/// error of any attempt that leaves open whether a write was applied is what is told in the end.
///
/// **Dropping a call** gives up its answer and nothing else: what was sent may still be applied, and nobody else gets the
/// answer.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) dispatch: Arc<Dispatch>,
}

impl Client {
    /// Settings of a client: name at least one node, then [`Builder::build`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn of(dispatch: Dispatch) -> Client {
        Client { dispatch: Arc::new(dispatch) }
    }

    /// The nodes in use now: those that were named, and those that were learnt of.
    pub fn nodes(&self) -> Vec<String> {
        self.dispatch.cluster.addresses()
    }

    /// Reads a key.
    pub fn get<'a>(&'a self, table: &'a TableName, key: impl Into<Value>) -> Get<'a> {
        Get::new(self, table, key.into())
    }

    /// Reads many keys at once, each on its own: results are in the order of the keys, and one that fails leaves the
    /// others as they are.
    pub fn multi_get<'a, K: Into<Value>>(
        &'a self,
        table: &'a TableName,
        keys: impl IntoIterator<Item = K>,
    ) -> MultiGet<'a> {
        MultiGet::new(self, table, keys.into_iter().map(Into::into).collect())
    }

    /// Writes a value. Without a context it supersedes what the coordinating replica holds.
    pub fn put<'a>(
        &'a self,
        table: &'a TableName,
        key: impl Into<Value>,
        value: impl Into<Value>,
    ) -> Write<'a> {
        Write::new(self, table, key.into(), Some(value.into()))
    }

    /// Deletes a key. Without a context it supersedes what the coordinating replica holds.
    pub fn delete<'a>(&'a self, table: &'a TableName, key: impl Into<Value>) -> Write<'a> {
        Write::new(self, table, key.into(), None)
    }

    /// Makes many writes at once, each on its own and with an outcome of its own; no transaction. Writes of the same key
    /// are made one after another.
    ///
    /// ```no_run
    /// # use dunlin_client::{Client, TableName};
    /// # use std::time::Duration;
    /// # async fn example(client: Client, table: TableName) -> Result<(), dunlin_client::ClientError> {
    /// let writes = [
    ///     client.put(&table, "a", "1"),
    ///     client.put(&table, "b", "2").ttl(Duration::from_secs(60)),
    ///     client.delete(&table, "c"),
    /// ];
    /// client.batch(writes).await.into_result()?;
    /// # Ok(()) }
    /// ```
    pub fn batch<'a>(&'a self, writes: impl IntoIterator<Item = Write<'a>>) -> Batch<'a> {
        Batch::new(self, writes.into_iter().collect())
    }

    /// Reads a whole table, or a range of its tokens, page after page.
    pub fn scan(&self, table: &TableName) -> Scan {
        Scan::new(self, table)
    }

    /// Runs one statement. One that sets a session (USE, CONSISTENCY, ...) is refused: connections are shared.
    pub fn execute<'a>(&'a self, statement: &'a str) -> Execute<'a> {
        Execute::new(self, statement)
    }

    /// A table's columns and their types: of what was learnt of it before, if it was used before.
    pub async fn columns(&self, table: &TableName) -> Result<Arc<Columns>, ClientError> {
        match self.dispatch.known_columns(table) {
            Some(known) => Ok(known),
            None => self.dispatch.columns(table, self.dispatch.deadline(None)).await,
        }
    }
}
