//! Keyspaces and tables, and how two copies of the schema merge.
//!
//! Nobody owns the schema: each definition is a register stamped with (hybrid clock, host id), the
//! larger stamp wins, a drop is a register without a definition. Nodes exchange whole schemas when
//! their digests differ.

use crate::host::HostId;
use crate::time::Hlc;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Identity of a table: drawn when it is created (or truncated), so that a later table of the same
/// name never meets the old one's data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId(pub u64);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where replicas go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Replication {
    /// `SimpleStrategy`: this many, wherever the ring leads (racks still kept apart).
    Simple(u32),
    /// `NetworkTopologyStrategy`: so many in each data centre.
    NetworkTopology(BTreeMap<String, u32>),
}

/// A keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyspaceDef {
    /// Its name.
    pub name: String,
    /// Where replicas go.
    pub replication: Replication,
    /// Fallback nodes may stand in for dead replicas.
    pub sloppy_quorum: bool,
    /// Kept for familiarity; `false` makes writes `DURABILITY buffered` by default.
    pub durable_writes: bool,
}

/// Type of a key column.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyType {
    /// UTF-8.
    Text,
    /// Bytes.
    Blob,
    /// 64-bit signed.
    Bigint,
    /// 128-bit id.
    Uuid,
}

/// Type of a value column.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ValueType {
    /// UTF-8.
    Text,
    /// Bytes.
    Blob,
    /// 64-bit signed.
    Bigint,
    /// IEEE 754 double.
    Double,
    /// True or false.
    Boolean,
    /// 128-bit id.
    Uuid,
}

impl KeyType {
    /// As in the language.
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Text => "text",
            KeyType::Blob => "blob",
            KeyType::Bigint => "bigint",
            KeyType::Uuid => "uuid",
        }
    }
}

impl ValueType {
    /// As in the language.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Text => "text",
            ValueType::Blob => "blob",
            ValueType::Bigint => "bigint",
            ValueType::Double => "double",
            ValueType::Boolean => "boolean",
            ValueType::Uuid => "uuid",
        }
    }
}

/// What a table does with concurrent writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum ConflictMode {
    /// Keeps all of them (`'siblings'`).
    #[default]
    Siblings,
    /// Keeps the one with the largest clock (`'last_write_wins'`).
    LastWriteWins,
}

impl ConflictMode {
    /// As in `WITH conflicts = '...'`.
    pub fn name(self) -> &'static str {
        match self {
            ConflictMode::Siblings => "siblings",
            ConflictMode::LastWriteWins => "last_write_wins",
        }
    }
}

/// Compression of SSTable blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Compression {
    /// LZ4 block format.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
    /// None.
    None,
}

impl Compression {
    /// As in `WITH compression = '...'`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::None => "none",
        }
    }
}

/// How a table's SSTables are merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Compaction {
    /// Levels of disjoint SSTables: reads look into few of them, deleted data takes little space.
    #[default]
    Leveled,
    /// SSTables of like size together: written less often, for tables that are written far more than read.
    Tiered,
}

impl Compaction {
    /// As in `WITH compaction = '...'`.
    pub fn name(self) -> &'static str {
        match self {
            Compaction::Leveled => "leveled",
            Compaction::Tiered => "tiered",
        }
    }
}

/// A table: one key column, one value column.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableDef {
    /// Identity.
    pub id: TableId,
    /// Keyspace it belongs to.
    pub keyspace: String,
    /// Its name.
    pub name: String,
    /// Name of the key column.
    pub key_column: String,
    /// Type of the key column.
    pub key_type: KeyType,
    /// Name of the value column.
    pub value_column: String,
    /// Type of the value column.
    pub value_type: ValueType,
    /// Concurrent writes.
    pub conflicts: ConflictMode,
    /// TTL of writes that name none, seconds; 0 is none.
    pub default_time_to_live_s: u32,
    /// Youngest age at which a tombstone may be purged, seconds.
    pub gc_grace_s: u32,
    /// Of its SSTables.
    pub compression: Compression,
    /// Of its SSTables. Schemas saved before there was a choice are leveled.
    #[serde(default)]
    pub compaction: Compaction,
    /// As given: `99p`, `50ms`, `none`.
    pub speculative_retry: String,
    /// Free text.
    pub comment: String,
}

