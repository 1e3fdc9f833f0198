//! `SELECT` and `EXPLAIN SELECT`.

use super::lookup::{Lookup, check_key_column, check_value_column, key, unknown_column};
use super::write::{check_token, conflict_option, timeout};
use super::{Planned, invalid};
use crate::name::Quoted;
use crate::operation::{Operation, Projection, Read, Scan, Show};
use crate::statement::{Comparison, Condition, SelectItem, SelectStatement, Using};
use crate::system;
use dunlin_types::{ConflictMode, Consistency, Key, TableDef, Token, TokenRange};
use std::collections::BTreeSet;

impl Lookup<'_> {
    pub fn select(&self, statement: SelectStatement) -> Planned<Operation> {
        let SelectStatement { items, table: name, condition, limit, using } = statement;
        check_read_options(&using)?;
        if self.keyspace_of(&name) == system::KEYSPACE {
            return self.system_select(&name.table, &items, condition, limit, &using);
        }
        let table = self.table(&name)?;
        let consistency = self.read_consistency(&using)?;
        let projection = projection(table, &items)?;
        let timeout = timeout(using.timeout)?;
        let single = matches!(condition, Condition::Equals { .. });
        if using.after.is_some() && !single {
            return Err(invalid("AFTER belongs to one key: it needs WHERE k = key"));
        }
        let keys = match condition {
            Condition::All => return self.scan(table, Some(TokenRange::ALL), projection, limit, using),
            Condition::Tokens { column, bounds } => {
                check_key_column(table, &column)?;
                return self.scan(table, range(&bounds), projection, limit, using);
            }
            Condition::Equals { column, key: literal } => {
                check_key_column(table, &column)?;
                vec![key(table, literal)?]
            }
            Condition::In { column, keys } => {
                check_key_column(table, &column)?;
                let mut seen: BTreeSet<Key> = BTreeSet::new();
                let mut distinct = Vec::with_capacity(keys.len());
                for literal in keys {
                    let key = key(table, literal)?;
                    if seen.insert(key.clone()) {
                        distinct.push(key);
                    }
                }
                distinct
            }
        };
        if using.page.is_some() {
            return Err(invalid(
                "PAGE is for reads of token ranges or whole tables; keys that are named come in one page",
            ));
        }
        let after = check_token(conflict_option(table, using.after)?)?;
        Ok(Operation::Read(Read {
            table: table.clone(),
            keys,
            projection,
            limit,
            consistency,
            timeout,
            after,
        }))
    }

    fn scan(
        &self,
        table: &std::sync::Arc<TableDef>,
        range: Option<TokenRange>,
        projection: Projection,
        limit: Option<u64>,
        using: Using,
    ) -> Planned<Operation> {
        Ok(Operation::Scan(Scan {
            table: table.clone(),
            range,
            projection,
            limit,
            page_rows: self.session.page_rows,
            page: check_token(using.page)?,
            consistency: using.consistency.unwrap_or(self.session.consistency),
            timeout: using.timeout,
        }))
    }

    pub fn explain(&self, statement: SelectStatement) -> Planned<Operation> {
        match self.select(statement)? {
            Operation::Read(Read { table, mut keys, consistency, .. }) if keys.len() == 1 => {
                Ok(Operation::Explain { table, key: keys.remove(0), consistency })
            }
            _ => Err(invalid("EXPLAIN shows the way to one key: it needs WHERE k = key")),
        }
    }

    fn read_consistency(&self, using: &Using) -> Planned<Consistency> {
        match using.consistency.unwrap_or(self.session.consistency) {
            Consistency::Any => Err(invalid("ANY is for writes; the lowest level of a read is ONE")),
            level => Ok(level),
        }
    }
}

/// Refuses what is for writes.
fn check_read_options(using: &Using) -> Planned<()> {
    let wrong = if using.ttl_s.is_some() {
        "TTL"
    } else if using.context.is_some() {
        return Err(invalid("CONTEXT is for writes; a SELECT takes AFTER"));
    } else if using.timestamp_us.is_some() {
        "TIMESTAMP"
    } else if using.durability.is_some() {
        "DURABILITY"
    } else if using.request.is_some() {
        "REQUEST"
    } else {
        return Ok(());
    };
    Err(invalid(format!("{wrong} is for writes, not for SELECT")))
}

fn projection(table: &TableDef, items: &[SelectItem]) -> Planned<Projection> {
    if items.contains(&SelectItem::Count) {
        if items.len() > 1 {
            return Err(invalid("COUNT(*) stands alone"));
        }
        return Ok(Projection::Count);
    }
    if items.is_empty() {
        return Ok(Projection::Rows(vec![
            (Show::Key, table.key_column.clone()),
            (Show::Value, table.value_column.clone()),
        ]));
    }
    let shown = items.iter().map(|item| shown(table, item)).collect::<Planned<_>>()?;
    Ok(Projection::Rows(shown))
}

/// What an item shows, and its heading.
fn shown(table: &TableDef, item: &SelectItem) -> Planned<(Show, String)> {
    Ok(match item {
        SelectItem::Column(name) if *name == table.key_column => (Show::Key, name.clone()),
        SelectItem::Column(name) if *name == table.value_column => (Show::Value, name.clone()),
        SelectItem::Column(name) => return Err(unknown_column(table, name)),
        SelectItem::Context(name) => {
            check_value_column(table, name)?;
            if table.conflicts != ConflictMode::Siblings {
                return Err(invalid(format!(
                    "CONTEXT is for siblings tables, and in {} the last write wins",
                    Quoted(&table.name)
                )));
            }
            (Show::Context, format!("context({name})"))
        }
        SelectItem::Ttl(name) => {
            check_value_column(table, name)?;
            (Show::Ttl, format!("ttl({name})"))
        }
        SelectItem::WriteTime(name) => {
            check_value_column(table, name)?;
            (Show::WriteTime, format!("writetime({name})"))
        }
        SelectItem::Token(name) => {
            check_key_column(table, name)?;
            (Show::Token, format!("token({name})"))
        }
        SelectItem::Count => return Err(invalid("COUNT(*) stands alone")),
    })
}

/// The tokens that satisfy every bound; `None` if there are none.
fn range(bounds: &[(Comparison, i128)]) -> Option<TokenRange> {
    let (mut first, mut last) = (0i128, i128::from(u64::MAX));
    for (comparison, bound) in bounds {
        // Integers of the language have at most 39 digits, so one more or less may overflow.
        match comparison {
            Comparison::Less => last = last.min(bound.saturating_sub(1)),
            Comparison::LessOrEqual => last = last.min(*bound),
            Comparison::Greater => first = first.max(bound.saturating_add(1)),
            Comparison::GreaterOrEqual => first = first.max(*bound),
        }
    }
    if first > last {
        return None;
    }
    let token = |n: i128| u64::try_from(n).ok().map(Token);
    Some(TokenRange { first: token(first)?, last: token(last)? })
}
