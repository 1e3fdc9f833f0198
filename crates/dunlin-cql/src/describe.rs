//! Definitions as the statements that recreate them.

use crate::literal::write_string;
use crate::name::{Quoted, TableName};
use dunlin_types::schema::{ConflictMode, KeyType, KeyspaceDef, Replication, Schema, TableDef, ValueType};
use std::fmt::Write;

/// The keyspace that every cluster begins with, and its table: they are there before a description is played back.
const FOUNDING: (&str, &str) = ("dunlin", "kv");

/// `CREATE KEYSPACE ...;`
pub fn keyspace(def: &KeyspaceDef) -> String {
    format!("CREATE KEYSPACE {} WITH {};", Quoted(&def.name), keyspace_options(def))
}

fn keyspace_options(def: &KeyspaceDef) -> String {
    format!(
        "replication = {} AND sloppy_quorum = {} AND durable_writes = {}",
        replication(&def.replication),
        def.sloppy_quorum,
        def.durable_writes
    )
}

/// The value of the option `replication`.
pub fn replication(replication: &Replication) -> String {
    let mut out = String::new();
    match replication {
        Replication::Simple(factor) => {
            let _ = write!(out, "{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}");
        }
        Replication::NetworkTopology(factors) => {
            out.push_str("{'class': 'NetworkTopologyStrategy'");
            for (data_center, factor) in factors {
                let _ = write!(out, ", {}: {factor}", text(data_center));
            }
            out.push('}');
        }
    }
    out
}

/// `CREATE TABLE ...;`, the keyspace named.
pub fn table(def: &TableDef) -> String {
    create_table("CREATE TABLE", def)
}

fn create_table(create: &str, def: &TableDef) -> String {
    format!(
        "{create} {} ({} {} PRIMARY KEY, {} {}) WITH conflicts = '{}' AND {};",
        name_of(def),
        Quoted(&def.key_column),
        def.key_type.name(),
        Quoted(&def.value_column),
        def.value_type.name(),
        def.conflicts.name(),
        table_options(def)
    )
}

fn name_of(def: &TableDef) -> TableName {
    TableName { keyspace: Some(def.keyspace.clone()), table: def.name.clone() }
}

/// The options that can be altered.
fn table_options(def: &TableDef) -> String {
    format!(
        "default_time_to_live = {} AND gc_grace_seconds = {} AND compaction = '{}' AND compression = '{}' \
         AND speculative_retry = {} AND comment = {}",
        def.default_time_to_live_s,
        def.gc_grace_s,
        def.compaction.name(),
        def.compression.name(),
        text(&def.speculative_retry),
        text(&def.comment)
    )
}

/// The statements for a keyspace and its tables, which give the same on an empty cluster and on one that was just
/// founded: what is there from founding is made if it is not there, and then altered.
pub fn keyspace_and_tables(schema: &Schema, name: &str) -> Vec<String> {
    let mut statements = Vec::new();
    if let Some(def) = schema.keyspace(name) {
        if def.name == FOUNDING.0 {
            let (name, options) = (Quoted(name), keyspace_options(def));
            statements.push(format!("CREATE KEYSPACE IF NOT EXISTS {name} WITH {options};"));
            statements.push(format!("ALTER KEYSPACE {name} WITH {options};"));
        } else {
            statements.push(keyspace(def));
        }
    }
    for def in schema.tables().filter(|def| def.keyspace == name) {
        if is_founding_table(def) {
            statements.push(create_table("CREATE TABLE IF NOT EXISTS", def));
            statements.push(format!("ALTER TABLE {} WITH {};", name_of(def), table_options(def)));
        } else {
            statements.push(table(def));
        }
    }
    statements
}

/// Whether the table is the one from founding, but for what `ALTER TABLE` can change. Another one under its name is
/// described like any table: where the first is still there, playing that back has to fail, not to pass it over.
fn is_founding_table(def: &TableDef) -> bool {
    (def.keyspace.as_str(), def.name.as_str()) == FOUNDING
        && (def.key_column.as_str(), def.key_type) == ("key", KeyType::Text)
        && (def.value_column.as_str(), def.value_type) == ("value", ValueType::Text)
        && def.conflicts == ConflictMode::default()
}

/// The statements for everything.
pub fn schema(schema: &Schema) -> Vec<String> {
    schema.keyspaces().flat_map(|def| keyspace_and_tables(schema, &def.name)).collect()
}

fn text(text: &str) -> String {
    let mut out = String::new();
    let _ = write_string(&mut out, text);
    out
}