/// Default of `gc_grace_seconds`: ten days.
pub const GC_GRACE_DEFAULT_S: u32 = 864_000;

/// A definition or its absence, with the stamp that decides between two.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Register<T> {
    /// When and by whom it was set.
    pub stamp: (Hlc, HostId),
    /// `None` once dropped.
    pub value: Option<T>,
}

/// Every keyspace and table that was ever defined.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Schema {
    keyspaces: BTreeMap<String, Register<KeyspaceDef>>,
    tables: BTreeMap<String, BTreeMap<String, Register<Arc<TableDef>>>>,
}

impl Schema {
    /// The live keyspace of that name.
    pub fn keyspace(&self, name: &str) -> Option<&KeyspaceDef> {
        self.keyspaces.get(name)?.value.as_ref()
    }

    /// The live table of that name; none if its keyspace is gone.
    pub fn table(&self, keyspace: &str, name: &str) -> Option<&TableDef> {
        self.shared_table(keyspace, name).map(Arc::as_ref)
    }

    /// The same, to be shared by requests without copying the definition.
    pub fn shared_table(&self, keyspace: &str, name: &str) -> Option<&Arc<TableDef>> {
        self.keyspace(keyspace)?;
        self.tables.get(keyspace)?.get(name)?.value.as_ref()
    }

    /// The live table of that id.
    pub fn table_by_id(&self, id: TableId) -> Option<&TableDef> {
        self.tables().find(|t| t.id == id)
    }

    /// Live keyspaces by name.
    pub fn keyspaces(&self) -> impl Iterator<Item = &KeyspaceDef> {
        self.keyspaces.values().filter_map(|r| r.value.as_ref())
    }

    /// Live tables by (keyspace, name).
    pub fn tables(&self) -> impl Iterator<Item = &TableDef> {
        self.tables
            .iter()
            .filter(|(keyspace, _)| self.keyspace(keyspace).is_some())
            .flat_map(|(_, tables)| tables.values())
            .filter_map(|r| r.value.as_deref())
    }

    /// Sets or drops a keyspace. Dropping one drops its tables too.
    pub fn set_keyspace(&mut self, name: &str, stamp: (Hlc, HostId), value: Option<KeyspaceDef>) {
        if value.is_none() {
            for register in self.tables.get_mut(name).into_iter().flat_map(BTreeMap::values_mut) {
                if register.value.is_some() && register.stamp < stamp {
                    *register = Register { stamp, value: None };
                }
            }
        }
        set(&mut self.keyspaces, name.to_owned(), Register { stamp, value });
    }

    /// Sets or drops a table.
    pub fn set_table(&mut self, keyspace: &str, name: &str, stamp: (Hlc, HostId), value: Option<TableDef>) {
        let value = value.map(Arc::new);
        set(self.tables.entry(keyspace.to_owned()).or_default(), name.to_owned(), Register { stamp, value });
    }

    /// Joins another copy: commutative, associative, idempotent.
    pub fn merge(&mut self, other: &Schema) {
        for (name, register) in &other.keyspaces {
            set(&mut self.keyspaces, name.clone(), register.clone());
        }
        for (keyspace, tables) in &other.tables {
            let mine = self.tables.entry(keyspace.clone()).or_default();
            for (name, register) in tables {
                set(mine, name.clone(), register.clone());
            }
        }
    }

    /// The highest clock in any stamp.
    pub fn stamp_max(&self) -> Hlc {
        let keyspaces = self.keyspaces.values().map(|r| r.stamp.0);
        let tables = self.tables.values().flat_map(BTreeMap::values).map(|r| r.stamp.0);
        keyspaces.chain(tables).max().unwrap_or_default()
    }
}

fn set<K: Ord, T: Clone>(map: &mut BTreeMap<K, Register<T>>, key: K, register: Register<T>) {
    match map.entry(key) {
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(register);
        }
        std::collections::btree_map::Entry::Occupied(mut entry) => {
            if entry.get().stamp < register.stamp {
                entry.insert(register);
            }
        }
    }
}
