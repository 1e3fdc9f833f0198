//! What can go wrong, and whether the statement may have been applied.

use crate::reply::Failure;
use crate::statement::NotOneStatement;
use dunlin_cql::value::TypeError;

/// Why a statement has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be made; nothing was sent. Another node may be there.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// The address tried (the last one, where there are several).
        addr: String,
        /// Why.
        source: std::io::Error,
    },
    /// Whoever is there does not take this connection as it is made: TLS on one side only, a certificate that is not
    /// trusted, a port of another kind. Nothing was applied; the text says what to change.
    #[error("cannot use {addr}: {what}")]
    Handshake {
        /// The address tried.
        addr: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// The connection broke, or no answer came in time: a write may have been applied.
    #[error("the connection to {addr} broke before the answer: {source}")]
    Broken {
        /// The node.
        addr: String,
        /// Why.
        source: std::io::Error,
    },
    /// It was sent, and no answer came: the connection broke, or the time was over. Of [`crate::Client`], which knows what it
    /// sends, as [`ClientError::Broken`] is of a [`crate::Connection`].
    #[error("{}", unanswered(addr, source, *changes))]
    Unanswered {
        /// The node.
        addr: String,
        /// Why.
        source: std::io::Error,
        /// Whether it was a write, which may have been applied.
        changes: bool,
    },
    /// As many statements as may be were in flight all the time; nothing was sent.
    #[error("{addr} has had no room for a further statement in time")]
    Busy {
        /// The node.
        addr: String,
    },
    /// An earlier write of the same key in the batch failed; nothing was sent.
    #[error("not sent: an earlier write of the same key in the batch failed")]
    NotSent,
    /// The node said something that is not of the protocol: a write may have been applied.
    #[error("{addr} does not speak the protocol: {what}")]
    Protocol {
        /// The node.
        addr: String,
        /// What was wrong.
        what: String,
    },
    /// The text is not one whole statement, or one that has no place here; nothing was sent.
    #[error(transparent)]
    Statement(#[from] NotOneStatement),
    /// There is no such table, or it holds types that this client does not know.
    #[error("there is no table {table}")]
    NoTable {
        /// Its name.
        table: String,
    },
    /// A key or value that its column cannot hold, and nothing was sent; or a node sent one that is not of its column's type.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The node answered with an error.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl ClientError {
    /// Whether a write can have happened in spite of the error.
    pub fn maybe_applied(&self) -> bool {
        match self {
            ClientError::Broken { .. } | ClientError::Protocol { .. } => true,
            ClientError::Unanswered { changes, .. } => *changes,
            ClientError::Failed(failure) => failure.maybe_applied(),
            _ => false,
        }
    }

    /// Whether the same statement may succeed a little later, here or at another node.
    pub fn is_temporary(&self) -> bool {
        match self {
            ClientError::Connect { .. }
            | ClientError::Broken { .. }
            | ClientError::Unanswered { .. }
            | ClientError::Busy { .. } => true,
            ClientError::Failed(failure) => failure.is_temporary(),
            _ => false,
        }
    }
}

fn unanswered(addr: &str, source: &std::io::Error, changes: bool) -> String {
    let why = match source.kind() {
        std::io::ErrorKind::TimedOut => format!("no answer from {addr} in time"),
        _ => format!("no answer from {addr}: {source}"),
    };
    if changes { format!("{why}; the write may have been applied") } else { why }
}
