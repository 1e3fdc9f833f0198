//! `CREATE`, `ALTER`, `DROP`, `TRUNCATE`.

use super::lookup::{Lookup, nearest};
use super::{PlanError, Planned, invalid};
use crate::limits::{COMMENT_BYTES_MAX, NAME_BYTES_MAX, REPLICAS_MAX, TTL_S_MAX};
use crate::literal::Literal;
use crate::name::{Quoted, TableName};
use crate::operation::{Operation, SchemaChange};
use crate::statement::{ColumnSpec, OptionValue, WithOption};
use crate::system;
use dunlin_types::ErrorCode;
use dunlin_types::limits::REPLICATION_FACTOR_MAX;
use dunlin_types::schema::{
    Compaction, Compression, ConflictMode, GC_GRACE_DEFAULT_S, KeyType, KeyspaceDef, Replication, TableDef,
    TableId, ValueType,
};
use std::collections::BTreeMap;

const SHAPE: &str = "a table has exactly one key column and one value column";
pub(super) const KEY_TYPES: [KeyType; 4] = [KeyType::Text, KeyType::Blob, KeyType::Bigint, KeyType::Uuid];
pub(super) const VALUE_TYPES: [ValueType; 6] = [
    ValueType::Text,
    ValueType::Blob,
    ValueType::Bigint,
    ValueType::Double,
    ValueType::Boolean,
    ValueType::Uuid,
];
const TABLE_OPTIONS: [&str; 7] = [
    "conflicts",
    "default_time_to_live",
    "gc_grace_seconds",
    "compaction",
    "compression",
    "speculative_retry",
    "comment",
];
const KEYSPACE_OPTIONS: [&str; 3] = ["replication", "sloppy_quorum", "durable_writes"];

impl Lookup<'_> {
    pub fn create_keyspace(
        &self,
        if_not_exists: bool,
        name: String,
        options: Vec<WithOption>,
    ) -> Planned<Operation> {
        check_name(&name, "keyspace")?;
        if name == system::KEYSPACE || name.starts_with("system_") {
            return Err(invalid("names of keyspaces that start with system are the server's own"));
        }
        let exists = self.schema.keyspace(&name).is_some();
        if !options.iter().any(|option| option.name == "replication") {
            return Err(invalid(
                "a keyspace needs replication, such as WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
            ));
        }
        let mut def = KeyspaceDef {
            name,
            replication: Replication::Simple(1),
            sloppy_quorum: false,
            durable_writes: true,
        };
        set_keyspace_options(&mut def, options)?;
        match exists {
            false => Ok(Operation::Schema(SchemaChange::CreateKeyspace(def))),
            true if if_not_exists => Ok(Operation::Nothing),
            true => Err(already_exists(format!("keyspace {} is there already", Quoted(&def.name)))),
        }
    }

    pub fn alter_keyspace(&self, name: &str, options: Vec<WithOption>) -> Planned<Operation> {
        let mut def = self.keyspace(name)?.clone();
        set_keyspace_options(&mut def, options)?;
        Ok(Operation::Schema(SchemaChange::AlterKeyspace(def)))
    }

    pub fn drop_keyspace(&self, if_exists: bool, name: String) -> Planned<Operation> {
        if if_exists && name != system::KEYSPACE && self.schema.keyspace(&name).is_none() {
            return Ok(Operation::Nothing);
        }
        self.keyspace(&name)?;
        Ok(Operation::Schema(SchemaChange::DropKeyspace(name)))
    }

    pub fn create_table(
        &self,
        if_not_exists: bool,
        name: TableName,
        columns: Vec<ColumnSpec>,
        primary_key: Vec<String>,
        options: Vec<WithOption>,
    ) -> Planned<Operation> {
        let keyspace = self.keyspace(self.keyspace_of(&name))?.name.clone();
        check_name(&name.table, "table")?;
        let (key, value) = shape(&columns, &primary_key)?;
        let mut def = TableDef {
            id: TableId(0),
            keyspace,
            name: name.table,
            key_column: key.name.clone(),
            key_type: key_type(&key.type_name)?,
            value_column: value.name.clone(),
            value_type: value_type(&value.type_name)?,
            conflicts: ConflictMode::default(),
            default_time_to_live_s: 0,
            gc_grace_s: GC_GRACE_DEFAULT_S,
            compression: Compression::default(),
            compaction: Compaction::default(),
            speculative_retry: "99p".to_owned(),
            comment: String::new(),
        };
        set_table_options(&mut def, options, true)?;
        match self.schema.table(&def.keyspace, &def.name) {
            None => Ok(Operation::Schema(SchemaChange::CreateTable(def))),
            Some(_) if if_not_exists => Ok(Operation::Nothing),
            Some(_) => Err(already_exists(format!(
                "table {} is there already in keyspace {}",
                Quoted(&def.name),
                Quoted(&def.keyspace)
            ))),
        }
    }

    pub fn alter_table(&self, name: &TableName, options: Vec<WithOption>) -> Planned<Operation> {
        let mut def = TableDef::clone(self.table(name)?);
        set_table_options(&mut def, options, false)?;
        Ok(Operation::Schema(SchemaChange::AlterTable(def)))
    }

    pub fn drop_table(&self, if_exists: bool, name: &TableName) -> Planned<Operation> {
        let keyspace = self.keyspace_of(name);
        if if_exists && keyspace != system::KEYSPACE && self.schema.table(keyspace, &name.table).is_none() {
            return Ok(Operation::Nothing);
        }
        Ok(Operation::Schema(SchemaChange::DropTable(self.table(name)?.clone())))
    }

    pub fn truncate(&self, name: &TableName) -> Planned<Operation> {
        Ok(Operation::Schema(SchemaChange::Truncate(self.table(name)?.clone())))
    }
}

