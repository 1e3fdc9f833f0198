//! Statements as text that parses back to them.

use crate::literal::write_string;
use crate::name::Quoted;
use crate::statement::{
    Condition, DescribeStatement, Durability, OptionValue, SelectItem, SelectStatement, Statement, Using,
    WithOption, WriteStatement,
};
use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Statement::CreateKeyspace { if_not_exists, name, options } => {
                write!(f, "CREATE KEYSPACE {}{}", not_exists(*if_not_exists), Quoted(name))?;
                write_with(f, options)
            }
            Statement::AlterKeyspace { name, options } => {
                write!(f, "ALTER KEYSPACE {}", Quoted(name))?;
                write_with(f, options)
            }
            Statement::DropKeyspace { if_exists, name } => {
                write!(f, "DROP KEYSPACE {}{}", exists(*if_exists), Quoted(name))
            }
            Statement::CreateTable { if_not_exists, table, columns, primary_key, options } => {
                write!(f, "CREATE TABLE {}{table} (", not_exists(*if_not_exists))?;
                let mut separator = "";
                for column in columns {
                    write!(f, "{separator}{} {}", Quoted(&column.name), column.type_name)?;
                    if column.primary_key {
                        f.write_str(" PRIMARY KEY")?;
                    }
                    separator = ", ";
                }
                if !primary_key.is_empty() {
                    write!(f, "{separator}PRIMARY KEY (")?;
                    write_names(f, primary_key)?;
                    f.write_str(")")?;
                }
                f.write_str(")")?;
                write_with(f, options)
            }
            Statement::AlterTable { table, options } => {
                write!(f, "ALTER TABLE {table}")?;
                write_with(f, options)
            }
            Statement::DropTable { if_exists, table } => {
                write!(f, "DROP TABLE {}{table}", exists(*if_exists))
            }
            Statement::Truncate { table } => write!(f, "TRUNCATE {table}"),
            Statement::Use { keyspace } => write!(f, "USE {}", Quoted(keyspace)),
            Statement::Write(write) => write.fmt(f),
            Statement::Select(select) => select.fmt(f),
            Statement::Batch { using, writes } => {
                write!(f, "BEGIN BATCH{using}")?;
                for write in writes {
                    write!(f, " {write};")?;
                }
                f.write_str(" APPLY BATCH")
            }
            Statement::Consistency(None) => f.write_str("CONSISTENCY"),
            Statement::Consistency(Some(level)) => write!(f, "CONSISTENCY {level}"),
            Statement::Tracing(on) => write!(f, "TRACING {}", if *on { "ON" } else { "OFF" }),
            Statement::ShowTracing => f.write_str("TRACING"),
            Statement::ShowPaging => f.write_str("PAGING"),
            Statement::Paging(None) => f.write_str("PAGING OFF"),
            Statement::Paging(Some(rows)) => write!(f, "PAGING {rows}"),
            Statement::Login { user, password } => {
                f.write_str("LOGIN ")?;
                write_string(f, user)?;
                f.write_str(" ")?;
                write_string(f, password)
            }
            Statement::Describe(what) => what.fmt(f),
            Statement::ShowVersion => f.write_str("SHOW VERSION"),
            Statement::ShowSession => f.write_str("SHOW SESSION"),
            Statement::Explain(select) => write!(f, "EXPLAIN {select}"),
            Statement::Help(None) => f.write_str("HELP"),
            Statement::Help(Some(topic)) => write!(f, "HELP {topic}"),
            Statement::Quit => f.write_str("QUIT"),
        }
    }
}

fn not_exists(given: bool) -> &'static str {
    if given { "IF NOT EXISTS " } else { "" }
}

fn exists(given: bool) -> &'static str {
    if given { "IF EXISTS " } else { "" }
}

fn write_names(f: &mut Formatter<'_>, names: &[String]) -> Result {
    for (i, name) in names.iter().enumerate() {
        write!(f, "{}{}", if i > 0 { ", " } else { "" }, Quoted(name))?;
    }
    Ok(())
}

fn write_list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
    }
    Ok(())
}

fn write_with(f: &mut Formatter<'_>, options: &[WithOption]) -> Result {
    for (i, option) in options.iter().enumerate() {
        write!(f, " {} {} = {}", if i > 0 { "AND" } else { "WITH" }, Quoted(&option.name), option.value)?;
    }
    Ok(())
}

