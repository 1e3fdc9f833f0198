//! Rewriting damaged SSTables.

use super::Engine;
use super::job::{Job, Work};
use super::verify::Watch;
use crate::compaction::{Why, ranges};
use crate::entry::Cursor;
use crate::error::EngineError;
use crate::fs::create_dirs;
use crate::sstable::{SsTable, SstCursor};
use dunlin_types::{TableId, Token, TokenRange};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Folder of SSTables that were set aside.
const DAMAGED: &str = "damaged";

/// What [`Engine::scrub`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scrubbed {
    /// SSTables that were rewritten.
    pub rewritten: u64,
    /// Entries that were kept.
    pub entries: u64,
    /// Token ranges of which entries were lost, tombstones among them perhaps: sorted, disjoint. They must be taken
    /// from other replicas before they are served.
    pub lost: Vec<TokenRange>,
    /// Where the damaged files are now, below the data directory.
    pub set_aside: Vec<String>,
}

/// Files of one name that are set aside before scrub gives up.
const COPIES_MAX: u32 = 1000;

impl Engine {
    /// Rewrites the SSTables of a table that are damaged, keeping every entry that can be read, and sets the
    /// damaged files aside in `damaged/`. As [`Engine::verify`] it reads everything first. A crash leaves the old
    /// SSTables or the new ones.
    pub fn scrub(&self, table: TableId, watch: Watch<'_>) -> Result<Scrubbed, EngineError> {
        let table = self.table(table)?;
        let mut scrubbed = Scrubbed::default();
        let damaged: Vec<_> = self.verify_sstables(&table, watch)?.into_iter().map(|(s, _)| s).collect();
        if damaged.is_empty() {
            return Ok(scrubbed);
        }
        let is_damaged = |s: &SsTable| damaged.iter().any(|d| d.sequence() == s.sequence());
        let job = self.run_alone(&table, |jobs, table| {
            let state = table.state();
            let all = state.sstables.iter().filter(|(_, s)| is_damaged(s));
            let inputs: Vec<_> = all.map(|(level, s)| (level, s.clone())).collect();
            if inputs.is_empty() {
                return Ok(None);
            }
            self.check_space(inputs.iter().map(|(_, s)| s.file_bytes()).sum())?;
            for (_, sstable) in &inputs {
                scrubbed.set_aside.push(self.set_aside(sstable)?);
            }
            let id = jobs.next_id();
            Ok(Some(Job::scrub(id, table.clone(), inputs)))
        })?;
        if let Some(job) = job {
            scrubbed.rewritten = job.inputs.len() as u64;
            scrubbed.entries = job.entries.load(Ordering::Relaxed);
            scrubbed.lost = ranges::union(&job.lost.lock());
        }
        Ok(scrubbed)
    }

    /// Links a damaged file to where it stays.
    fn set_aside(&self, sstable: &SsTable) -> Result<String, EngineError> {
        let name = sstable.path().rsplit('/').next().unwrap_or_default();
        let attempt = || {
            create_dirs(&*self.fs, DAMAGED)?;
            let mut path = format!("{DAMAGED}/{name}");
            let mut copies = 0;
            // A file of that name may be this one, of an earlier attempt, or another: after a restore, numbers repeat.
            while let Err(e) = self.fs.hard_link(sstable.path(), &path) {
                if e.kind() != io::ErrorKind::AlreadyExists || copies == COPIES_MAX {
                    return Err(e);
                }
                copies += 1;
                path = format!("{DAMAGED}/{name}.{copies}");
            }
            self.fs.sync_dir(DAMAGED)?;
            Ok(path)
        };
        attempt().map_err(|e| EngineError::io(format!("set {} aside", sstable.path()), &e))
    }
}

/// What can be read of an SSTable; the job is told of the rest.
pub(super) struct Salvage {
    pub(super) cursor: SstCursor,
    pub(super) job: Arc<Job>,
    pub(super) told: bool,
}

impl Cursor for Salvage {
    fn advance(&mut self) -> Result<bool, EngineError> {
        let more = self.cursor.advance()?;
        if more {
            self.job.entries.fetch_add(1, Ordering::Relaxed);
        } else if !std::mem::replace(&mut self.told, true) {
            self.job.lost.lock().extend_from_slice(self.cursor.lost());
        }
        Ok(more)
    }

    fn token(&self) -> Token {
        self.cursor.token()
    }

    fn key(&self) -> &[u8] {
        self.cursor.key()
    }

    fn record(&self) -> &[u8] {
        self.cursor.record()
    }
}

impl Job {
    /// Whether its inputs are read as far as that is possible.
    pub(super) fn salvages(&self) -> bool {
        matches!(self.work, Work::Merge(Why::Scrub))
    }
}