fn already_exists(message: String) -> PlanError {
    PlanError { code: ErrorCode::AlreadyExists, message }
}

/// Names of keyspaces and tables become names of directories.
fn check_name(name: &str, what: &str) -> Planned<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && !name.is_empty() && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(invalid(format!(
        "the name of a {what} is 1 to {NAME_BYTES_MAX} letters, digits and _, unlike {}",
        Quoted(name)
    )))
}

fn check_column(name: &str) -> Planned<()> {
    if name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid(format!("the name of a column has at most {NAME_BYTES_MAX} bytes and no control characters")))
}

/// Key and value column.
fn shape<'c>(columns: &'c [ColumnSpec], primary_key: &[String]) -> Planned<(&'c ColumnSpec, &'c ColumnSpec)> {
    let [first, second] = columns else { return Err(invalid(SHAPE)) };
    if first.name == second.name {
        return Err(invalid(format!("column {} is named twice", Quoted(&first.name))));
    }
    check_column(&first.name)?;
    check_column(&second.name)?;
    let is_key = |column: &ColumnSpec| column.primary_key || primary_key.contains(&column.name);
    let marks = columns.iter().filter(|column| column.primary_key).count() + primary_key.len();
    match (is_key(first), is_key(second), marks) {
        (true, false, 1) => Ok((first, second)),
        (false, true, 1) => Ok((second, first)),
        (false, false, 0) => Err(invalid(format!("{SHAPE}: say PRIMARY KEY after the key column's type"))),
        _ => Err(invalid(SHAPE)),
    }
}

/// What people used to other stores may have meant.
fn familiar(type_name: &str) -> Option<&'static str> {
    Some(match type_name {
        "varchar" | "ascii" | "string" | "char" => "text",
        "int" | "integer" | "smallint" | "tinyint" | "varint" | "counter" | "timestamp" | "long" => "bigint",
        "float" | "decimal" | "real" => "double",
        "bool" => "boolean",
        "timeuuid" | "guid" => "uuid",
        "bytes" | "bytea" | "binary" => "blob",
        _ => return None,
    })
}

fn key_type(name: &str) -> Planned<KeyType> {
    KEY_TYPES.into_iter().find(|t| t.name() == name).ok_or_else(|| {
        if VALUE_TYPES.iter().any(|t| t.name() == name) {
            return invalid(format!("a key cannot be {name}; it is text, blob, bigint or uuid"));
        }
        no_type(name, "a key is text, blob, bigint or uuid", &KEY_TYPES.map(KeyType::name))
    })
}

