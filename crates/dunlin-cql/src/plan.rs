//! Statements to operations: everything that can be checked without touching data is checked here.

mod lookup;
mod schema;
mod select;
mod system;
mod write;

#[cfg(test)]
mod tests;

use crate::limits::PAGE_ROWS_DEFAULT;
use crate::operation::{Describe, Operation};
use crate::statement::{DescribeStatement, Statement};
use crate::{help, system as system_tables};
use dunlin_types::limits::VALUE_BYTES_MAX;
use dunlin_types::schema::Schema;
use dunlin_types::{Consistency, ErrorCode};
use lookup::Lookup;

/// What a connection remembers between statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionState {
    /// Of names that give none.
    pub keyspace: String,
    /// Of statements that give none.
    pub consistency: Consistency,
    /// `PAGING`; `None` is `OFF`.
    pub page_rows: Option<u32>,
    /// `TRACING`.
    pub tracing: bool,
    /// Set by a successful `LOGIN`.
    pub user: Option<String>,
    /// Longest value that a write may have, bytes: the node's setting, which no statement changes.
    pub value_bytes_max: usize,
}

impl Default for SessionState {
    fn default() -> SessionState {
        SessionState {
            keyspace: "dunlin".to_owned(),
            consistency: Consistency::Quorum,
            page_rows: Some(PAGE_ROWS_DEFAULT),
            tracing: false,
            user: None,
            value_bytes_max: VALUE_BYTES_MAX,
        }
    }
}

/// A well-formed statement that cannot be done, in a sentence. Nothing was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PlanError {
    /// INVALID, ALREADY_EXISTS or TOO_LARGE.
    pub code: ErrorCode,
    /// For a person: what is wrong and what would be right.
    pub message: String,
}

type Planned<T> = Result<T, PlanError>;

fn invalid(message: impl Into<String>) -> PlanError {
    PlanError { code: ErrorCode::Invalid, message: message.into() }
}

fn too_large(message: impl Into<String>) -> PlanError {
    PlanError { code: ErrorCode::TooLarge, message: message.into() }
}

/// Checks a statement and fills in its defaults.
pub fn plan(statement: Statement, schema: &Schema, session: &SessionState) -> Result<Operation, PlanError> {
    let lookup = Lookup { schema, session };
    match statement {
        Statement::Write(statement) => {
            let keyspace_writes = lookup.write(statement, &Default::default())?;
            Ok(Operation::Write(keyspace_writes))
        }
        Statement::Batch { using, writes } => lookup.batch(&using, writes),
        Statement::Select(statement) => lookup.select(statement),
        Statement::Explain(statement) => lookup.explain(statement),
        Statement::CreateKeyspace { if_not_exists, name, options } => {
            lookup.create_keyspace(if_not_exists, name, options)
        }
        Statement::AlterKeyspace { name, options } => lookup.alter_keyspace(&name, options),
        Statement::DropKeyspace { if_exists, name } => lookup.drop_keyspace(if_exists, name),
        Statement::CreateTable { if_not_exists, table, columns, primary_key, options } => {
            lookup.create_table(if_not_exists, table, columns, primary_key, options)
        }
        Statement::AlterTable { table, options } => lookup.alter_table(&table, options),
        Statement::DropTable { if_exists, table } => lookup.drop_table(if_exists, &table),
        Statement::Truncate { table } => lookup.truncate(&table),
        Statement::Use { keyspace } => {
            if keyspace != system_tables::KEYSPACE {
                lookup.keyspace(&keyspace)?;
            }
            Ok(Operation::Use(keyspace))
        }
        Statement::Consistency(level) => Ok(Operation::Consistency(level)),
        Statement::Tracing(on) => Ok(Operation::Tracing(on)),
        Statement::ShowTracing => Ok(Operation::ShowTracing),
        Statement::Paging(rows) => Ok(Operation::Paging(rows)),
        Statement::ShowPaging => Ok(Operation::ShowPaging),
        Statement::Login { user, password } => Ok(Operation::Login { user, password }),
        Statement::Describe(what) => lookup.describe(what).map(Operation::Describe),
        Statement::ShowVersion => Ok(Operation::ShowVersion),
        Statement::ShowSession => Ok(Operation::ShowSession),
        Statement::Help(topic) => match help::text(topic.as_deref()) {
            Some(text) => Ok(Operation::Help(text)),
            None => Err(invalid(format!(
                "no help on {}; the topics are {}",
                topic.unwrap_or_default(),
                help::topics().collect::<Vec<_>>().join(", ")
            ))),
        },
        Statement::Quit => Ok(Operation::Quit),
    }
}

impl Lookup<'_> {
    fn describe(&self, what: DescribeStatement) -> Planned<Describe> {
        Ok(match what {
            DescribeStatement::Keyspaces => Describe::Keyspaces,
            DescribeStatement::Tables => Describe::Tables,
            DescribeStatement::Cluster => Describe::Cluster,
            DescribeStatement::Schema => Describe::Schema,
            DescribeStatement::Keyspace(name) => Describe::Keyspace(self.keyspace(&name)?.name.clone()),
            DescribeStatement::Table(name) => Describe::Table(self.table(&name)?.clone()),
        })
    }
}
