//! Why the engine did not do it.

use dunlin_types::TableId;
use std::io;

/// An operation failed. Unless a variant says otherwise, nothing was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The table was never created here, or was dropped.
    #[error("no table {0} here")]
    UnknownTable(TableId),
    /// A write or a sync of the commit log failed before: no write is taken until the engine is opened
    /// anew. Reads go on. From a commit: what was appended may or may not survive.
    #[error("the commit log is closed: {0}")]
    LogClosed(String),
    /// Too much waits to be flushed or merged: run [`crate::Engine::maintenance`] and come again.
    #[error("flushes and compactions do not keep up with the writes ({bytes} bytes wait)")]
    Overloaded {
        /// Bytes that wait.
        bytes: u64,
    },
    /// No record may be that long.
    #[error("a record of {bytes} bytes is too long")]
    RecordTooLong {
        /// Its canonical bytes.
        bytes: u64,
    },
    /// The key or the canonical bytes that were to be stored are not what they must be.
    #[error("not a record: {what} at byte {offset}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// Where in the record's bytes.
        offset: usize,
    },
    /// The call makes no sense as things are; the text says why and what would help.
    #[error("{0}")]
    Refused(String),
    /// [`crate::Engine::interrupt`] ended a long call. What it had done is whole; the rest was not begun.
    #[error("interrupted")]
    Interrupted,
    /// Stored bytes are not what was written. The answer has to come from another replica.
    #[error("damaged data in {file} at byte {offset}: {what}")]
    Damaged {
        /// Path below the data directory.
        file: String,
        /// Where in it.
        offset: u64,
        /// Which part.
        what: String,
    },
    /// The disk has no room. Flushes and compactions can be tried again later.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// The operating system failed to read or write a file.
    #[error("cannot {what}: {reason}")]
    Io {
        /// What was tried, with the file.
        what: String,
        /// The system's words.
        reason: String,
    },
}

impl EngineError {
    /// The error for a failed file operation; a full disk is told apart.
    pub(crate) fn io(what: impl Into<String>, error: &io::Error) -> EngineError {
        let what = what.into();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                EngineError::DiskFull(format!("cannot {what}"))
            }
            _ => EngineError::Io { what, reason: error.to_string() },
        }
    }

    /// The error for damaged bytes.
    pub(crate) fn damaged(file: impl Into<String>, offset: u64, what: impl Into<String>) -> EngineError {
        EngineError::Damaged { file: file.into(), offset, what: what.into() }
    }
}

/// [`crate::Engine::update`] failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError<E> {
    /// The change function refused; nothing was written.
    #[error("refused")]
    Refused(E),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The engine cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process (or another engine of this one) uses the data directory.
    #[error("the data directory is in use: {0}")]
    Locked(String),
    /// Written by a version of Dunlin that this one does not know.
    #[error("{file} has format version {version}; this build reads version {known} only")]
    Version {
        /// Path below the data directory.
        file: String,
        /// Version found.
        version: u32,
        /// The version known.
        known: u32,
    },
    /// Synced data is damaged or missing, or a file cannot be read or written.
    #[error(transparent)]
    Engine(#[from] EngineError),
}
