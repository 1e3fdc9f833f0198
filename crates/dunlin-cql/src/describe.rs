//! Definitions as the statements that recreate them.

use crate::literal::write_string;
use crate::name::{Quoted, TableName};
use dunlin_types::schema::{KeyspaceDef, Replication, Schema, TableDef};
use std::fmt::Write;

/// `CREATE KEYSPACE ...;`
pub fn keyspace(def: &KeyspaceDef) -> String {
    format!(
        "CREATE KEYSPACE {} WITH replication = {} AND sloppy_quorum = {} AND durable_writes = {};",
        Quoted(&def.name),
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
    let name = TableName { keyspace: Some(def.keyspace.clone()), table: def.name.clone() };
    format!(
        "CREATE TABLE {name} ({} {} PRIMARY KEY, {} {}) WITH conflicts = '{}' AND default_time_to_live = {} \
         AND gc_grace_seconds = {} AND compaction = '{}' AND compression = '{}' AND speculative_retry = {} AND comment = {};",
        Quoted(&def.key_column),
        def.key_type.name(),
        Quoted(&def.value_column),
        def.value_type.name(),
        def.conflicts.name(),
        def.default_time_to_live_s,
        def.gc_grace_s,
        def.compaction.name(),
        def.compression.name(),
        text(&def.speculative_retry),
        text(&def.comment)
    )
}

/// The statements for a keyspace and its tables.
pub fn keyspace_and_tables(schema: &Schema, name: &str) -> Vec<String> {
    let keyspace = schema.keyspace(name).map(keyspace);
    let tables = schema.tables().filter(|def| def.keyspace == name).map(table);
    keyspace.into_iter().chain(tables).collect()
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
