//! Reading everything to find damage.

use super::Engine;
use super::table::Table;
use crate::error::EngineError;
use crate::sstable::SsTable;
use crate::sstable::verify::{SstDamage, SstVerifier};
use dunlin_types::{TableId, TokenRange};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// What [`Engine::verify`] and [`Engine::scrub`] tell as they go; [`ControlFlow::Break`] ends them.
pub type Watch<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

impl Engine {
    /// Reads every block of every SSTable of a table from the disk and checks it. `watch` is called every few MiB.
    /// Returns the damage found; reading goes on behind it. Error: the call was broken off.
    pub fn verify(&self, table: TableId, watch: Watch<'_>) -> Result<Vec<Damage>, EngineError> {
        let table = self.table(table)?;
        let found = self.verify_sstables(&table, watch)?;
        Ok(found.into_iter().flat_map(|(_, damages)| damages).collect())
    }

    /// The damaged SSTables, with their damage.
    pub(super) fn verify_sstables(
        &self,
        table: &Table,
        watch: Watch<'_>,
    ) -> Result<Vec<(Arc<SsTable>, Vec<Damage>)>, EngineError> {
        let before = self.interrupted.load(Ordering::Relaxed);
        let state = table.state();
        let bytes_total = state.sstables.iter().map(|(_, s)| s.file_bytes()).sum();
        let (mut found, mut bytes_done) = (Vec::new(), 0);
        for (_, sstable) in state.sstables.iter() {
            let mut verifier = SstVerifier::new(sstable.clone());
            loop {
                let step = verifier.step(self.options.step_bytes);
                bytes_done += step;
                let progress = Progress { file: sstable.path().to_owned(), bytes_done, bytes_total };
                let broken = watch(progress).is_break();
                if broken || self.interrupted.load(Ordering::Relaxed) != before {
                    return Err(EngineError::Interrupted);
                }
                if step == 0 {
                    break;
                }
            }
            let damage = |d: &SstDamage| Damage {
                file: sstable.path().to_owned(),
                offset: d.offset,
                what: d.what.to_owned(),
                range: d.range,
            };
            let damages: Vec<_> = verifier.damages().iter().map(damage).collect();
            if !damages.is_empty() {
                found.push((sstable.clone(), damages));
            }
        }
        Ok(found)
    }
}
