//! Taking, listing and removing snapshots.

use super::Engine;
use super::table::Table;
use crate::LogPosition;
use crate::error::{EngineError, OpenError};
use crate::fs::create_dirs;
use crate::manifest::{self, Catalog, Manifest, below};
use crate::snapshot::{self, Snapshot, SnapshotTable};
use dunlin_types::Micros;
use std::io;

impl Engine {
    /// Flushes all tables and keeps them as they are under a name. Durable when this returns; a crash before
    /// leaves nothing that counts. Refused if there is a snapshot of that name.
    pub fn snapshot(&self, name: &str, now: Micros) -> Result<Snapshot, EngineError> {
        snapshot::check_name(name)?;
        let _alone = self.snapshots.lock();
        let present = snapshot::folders(&*self.fs).map_err(|e| EngineError::io("list the snapshots", &e))?;
        match present.iter().find(|(present, _)| present == name) {
            Some((_, true)) => {
                return Err(EngineError::Refused(format!(
                    "there is a snapshot {name}: clear it first, or take another name"
                )));
            }
            Some((_, false)) => snapshot::clear(&*self.fs, name)?,
            None => {}
        }
        self.flush(None)?;
        self.take_snapshot(name, now).inspect_err(|_| {
            if let Err(error) = snapshot::clear(&*self.fs, name) {
                tracing::warn!(name, %error, "an unfinished snapshot was not removed; the next start will");
            }
        })
    }

    /// All snapshots, by name.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, EngineError> {
        let _alone = self.snapshots.lock();
        let folders = snapshot::folders(&*self.fs).map_err(|e| EngineError::io("list the snapshots", &e))?;
        let mut found = Vec::with_capacity(folders.len());
        for (name, _) in folders.into_iter().filter(|(_, counts)| *counts) {
            found.extend(snapshot::read_index(&*self.fs, &name).map_err(|e| match e {
                OpenError::Engine(error) => error,
                other => EngineError::Refused(other.to_string()),
            })?);
        }
        Ok(found)
    }

    /// Removes a snapshot. Refused if there is none of that name.
    pub fn clear_snapshot(&self, name: &str) -> Result<(), EngineError> {
        snapshot::check_name(name)?;
        let _alone = self.snapshots.lock();
        let present = snapshot::folders(&*self.fs).map_err(|e| EngineError::io("list the snapshots", &e))?;
        if !present.iter().any(|(present, _)| present == name) {
            return Err(EngineError::Refused(format!("there is no snapshot {name}")));
        }
        snapshot::clear(&*self.fs, name)
    }

    fn take_snapshot(&self, name: &str, created: Micros) -> Result<Snapshot, EngineError> {
        let root = snapshot::folder(name);
        create_dirs(&*self.fs, &root).map_err(|e| EngineError::io(format!("create {root}"), &e))?;
        let options = self.catalog.lock().clone();
        let (mut catalog, mut tables) = (Catalog::new(), Vec::new());
        for (id, options) in options {
            let Ok(table) = self.table(id) else { continue };
            match self.link_table(&table, &root) {
                Ok(linked) => tables.push(linked),
                // Its files went while it was linked.
                Err(_) if self.check(&table).is_err() => continue,
                Err(error) => return Err(error),
            }
            catalog.insert(id, options);
        }
        manifest::write_catalog_in(&*self.fs, &root, &catalog)?;
        let snapshot = Snapshot { name: name.to_owned(), created, tables };
        snapshot::write_index(&*self.fs, &snapshot)?;
        Ok(snapshot)
    }

    /// Links the SSTables of a table and writes a manifest of them.
    fn link_table(&self, table: &Table, root: &str) -> Result<SnapshotTable, EngineError> {
        let dir = below(root, &table.dir);
        create_dirs(&*self.fs, &dir).map_err(|e| EngineError::io(format!("create {dir}"), &e))?;
        let (mut manifest, mut sstables) = (Manifest::default(), Vec::new());
        {
            let _unchanging = table.lock_sstables();
            manifest.next_sequence = table.next_sequence();
            let state = table.state();
            for (level, sstable) in state.sstables.iter() {
                let path = manifest::sstable_path(&dir, table.id, sstable.sequence());
                let link = |e: io::Error| EngineError::io(format!("link {} to {path}", sstable.path()), &e);
                self.fs.hard_link(sstable.path(), &path).map_err(link)?;
                manifest.sstables.push((sstable.sequence(), level));
                sstables.push((sstable.sequence(), sstable.file_bytes()));
            }
        }
        manifest.flushed = LogPosition(0);
        manifest.sstables.sort_unstable();
        sstables.sort_unstable();
        // Its folder is synced with it: the links are durable too.
        manifest::write_manifest(&*self.fs, &dir, table.id, &manifest)?;
        Ok(SnapshotTable { table: table.id, dir: table.dir.clone(), sstables })
    }
}
