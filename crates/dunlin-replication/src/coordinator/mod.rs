//! The node a client asks: finds the replicas, sends, counts answers, repairs what it sees.
//!
//! Start with [`put`] and [`get`]. What is decided from replies is in the pure [`tracker`]; what a
//! level asks for, in [`level`].

mod coordinate;
mod errors;
pub mod get;
pub mod level;
mod mint;
mod own_copy;
mod put;
mod read_repair;
mod recall;
mod requests;
pub mod scan;
mod spread;
mod stand_in;
#[cfg(test)]
mod tally_tests;
pub mod tracker;
#[cfg(test)]
mod tracker_tests;

pub(crate) use coordinate::CoordinateError;
pub(crate) use errors::refusal_of;

use crate::core::Core;
use crate::message::RequestId;
use crate::store::{Durability, Entry};
use crate::view::{TableView, View};
use bytes::Bytes;
use dunlin_types::{ClusterError, Consistency, Context, ErrorCode, Key, Micros, TableDef, Token, TokenRange};
use requests::RequestMemory;
use std::sync::Arc;
use std::time::Duration;

/// Coordinates the requests of clients. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    pub(crate) core: Arc<Core>,
    pub(crate) requests: Arc<RequestMemory>,
}

/// A write of one key.
#[derive(Clone, Debug)]
pub struct PutRequest {
    /// The table.
    pub table: Arc<TableDef>,
    /// The key.
    pub key: Key,
    /// The value; `None` deletes.
    pub value: Option<Bytes>,
    /// Seconds to live; 0 is for ever, `None` the table's default.
    pub ttl_s: Option<u32>,
    /// What the client has seen; `None` is an upsert. Siblings tables only.
    pub context: Option<Context>,
    /// The client's own write time. last_write_wins tables only.
    pub timestamp: Option<Micros>,
    /// Makes a repetition idempotent.
    pub request_id: Option<RequestId>,
    /// How many acknowledgements to await.
    pub consistency: Consistency,
    /// How long the whole may take.
    pub timeout: Duration,
    /// When a replica acknowledges.
    pub durability: Durability,
}

/// A write that was acknowledged as asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutOutcome {
    /// What the write has seen and itself; `None` in last_write_wins tables.
    pub context: Option<Context>,
}

/// A read of one key.
#[derive(Clone, Debug)]
pub struct GetRequest {
    /// The table.
    pub table: Arc<TableDef>,
    /// The key.
    pub key: Key,
    /// How many replicas have to answer.
    pub consistency: Consistency,
    /// How long the whole may take.
    pub timeout: Duration,
    /// The answer has to include this history, or fail with STALE.
    pub after: Option<Context>,
}

/// A read of a range, in (token, key) order.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The table.
    pub table: Arc<TableDef>,
    /// The tokens.
    pub range: TokenRange,
    /// Strictly after this place.
    pub after: Option<(Token, Key)>,
    /// Most entries of the page, tombstones included.
    pub limit: usize,
    /// How many replicas of each vnode have to answer.
    pub consistency: Consistency,
    /// How long the whole may take.
    pub timeout: Duration,
}

/// One page of a scan.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ScanPage {
    /// Records, tombstones included. Empty only when there is nothing more.
    pub entries: Vec<Entry>,
    /// Whether to come again with `after` set to the last entry.
    pub more: bool,
}

impl Coordinator {
    /// A coordinator over a node's doors.
    pub fn new(core: Arc<Core>) -> Coordinator {
        let requests = Arc::new(RequestMemory::new(core.config.requests_remembered_max));
        Coordinator { core, requests }
    }

    /// The node's doors.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn retry_after_ms(&self) -> u32 {
        u32::try_from(self.core.config.retry_after.as_millis()).unwrap_or(u32::MAX)
    }

    /// The table as the view knows it; a node that is part of no cluster yet is not ready.
    fn table_view(&self, view: &View, def: &TableDef) -> Result<TableView, Box<ClusterError>> {
        if view.layouts.is_empty() {
            let mut error = ClusterError::new(ErrorCode::NotReady, "this node is not part of a cluster yet");
            error.retry_after_ms = Some(self.retry_after_ms());
            return Err(Box::new(error));
        }
        view.table(def.id).cloned().ok_or_else(|| {
            Box::new(ClusterError::new(ErrorCode::Invalid, format!("no table {}.{}", def.keyspace, def.name)))
        })
    }
}

/// The error of a read at level ANY.
fn any_is_for_writes() -> Box<ClusterError> {
    Box::new(ClusterError::new(ErrorCode::Invalid, "level ANY is for writes only"))
}
