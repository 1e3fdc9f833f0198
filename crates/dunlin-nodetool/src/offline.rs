//! Verbs on the data directory of a node that is stopped.

use anyhow::{Context, bail};
use dunlin_storage::fs::{Fs, OsFs};
use dunlin_storage::snapshot;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::Path;

/// Held by a node as long as it runs.
const LOCK: &str = "LOCK";
/// Says that a directory is a node's.
const NODE: &str = "node.toml";

/// Puts the directory back to a snapshot.
pub fn restore(dir: &Path, name: &str) -> anyhow::Result<Value> {
    let fs = open(dir)?;
    let _lock = fs.lock(LOCK).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => anyhow::anyhow!(
            "a node runs on {}: stop it first (SIGTERM, or `nodetool drain` and then SIGTERM)",
            dir.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot lock {}", dir.join(LOCK).display())),
    })?;
    let restored = snapshot::restore(&fs, name).with_context(|| format!("in {}", dir.display()))?;
    Ok(json!({
        "restored": restored.name,
        "tables": restored.tables.iter().map(|t| t.dir.trim_start_matches("tables/").replace('/', ".")).collect::<Vec<_>>(),
        "files": restored.tables.iter().map(|t| t.files).sum::<u64>(),
        "size_bytes": restored.tables.iter().map(|t| t.bytes).sum::<u64>(),
        "next": "start the node: it takes a new incarnation and serves reads again when it has been compared with the other replicas",
    }))
}

/// Only a directory that a node has used: a mistyped path must not become one.
#[allow(clippy::disallowed_methods, reason = "an edge: a command line works on files")]
fn open(dir: &Path) -> anyhow::Result<OsFs> {
    if !dir.join(NODE).is_file() {
        bail!(
            "{} is not the data directory of a node: it holds no {NODE} (see node.data_dir in its configuration)",
            dir.display()
        );
    }
    OsFs::new(dir).with_context(|| format!("cannot use {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stopped_nodes_directory_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let error = |dir: &Path| format!("{:#}", restore(dir, "s").unwrap_err());
        assert!(error(dir.path()).contains("holds no node.toml"), "{}", error(dir.path()));
        let fs = OsFs::new(dir.path()).unwrap();
        dunlin_storage::fs::replace_file(&fs, NODE, b"format = 1\n").unwrap();
        let lock = fs.lock(LOCK).unwrap();
        assert!(error(dir.path()).contains("a node runs on"), "{}", error(dir.path()));
        drop(lock);
        assert!(error(dir.path()).contains('s'), "{}", error(dir.path()));
    }
}