impl Display for OptionValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            OptionValue::Literal(literal) => literal.fmt(f),
            OptionValue::Map(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

impl Display for WriteStatement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            WriteStatement::Insert { table, columns, values, using } => {
                write!(f, "INSERT INTO {table} (")?;
                write_names(f, columns)?;
                f.write_str(") VALUES (")?;
                write_list(f, values)?;
                write!(f, "){using}")
            }
            WriteStatement::Update { table, using, column, value, key_column, key } => {
                write!(f, "UPDATE {table}{using} SET {} = {value}", Quoted(column))?;
                write!(f, " WHERE {} = {key}", Quoted(key_column))
            }
            WriteStatement::Delete { table, using, key_column, key } => {
                write!(f, "DELETE FROM {table}{using} WHERE {} = {key}", Quoted(key_column))
            }
        }
    }
}

impl Display for SelectStatement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("SELECT ")?;
        if self.items.is_empty() {
            f.write_str("*")?;
        }
        write_list(f, &self.items)?;
        write!(f, " FROM {}{}", self.table, self.condition)?;
        if let Some(limit) = self.limit {
            write!(f, " LIMIT {limit}")?;
        }
        self.using.fmt(f)
    }
}

impl Display for SelectItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            SelectItem::Column(name) => Quoted(name).fmt(f),
            SelectItem::Context(name) => write!(f, "CONTEXT({})", Quoted(name)),
            SelectItem::Ttl(name) => write!(f, "TTL({})", Quoted(name)),
            SelectItem::WriteTime(name) => write!(f, "WRITETIME({})", Quoted(name)),
            SelectItem::Token(name) => write!(f, "TOKEN({})", Quoted(name)),
            SelectItem::Count => f.write_str("COUNT(*)"),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Condition::All => Ok(()),
            Condition::Equals { column, key } => write!(f, " WHERE {} = {key}", Quoted(column)),
            Condition::In { column, keys } => {
                write!(f, " WHERE {} IN (", Quoted(column))?;
                write_list(f, keys)?;
                f.write_str(")")
            }
            Condition::Tokens { column, bounds } => {
                for (i, (comparison, token)) in bounds.iter().enumerate() {
                    let word = if i > 0 { "AND" } else { "WHERE" };
                    write!(f, " {word} TOKEN({}) {} {token}", Quoted(column), comparison.symbol())?;
                }
                Ok(())
            }
        }
    }
}

impl Display for Using {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut word = " USING ";
        let mut option = |f: &mut Formatter<'_>, name: &str, value: &dyn Display| {
            write!(f, "{}{name} {value}", std::mem::replace(&mut word, " AND "))
        };
        if let Some(level) = self.consistency {
            option(f, "CONSISTENCY", &level)?;
        }
        if let Some(seconds) = self.ttl_s {
            option(f, "TTL", &seconds)?;
        }
        if let Some(token) = &self.context {
            option(f, "CONTEXT", &Text(token))?;
        }
        if let Some(token) = &self.after {
            option(f, "AFTER", &Text(token))?;
        }
        if let Some(micros) = self.timestamp_us {
            option(f, "TIMESTAMP", &micros)?;
        }
        if let Some(timeout) = self.timeout {
            option(f, "TIMEOUT", &Timeout(timeout))?;
        }
        if let Some(durability) = self.durability {
            option(f, "DURABILITY", &durability.name())?;
        }
        if let Some(id) = self.request {
            option(f, "REQUEST", &Text(&id.to_string()))?;
        }
        if let Some(token) = &self.page {
            option(f, "PAGE", &Text(token))?;
        }
        Ok(())
    }
}

impl Durability {
    /// As in `USING DURABILITY`.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Synced => "synced",
            Durability::Buffered => "buffered",
        }
    }
}

struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write_string(f, self.0)
    }
}

struct Timeout(Duration);

impl Display for Timeout {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let micros = self.0.as_micros();
        if micros.is_multiple_of(1000) { write!(f, "{}ms", micros / 1000) } else { write!(f, "{micros}us") }
    }
}

impl Display for DescribeStatement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            DescribeStatement::Keyspaces => f.write_str("DESCRIBE KEYSPACES"),
            DescribeStatement::Tables => f.write_str("DESCRIBE TABLES"),
            DescribeStatement::Cluster => f.write_str("DESCRIBE CLUSTER"),
            DescribeStatement::Schema => f.write_str("DESCRIBE SCHEMA"),
            DescribeStatement::Keyspace(name) => write!(f, "DESCRIBE KEYSPACE {}", Quoted(name)),
            DescribeStatement::Table(table) => write!(f, "DESCRIBE TABLE {table}"),
        }
    }
}
