//! Records as rows of a table: cells checked against their columns, statements made of them.

use super::mapping::{Field, Mapping};
use super::records::{Cells, Record};
use bytes::Bytes;
use dunlin_client::{Columns, TableName};
use dunlin_cql::Literal;
use dunlin_types::{ConflictMode, limits};
use std::hash::{BuildHasher, RandomState};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

/// Values of one key that are written as siblings.
const SIBLINGS_MAX: usize = 100;
/// Most that a statement holds besides its value: a key as a blob, names and options.
const FRAME_BYTES_MAX: usize = 2 * limits::KEY_BYTES_MAX + 2048;

/// A row on its way into the table.
pub struct Row {
    /// Its first line.
    pub line: u64,
    /// The same for equal keys.
    pub key: u64,
    /// What is sent.
    pub what: What,
    /// As it stands in the file, where that is still asked for.
    pub raw: Bytes,
    /// The row of the same key that this one replaces before it was sent; it is sent if this one is rejected.
    pub before: Option<Box<Row>>,
    /// It was sent, and may be in.
    pub was_sent: bool,
    /// It shares no statement with others any more.
    pub is_alone: bool,
    /// Its share of the memory; `None` before it was granted one.
    pub memory: Option<OwnedSemaphorePermit>,
}

/// What is sent for a row.
pub enum What {
    /// One statement.
    Write(String),
    /// Concurrent values of a key.
    Siblings(Siblings),
}

/// Concurrent values of a key: each supersedes what was there before all of them, and none of the others.
pub struct Siblings {
    /// Reads the context of what is there.
    pub read: String,
    /// That context, once it was read.
    pub context: Option<String>,
    /// The values, in the file's order.
    pub writes: Vec<Sibling>,
    /// So many are in.
    pub done: usize,
}

/// One of them.
pub struct Sibling {
    /// Its first line.
    pub line: u64,
    /// Up to the context that ends it.
    pub statement: String,
    /// As [`Row::raw`].
    pub raw: Bytes,
}

impl Row {
    fn new(line: u64, key: u64, what: What, raw: Bytes) -> Row {
        Row { line, key, what, raw, before: None, was_sent: false, is_alone: false, memory: None }
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        match &self.what {
            What::Write(statement) => self.raw.len() + statement.len(),
            What::Siblings(siblings) => {
                siblings.writes.iter().map(|sibling| sibling.statement.len() + sibling.raw.len()).sum()
            }
        }
    }
}

/// Makes rows of records.
pub struct Rows {
    table: TableName,
    columns: Columns,
    mapping: Mapping,
    keeps_raw: bool,
    hasher: RandomState,
    /// Writes are named by this and the row's line, so that nodes know a repetition.
    request: u128,
    /// The row whose siblings may follow.
    open: Option<Open>,
}

struct Open {
    key: Literal,
    context: String,
    values: Vec<Value>,
    bytes: usize,
}

struct Value {
    line: u64,
    literal: Literal,
    ttl: Option<u32>,
    raw: Bytes,
}

impl Rows {
    /// For a table.
    pub fn new(table: TableName, columns: Columns, mapping: Mapping, keeps_raw: bool) -> Rows {
        let request = Uuid::new_v4().as_u128();
        Rows { table, columns, mapping, keeps_raw, hasher: RandomState::new(), request, open: None }
    }

