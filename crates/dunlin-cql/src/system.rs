//! The read-only tables of the keyspace `system`. The server knows the rows; names, columns and the
//! picking of rows are here.

use crate::operation::SystemSelect;
use crate::reply::{Cell, Reply};

/// The keyspace of the system tables.
pub const KEYSPACE: &str = "system";

/// A system table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemTable {
    /// This node.
    Local,
    /// The other nodes.
    Peers,
    /// Keyspaces.
    Keyspaces,
    /// Tables.
    Tables,
}

impl SystemTable {
    /// Every one.
    pub const ALL: [SystemTable; 4] =
        [SystemTable::Local, SystemTable::Peers, SystemTable::Keyspaces, SystemTable::Tables];

    /// Its name within the keyspace.
    pub fn name(self) -> &'static str {
        match self {
            SystemTable::Local => "local",
            SystemTable::Peers => "peers",
            SystemTable::Keyspaces => "keyspaces",
            SystemTable::Tables => "tables",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<SystemTable> {
        SystemTable::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Names of its columns. A row given to [`SystemSelect::apply`] has one cell for each.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            SystemTable::Local => &[
                "name",
                "host_id",
                "cluster_name",
                "cluster_id",
                "data_center",
                "rack",
                "generation",
                "version",
                "status",
                "layout_version",
                "vnodes",
                "schema_digest",
                "client_address",
                "internode_address",
                "admin_address",
            ],
            SystemTable::Peers => &[
                "name",
                "host_id",
                "data_center",
                "rack",
                "status",
                "is_up",
                "client_address",
                "internode_address",
                "admin_address",
            ],
            SystemTable::Keyspaces => &["keyspace_name", "replication", "sloppy_quorum", "durable_writes"],
            SystemTable::Tables => &[
                "keyspace_name",
                "table_name",
                "id",
                "key_column",
                "key_type",
                "value_column",
                "value_type",
                "conflicts",
                "default_time_to_live",
                "gc_grace_seconds",
                "compaction",
                "compression",
                "speculative_retry",
                "comment",
            ],
        }
    }
}

impl SystemSelect {
    /// Picks from all rows of the table what the statement asks for.
    pub fn apply(&self, rows: Vec<Vec<Cell>>) -> Reply {
        let kept = rows.into_iter().filter(|row| match &self.filter {
            Some((column, texts)) => {
                let cell = row.get(*column).and_then(Cell::as_str);
                cell.is_some_and(|cell| texts.iter().any(|text| text == cell))
            }
            None => true,
        });
        let limit = self.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let kept: Vec<Vec<Cell>> = kept.take(limit).collect();
        let Some(columns) = &self.columns else {
            return Reply::rows(vec!["count".to_owned()], vec![vec![Cell::text(kept.len().to_string())]]);
        };
        let names = columns.iter().map(|i| self.table.columns()[*i].to_owned()).collect();
        let pick =
            |row: Vec<Cell>| columns.iter().map(|i| row.get(*i).cloned().unwrap_or_default()).collect();
        Reply::rows(names, kept.into_iter().map(pick).collect())
    }
}