fn value_type(name: &str) -> Planned<ValueType> {
    VALUE_TYPES.into_iter().find(|t| t.name() == name).ok_or_else(|| {
        no_type(
            name,
            "a value is text, blob, bigint, double, boolean or uuid",
            &VALUE_TYPES.map(ValueType::name),
        )
    })
}

fn no_type(name: &str, sentence: &str, names: &[&str]) -> PlanError {
    let meant = familiar(name).filter(|meant| names.contains(meant));
    let hint = meant.or_else(|| nearest(name, names.iter().copied()));
    let hint = hint.map_or(String::new(), |hint| format!("; did you mean {hint}?"));
    let name = crate::lexer::shorten(name);
    invalid(format!("no type {name}: {sentence}{hint}"))
}

/// Refuses an option that is given twice or not known.
fn check_options(options: &[WithOption], known: &[&str]) -> Planned<()> {
    for (i, option) in options.iter().enumerate() {
        if options[..i].iter().any(|other| other.name == option.name) {
            return Err(invalid(format!("option {} is given twice", Quoted(&option.name))));
        }
        if !known.contains(&option.name.as_str()) {
            let meant = nearest(&option.name, known.iter().copied());
            let hint = meant
                .map_or(format!("the options are {}", known.join(", ")), |m| format!("did you mean {m}?"));
            return Err(invalid(format!("no option {}; {hint}", Quoted(&option.name))));
        }
    }
    Ok(())
}

fn set_keyspace_options(def: &mut KeyspaceDef, options: Vec<WithOption>) -> Planned<()> {
    check_options(&options, &KEYSPACE_OPTIONS)?;
    for WithOption { name, value } in options {
        match (name.as_str(), value) {
            ("replication", value) => def.replication = replication(value)?,
            ("sloppy_quorum", value) => def.sloppy_quorum = boolean(&name, value)?,
            (_, value) => def.durable_writes = boolean(&name, value)?,
        }
    }
    Ok(())
}

fn replication(value: OptionValue) -> Planned<Replication> {
    let wrong = || {
        invalid(
            "replication is {'class': 'SimpleStrategy', 'replication_factor': n} \
             or {'class': 'NetworkTopologyStrategy', 'data center': n, ...}",
        )
    };
    let OptionValue::Map(entries) = value else { return Err(wrong()) };
    let mut class = None;
    let mut factors = BTreeMap::new();
    for (key, value) in entries {
        let Literal::Text(key) = key else { return Err(wrong()) };
        let twice = if key == "class" {
            let Literal::Text(name) = value else { return Err(wrong()) };
            class.replace(name).is_some()
        } else {
            factors.insert(key.clone(), factor(&key, value)?).is_some()
        };
        if twice {
            return Err(invalid(format!("{key:?} is given twice in replication")));
        }
    }
    // Cassandra writes the class with its package in front.
    match class.ok_or_else(wrong)?.rsplit('.').next() {
        Some("SimpleStrategy") => match (factors.remove("replication_factor"), factors.is_empty()) {
            (Some(factor), true) => Ok(Replication::Simple(factor)),
            _ => Err(wrong()),
        },
        Some("NetworkTopologyStrategy") if factors.contains_key("replication_factor") => {
            Err(invalid("NetworkTopologyStrategy names data centers, not a replication_factor"))
        }
        Some("NetworkTopologyStrategy") if factors.values().sum::<u32>() > REPLICAS_MAX => {
            Err(invalid(format!("a key has at most {REPLICAS_MAX} replicas over all data centers")))
        }
        Some("NetworkTopologyStrategy") if !factors.is_empty() => Ok(Replication::NetworkTopology(factors)),
        _ => Err(wrong()),
    }
}

fn factor(key: &str, value: Literal) -> Planned<u32> {
    let n = match value {
        Literal::Integer(n) => u32::try_from(n).ok(),
        Literal::Text(text) => text.parse().ok(),
        _ => None,
    };
    n.filter(|n| (1..=REPLICATION_FACTOR_MAX).contains(n))
        .ok_or_else(|| invalid(format!("the number of replicas of {key:?} is 1 to {REPLICATION_FACTOR_MAX}")))
}

