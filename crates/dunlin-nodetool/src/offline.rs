//! Verbs on the data directory of a node that is stopped.

use anyhow::{Context, bail};
use dunlin_storage::fs::{Fs, LockGuard, OsFs, replace_file};
use dunlin_storage::{EngineOptions, scrub_log, snapshot};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::Path;

/// Held by a node as long as it runs.
const LOCK: &str = "LOCK";
/// Says that a directory is a node's.
const NODE: &str = "node.toml";

/// What the node does at its next start, with the mark that tells it.
const NEXT: &str = "start the node: it takes a new incarnation, and serves reads again when it has been compared with the \
                    other replicas";

/// Puts the directory back to a snapshot.
pub fn restore(dir: &Path, name: &str) -> anyhow::Result<Value> {
    let (fs, _lock) = open(dir)?;
    let restored = snapshot::restore(&fs, name).with_context(|| format!("in {}", dir.display()))?;
    let tables = restored.tables.iter();
    Ok(json!({
        "restored": restored.name,
        "tables": tables.clone().map(|t| t.dir.trim_start_matches("tables/").replace('/', ".")).collect::<Vec<_>>(),
        "files": tables.clone().map(|t| t.sstables.len()).sum::<usize>(),
        "size_bytes": tables.map(|t| t.bytes()).sum::<u64>(),
        "next": NEXT,
    }))
}

/// Saves what can be read of a damaged commit log. The mark comes first: a crash in between must not make a log with
/// holes look whole.
pub fn scrub(dir: &Path) -> anyhow::Result<Value> {
    let (fs, _lock) = open(dir)?;
    let marked = fs.list("")?.iter().any(|entry| entry.name == snapshot::RESTORED);
    replace_file(&fs, snapshot::RESTORED, b"scrub").context("cannot note that data was lost")?;
    let found = scrub_log(&fs, &EngineOptions::default()).with_context(|| format!("in {}", dir.display()))?;
    if !found.synced_lost && !marked {
        fs.remove(snapshot::RESTORED)?;
        fs.sync_dir("")?;
    }
    let damage: Vec<Value> = found
        .damage
        .iter()
        .map(|d| json!({ "file": d.file, "offset": d.offset, "length_bytes": d.bytes, "what": d.what }))
        .collect();
    Ok(json!({
        "segments": found.segments, "records_kept": found.records, "damage": damage, "set_aside": found.set_aside,
        "next": match found.damage.is_empty() {
            true => "the commit log is sound, nothing was changed; for SSTables, start the node and run `nodetool scrub`",
            false => NEXT,
        },
    }))
}

/// Only a directory that a node has used: a mistyped path must not become one.
#[allow(clippy::disallowed_methods, reason = "an edge: a command line works on files")]
fn open(dir: &Path) -> anyhow::Result<(OsFs, Box<dyn LockGuard>)> {
    if !dir.join(NODE).is_file() {
        bail!(
            "{} is not the data directory of a node: it holds no {NODE} (see node.data_dir in its configuration)",
            dir.display()
        );
    }
    let fs = OsFs::new(dir).with_context(|| format!("cannot use {}", dir.display()))?;
    let lock = fs.lock(LOCK).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => anyhow::anyhow!(
            "a node runs on {}: stop it first (SIGTERM, or `nodetool drain` and then SIGTERM)",
            dir.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot lock {}", dir.join(LOCK).display())),
    })?;
    Ok((fs, lock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_storage::Engine;
    use dunlin_types::Micros;
    use std::sync::Arc;

    fn marked(fs: &OsFs) -> bool {
        fs.list("").unwrap().iter().any(|e| e.name == snapshot::RESTORED)
    }

    #[test]
    fn only_a_stopped_nodes_directory_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            || format!("{:#} {:#}", restore(dir.path(), "s").unwrap_err(), scrub(dir.path()).unwrap_err());
        assert_eq!(error().matches("holds no node.toml").count(), 2, "{}", error());
        let fs = OsFs::new(dir.path()).unwrap();
        replace_file(&fs, NODE, b"format = 1\n").unwrap();
        let _lock = fs.lock(LOCK).unwrap();
        assert_eq!(error().matches("a node runs on").count(), 2, "{}", error());
    }

    #[test]
    fn the_node_is_told_of_a_restore_and_of_a_log_with_holes() {
        let dir = tempfile::tempdir().unwrap();
        let fs = OsFs::new(dir.path()).unwrap();
        replace_file(&fs, NODE, b"format = 1\n").unwrap();
        let open = || Engine::open(Arc::new(OsFs::new(dir.path()).unwrap()), EngineOptions::default());
        open().unwrap().snapshot("s", Micros(1)).unwrap();
        let found = scrub(dir.path()).unwrap();
        assert_eq!(found["damage"], json!([]), "{found}");
        assert!(!marked(&fs), "a sound log is left alone");
        let error = format!("{:#}", restore(dir.path(), "t").unwrap_err());
        assert!(error.contains("there is no snapshot t"), "{error}");
        assert!(!marked(&fs));
        assert_eq!(restore(dir.path(), "s").unwrap()["restored"], "s");
        assert!(marked(&fs));
        scrub(dir.path()).unwrap();
        assert!(marked(&fs), "a mark that was there stays");
        open().unwrap();
    }
}
