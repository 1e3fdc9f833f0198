//! `INSERT`, `UPDATE`, `DELETE` and batches of them.

use super::lookup::{Lookup, check_key_column, check_value_column, key, unknown_column, value};
use super::{Planned, invalid};
use crate::limits::{TIMEOUT_MAX, TOKEN_TEXT_BYTES_MAX, TTL_S_MAX};
use crate::literal::Literal;
use crate::name::Quoted;
use crate::operation::{Operation, Write};
use crate::statement::{Durability, Using, WriteStatement};
use dunlin_types::limits::{KEYS_PER_STATEMENT_MAX, VALUE_BYTES_MAX};
use dunlin_types::{ConflictMode, Micros, TableDef};
use std::time::Duration;

impl Lookup<'_> {
    /// `defaults` are the options of the batch around it.
    pub fn write(&self, statement: WriteStatement, defaults: &Using) -> Planned<Write> {
        let (name, using) = match &statement {
            WriteStatement::Insert { table, using, .. }
            | WriteStatement::Update { table, using, .. }
            | WriteStatement::Delete { table, using, .. } => (table, using),
        };
        let table = self.table(name)?;
        let using = with_defaults(using.clone(), defaults);
        let (key, value) = match statement {
            WriteStatement::Insert { columns, values, .. } => {
                let (k, v) = insert_cells(table, &columns, values)?;
                (key(table, k)?, Some(value(table, v, self.session.value_bytes_max)?))
            }
            WriteStatement::Update { column, value: v, key_column, key: k, .. } => {
                check_value_column(table, &column)?;
                check_key_column(table, &key_column)?;
                (key(table, k)?, Some(value(table, v, self.session.value_bytes_max)?))
            }
            WriteStatement::Delete { key_column, key: k, .. } => {
                check_key_column(table, &key_column)?;
                if using.ttl_s.is_some() {
                    return Err(invalid("TTL is for INSERT and UPDATE, not for DELETE"));
                }
                (key(table, k)?, None)
            }
        };
        if using.after.is_some() {
            return Err(invalid("AFTER is for SELECT; a write takes CONTEXT"));
        }
        if using.page.is_some() {
            return Err(invalid("PAGE is for SELECT, not for writes"));
        }
        let durable = self.schema.keyspace(&table.keyspace).is_none_or(|def| def.durable_writes);
        Ok(Write {
            ttl_s: if value.is_some() { ttl(table, using.ttl_s)? } else { None },
            context: check_token(conflict_option(table, using.context)?)?,
            timestamp: timestamp(table, using.timestamp_us)?,
            request: using.request,
            consistency: using.consistency.unwrap_or(self.session.consistency),
            timeout: timeout(using.timeout)?,
            durability: using.durability.unwrap_or(if durable {
                Durability::Synced
            } else {
                Durability::Buffered
            }),
            table: table.clone(),
            key,
            value,
        })
    }

    pub fn batch(&self, using: &Using, statements: Vec<WriteStatement>) -> Planned<Operation> {
        if statements.len() > KEYS_PER_STATEMENT_MAX {
            return Err(invalid(format!("a batch has at most {KEYS_PER_STATEMENT_MAX} statements")));
        }
        if using.context.is_some() || using.request.is_some() {
            return Err(invalid(
                "CONTEXT and REQUEST belong to one key each: give them with a statement of the batch",
            ));
        }
        if using.after.is_some() || using.page.is_some() {
            return Err(invalid("AFTER and PAGE are for SELECT, not for a batch"));
        }
        let mut writes = Vec::with_capacity(statements.len());
        for (i, statement) in statements.into_iter().enumerate() {
            let mut defaults = using.clone();
            if matches!(statement, WriteStatement::Delete { .. }) {
                defaults.ttl_s = None;
            }
            let write = self.write(statement, &defaults).map_err(|mut error| {
                error.message = format!("statement {} of the batch: {}", i + 1, error.message);
                error
            })?;
            writes.push(write);
        }
        Ok(Operation::Batch(writes))
    }
}

