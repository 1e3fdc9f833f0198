//! What a statement means: checked against the schema and the session, typed, with every default filled in.

use crate::statement::Durability;
use crate::system::SystemTable;
use bytes::Bytes;
use dunlin_types::schema::KeyspaceDef;
use dunlin_types::{Consistency, Key, Micros, TableDef, TokenRange};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A checked statement, ready to be executed.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Write one key.
    Write(Write),
    /// Write many keys, each on its own.
    Batch(Vec<Write>),
    /// Read given keys.
    Read(Read),
    /// Read a range of tokens in pages.
    Scan(Scan),
    /// Show rows of a system table.
    System(SystemSelect),
    /// Change the schema.
    Schema(SchemaChange),
    /// Nothing to do, and that is fine (`IF EXISTS`, `IF NOT EXISTS`).
    Nothing,
    /// `USE`: the keyspace exists.
    Use(String),
    /// `CONSISTENCY`: show or set.
    Consistency(Option<Consistency>),
    /// `TRACING ON|OFF`.
    Tracing(bool),
    /// `TRACING`.
    ShowTracing,
    /// `PAGING n|OFF`; `None` is `OFF`.
    Paging(Option<u32>),
    /// `PAGING`.
    ShowPaging,
    /// `LOGIN`.
    Login {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// `DESCRIBE`: what it names exists.
    Describe(Describe),
    /// `SHOW VERSION`.
    ShowVersion,
    /// `SHOW SESSION`.
    ShowSession,
    /// `EXPLAIN SELECT ... WHERE k = key`.
    Explain {
        /// The table.
        table: Arc<TableDef>,
        /// The key.
        key: Key,
        /// The level the read would have.
        consistency: Consistency,
    },
    /// `HELP`: the text.
    Help(&'static str),
    /// `QUIT`.
    Quit,
}

impl Operation {
    /// The table and keys it touches if it touches nothing else: such operations of one connection
    /// may run beside each other when their keys differ. `None`: it runs alone.
    pub fn touched(&self) -> Option<Touched<'_>> {
        match self {
            Operation::Write(write) => Some(Touched::Key(&write.table, &write.key)),
            Operation::Read(read) if read.keys.len() == 1 => Some(Touched::Key(&read.table, &read.keys[0])),
            Operation::Help(_) | Operation::ShowVersion | Operation::Nothing => Some(Touched::Nothing),
            _ => None,
        }
    }
}

/// What an operation touches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Touched<'a> {
    /// No data and no state.
    Nothing,
    /// One key.
    Key(&'a TableDef, &'a Key),
}

/// A write of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Where.
    pub table: Arc<TableDef>,
    /// The key.
    pub key: Key,
    /// The value; `None` deletes.
    pub value: Option<Bytes>,
    /// The value's life in seconds, the table's default filled in; `None` is for ever.
    pub ttl_s: Option<u32>,
    /// `USING CONTEXT`: a token, not yet opened.
    pub context: Option<String>,
    /// `USING TIMESTAMP`.
    pub timestamp: Option<Micros>,
    /// `USING REQUEST`.
    pub request: Option<Uuid>,
    /// The statement's, the batch's or the session's.
    pub consistency: Consistency,
    /// `USING TIMEOUT`.
    pub timeout: Option<Duration>,
    /// The statement's, or what the keyspace's `durable_writes` says.
    pub durability: Durability,
}

/// What a read shows, one per column of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The key.
    Key,
    /// The value.
    Value,
    /// The context token.
    Context,
    /// Seconds the value has left; null if for ever.
    Ttl,
    /// When the value was written.
    WriteTime,
    /// The key's token.
    Token,
}

/// What a read answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projection {
    /// Rows of these cells under these headings.
    Rows(Vec<(Show, String)>),
    /// One row with the number of rows there would be.
    Count,
}

impl Projection {
    /// Whether the context token has to be made.
    pub fn shows_context(&self) -> bool {
        matches!(self, Projection::Rows(items) if items.iter().any(|(show, _)| *show == Show::Context))
    }
}

/// A read of given keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// From where.
    pub table: Arc<TableDef>,
    /// At least one, without repetition, in the order given.
    pub keys: Vec<Key>,
    /// What to show.
    pub projection: Projection,
    /// At most so many keys that are present; siblings of a key are never cut apart.
    pub limit: Option<u64>,
    /// The statement's or the session's.
    pub consistency: Consistency,
    /// `USING TIMEOUT`.
    pub timeout: Option<Duration>,
    /// `USING AFTER`: a token, not yet opened. With one key only.
    pub after: Option<String>,
}

/// A read of a token range.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// From where.
    pub table: Arc<TableDef>,
    /// `None`: the bounds leave no token.
    pub range: Option<TokenRange>,
    /// What to show.
    pub projection: Projection,
    /// At most so many keys in all pages; siblings of a key are never cut apart.
    pub limit: Option<u64>,
    /// Keys of one page; `None` with `PAGING OFF`.
    pub page_rows: Option<u32>,
    /// `USING PAGE`: a token, not yet opened.
    pub page: Option<String>,
    /// The statement's or the session's.
    pub consistency: Consistency,
    /// `USING TIMEOUT`.
    pub timeout: Option<Duration>,
}

/// A read of a system table. The server has the rows; [`SystemSelect::apply`] picks from them.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemSelect {
    /// Which.
    pub table: SystemTable,
    /// Indexes of the columns to show; `None` counts.
    pub columns: Option<Vec<usize>>,
    /// Only rows where this column has one of these texts.
    pub filter: Option<(usize, Vec<String>)>,
    /// At most so many rows.
    pub limit: Option<u64>,
}

/// A change of the schema that is not a no-op as far as this node knows.
#[derive(Debug, Clone, PartialEq)]
pub enum SchemaChange {
    /// A new keyspace.
    CreateKeyspace(KeyspaceDef),
    /// The keyspace as it shall be.
    AlterKeyspace(KeyspaceDef),
    /// Drop it and its tables.
    DropKeyspace(String),
    /// A new table; its id is 0 and to be drawn by whoever applies the change.
    CreateTable(TableDef),
    /// The table as it shall be, under its present id.
    AlterTable(TableDef),
    /// Drop it.
    DropTable(Arc<TableDef>),
    /// Same definition, new id.
    Truncate(Arc<TableDef>),
}

/// What to describe.
#[derive(Debug, Clone, PartialEq)]
pub enum Describe {
    /// Names of keyspaces.
    Keyspaces,
    /// Names of tables.
    Tables,
    /// Name, id, ring and members.
    Cluster,
    /// Everything, as statements.
    Schema,
    /// A keyspace and its tables, as statements.
    Keyspace(String),
    /// A table, as a statement.
    Table(Arc<TableDef>),
}
