//! What can be said: one type per statement, exactly what was written and nothing resolved.
//!
//! The [`std::fmt::Display`] of a [`Statement`] is text that parses back to it.

use crate::literal::Literal;
use crate::name::TableName;
use dunlin_types::Consistency;
use std::time::Duration;
use uuid::Uuid;

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `CREATE KEYSPACE`.
    CreateKeyspace {
        /// Do nothing if it is there.
        if_not_exists: bool,
        /// Its name.
        name: String,
        /// `WITH ...`.
        options: Vec<WithOption>,
    },
    /// `ALTER KEYSPACE`.
    AlterKeyspace {
        /// Its name.
        name: String,
        /// `WITH ...`.
        options: Vec<WithOption>,
    },
    /// `DROP KEYSPACE`.
    DropKeyspace {
        /// Do nothing if it is not there.
        if_exists: bool,
        /// Its name.
        name: String,
    },
    /// `CREATE TABLE`.
    CreateTable {
        /// Do nothing if it is there.
        if_not_exists: bool,
        /// Its name.
        table: TableName,
        /// As listed.
        columns: Vec<ColumnSpec>,
        /// Columns of a `PRIMARY KEY (...)` clause of its own, flat; empty if there is none.
        primary_key: Vec<String>,
        /// `WITH ...`.
        options: Vec<WithOption>,
    },
    /// `ALTER TABLE`.
    AlterTable {
        /// Its name.
        table: TableName,
        /// `WITH ...`.
        options: Vec<WithOption>,
    },
    /// `DROP TABLE`.
    DropTable {
        /// Do nothing if it is not there.
        if_exists: bool,
        /// Its name.
        table: TableName,
    },
    /// `TRUNCATE`.
    Truncate {
        /// Its name.
        table: TableName,
    },
    /// `USE`.
    Use {
        /// The keyspace.
        keyspace: String,
    },
    /// `INSERT`, `UPDATE` or `DELETE`.
    Write(WriteStatement),
    /// `SELECT`.
    Select(SelectStatement),
    /// `BEGIN BATCH ... APPLY BATCH`.
    Batch {
        /// Defaults of its statements.
        using: Using,
        /// Each applied on its own.
        writes: Vec<WriteStatement>,
    },
    /// `CONSISTENCY`: shows the session's, or sets it.
    Consistency(Option<Consistency>),
    /// `TRACING ON|OFF`.
    Tracing(bool),
    /// `TRACING`: shows whether it is on.
    ShowTracing,
    /// `PAGING n|OFF`.
    Paging(Option<u32>),
    /// `PAGING`: shows the rows of a page.
    ShowPaging,
    /// `LOGIN`.
    Login {
        /// Name.
        user: String,
        /// Password.
        password: String,
    },
    /// `DESCRIBE`.
    Describe(DescribeStatement),
    /// `SHOW VERSION`.
    ShowVersion,
    /// `SHOW SESSION`.
    ShowSession,
    /// `EXPLAIN SELECT`.
    Explain(SelectStatement),
    /// `HELP`.
    Help(Option<String>),
    /// `QUIT` or `EXIT`.
    Quit,
}

/// `name = value` of a `WITH`.
#[derive(Debug, Clone, PartialEq)]
pub struct WithOption {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: OptionValue,
}

/// Value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// A constant.
    Literal(Literal),
    /// `{key: value, ...}`.
    Map(Vec<(Literal, Literal)>),
}

/// A column of `CREATE TABLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Its type as written, lower case, without blanks.
    pub type_name: String,
    /// `PRIMARY KEY` beside it.
    pub primary_key: bool,
}

/// `INSERT`, `UPDATE` or `DELETE`.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteStatement {
    /// `INSERT INTO t (k, v) VALUES (key, value) [USING ...]`.
    Insert {
        /// Where.
        table: TableName,
        /// Named columns.
        columns: Vec<String>,
        /// As many values.
        values: Vec<Literal>,
        /// Options.
        using: Using,
    },
    /// `UPDATE t [USING ...] SET v = value WHERE k = key`.
    Update {
        /// Where.
        table: TableName,
        /// Options.
        using: Using,
        /// The column to set.
        column: String,
        /// To what.
        value: Literal,
        /// The column of the condition.
        key_column: String,
        /// The key.
        key: Literal,
    },
    /// `DELETE FROM t [USING ...] WHERE k = key`.
    Delete {
        /// Where.
        table: TableName,
        /// Options.
        using: Using,
        /// The column of the condition.
        key_column: String,
        /// The key.
        key: Literal,
    },
}

/// `SELECT`.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectStatement {
    /// What to show; empty is `*`.
    pub items: Vec<SelectItem>,
    /// From where.
    pub table: TableName,
    /// Which keys.
    pub condition: Condition,
    /// At most so many keys.
    pub limit: Option<u64>,
    /// Options.
    pub using: Using,
}

/// One item of a `SELECT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectItem {
    /// A column.
    Column(String),
    /// `CONTEXT(v)`.
    Context(String),
    /// `TTL(v)`.
    Ttl(String),
    /// `WRITETIME(v)`.
    WriteTime(String),
    /// `TOKEN(k)`.
    Token(String),
    /// `COUNT(*)`.
    Count,
}

/// `WHERE`.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// None.
    All,
    /// `k = key`.
    Equals {
        /// The column.
        column: String,
        /// The key.
        key: Literal,
    },
    /// `k IN (key, ...)`.
    In {
        /// The column.
        column: String,
        /// The keys.
        keys: Vec<Literal>,
    },
    /// `TOKEN(k) > n AND ...`.
    Tokens {
        /// The column, in each bound alike.
        column: String,
        /// One or two bounds.
        bounds: Vec<(Comparison, i128)>,
    },
}

/// Comparison of a token bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// As written.
    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the replicas' logs were synced.
    Synced,
    /// Once handed to the operating systems.
    Buffered,
}

/// `USING ... AND ...`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Using {
    /// `CONSISTENCY level`.
    pub consistency: Option<Consistency>,
    /// `TTL seconds`.
    pub ttl_s: Option<i128>,
    /// `CONTEXT 'token'`.
    pub context: Option<String>,
    /// `AFTER 'token'`.
    pub after: Option<String>,
    /// `TIMESTAMP micros`.
    pub timestamp_us: Option<i128>,
    /// `TIMEOUT 500ms`.
    pub timeout: Option<Duration>,
    /// `DURABILITY synced|buffered`.
    pub durability: Option<Durability>,
    /// `REQUEST 'uuid'`.
    pub request: Option<Uuid>,
    /// `PAGE 'token'`.
    pub page: Option<String>,
}

/// `DESCRIBE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DescribeStatement {
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
    Table(TableName),
}
