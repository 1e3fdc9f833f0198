//! What clients asked and were told.

use crate::executor::Nanos;
use dunlin_types::Consistency;

/// A key of the workload, by number.
pub type KeyId = u32;
/// A write of the workload: its place in [`History::writes`].
pub type WriteId = usize;

/// The value that a write writes.
pub fn value_of(write: WriteId) -> String {
    format!("w{write}")
}

/// The write that wrote a value.
pub fn write_of(value: &str) -> Option<WriteId> {
    value.strip_prefix('w')?.parse().ok()
}

/// What the table does with concurrent writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableMode {
    /// Keeps all.
    Siblings,
    /// Keeps the one with the largest timestamp.
    LastWriteWins,
}

/// What is known of a context token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// The values shown when it was given, and the own write if a write returned it.
    pub shown: Vec<WriteId>,
    /// When the read behind it was answered: it covers nothing that was invoked later, its own write apart.
    pub at: Nanos,
}

/// What decides which writes a write supersedes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Basis {
    /// What the coordinating replica holds.
    Upsert,
    /// What the context has seen.
    Context(Seen),
    /// What has a smaller timestamp (last_write_wins), this one being given by the client.
    Timestamp(u64),
    /// What has a smaller timestamp, the server's clock giving it.
    Clock,
}

/// How a write ended for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Acknowledged.
    Acknowledged(Nanos),
    /// Refused, certainly not applied.
    NotApplied,
    /// Nobody knows.
    Unknown,
}

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Where.
    pub key: KeyId,
    /// Whether it deletes.
    pub is_delete: bool,
    /// What it supersedes.
    pub basis: Basis,
    /// Level asked for.
    pub level: Consistency,
    /// Asked for without waiting for syncs: a loss of power may take it back, even after it was read.
    pub is_buffered: bool,
    /// It was asked for more than once, under one request id, while replicas could not be reached: it may have
    /// been made twice, and then be there again after something superseded it.
    pub may_be_double: bool,
    /// How long its value is to be shown; `None`: for ever.
    pub ttl: Option<Nanos>,
    /// When it was asked for.
    pub invoked: Nanos,
    /// How it ended.
    pub outcome: Outcome,
}

/// One read that was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// Of what.
    pub key: KeyId,
    /// Level asked for.
    pub level: Consistency,
    /// When it was asked for.
    pub invoked: Nanos,
    /// When it was answered.
    pub completed: Nanos,
    /// The values shown.
    pub values: Vec<String>,
    /// What `USING AFTER` asked to be included.
    pub after: Option<Seen>,
    /// Part of a read of the whole table: it promises nothing to later reads.
    pub is_scan: bool,
}

/// Everything clients did in a run. Writes are in the order of their invocation.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every write, however it ended.
    pub writes: Vec<Write>,
    /// Every read that was answered.
    pub reads: Vec<Read>,
    /// Reads that failed.
    pub reads_failed: u64,
}

impl History {
    /// Notes a write about to be asked for; its id, and so its value.
    pub fn invoke(&mut self, write: Write) -> WriteId {
        debug_assert!(self.writes.last().is_none_or(|last| last.invoked <= write.invoked));
        self.writes.push(write);
        self.writes.len() - 1
    }

    /// Notes how a write ended.
    pub fn complete(&mut self, id: WriteId, outcome: Outcome) {
        self.writes[id].outcome = outcome;
    }
}
