//! What can go wrong, and whether the statement may have been applied.

use crate::reply::Failure;

/// Why a statement has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be made; nothing was sent.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// The address tried (the last one, where there are several).
        addr: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke, or no answer came in time: a write may have been applied.
    #[error("the connection to {addr} broke before the answer: {source}")]
    Broken {
        /// The node.
        addr: String,
        /// Why.
        source: std::io::Error,
    },
    /// The node said something that is not of the protocol.
    #[error("{addr} does not speak the protocol: {what}")]
    Protocol {
        /// The node.
        addr: String,
        /// What was wrong.
        what: String,
    },
    /// The node answered with an error.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl ClientError {
    /// Whether a write can have happened in spite of the error.
    pub fn maybe_applied(&self) -> bool {
        match self {
            ClientError::Connect { .. } => false,
            ClientError::Broken { .. } | ClientError::Protocol { .. } => true,
            ClientError::Failed(failure) => failure.maybe_applied(),
        }
    }

    /// Whether the same statement may succeed a little later, here or at another node.
    pub fn is_temporary(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Broken { .. } => true,
            ClientError::Protocol { .. } => false,
            ClientError::Failed(failure) => failure.is_temporary(),
        }
    }
}
