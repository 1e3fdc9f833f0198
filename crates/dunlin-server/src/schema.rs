//! Changes of the schema as pure functions, and the tables that follow from it.
//!
//! [`crate::membership`] makes a changed schema durable and spreads it.

use crate::store::{LocalStore, table_options};
use dunlin_cql::operation::SchemaChange;
use dunlin_storage::Engine;
use dunlin_types::schema::{
    Compaction, Compression, GC_GRACE_DEFAULT_S, KeyType, Replication, Schema, ValueType,
};
use dunlin_types::{ConflictMode, ErrorCode, Hlc, HostId, KeyspaceDef, TableDef, TableId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The keyspace that every cluster begins with.
pub const DEFAULT_KEYSPACE: &str = "dunlin";
/// Its table.
pub const DEFAULT_TABLE: &str = "kv";

/// What the founder begins with: keyspace `dunlin`, table `kv (key text PRIMARY KEY, value text)`.
pub fn default_schema(stamp: (Hlc, HostId), table: u64, replication_factor: u32) -> Schema {
    let mut schema = Schema::default();
    let keyspace = KeyspaceDef {
        name: DEFAULT_KEYSPACE.to_owned(),
        replication: Replication::Simple(replication_factor),
        sloppy_quorum: false,
        durable_writes: true,
    };
    schema.set_keyspace(DEFAULT_KEYSPACE, stamp, Some(keyspace));
    let def = TableDef {
        id: TableId(table),
        keyspace: DEFAULT_KEYSPACE.to_owned(),
        name: DEFAULT_TABLE.to_owned(),
        key_column: "key".to_owned(),
        key_type: KeyType::Text,
        value_column: "value".to_owned(),
        value_type: ValueType::Text,
        conflicts: ConflictMode::Siblings,
        default_time_to_live_s: 0,
        gc_grace_s: GC_GRACE_DEFAULT_S,
        compression: Compression::default(),
        compaction: Compaction::default(),
        speculative_retry: "99p".to_owned(),
        comment: String::new(),
    };
    schema.set_table(DEFAULT_KEYSPACE, DEFAULT_TABLE, stamp, Some(def));
    schema
}

/// The schema after a change, which was planned against an earlier one: checks again what may have
/// changed since. `id` is random, for a new table.
pub fn apply(
    schema: &Schema,
    change: SchemaChange,
    stamp: (Hlc, HostId),
    id: u64,
) -> Result<Schema, (ErrorCode, String)> {
    let mut next = schema.clone();
    let exists = |what: String| Err((ErrorCode::AlreadyExists, format!("{what} exists already")));
    let gone = |what: String| Err((ErrorCode::Invalid, format!("there is no {what} any more")));
    let no_table =
        |keyspace: &str, name: &str, id: TableId| schema.table(keyspace, name).is_none_or(|t| t.id != id);
    match change {
        SchemaChange::CreateKeyspace(def) => {
            if schema.keyspace(&def.name).is_some() {
                return exists(format!("keyspace {}", def.name));
            }
            next.set_keyspace(&def.name.clone(), stamp, Some(def));
        }
        SchemaChange::AlterKeyspace(def) => {
            if schema.keyspace(&def.name).is_none() {
                return gone(format!("keyspace {}", def.name));
            }
            next.set_keyspace(&def.name.clone(), stamp, Some(def));
        }
        SchemaChange::DropKeyspace(name) => next.set_keyspace(&name, stamp, None),
        SchemaChange::CreateTable(mut def) => {
            if schema.keyspace(&def.keyspace).is_none() {
                return gone(format!("keyspace {}", def.keyspace));
            }
            if schema.table(&def.keyspace, &def.name).is_some() {
                return exists(format!("table {}.{}", def.keyspace, def.name));
            }
            def.id = TableId(id);
            next.set_table(&def.keyspace.clone(), &def.name.clone(), stamp, Some(def));
        }
        SchemaChange::AlterTable(def) => {
            if no_table(&def.keyspace, &def.name, def.id) {
                return gone(format!("table {}.{}", def.keyspace, def.name));
            }
            next.set_table(&def.keyspace.clone(), &def.name.clone(), stamp, Some(def));
        }
        SchemaChange::DropTable(def) => {
            if no_table(&def.keyspace, &def.name, def.id) {
                return gone(format!("table {}.{}", def.keyspace, def.name));
            }
            next.set_table(&def.keyspace, &def.name, stamp, None);
        }
        SchemaChange::Truncate(def) => {
            if no_table(&def.keyspace, &def.name, def.id) {
                return gone(format!("table {}.{}", def.keyspace, def.name));
            }
            next.set_table(
                &def.keyspace,
                &def.name,
                stamp,
                Some(TableDef { id: TableId(id), ..(*def).clone() }),
            );
        }
    }
    Ok(next)
}

/// Makes the engine's tables those of the schema.
pub struct EngineTables(pub Arc<dyn LocalStore>);

impl crate::membership::SchemaSink for EngineTables {
    fn apply(&self, schema: &Schema) -> Result<(), String> {
        apply_to(self.0.engine(), schema)
    }
}

fn apply_to(engine: &Engine, schema: &Schema) -> Result<(), String> {
    // A schema in which nothing was ever defined is one that was lost, and no reason to drop what is there.
    if *schema == Schema::default() && !engine.tables().is_empty() {
        return Err(
            "the node holds tables, but system/schema is missing: restore it from a backup or another node"
                .into(),
        );
    }
    let mut wanted = BTreeSet::new();
    for def in schema.tables() {
        wanted.insert(def.id);
        engine
            .create_table(def.id, table_options(def))
            .map_err(|e| format!("table {}.{}: {e}", def.keyspace, def.name))?;
    }
    for table in engine.tables().into_iter().filter(|t| !wanted.contains(t)) {
        tracing::info!(%table, "table is dropped");
        engine.drop_table(table).map_err(|e| format!("dropping table {table}: {e}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::Micros;

    #[test]
    fn a_lost_schema_drops_nothing() {
        let fs = Arc::new(dunlin_storage::fs::MemFs::new());
        let engine = Engine::open(fs, dunlin_storage::EngineOptions::small()).unwrap();
        assert_eq!(apply_to(&engine, &Schema::default()), Ok(()));
        let schema = default_schema((Micros(1), HostId::from_words(1, 1)), 7, 3);
        apply_to(&engine, &schema).unwrap();
        assert!(apply_to(&engine, &Schema::default()).is_err());
        assert_eq!(engine.tables(), [TableId(7)]);
    }

    #[test]
    fn changes_apply_once() {
        let host = HostId::from_words(1, 1);
        let stamp = |n| (Micros(n), host);
        let schema = default_schema(stamp(1), 7, 3);
        let kv = schema.shared_table("dunlin", "kv").unwrap().clone();
        let create =
            SchemaChange::CreateTable(TableDef { name: "t".into(), id: TableId(0), ..(*kv).clone() });
        let schema = apply(&schema, create.clone(), stamp(2), 8).unwrap();
        assert_eq!(schema.table("dunlin", "t").unwrap().id, TableId(8));
        assert_eq!(apply(&schema, create, stamp(3), 9).unwrap_err().0, ErrorCode::AlreadyExists);
        let schema = apply(&schema, SchemaChange::Truncate(kv.clone()), stamp(4), 10).unwrap();
        assert_eq!(schema.table("dunlin", "kv").unwrap().id, TableId(10));
        assert_eq!(
            apply(&schema, SchemaChange::Truncate(kv), stamp(5), 11).unwrap_err().0,
            ErrorCode::Invalid
        );
        let schema = apply(&schema, SchemaChange::DropKeyspace("dunlin".into()), stamp(6), 0).unwrap();
        assert_eq!(schema.tables().count(), 0);
    }
}
