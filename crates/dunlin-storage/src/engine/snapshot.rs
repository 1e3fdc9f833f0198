//! Taking, listing and removing snapshots.

use super::Engine;
use crate::error::EngineError;
use crate::snapshot::Snapshot;
use dunlin_types::Micros;

impl Engine {
    /// Flushes all tables and keeps them as they are under a name. Durable when this returns; a crash before
    /// leaves nothing that counts. Refused if there is a snapshot of that name.
    pub fn snapshot(&self, name: &str, _now: Micros) -> Result<Snapshot, EngineError> {
        Err(EngineError::Refused(format!("snapshot {name}: not built yet")))
    }

    /// All snapshots, by name.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, EngineError> {
        Ok(Vec::new())
    }

    /// Removes a snapshot. Refused if there is none of that name.
    pub fn clear_snapshot(&self, name: &str) -> Result<(), EngineError> {
        Err(EngineError::Refused(format!("there is no snapshot {name}")))
    }
}
