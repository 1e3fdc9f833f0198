//! Reading everything to find damage.

use super::Engine;
use crate::error::EngineError;
use dunlin_types::{TableId, TokenRange};
use std::ops::ControlFlow;

/// How far a long call has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Path of the file being read, below the data directory.
    pub file: String,
    /// Bytes read so far, of all files.
    pub bytes_done: u64,
    /// Bytes to read in all.
    pub bytes_total: u64,
}

/// Damage that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Path below the data directory.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// Which part.
    pub what: String,
    /// The tokens whose entries cannot be read, if damage is confined to them.
    pub range: Option<TokenRange>,
}

/// What [`Engine::scrub`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scrubbed {
    /// SSTables that were rewritten.
    pub rewritten: u64,
    /// Entries that were kept.
    pub entries: u64,
    /// Token ranges of which entries were lost. They must be taken from other replicas before they are served.
    pub lost: Vec<TokenRange>,
    /// Where the damaged files are now, below the data directory.
    pub set_aside: Vec<String>,
}

impl Engine {
    /// Reads every block of every SSTable of a table from the disk and checks it. `progress` is called every
    /// few MiB and may end it with [`ControlFlow::Break`]. Returns the damage found; reading goes on behind it.
    pub fn verify(
        &self,
        table: TableId,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Damage>, EngineError> {
        self.table(table)?;
        Err(EngineError::Refused("verify is not built yet".into()))
    }

    /// Rewrites the SSTables of a table that are damaged, keeping every entry that can be read, and sets the
    /// damaged files aside in `damaged/`. As [`Engine::verify`] it reads everything.
    pub fn scrub(
        &self,
        table: TableId,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Scrubbed, EngineError> {
        self.table(table)?;
        Err(EngineError::Refused("scrub is not built yet".into()))
    }
}
