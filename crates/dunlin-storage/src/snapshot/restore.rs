//! Going back to a snapshot, on the data directory of a stopped node.
//!
//! A plan is written before anything is changed; from then on the restore is ended by whoever comes next, the engine
//! included. First everything that counts now is linked to `replaced/`; then the snapshot takes its place; the
//! next opening of the engine begins an empty log and removes the plan and what was replaced.

use super::{DIR, RESTORED, Snapshot, check_name, folder, read_index};
use crate::LogPosition;
use crate::document;
use crate::engine::{LOCK, TABLES};
use crate::error::{EngineError, OpenError};
use crate::fs::{Fs, create_dirs, parent, remove_tree, replace_file};
use crate::log::segment;
use crate::manifest::{self, CATALOG, Manifest, below};
use crate::sstable::verify::SstVerifier;
use crate::sstable::{SsTable, SstShared};
use dunlin_types::codec::{DecodeError, Reader, put_bytes};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// What is to be done, if anything.
const PLAN: &str = "restoring";
/// Where the content of before is kept until the engine has opened.
pub(crate) const REPLACED: &str = "replaced";
const MAGIC: [u8; 4] = *b"DRST";
const VERSION: u32 = 1;

/// How far a restore has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What counts now is being linked to `replaced/`.
    SetAside,
    /// The snapshot is taking its place.
    Install,
    /// The log is to begin anew.
    Installed,
}

/// The content of the plan file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Plan {
    phase: Phase,
    name: String,
}

/// Makes a snapshot the content of a data directory that no engine has open; the commit log is emptied. Tables
/// made since are gone, tables dropped since are there again.
///
/// All its files are read and checked first. A crash at any point leaves the old or the new content: what was begun is
/// ended by the next [`crate::Engine::open`], or by calling this again. [`RESTORED`] tells the node.
pub fn restore(fs: &dyn Fs, name: &str) -> Result<Snapshot, OpenError> {
    check_name(name)?;
    let _lock = fs.lock(LOCK).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(format!("{LOCK} is held: stop the node first")),
        _ => EngineError::io(format!("lock {LOCK}"), &e).into(),
    })?;
    if let Some(plan) = Plan::read(fs)?
        && plan.name != name
        && plan.phase != Phase::Installed
    {
        let begun = plan.name;
        return Err(EngineError::Refused(format!(
            "the restore of snapshot {begun} was begun: restore it to the end first"
        ))
        .into());
    }
    let snapshot = read_index(fs, name)?
        .ok_or_else(|| EngineError::Refused(format!("there is no snapshot {name} in {DIR}/")))?;
    check(fs, &snapshot)?;
    let mark = replace_file(fs, RESTORED, name.as_bytes());
    mark.map_err(|e| EngineError::io(format!("write {RESTORED}"), &e))?;
    Plan { phase: Phase::SetAside, name: name.to_owned() }.write(fs)?;
    resume(fs)?;
    Ok(snapshot)
}

/// Does what a plan says, if there is one. True: the log has to begin anew, and then [`end`] has to be called.
pub(crate) fn resume(fs: &dyn Fs) -> Result<bool, OpenError> {
    let Some(mut plan) = Plan::read(fs)? else { return Ok(false) };
    let io = |what: &'static str| move |e: io::Error| EngineError::io(what, &e);
    if plan.phase == Phase::SetAside {
        set_aside(fs).map_err(io("keep what the restore replaces"))?;
        plan.phase = Phase::Install;
        plan.write(fs)?;
    }
    if plan.phase == Phase::Install {
        let snapshot = read_index(fs, &plan.name)?;
        let snapshot = snapshot.ok_or_else(|| {
            let text = format!(
                "snapshot {}, which was being restored, is gone; what it replaces is in {REPLACED}/",
                plan.name
            );
            EngineError::Refused(text)
        })?;
        remove_present(fs).map_err(io("remove what the restore replaces"))?;
        install(fs, &snapshot)?;
        plan.phase = Phase::Installed;
        plan.write(fs)?;
    }
    Ok(true)
}

/// The engine has opened what was restored: nothing is left to do.
pub(crate) fn end(fs: &dyn Fs) -> Result<(), EngineError> {
    let attempt = || {
        fs.remove(PLAN)?;
        fs.sync_dir("")?;
        remove_tree(fs, REPLACED)
    };
    attempt().map_err(|e| EngineError::io("end the restore", &e))
}

impl Plan {
    fn read(fs: &dyn Fs) -> Result<Option<Plan>, OpenError> {
        let Some(bytes) = manifest::read(fs, PLAN)? else { return Ok(None) };
        let body = document::decode(PLAN, bytes, MAGIC, VERSION)?;
        let parse = || -> Result<Plan, DecodeError> {
            let mut reader = Reader::new(&body);
            let bad = reader.error("phase");
            let phase = match reader.u8("phase")? {
                1 => Phase::SetAside,
                2 => Phase::Install,
                3 => Phase::Installed,
                _ => return Err(bad),
            };
            let bad = reader.error("name");
            let name = String::from_utf8(reader.bytes("name")?.into()).map_err(|_| bad)?;
            reader.finish("end of plan")?;
            Ok(Plan { phase, name })
        };
        parse().map(Some).map_err(|e| manifest::malformed(PLAN, e))
    }