fn with_defaults(using: Using, defaults: &Using) -> Using {
    Using {
        consistency: using.consistency.or(defaults.consistency),
        ttl_s: using.ttl_s.or(defaults.ttl_s),
        timestamp_us: using.timestamp_us.or(defaults.timestamp_us),
        timeout: using.timeout.or(defaults.timeout),
        durability: using.durability.or(defaults.durability),
        ..using
    }
}

/// Key and value of an `INSERT`, whose columns come in any order.
fn insert_cells(table: &TableDef, columns: &[String], values: Vec<Literal>) -> Planned<(Literal, Literal)> {
    if columns.len() != values.len() {
        return Err(invalid(format!(
            "{} columns are named and {} values given",
            columns.len(),
            values.len()
        )));
    }
    let (mut k, mut v) = (None, None);
    for (column, literal) in columns.iter().zip(values) {
        let place = if *column == table.key_column {
            &mut k
        } else if *column == table.value_column {
            &mut v
        } else {
            return Err(unknown_column(table, column));
        };
        if place.replace(literal).is_some() {
            return Err(invalid(format!("column {} is named twice", Quoted(column))));
        }
    }
    match (k, v) {
        (Some(k), Some(v)) => Ok((k, v)),
        _ => Err(invalid(format!(
            "INSERT names both columns of a table: {} and {}",
            Quoted(&table.key_column),
            Quoted(&table.value_column)
        ))),
    }
}

fn ttl(table: &TableDef, given: Option<i128>) -> Planned<Option<u32>> {
    let seconds = match given {
        None => table.default_time_to_live_s,
        Some(n) => u32::try_from(n)
            .ok()
            .filter(|n| *n <= TTL_S_MAX)
            .ok_or_else(|| invalid(format!("a TTL is 0 (none) to {TTL_S_MAX} seconds, not {n}")))?,
    };
    Ok((seconds > 0).then_some(seconds))
}

fn timestamp(table: &TableDef, given: Option<i128>) -> Planned<Option<Micros>> {
    let Some(micros) = given else { return Ok(None) };
    if table.conflicts != ConflictMode::LastWriteWins {
        return Err(invalid(format!(
            "TIMESTAMP is for last_write_wins tables, and {} keeps siblings: use CONTEXT",
            Quoted(&table.name)
        )));
    }
    let micros =
        u64::try_from(micros).map_err(|_| invalid("a TIMESTAMP is microseconds since 1970, 0 or more"))?;
    Ok(Some(Micros(micros)))
}

/// Checks that contexts are used with siblings only.
pub(super) fn conflict_option(table: &TableDef, token: Option<String>) -> Planned<Option<String>> {
    if token.is_some() && table.conflicts != ConflictMode::Siblings {
        return Err(invalid(format!(
            "CONTEXT and AFTER are for siblings tables, and in {} the last write wins",
            Quoted(&table.name)
        )));
    }
    Ok(token)
}

/// Bounds a token of any kind; it is opened by whoever made it.
pub(super) fn check_token(token: Option<String>) -> Planned<Option<String>> {
    match &token {
        Some(text) if text.len() > TOKEN_TEXT_BYTES_MAX => {
            Err(invalid("the token is longer than any that a server gives"))
        }
        _ => Ok(token),
    }
}

pub(super) fn timeout(given: Option<Duration>) -> Planned<Option<Duration>> {
    match given {
        Some(timeout) if timeout.is_zero() || timeout > TIMEOUT_MAX => {
            Err(invalid(format!("a TIMEOUT is more than 0 and at most {} s", TIMEOUT_MAX.as_secs())))
        }
        _ => Ok(given),
    }
}

// A statement of the longest key and value, escaped at worst, has to fit the statement's limit for the above
// checks to be the ones that speak; a longer one is answered with TOO_LARGE before it comes here.
const _: () = assert!(VALUE_BYTES_MAX < dunlin_types::limits::STATEMENT_BYTES_MAX);
