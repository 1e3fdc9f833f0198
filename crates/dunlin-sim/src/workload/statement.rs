//! Statements as text, and what their replies say.

use super::{KEYSPACE, SIDE_TABLE, TABLE, key_text};
use crate::executor::Nanos;
use crate::oracle::{KeyId, Outcome, WriteId, value_of, write_of};
use dunlin_cql::{Body, Reply};
use dunlin_types::{Consistency, ErrorCode};
use std::collections::BTreeMap;

/// What follows `USING`.
#[derive(Clone, Debug)]
pub(super) struct Using<'a> {
    pub level: Consistency,
    pub timeout_ms: u64,
    pub context: Option<&'a str>,
    pub after: Option<&'a str>,
    pub timestamp: Option<u64>,
    pub buffered: bool,
    pub ttl_s: Option<u64>,
    pub request: Option<&'a str>,
}

impl Using<'_> {
    /// A level and a limit of time, nothing more.
    pub fn plain(level: Consistency, timeout_ms: u64) -> Using<'static> {
        Using {
            level,
            timeout_ms,
            context: None,
            after: None,
            timestamp: None,
            buffered: false,
            ttl_s: None,
            request: None,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("USING CONSISTENCY {} AND TIMEOUT {}ms", self.level, self.timeout_ms);
        if let Some(token) = self.context {
            text += &format!(" AND CONTEXT '{token}'");
        }
        if let Some(token) = self.after {
            text += &format!(" AND AFTER '{token}'");
        }
        if let Some(at) = self.timestamp {
            text += &format!(" AND TIMESTAMP {at}");
        }
        if self.buffered {
            text += " AND DURABILITY buffered";
        }
        if let Some(seconds) = self.ttl_s {
            text += &format!(" AND TTL {seconds}");
        }
        if let Some(id) = self.request {
            text += &format!(" AND REQUEST '{id}'");
        }
        text
    }
}

/// Statements that set the table up.
pub(super) fn schema(replication_factor: u32, conflicts: &str, gc_grace_s: u64, sloppy: bool) -> [String; 2] {
    [
        format!(
            "CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': {replication_factor}}} AND sloppy_quorum = {sloppy};"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {KEYSPACE}.{TABLE} (k text PRIMARY KEY, v text) \
             WITH conflicts = '{conflicts}' AND gc_grace_seconds = {gc_grace_s};"
        ),
    ]
}

/// Changes of the schema that a run can see.
pub(super) fn schema_change(number: u64) -> Vec<String> {
    match number {
        0 => vec![format!("ALTER TABLE {KEYSPACE}.{TABLE} WITH comment = 'changed';")],
        1 => vec![
            format!("CREATE TABLE IF NOT EXISTS {KEYSPACE}.{SIDE_TABLE} (k text PRIMARY KEY, v text);"),
            format!("INSERT INTO {KEYSPACE}.{SIDE_TABLE} (k, v) VALUES ('a', 'b') USING CONSISTENCY ONE;"),
            format!("TRUNCATE TABLE {KEYSPACE}.{SIDE_TABLE};"),
        ],
        _ => vec![format!("DROP TABLE IF EXISTS {KEYSPACE}.{SIDE_TABLE};")],
    }
}

/// Several writes in one statement.
pub(super) fn batch(statements: &[String]) -> String {
    format!("BEGIN BATCH {} APPLY BATCH;", statements.join(" "))
}

/// The statement with the longest limit of time.
pub(super) fn patient(text: &str) -> String {
    let short = super::TIMEOUTS_MS.iter().map(|ms| format!("TIMEOUT {ms}ms"));
    let longest = super::TIMEOUTS_MS.iter().max().copied().unwrap_or_default();
    short.fold(text.to_owned(), |text, short| text.replace(&short, &format!("TIMEOUT {longest}ms")))
}

/// The id under which a write is asked for again; no two writes of a run have the same.
pub(super) fn request_id(write: WriteId) -> String {
    format!("00000000-0000-4000-8000-{write:012x}")
}

pub(super) fn select(key: KeyId, with_context: bool, using: &Using<'_>) -> String {
    let items = if with_context { "v, CONTEXT(v)" } else { "v" };
    format!("SELECT {items} FROM {KEYSPACE}.{TABLE} WHERE k = '{}' {};", key_text(key), using.text())
}

