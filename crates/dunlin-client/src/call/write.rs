//! Writing and deleting one key.

use super::time_for_node;
use crate::client::Client;
use crate::columns::{Columns, KEYSPACE};
use crate::dispatch::Deadline;
use crate::error::ClientError;
use crate::retry::Repetition;
use crate::tokens::Context;
use crate::value::Value;
use dunlin_cql::Statement;
use dunlin_cql::name::TableName;
use dunlin_cql::statement::{Durability, Using, WriteStatement};
use dunlin_types::Consistency;
use futures::future::BoxFuture;
use std::future::IntoFuture;
use std::time::Duration;
use uuid::Uuid;

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// What the write has seen and itself: good for the next write of the same client, and for [`super::Get::after`]. `None` in
    /// a last_write_wins table.
    pub context: Option<Context>,
}

/// A write or a deletion of one key: [`Client::put`], [`Client::delete`]. Awaited alone, or with others in [`Client::batch`].
#[derive(Debug, Clone)]
#[must_use = "nothing is written before it is awaited or given to a batch"]
pub struct Write<'a> {
    client: &'a Client,
    table: &'a TableName,
    key: Value,
    /// `None` deletes.
    value: Option<Value>,
    using: Using,
    timeout: Option<Duration>,
}

impl<'a> Write<'a> {
    pub(crate) fn new(
        client: &'a Client,
        table: &'a TableName,
        key: Value,
        value: Option<Value>,
    ) -> Write<'a> {
        Write { client, table, key, value, using: Using::default(), timeout: None }
    }

    /// Supersedes exactly what this context has seen; what came in between stays, as a sibling.
    pub fn context(mut self, context: impl Into<Context>) -> Write<'a> {
        self.using.context = Some(context.into().as_str().to_owned());
        self
    }

    /// How long the value lives, rounded up to whole seconds; zero: for ever, whatever the table's default is. A deletion
    /// has none, and is refused with one.
    pub fn ttl(mut self, ttl: Duration) -> Write<'a> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        self.using.ttl_s = Some(seconds.into());
        self
    }

    /// When it was written, in microseconds since 1970; for last_write_wins tables.
    pub fn timestamp(mut self, micros: u64) -> Write<'a> {
        self.using.timestamp_us = Some(micros.into());
        self
    }

    /// The level, instead of the client's.
    pub fn consistency(mut self, level: Consistency) -> Write<'a> {
        self.using.consistency = Some(level);
        self
    }

    /// When it counts as done, instead of the keyspace's.
    pub fn durability(mut self, durability: Durability) -> Write<'a> {
        self.using.durability = Some(durability);
        self
    }

    /// The longest wait, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Write<'a> {
        self.timeout = Some(timeout);
        self
    }

    /// Names the write by a request id of your own, under which nodes know a repetition, also one of another process.
    /// The client otherwise draws one.
    pub fn request(mut self, id: Uuid) -> Write<'a> {
        self.using.request = Some(id);
        self
    }

    /// Equal for writes of the same key, however table and key are given.
    pub(super) fn identity(&self) -> (String, String, Vec<u8>) {
        let keyspace = self.table.keyspace.as_deref().unwrap_or(KEYSPACE).to_owned();
        let key = self.key.as_bytes().map_or_else(|| self.key.to_string().into_bytes(), <[u8]>::to_vec);
        (keyspace, self.table.table.clone(), key)
    }

    pub(super) async fn until(mut self, deadline: Deadline) -> Result<Written, ClientError> {
        let dispatch = &self.client.dispatch;
        if dispatch.identified_writes {
            self.using.request.get_or_insert_with(Uuid::new_v4);
        }
        let repetition = match self.using.request {
            Some(_) => Repetition::IsRecognised,
            None => Repetition::Harms,
        };
        self.using.timeout = time_for_node(self.timeout, repetition);
        let statement = |columns: &Columns| self.statement(columns);
        let (reply, _) = dispatch.with_columns(self.table, repetition, deadline, statement).await?;
        Ok(Written { context: reply.field("context").map(Context::new) })
    }

    fn statement(&self, columns: &Columns) -> Result<Statement, ClientError> {
        let table = self.table.clone();
        let using = self.using.clone();
        let key = self.key.clone().into_literal(columns.key_as_value())?;
        Ok(Statement::Write(match &self.value {
            Some(value) => WriteStatement::Insert {
                table,
                columns: vec![columns.key.clone(), columns.value.clone()],
                values: vec![key, value.clone().into_literal(columns.value_type)?],
                using,
            },
            None => WriteStatement::Delete { table, using, key_column: columns.key.clone(), key },
        }))
    }
}

impl<'a> IntoFuture for Write<'a> {
    type Output = Result<Written, ClientError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let deadline = self.client.dispatch.deadline(self.timeout);
        Box::pin(self.until(deadline))
    }
}
