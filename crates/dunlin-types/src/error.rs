//! How it failed: the errors that a client can meet, each saying whether the write happened.

use crate::consistency::Consistency;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Error codes of the text protocol.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];
            /// As in `ERROR<TAB>CODE`.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }
            /// The code of that name.
            pub fn from_name(name: &str) -> Option<ErrorCode> {
                match name { $($text => Some(ErrorCode::$variant),)* _ => None }
            }
        }
    };
}
codes! {
    /// The statement is not in the language; `line=`, `column=`.
    Syntax = "SYNTAX",
    /// Well-formed, but cannot be done.
    Invalid = "INVALID",
    /// The keyspace or table is there already.
    AlreadyExists = "ALREADY_EXISTS",
    /// Credentials are missing or wrong.
    Unauthenticated = "UNAUTHENTICATED",
    /// The user may not do that.
    Unauthorized = "UNAUTHORIZED",
    /// Too few live replicas; nothing was sent or applied.
    Unavailable = "UNAVAILABLE",
    /// Sent, and too few acknowledged in time; `applied=maybe`.
    WriteTimeout = "WRITE_TIMEOUT",
    /// Too few replicas answered in time.
    ReadTimeout = "READ_TIMEOUT",
    /// Replicas refused or failed the write.
    WriteFailure = "WRITE_FAILURE",
    /// Replicas failed the read.
    ReadFailure = "READ_FAILURE",
    /// Refused before anything was applied; `retry_after_ms=`.
    Overloaded = "OVERLOADED",
    /// `USING AFTER` could not be met.
    Stale = "STALE",
    /// The key has as many siblings as it may; `context=` covers them all.
    TooManySiblings = "TOO_MANY_SIBLINGS",
    /// The context token is damaged or of another key.
    BadContext = "BAD_CONTEXT",
    /// The disk is too full for client writes.
    DiskFull = "DISK_FULL",
    /// Starting or draining.
    NotReady = "NOT_READY",
    /// Over a size limit.
    TooLarge = "TOO_LARGE",
    /// A defect of the server.
    Internal = "INTERNAL",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether a failed write happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Applied {
    /// Certainly nowhere.
    No,
    /// On some replicas, perhaps; it may still appear.
    Maybe,
}

impl Applied {
    /// `no` or `maybe`.
    pub fn name(self) -> &'static str {
        match self {
            Applied::No => "no",
            Applied::Maybe => "maybe",
        }
    }
}

/// What became of a request at one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReplicaOutcome {
    /// Acknowledged or answered.
    Ok,
    /// Down; a stand-in keeps the write for it (sloppy quorum), which counts.
    Hinted,
    /// Known to be down; nothing was sent.
    Down,
    /// No answer in time.
    Timeout,
    /// Refused: full queue.
    Overloaded,
    /// Refused: not an owner under its layout.
    StaleLayout,
    /// Its store failed.
    Failed,
    /// The connection could not be made or broke.
    Unreachable,
    /// Believed to be up, and nothing was sent: the request was refused before.
    NotAsked,
}

impl ReplicaOutcome {
    /// As in `replicas=`.
    pub fn name(self) -> &'static str {
        match self {
            ReplicaOutcome::Ok => "ok",
            ReplicaOutcome::Hinted => "hinted",
            ReplicaOutcome::Down => "down",
            ReplicaOutcome::Timeout => "timeout",
            ReplicaOutcome::Overloaded => "overloaded",
            ReplicaOutcome::StaleLayout => "stale_layout",
            ReplicaOutcome::Failed => "failed",
            ReplicaOutcome::Unreachable => "unreachable",
            ReplicaOutcome::NotAsked => "not_asked",
        }
    }
}

/// A request that the cluster could not complete as asked.
///
/// `replicas` names each replica (its node name) with its outcome, in preference order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ClusterError {
    /// What kind.
    pub code: ErrorCode,
    /// For a person: what happened and what to do.
    pub message: String,
    /// The level asked for.
    pub consistency: Option<Consistency>,
    /// Acknowledgements or answers needed (in the layout that fell short).
    pub required: u32,
    /// Those that came.
    pub received: u32,
    /// Replicas believed to be up.
    pub alive: u32,
    /// For writes: whether it may have happened. `None` for reads.
    pub applied: Option<Applied>,
    /// Outcome at each replica.
    pub replicas: Vec<(String, ReplicaOutcome)>,
    /// For OVERLOADED: when to come again, milliseconds.
    pub retry_after_ms: Option<u32>,
    /// For TOO_MANY_SIBLINGS: the merged context, not yet bound to its key.
    pub context: Option<crate::version::Context>,
}

impl ClusterError {
    /// An error of that code without replica details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ClusterError {
        ClusterError {
            code,
            message: message.into(),
            consistency: None,
            required: 0,
            received: 0,
            alive: 0,
            applied: None,
            replicas: Vec::new(),
            retry_after_ms: None,
            context: None,
        }
    }
}
