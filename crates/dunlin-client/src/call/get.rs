//! Reading keys.

use super::{AT_ONCE, time_for_node};
use crate::client::Client;
use crate::columns::Columns;
use crate::dispatch::Deadline;
use crate::error::ClientError;
use crate::reply::Reply;
use crate::retry::Repetition;
use crate::tokens::Context;
use crate::value::Value;
use dunlin_cql::Statement;
use dunlin_cql::name::TableName;
use dunlin_cql::statement::{Condition, SelectItem, SelectStatement, Using};
use dunlin_types::{ConflictMode, Consistency};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use std::future::IntoFuture;
use std::time::Duration;

/// What a read of a key found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Concurrent values; none if the key is absent, one in the usual case.
    pub values: Vec<Value>,
    /// What the read has seen, for the write that replaces it; also of an absent key. `None` in a last_write_wins table.
    pub context: Option<Context>,
}

impl Found {
    /// The value, if there is exactly one.
    pub fn value(&self) -> Option<&Value> {
        match self.values.as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Whether the key has no value.
    pub fn is_absent(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether there are several concurrent values.
    pub fn has_siblings(&self) -> bool {
        self.values.len() > 1
    }
}

/// A read of one key: [`Client::get`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read before it is awaited"]
pub struct Get<'a> {
    client: &'a Client,
    table: &'a TableName,
    key: Value,
    using: Using,
    timeout: Option<Duration>,
}

impl<'a> Get<'a> {
    pub(crate) fn new(client: &'a Client, table: &'a TableName, key: Value) -> Get<'a> {
        Get { client, table, key, using: Using::default(), timeout: None }
    }

    /// The level, instead of the client's.
    pub fn consistency(mut self, level: Consistency) -> Get<'a> {
        self.using.consistency = Some(level);
        self
    }

    /// The read has to see at least what this context has seen; else it is an error, STALE.
    pub fn after(mut self, context: impl Into<Context>) -> Get<'a> {
        self.using.after = Some(context.into().as_str().to_owned());
        self
    }

    /// The longest wait, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Get<'a> {
        self.timeout = Some(timeout);
        self
    }

    async fn until(mut self, deadline: Deadline) -> Result<Found, ClientError> {
        self.using.timeout = time_for_node(self.timeout, Repetition::ReadsAgain);
        let statement = |columns: &Columns| self.statement(columns);
        let dispatch = &self.client.dispatch;
        let (reply, columns) =
            dispatch.with_columns(self.table, Repetition::ReadsAgain, deadline, statement).await?;
        found(reply, &columns)
    }

    fn statement(&self, columns: &Columns) -> Result<Statement, ClientError> {
        let mut items = vec![SelectItem::Column(columns.value.clone())];
        if columns.conflicts == ConflictMode::Siblings {
            items.push(SelectItem::Context(columns.value.clone()));
        }
        let key = self.key.clone().into_literal(columns.key_as_value())?;
        Ok(Statement::Select(SelectStatement {
            items,
            table: self.table.clone(),
            condition: Condition::Equals { column: columns.key.clone(), key },
            limit: None,
            using: self.using.clone(),
        }))
    }
}

fn found(reply: Reply, columns: &Columns) -> Result<Found, ClientError> {
    let context = reply.rows.first().and_then(|row| row.get(1)?.as_deref());
    let context = context.or_else(|| reply.field("context")).map(Context::new);
    let cells = reply.rows.into_iter().filter_map(|row| row.into_iter().next()?);
    let values = cells.map(|cell| Value::from_cell(columns.value_type, cell)).collect::<Result<_, _>>()?;
    Ok(Found { values, context })
}

impl<'a> IntoFuture for Get<'a> {
    type Output = Result<Found, ClientError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let deadline = self.client.dispatch.deadline(self.timeout);
        Box::pin(self.until(deadline))
    }
}

/// Reads of many keys: [`Client::multi_get`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read before it is awaited"]
pub struct MultiGet<'a> {
    client: &'a Client,
    table: &'a TableName,
    keys: Vec<Value>,
    consistency: Option<Consistency>,
    timeout: Option<Duration>,
}

impl<'a> MultiGet<'a> {
    pub(crate) fn new(client: &'a Client, table: &'a TableName, keys: Vec<Value>) -> MultiGet<'a> {
        MultiGet { client, table, keys, consistency: None, timeout: None }
    }

    /// The level, instead of the client's.
    pub fn consistency(mut self, level: Consistency) -> MultiGet<'a> {
        self.consistency = Some(level);
        self
    }

    /// The longest wait for all of them together, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> MultiGet<'a> {
        self.timeout = Some(timeout);
        self
    }
}

impl<'a> IntoFuture for MultiGet<'a> {
    type Output = Vec<Result<Found, ClientError>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let MultiGet { client, table, keys, consistency, timeout } = self;
        let deadline = client.dispatch.deadline(timeout);
        let gets = keys.into_iter().map(move |key| {
            let using = Using { consistency, ..Using::default() };
            Get { client, table, key, using, timeout }.until(deadline)
        });
        Box::pin(stream::iter(gets).buffered(AT_ONCE).collect())
    }
}