    fn write(&self, fs: &dyn Fs) -> Result<(), EngineError> {
        let mut body = vec![match self.phase {
            Phase::SetAside => 1,
            Phase::Install => 2,
            Phase::Installed => 3,
        }];
        put_bytes(&mut body, self.name.as_bytes());
        manifest::write(fs, PLAN, &document::encode(MAGIC, VERSION, &body))
    }
}

/// Reads all of a snapshot.
fn check(fs: &dyn Fs, snapshot: &Snapshot) -> Result<(), OpenError> {
    let root = folder(&snapshot.name);
    let differs = |path: &str| EngineError::damaged(path, 0, "it is not what the snapshot's index says");
    let catalog = manifest::read_catalog(fs, &root)?;
    let catalog = catalog.ok_or_else(|| differs(&below(&root, CATALOG)))?;
    if !catalog.keys().eq(snapshot.tables.iter().map(|t| &t.table)) {
        return Err(differs(&below(&root, CATALOG)).into());
    }
    let shared = Arc::new(SstShared::new(0, 4096));
    for table in &snapshot.tables {
        let dir = below(&root, &table.dir);
        let manifest = manifest::read_manifest(fs, &dir, table.table)?;
        let named = manifest.sstables.iter().map(|(sequence, _)| *sequence);
        if !named.eq(table.sstables.iter().map(|(sequence, _)| *sequence)) {
            return Err(differs(&manifest::manifest_path(&dir, table.table)).into());
        }
        for &(sequence, bytes) in &table.sstables {
            let path = manifest::sstable_path(&dir, table.table, sequence);
            let sstable = SsTable::open(fs, &path, table.table, sequence, &shared)?;
            if sstable.file_bytes() != bytes {
                return Err(differs(&path).into());
            }
            let mut verifier = SstVerifier::new(Arc::new(sstable));
            while verifier.step(1 << 20) > 0 {}
            if let Some(damage) = verifier.damages().first() {
                return Err(EngineError::damaged(path, damage.offset, damage.what).into());
            }
        }
    }
    Ok(())
}

/// Paths of all that counts now.
fn present(fs: &dyn Fs) -> io::Result<Vec<String>> {
    fn walk(fs: &dyn Fs, dir: &str, out: &mut Vec<String>) -> io::Result<()> {
        let entries = match fs.list(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = below(dir, &entry.name);
            if entry.is_dir { walk(fs, &path, out)? } else { out.push(path) }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(fs, TABLES, &mut out)?;
    walk(fs, segment::DIR, &mut out)?;
    out.extend(fs.list("")?.into_iter().filter(|e| e.name == CATALOG).map(|e| e.name));
    Ok(out)
}

fn set_aside(fs: &dyn Fs) -> io::Result<()> {
    let mut dirs = BTreeSet::new();
    for path in present(fs)? {
        let kept = below(REPLACED, &path);
        let dir = parent(&kept).to_owned();
        if dirs.insert(dir.clone()) {
            create_dirs(fs, &dir)?;
        }
        link(fs, &path, &kept)?;
    }
    dirs.iter().try_for_each(|dir| fs.sync_dir(dir))
}

/// Links a file, unless that was done before.
fn link(fs: &dyn Fs, from: &str, to: &str) -> io::Result<()> {
    match fs.hard_link(from, to) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn remove_present(fs: &dyn Fs) -> io::Result<()> {
    let mut dirs = BTreeSet::new();
    for path in present(fs)? {
        fs.remove(&path)?;
        dirs.insert(parent(&path).to_owned());
    }
    dirs.iter().try_for_each(|dir| fs.sync_dir(dir))
}

fn install(fs: &dyn Fs, snapshot: &Snapshot) -> Result<(), OpenError> {
    let root = folder(&snapshot.name);
    for table in &snapshot.tables {
        let from = below(&root, &table.dir);
        let links = || {
            create_dirs(fs, &table.dir)?;
            table.sstables.iter().try_for_each(|&(sequence, _)| {
                let path = |dir: &str| manifest::sstable_path(dir, table.table, sequence);
                link(fs, &path(&from), &path(&table.dir))
            })
        };
        links().map_err(|e: io::Error| EngineError::io(format!("restore {}", table.dir), &e))?;
        // The log begins anew: nothing in it was flushed.
        let manifest = manifest::read_manifest(fs, &from, table.table)?;
        let manifest = Manifest { flushed: LogPosition(0), ..manifest };
        manifest::write_manifest(fs, &table.dir, table.table, &manifest)?;
    }
    let catalog = manifest::read_catalog(fs, &root)?.unwrap_or_default();
    manifest::write_catalog(fs, &catalog)?;
    Ok(())
}