fn set_table_options(def: &mut TableDef, options: Vec<WithOption>, new: bool) -> Planned<()> {
    check_options(&options, &TABLE_OPTIONS)?;
    for WithOption { name, value } in options {
        match name.as_str() {
            "conflicts" => {
                let conflicts = match text(&name, value)?.as_str() {
                    "siblings" => ConflictMode::Siblings,
                    "last_write_wins" => ConflictMode::LastWriteWins,
                    _ => return Err(invalid("conflicts is 'siblings' or 'last_write_wins'")),
                };
                if !new && conflicts != def.conflicts {
                    return Err(invalid("conflicts is chosen when a table is created and cannot be changed"));
                }
                def.conflicts = conflicts;
            }
            "default_time_to_live" => def.default_time_to_live_s = seconds(&name, value, TTL_S_MAX)?,
            "gc_grace_seconds" => def.gc_grace_s = seconds(&name, value, TTL_S_MAX)?,
            "compaction" => {
                def.compaction = match value {
                    OptionValue::Literal(Literal::Text(text)) => compaction(&text)?,
                    OptionValue::Map(entries) => compaction_class(entries)?,
                    OptionValue::Literal(_) => return Err(invalid(COMPACTION)),
                };
            }
            "compression" => {
                def.compression = match text(&name, value)?.as_str() {
                    "lz4" => Compression::Lz4,
                    "zstd" => Compression::Zstd,
                    "none" => Compression::None,
                    _ => return Err(invalid("compression is 'lz4', 'zstd' or 'none'")),
                };
            }
            "speculative_retry" => def.speculative_retry = speculative_retry(text(&name, value)?)?,
            _ => {
                def.comment = text(&name, value)?;
                if def.comment.len() > COMMENT_BYTES_MAX {
                    return Err(invalid(format!("a comment has at most {COMMENT_BYTES_MAX} bytes")));
                }
            }
        }
    }
    Ok(())
}

const COMPACTION: &str = "compaction is 'leveled' or 'tiered'";

fn compaction(text: &str) -> Planned<Compaction> {
    match text {
        "leveled" => Ok(Compaction::Leveled),
        "tiered" => Ok(Compaction::Tiered),
        _ => Err(invalid(COMPACTION)),
    }
}

/// As Cassandra writes it: `{'class': 'LeveledCompactionStrategy'}`.
fn compaction_class(entries: Vec<(Literal, Literal)>) -> Planned<Compaction> {
    let [(Literal::Text(key), Literal::Text(class))] = entries.as_slice() else {
        return Err(invalid(COMPACTION));
    };
    match (key.as_str(), class.rsplit('.').next()) {
        ("class", Some("LeveledCompactionStrategy")) => Ok(Compaction::Leveled),
        ("class", Some("SizeTieredCompactionStrategy")) => Ok(Compaction::Tiered),
        _ => Err(invalid(COMPACTION)),
    }
}

fn boolean(name: &str, value: OptionValue) -> Planned<bool> {
    match value {
        OptionValue::Literal(Literal::Boolean(b)) => Ok(b),
        _ => Err(invalid(format!("{name} is true or false"))),
    }
}

fn text(name: &str, value: OptionValue) -> Planned<String> {
    match value {
        OptionValue::Literal(Literal::Text(text)) => Ok(text),
        _ => Err(invalid(format!("{name} is a string in single quotes"))),
    }
}

fn seconds(name: &str, value: OptionValue, max: u32) -> Planned<u32> {
    let n = match value {
        OptionValue::Literal(Literal::Integer(n)) => u32::try_from(n).ok().filter(|n| *n <= max),
        _ => None,
    };
    n.ok_or_else(|| invalid(format!("{name} is a number of seconds from 0 to {max}")))
}

/// `'99p'`, `'50ms'` or `'none'`.
fn speculative_retry(text: String) -> Planned<String> {
    let percentile =
        text.strip_suffix('p').and_then(|n| n.parse::<f64>().ok()).is_some_and(|p| p > 0.0 && p < 100.0);
    let fixed = text
        .strip_suffix("ms")
        .and_then(|n| n.parse::<u32>().ok())
        .is_some_and(|n| (1..=60_000).contains(&n));
    if percentile || fixed || text == "none" {
        return Ok(text);
    }
    Err(invalid("speculative_retry is a percentile such as '99p', a time such as '50ms', or 'none'"))
}
