//! Names to definitions, with errors that name the right one.

use super::{Planned, SessionState, invalid, too_large};
use crate::literal::Literal;
use crate::name::{Quoted, TableName};
use crate::system;
use crate::value;
use bytes::Bytes;
use dunlin_types::schema::{KeyspaceDef, Schema};
use dunlin_types::{Key, TableDef};
use std::sync::Arc;

/// What planning looks things up in.
#[derive(Clone, Copy)]
pub(super) struct Lookup<'a> {
    pub schema: &'a Schema,
    pub session: &'a SessionState,
}

impl<'a> Lookup<'a> {
    pub fn keyspace(&self, name: &str) -> Planned<&'a KeyspaceDef> {
        if name == system::KEYSPACE {
            return Err(invalid("the keyspace system is the server's own and can only be read"));
        }
        self.schema.keyspace(name).ok_or_else(|| {
            let names = self.schema.keyspaces().map(|def| def.name.as_str());
            invalid(format!("no keyspace {}{}", Quoted(name), hint(name, names)))
        })
    }

    /// The keyspace that a table's name means.
    pub fn keyspace_of<'n>(&self, name: &'n TableName) -> &'n str
    where
        'a: 'n,
    {
        name.keyspace.as_deref().unwrap_or(&self.session.keyspace)
    }

    pub fn table(&self, name: &TableName) -> Planned<&'a Arc<TableDef>> {
        let keyspace = self.keyspace_of(name);
        if let Some(table) = self.schema.shared_table(keyspace, &name.table) {
            return Ok(table);
        }
        if keyspace == system::KEYSPACE {
            return Err(invalid("the tables of the keyspace system can only be read"));
        }
        self.keyspace(keyspace)?;
        let names = self.schema.tables().filter(|def| def.keyspace == keyspace).map(|def| def.name.as_str());
        let hint = hint(&name.table, names);
        Err(invalid(format!("no table {} in keyspace {}{hint}", Quoted(&name.table), Quoted(keyspace))))
    }
}

/// `; did you mean x?` when a name is near, else the few that there are, else nothing.
pub(super) fn hint<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    if let Some(name) = nearest(wrong, names.iter().copied()) {
        return format!("; did you mean {}?", Quoted(name));
    }
    match names.len() {
        1..=4 => {
            let names: Vec<String> = names.iter().map(|name| Quoted(name).to_string()).collect();
            format!("; there is {}", names.join(", "))
        }
        _ => String::new(),
    }
}

/// The name that a slip of the finger away from `wrong`, if any.
pub(super) fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let lower = wrong.to_ascii_lowercase();
    let far = (lower.chars().count() / 3).clamp(1, 3);
    names
        .map(|name| (strsim::osa_distance(&lower, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, name)| name)
}

/// Checks that a condition or item speaks of the key column.
pub(super) fn check_key_column(table: &TableDef, column: &str) -> Planned<()> {
    if column == table.key_column {
        return Ok(());
    }
    Err(if column == table.value_column {
        invalid(format!(
            "{} is the value column; rows are found by the key column {}",
            Quoted(column),
            Quoted(&table.key_column)
        ))
    } else {
        unknown_column(table, column)
    })
}

/// Checks that a name is the value column's.
pub(super) fn check_value_column(table: &TableDef, column: &str) -> Planned<()> {
    if column == table.value_column {
        return Ok(());
    }
    Err(if column == table.key_column {
        invalid(format!(
            "{} is the key column; the value column is {}",
            Quoted(column),
            Quoted(&table.value_column)
        ))
    } else {
        unknown_column(table, column)
    })
}

pub(super) fn unknown_column(table: &TableDef, column: &str) -> super::PlanError {
    invalid(format!(
        "table {} has no column {}; its columns are {} (key) and {} (value)",
        Quoted(&table.name),
        Quoted(column),
        Quoted(&table.key_column),
        Quoted(&table.value_column)
    ))
}

/// The key of a constant.
pub(super) fn key(table: &TableDef, literal: Literal) -> Planned<Key> {
    let bytes = value::key_bytes(table.key_type, literal).map_err(|e| {
        invalid(format!("the key {} is {}: {e}", Quoted(&table.key_column), table.key_type.name()))
    })?;
    Key::new(bytes).map_err(|e| match e.length {
        0 => invalid(e.to_string()),
        _ => too_large(e.to_string()),
    })
}

/// The value of a constant, of at most so many bytes.
pub(super) fn value(table: &TableDef, literal: Literal, bytes_max: usize) -> Planned<Bytes> {
    if literal == Literal::Null {
        return Err(invalid("a value cannot be null; DELETE removes a key"));
    }
    let bytes = value::value_bytes(table.value_type, literal).map_err(|e| {
        invalid(format!("the value {} is {}: {e}", Quoted(&table.value_column), table.value_type.name()))
    })?;
    if bytes.len() > bytes_max {
        return Err(too_large(format!(
            "a value is at most {bytes_max} bytes long, this one has {}",
            bytes.len()
        )));
    }
    Ok(bytes)
}
