//! A table's two columns, and how cells are written into statements about it.

use crate::reply::Reply;
use crate::value::Value;
use dunlin_cql::Literal;
use dunlin_cql::name::{Quoted, TableName};
use dunlin_cql::reply::Text;
use dunlin_cql::value::{TypeError, key_literal_from_text, value_literal_from_text};
use dunlin_types::ConflictMode;
use dunlin_types::schema::{KeyType, ValueType};

/// The keyspace of a table that is named without one.
pub(crate) const KEYSPACE: &str = "dunlin";

/// A table's two columns, and what it does with concurrent writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Name of the key column.
    pub key: String,
    /// Its type.
    pub key_type: KeyType,
    /// Name of the value column.
    pub value: String,
    /// Its type.
    pub value_type: ValueType,
    /// Whether concurrent values are kept as siblings.
    pub conflicts: ConflictMode,
}

impl Columns {
    /// The key column as statements name it.
    pub fn key_name(&self) -> String {
        Quoted(&self.key).to_string()
    }

    /// The value column as statements name it.
    pub fn value_name(&self) -> String {
        Quoted(&self.value).to_string()
    }

    /// The constant that a cell stands for in the key column; the error says what the column's type wants.
    pub fn key_literal(&self, cell: &str) -> Result<Literal, TypeError> {
        key_literal_from_text(self.key_type, cell)
    }

    /// The constant that a cell stands for in the value column; the error says what the column's type wants.
    pub fn value_literal(&self, cell: &str) -> Result<Literal, TypeError> {
        value_literal_from_text(self.value_type, cell)
    }

    /// The key that the text of a cell stands for; the error says what the column's type wants.
    pub fn key_from_text(&self, cell: &str) -> Result<Value, TypeError> {
        Value::from_text(self.key_as_value(), cell)
    }

    /// The value that the text of a cell stands for; the error says what the column's type wants.
    pub fn value_from_text(&self, cell: &str) -> Result<Value, TypeError> {
        Value::from_text(self.value_type, cell)
    }

    /// The type of values that are like the keys.
    pub(crate) fn key_as_value(&self) -> ValueType {
        match self.key_type {
            KeyType::Text => ValueType::Text,
            KeyType::Blob => ValueType::Blob,
            KeyType::Bigint => ValueType::Bigint,
            KeyType::Uuid => ValueType::Uuid,
        }
    }

    /// The statement that lists the tables of this name, in every keyspace.
    pub fn query(table: &TableName) -> String {
        let name = Literal::Text(table.table.clone());
        format!("SELECT * FROM system.tables WHERE table_name = {name}")
    }

    /// The columns of the table in the answer to [`Columns::query`]; `None` if there is no such table, or one whose types
    /// this client does not know.
    pub fn find(reply: &Reply, table: &TableName) -> Option<Columns> {
        let keyspace = table.keyspace.as_deref().unwrap_or(KEYSPACE);
        let place = |name| reply.column(name);
        let is = |row: &[Option<Text>], at: usize, wanted: &str| {
            row.get(at).and_then(|cell| cell.as_deref()).is_some_and(|cell| cell == wanted)
        };
        let (keyspaces, tables) = (place("keyspace_name")?, place("table_name")?);
        let row =
            reply.rows.iter().find(|row| is(row, keyspaces, keyspace) && is(row, tables, &table.table))?;
        let cell = |name| row.get(place(name)?)?.as_deref();
        let (key_type, value_type) = (cell("key_type")?, cell("value_type")?);
        let lww = ConflictMode::LastWriteWins;
        Some(Columns {
            key: cell("key_column")?.to_owned(),
            key_type: KEY_TYPES.into_iter().find(|known| known.name() == key_type)?,
            value: cell("value_column")?.to_owned(),
            value_type: VALUE_TYPES.into_iter().find(|known| known.name() == value_type)?,
            conflicts: if cell("conflicts") == Some(lww.name()) { lww } else { ConflictMode::Siblings },
        })
    }
}

const KEY_TYPES: [KeyType; 4] = [KeyType::Text, KeyType::Blob, KeyType::Bigint, KeyType::Uuid];
const VALUE_TYPES: [ValueType; 6] = [
    ValueType::Text,
    ValueType::Blob,
    ValueType::Bigint,
    ValueType::Double,
    ValueType::Boolean,
    ValueType::Uuid,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rows: &[&[&str]]) -> Reply {
        let columns = [
            "keyspace_name",
            "table_name",
            "key_column",
            "key_type",
            "value_column",
            "value_type",
            "conflicts",
        ];
        Reply {
            columns: Some(columns.map(str::to_owned).to_vec()),
            rows: rows.iter().map(|row| row.iter().map(|cell| Some(Text::from(*cell))).collect()).collect(),
            ..Reply::default()
        }
    }

    #[test]
    fn a_table_is_found_by_its_written_name() {
        let reply = listed(&[
            &["other", "T", "k", "text", "v", "text", "siblings"],
            &["Shop", "T", "Id", "bigint", "select", "double", "last_write_wins"],
            &["dunlin", "T", "k", "soundex", "v", "text", "siblings"],
        ]);
        let found = Columns::find(&reply, &"\"Shop\".\"T\"".parse().unwrap()).unwrap();
        assert_eq!((found.key_name(), found.value_name()), ("\"Id\"".into(), "\"select\"".into()));
        assert_eq!((found.key_type, found.value_type), (KeyType::Bigint, ValueType::Double));
        assert_eq!(found.conflicts, ConflictMode::LastWriteWins);
        for absent in ["shop.t", "other.t", "\"T\""] {
            assert_eq!(Columns::find(&reply, &absent.parse().unwrap()), None, "{absent}");
        }
    }

    #[test]
    fn cells_are_checked_against_their_column() {
        let reply = listed(&[&["dunlin", "t", "k", "bigint", "v", "boolean", "siblings"]]);
        let columns = Columns::find(&reply, &"t".parse().unwrap()).unwrap();
        assert_eq!(columns.key_literal("-5").unwrap().to_string(), "-5");
        let wrong = columns.key_literal("5; DROP TABLE t").unwrap_err().to_string();
        assert!(wrong.contains("an integer such as 42"), "{wrong}");
        assert!(columns.value_literal("yes").is_err());
    }
}
