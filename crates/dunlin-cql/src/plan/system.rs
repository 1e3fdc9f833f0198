//! `SELECT` from the tables of the keyspace `system`.

use super::lookup::{Lookup, hint};
use super::{Planned, invalid};
use crate::literal::Literal;
use crate::name::Quoted;
use crate::operation::{Operation, SystemSelect};
use crate::statement::{Condition, SelectItem, Using};
use crate::system::SystemTable;

impl Lookup<'_> {
    pub fn system_select(
        &self,
        name: &str,
        items: &[SelectItem],
        condition: Condition,
        limit: Option<u64>,
        using: &Using,
    ) -> Planned<Operation> {
        let table = SystemTable::from_name(name).ok_or_else(|| {
            let names = SystemTable::ALL.into_iter().map(SystemTable::name);
            invalid(format!("no table {} in keyspace system{}", Quoted(name), hint(name, names)))
        })?;
        if using.after.is_some() || using.page.is_some() {
            return Err(invalid("AFTER and PAGE are not for system tables"));
        }
        let columns = match items {
            [] => Some((0..table.columns().len()).collect()),
            [SelectItem::Count] => None,
            _ => Some(items.iter().map(|item| item_column(table, item)).collect::<Planned<_>>()?),
        };
        let filter = match condition {
            Condition::All => None,
            Condition::Equals { column, key } => Some((column_index(table, &column)?, vec![text(key)])),
            Condition::In { column, keys } => {
                Some((column_index(table, &column)?, keys.into_iter().map(text).collect()))
            }
            Condition::Tokens { .. } => return Err(invalid("system tables have no tokens")),
        };
        Ok(Operation::System(SystemSelect { table, columns, filter, limit }))
    }
}

fn item_column(table: SystemTable, item: &SelectItem) -> Planned<usize> {
    match item {
        SelectItem::Column(name) => column_index(table, name),
        SelectItem::Count => Err(invalid("COUNT(*) stands alone")),
        _ => Err(invalid("of system tables only columns and COUNT(*) can be selected")),
    }
}

fn column_index(table: SystemTable, name: &str) -> Planned<usize> {
    table.columns().iter().position(|column| *column == name).ok_or_else(|| {
        invalid(format!(
            "system.{} has no column {}; its columns are {}",
            table.name(),
            Quoted(name),
            table.columns().join(", ")
        ))
    })
}

fn text(literal: Literal) -> String {
    match literal {
        Literal::Text(text) => text,
        other => other.to_string(),
    }
}