    /// Takes a record. Gives the row that is complete by that: of this record, or of those before it. An error says why
    /// it is no row.
    pub fn take(&mut self, record: &Record, cells: &Cells) -> Result<Option<Row>, String> {
        if cells.len() != self.mapping.width() {
            return Err(format!("it has {} columns, not {}", cells.len(), self.mapping.width()));
        }
        let named = |name: &str| format!("{name}: ");
        let key = cells.text(self.mapping.key())?;
        let key = self.columns.key_literal(&key).map_err(|error| named(&self.columns.key) + &error.0)?;
        let value = cells.text(self.mapping.value())?;
        let value =
            self.columns.value_literal(&value).map_err(|error| named(&self.columns.value) + &error.0)?;
        let (length, written) = match &value {
            Literal::Text(text) => {
                (text.len(), text.len() + memchr::memchr_iter(b'\'', text.as_bytes()).count())
            }
            Literal::Blob(bytes) => (bytes.len(), 2 * bytes.len()),
            _ => (0, 0),
        };
        if length > limits::VALUE_BYTES_MAX {
            return Err(format!(
                "its value has {length} bytes, more than any table takes ({})",
                limits::VALUE_BYTES_MAX
            ));
        }
        if written + FRAME_BYTES_MAX > limits::STATEMENT_BYTES_MAX {
            return Err(format!("its statement has more than {written} bytes, more than any node takes"));
        }
        let ttl = match self.mapping.place(Field::Ttl).map(|place| cells.text(place)).transpose()? {
            Some(text) if !text.is_empty() => {
                let bad = |_| format!("{}: {text:?} is no number of seconds", Field::Ttl.name(&self.columns));
                Some(text.parse().map_err(bad)?)
            }
            _ => None,
        };
        let context = match self.mapping.place(Field::Context).map(|place| cells.text(place)).transpose()? {
            Some(context) => context.into_owned(),
            None => String::new(),
        };
        let raw = if self.keeps_raw { record.raw.clone() } else { Bytes::new() };
        if let Some(open) = &mut self.open
            && !context.is_empty()
            && open.key == key
            && open.context == context
        {
            if open.values.len() == SIBLINGS_MAX || open.bytes + length > limits::VALUE_BYTES_MAX {
                return Err(format!(
                    "it would be one sibling too many: a key has at most {SIBLINGS_MAX}, and together at most {} MiB here",
                    limits::VALUE_BYTES_MAX >> 20
                ));
            }
            open.values.push(Value { line: record.line, literal: value, ttl, raw });
            open.bytes += length;
            return Ok(None);
        }
        let value = Value { line: record.line, literal: value, ttl, raw };
        let open = Open { key, context, values: vec![value], bytes: length };
        let before = match self.mapping.place(Field::Context) {
            Some(_) => self.open.replace(open),
            None => return Ok(Some(self.row(open))),
        };
        Ok(before.map(|before| self.row(before)))
    }

    /// The row that the last records made, if one is open.
    pub fn finish(&mut self) -> Option<Row> {
        let open = self.open.take()?;
        Some(self.row(open))
    }

    fn row(&self, open: Open) -> Row {
        let Open { key, mut values, .. } = open;
        let hash = self.hasher.hash_one(key.to_string());
        if values.len() == 1
            && let Some(value) = values.pop()
        {
            let what = What::Write(self.statement(&key, &value, None));
            return Row::new(value.line, hash, what, value.raw);
        }
        let line = values.first().map_or(0, |value| value.line);
        let write = |value: Value| Sibling {
            statement: self.statement(&key, &value, Some("CONTEXT ")),
            line: value.line,
            raw: value.raw,
        };
        let read = format!(
            "SELECT CONTEXT({}) FROM {} WHERE {} = {key}",
            self.columns.value_name(),
            self.table,
            self.columns.key_name()
        );
        let writes = values.into_iter().map(write).collect();
        let what = What::Siblings(Siblings { read, context: None, writes, done: 0 });
        Row::new(line, hash, what, Bytes::new())
    }

    fn statement(&self, key: &Literal, value: &Value, last: Option<&str>) -> String {
        let (key_name, value_name) = (self.columns.key_name(), self.columns.value_name());
        let mut statement = format!(
            "INSERT INTO {} ({key_name}, {value_name}) VALUES ({key}, {})",
            self.table, value.literal
        );
        // Made twice, a write would be a sibling of what has replaced it meanwhile.
        let request = (self.columns.conflicts == ConflictMode::Siblings)
            .then(|| format!("REQUEST '{}'", Uuid::from_u128(self.request.wrapping_add(value.line.into()))));
        let ttl = value.ttl.map(|seconds| format!("TTL {seconds}"));
        let options: Vec<String> = [request, ttl, last.map(str::to_owned)].into_iter().flatten().collect();
        if !options.is_empty() {
            statement.push_str(" USING ");
            statement.push_str(&options.join(" AND "));
        }
        statement
    }
}