pub(super) fn scan(using: &Using<'_>) -> String {
    format!("SELECT k, v FROM {KEYSPACE}.{TABLE} {};", using.text())
}

pub(super) fn insert(key: KeyId, value: &str, using: &Using<'_>) -> String {
    format!("INSERT INTO {KEYSPACE}.{TABLE} (k, v) VALUES ('{}', '{value}') {};", key_text(key), using.text())
}

pub(super) fn delete(key: KeyId, using: &Using<'_>) -> String {
    format!("DELETE FROM {KEYSPACE}.{TABLE} {} WHERE k = '{}';", using.text(), key_text(key))
}

const PADDING: char = '.';

/// The padded value of a write.
pub(super) fn padded(write: WriteId, padding: u64) -> String {
    let mut text = value_of(write);
    text.extend(std::iter::repeat_n(PADDING, padding as usize));
    text
}

/// The value without its padding; left whole if it does not look like one of ours.
pub fn unpadded(value: &str) -> String {
    let bare = value.trim_end_matches(PADDING);
    if write_of(bare).is_some() { bare.to_owned() } else { value.to_owned() }
}

/// What a read of the whole table showed: values by key. `None`: it failed, or shows a part only.
pub(super) fn scan_result(reply: &Reply) -> Result<Option<BTreeMap<KeyId, Vec<String>>>, String> {
    let Body::Rows { rows, .. } = &reply.body else { return Ok(None) };
    if reply.field("page").is_some() {
        return Ok(None);
    }
    let mut shown: BTreeMap<KeyId, Vec<String>> = BTreeMap::new();
    let mut last = None;
    for row in rows {
        let (Some(key), Some(value)) = (row[0].as_str(), row[1].as_str()) else {
            return Err("a row of a scan without key or value".to_owned());
        };
        let key: KeyId = match key.strip_prefix('k').and_then(|number| number.parse().ok()) {
            Some(key) => key,
            None => return Err(format!("a scan shows the key {key:?}, which nobody wrote")),
        };
        if last.replace(key) != Some(key) && shown.contains_key(&key) {
            return Err(format!("a scan shows the key k{key} in two places"));
        }
        shown.entry(key).or_default().push(unpadded(value));
    }
    Ok(Some(shown))
}

/// How a write ended.
pub(super) fn write_outcome(reply: &Reply, now: Nanos) -> Outcome {
    match &reply.body {
        Body::Ok(_) => Outcome::Acknowledged(now),
        Body::Rows { .. } | Body::UnknownError { .. } => Outcome::Unknown,
        Body::Error { code, .. } => match (reply.field("applied"), code) {
            (Some("no"), _) => Outcome::NotApplied,
            (None, ErrorCode::Syntax | ErrorCode::Invalid | ErrorCode::BadContext) => Outcome::NotApplied,
            _ => Outcome::Unknown,
        },
    }
}

/// What a read showed: values, and the context token if asked for. `None`: it failed. `Err`: it makes no sense.
pub(super) fn read_result(
    reply: &Reply,
    with_context: bool,
) -> Result<Option<(Vec<String>, Option<String>)>, String> {
    let Body::Rows { columns, rows, .. } = &reply.body else {
        return match reply.code() {
            Some(_) => Ok(None),
            None => Err(format!("a read was answered with {reply:?}")),
        };
    };
    let mut values = Vec::with_capacity(rows.len());
    let mut token = reply.field("context").map(str::to_owned);
    for row in rows {
        if row.len() != columns.len() {
            return Err(format!("a row of {} cells under {} columns", row.len(), columns.len()));
        }
        let Some(value) = row[0].as_str() else {
            return Err("a row without a value".to_owned());
        };
        values.push(unpadded(value));
        if with_context {
            let cell = row[1].as_str().map(str::to_owned);
            if values.len() > 1 && cell != token {
                return Err("siblings with different contexts".to_owned());
            }
            token = cell;
        }
    }
    if with_context && token.is_none() {
        return Err("a read without the context asked for".to_owned());
    }
    Ok(Some((values, token)))
}
