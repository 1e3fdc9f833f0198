//! Clients: each executes statements on nodes of its choice, one after another, and keeps the history.

mod client;
mod statement;
mod write;

pub use client::Client;
pub use statement::unpadded;

use crate::executor::{MILLISECOND, Nanos, SECOND};
use crate::options::Options;
use crate::oracle::{History, KeyId, TableMode};
use dunlin_types::Key;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The keyspace of the workload.
pub const KEYSPACE: &str = "sim";
/// Its table.
pub const TABLE: &str = "t";
/// One that comes and goes.
const SIDE_TABLE: &str = "side";

/// How a key is written. Which one it is follows from its number, so that most keys are judged exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyClass {
    /// With contexts only, never deleted.
    Contextual,
    /// With contexts only, sometimes deleted.
    ContextualDeleted,
    /// With and without contexts, sometimes deleted.
    Mixed,
    /// With timestamps of the client.
    Timestamped,
    /// With timestamps of the server.
    Clocked,
}

pub(crate) fn class_of(key: KeyId, mode: TableMode) -> KeyClass {
    match (mode, key % 4) {
        (TableMode::LastWriteWins, 3) => KeyClass::Clocked,
        (TableMode::LastWriteWins, _) => KeyClass::Timestamped,
        (TableMode::Siblings, 0 | 1) => KeyClass::Contextual,
        (TableMode::Siblings, 2) => KeyClass::ContextualDeleted,
        (TableMode::Siblings, _) => KeyClass::Mixed,
    }
}

/// The text of a key.
pub(crate) fn key_text(key: KeyId) -> String {
    format!("k{key}")
}

/// A key as the store knows it.
pub fn stored_key(key: KeyId) -> Key {
    Key::new(key_text(key).into_bytes()).expect("a short text is a key")
}

/// What the clients of a run share.
pub struct Workload {
    pub(crate) options: Options,
    history: Mutex<History>,
    timestamps: Mutex<BTreeSet<u64>>,
    running: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    stop: bool,
    under_way: u64,
    started: Nanos,
    extra_clients: u32,
}

impl Workload {
    /// A workload that begins now.
    pub fn new(options: Options, now: Nanos) -> Arc<Workload> {
        let running = Mutex::new(Progress { started: now, ..Progress::default() });
        Arc::new(Workload { options, history: Mutex::default(), timestamps: Mutex::default(), running })
    }

    /// A number for a client beyond those of the options.
    pub fn next_client(&self) -> u32 {
        let mut running = self.running.lock();
        running.extra_clients += 1;
        self.options.clients + running.extra_clients
    }

    /// Asks clients to stop after their present statement.
    pub fn stop(&self) {
        self.running.lock().stop = true;
    }

    fn is_over(&self) -> bool {
        self.running.lock().stop
    }

    /// Statements under way.
    pub fn under_way(&self) -> u64 {
        self.running.lock().under_way
    }

    /// Counts a statement as under way.
    pub fn enter(&self) {
        self.running.lock().under_way += 1;
    }

    /// Counts it as over.
    pub fn leave(&self) {
        self.running.lock().under_way -= 1;
    }

    /// Looks at the history or adds to it.
    pub fn with_history<R>(&self, f: impl FnOnce(&mut History) -> R) -> R {
        f(&mut self.history.lock())
    }

    /// Every key that was written.
    pub fn keys(&self) -> BTreeSet<KeyId> {
        self.history.lock().writes.iter().map(|write| write.key).collect()
    }

    /// The keys in use change over time, so that each has a bounded number of writes.
    fn first_key(&self, now: Nanos) -> KeyId {
        let since = now.saturating_sub(self.running.lock().started);
        (since / self.options.keys_change_every) as KeyId * self.options.keys
    }

    /// A timestamp near a time that no other write has, in microseconds.
    fn timestamp(&self, near: u64) -> u64 {
        let mut taken = self.timestamps.lock();
        let mut at = near;
        while !taken.insert(at) {
            at += 1;
        }
        at
    }
}

/// A client gives a statement up after this time, whatever the server's own limit.
pub(crate) const PATIENCE: Nanos = 15 * SECOND;
/// Limits of statements, milliseconds.
pub(crate) const TIMEOUTS_MS: [u64; 4] = [200, 1000, 3000, 5000];
/// How long a client whose node is down waits before it asks another one.
pub(crate) const RECONNECT: Nanos = 20 * MILLISECOND;
