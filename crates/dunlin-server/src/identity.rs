//! Who this node is: the data directory's lock and `node.toml`.
//!
//! Host id, generation, incarnation, and whether the last run ended cleanly. See the semantics page,
//! section 3. Every change is durable before the call returns.

use dunlin_storage::fs::{Fs, LockGuard, OpenMode, read_file, replace_file};
use dunlin_storage::snapshot::RESTORED;
use dunlin_types::runtime::{PlantedBug, Runtime};
use dunlin_types::{Actor, ClusterId, Generation, HostId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Format of the data directory that this build writes.
const FORMAT: u32 = 1;
const FILE: &str = "node.toml";
const LOCK: &str = "LOCK";
/// Folders that only a node makes: with one of them, a missing `node.toml` is damage.
const DATA_FOLDERS: [&str; 3] = ["commitlog", "tables", "system"];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Another process uses it.
    #[error(
        "the data directory {0} is in use by another process: stop that node first, or give this one a directory of its own (node.data_dir)"
    )]
    InUse(PathBuf),
    /// Of another cluster.
    #[error(
        "the data directory {dir} belongs to cluster {found:?}, this node is configured for {wanted:?}: correct cluster.name or node.data_dir"
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Cluster name in it.
        found: String,
        /// Configured name.
        wanted: String,
    },
    /// Written by a newer version.
    #[error(
        "{file} has format {found}, this build knows formats up to {FORMAT}: use the version of dunlin that wrote it"
    )]
    Newer {
        /// `node.toml`.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Cannot be understood.
    #[error(
        "{file} is damaged ({reason}): restore it from a backup, or move the directory away and let the node join anew under another host id"
    )]
    Damaged {
        /// `node.toml`.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk is full.
    #[error("no room left at {0}: make room on that file system, or move node.data_dir")]
    Full(PathBuf),
    /// It cannot be written to.
    #[error(
        "{0} cannot be written to: mount its file system read-write and give this user the right to write there, or move node.data_dir"
    )]
    NotWritable(PathBuf),
    /// Any other failure of the file system.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// The bytes of `node.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct NodeFile {
    format: u32,
    host_id: String,
    cluster_name: String,
    /// Absent until the node has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    generation: u64,
    /// Generation of the start that opened the present incarnation.
    incarnation: u64,
    /// Dots given by the incarnation; true only while `clean`.
    dots: u64,
    /// Whether the last run was stopped in order.
    clean: bool,
}

/// A node's hold on its data directory. Dropping it releases the lock.
pub struct Identity {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    host: HostId,
    generation: Generation,
    continues: Option<Generation>,
    actor: Actor,
    dots: u64,
    first_start: bool,
    went_back: bool,
    forgone: AtomicBool,
    file: Mutex<NodeFile>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

/// How far a restored node's generation goes ahead of the clock's seconds.
const RESTORED_AHEAD: u64 = 60;

impl Identity {
    /// Locks the directory and opens a new generation; when this returns it is durable, and the node may
    /// speak. `dir` names the directory in messages.
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        cluster_name: &str,
        runtime: &dyn Runtime,
    ) -> Result<Identity, IdentityError> {
        let lock = fs.lock(LOCK).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => IdentityError::InUse(dir.to_owned()),
            _ => failed(dir, LOCK, error),
        })?;
        let old = read(&*fs, dir, cluster_name)?;
        let previous = old.as_ref().map_or(0, |f| f.generation);
        let went_back = exists(&*fs, RESTORED).map_err(|e| failed(dir, RESTORED, e))?;
        // An older copy does not know which generations the host has used since; those may be ahead of the clock
        // by as many as it was started within a second.
        let ahead = if went_back { RESTORED_AHEAD } else { 0 };
        let generation = (previous + 1).max(runtime.wall().0 / 1_000_000 + ahead);
        let first_start = old.is_none();
        let mut file = old.unwrap_or_else(|| NodeFile {
            format: FORMAT,
            host_id: HostId::from_words(runtime.random(), runtime.random()).to_string(),
            cluster_name: cluster_name.to_owned(),
            cluster_id: None,
            generation: 0,
            incarnation: 0,
            dots: 0,
            clean: false,
        });
        file.generation = generation;
        if went_back {
            file.clean = false;
        }
        if !file.clean {
            file.dots = 0;
            if first_start || !runtime.planted(PlantedBug::DotsReused) {
                file.incarnation = generation;
            }
        }
        let host = parse(dir, &file.host_id)?;
        let dots = file.dots;
        let continues = file.clean.then_some(Generation(previous));
        file.clean = false;
        write(&*fs, dir, &file)?;
        runtime.event("identity_opened", generation, file.incarnation);
        let actor = Actor { host, generation: Generation(file.incarnation) };
        Ok(Identity {
            fs,
            dir: dir.to_owned(),
            host,
            generation: Generation(generation),
            continues,
            actor,
            dots,
            first_start,
            went_back,
            forgone: AtomicBool::new(false),
            file: Mutex::new(file),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// This node.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// This start.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The start before this one, if it ended in order and this one goes on in its incarnation.
    pub fn continues(&self) -> Option<Generation> {
        self.continues
    }

    /// The actor of this node's writes.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// Dots that the actor has given before this start.
    pub fn dots(&self) -> u64 {
        self.dots
    }

    /// Whether the directory was empty.
    pub fn first_start(&self) -> bool {
        self.first_start
    }

    /// Whether the directory was put back to an earlier state ([`RESTORED`]): then this is a new incarnation, and
    /// whoever has noted what was lost removes the mark.
    pub fn went_back(&self) -> bool {
        self.went_back
    }

    /// Synced data was lost: the next start opens a new incarnation, however this run ends.
    pub fn forgo(&self) {
        self.forgone.store(true, Ordering::Release);
    }

    /// The cluster that the node has joined, if it has.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.file.lock().cluster_id.as_deref().and_then(|id| id.parse().ok())
    }

    /// Remembers the cluster for ever.
    pub fn set_cluster(&self, cluster: ClusterId) -> Result<(), IdentityError> {
        let mut file = self.file.lock();
        let mut changed = file.clone();
        changed.cluster_id = Some(cluster.to_string());
        write(&*self.fs, &self.dir, &changed)?;
        *file = changed;
        Ok(())
    }

    /// Lets go of the directory: another process may use it.
    pub fn release(&self) {
        self.lock.lock().take();
    }

    /// Marks a stop in order: the next start goes on in this incarnation after `dots`. Call it when every
    /// write is durable and no more can come; then [`Identity::release`].
    pub fn stopped_cleanly(&self, dots: u64) -> Result<(), IdentityError> {
        if self.forgone.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut file = self.file.lock();
        file.clean = true;
        file.dots = dots;
        write(&*self.fs, &self.dir, &file)
    }
}

fn exists(fs: &dyn Fs, name: &str) -> io::Result<bool> {
    Ok(fs.list("")?.iter().any(|entry| entry.name == name))
}

fn parse(dir: &Path, host: &str) -> Result<HostId, IdentityError> {
    host.parse().map_err(|reason| IdentityError::Damaged { file: dir.join(FILE), reason })
}

fn read(fs: &dyn Fs, dir: &Path, cluster_name: &str) -> Result<Option<NodeFile>, IdentityError> {
    let path = dir.join(FILE);
    let damaged = |reason: String| IdentityError::Damaged { file: path.clone(), reason };
    let bytes = match read_file(fs, FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return refuse_foreign(fs, dir).map(|()| None);
        }
        Err(error) => return Err(failed(dir, FILE, error)),
    };
    let text = String::from_utf8(bytes).map_err(|_| damaged("not text".into()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| damaged(e.message().to_owned()))?;
    let format = table.get("format").and_then(toml::Value::as_integer).and_then(|f| u32::try_from(f).ok());
    match format {
        Some(found) if found > FORMAT => return Err(IdentityError::Newer { file: path, found }),
        Some(_) => {}
        None => return Err(damaged("no format".into())),
    }
    let file: NodeFile = table.try_into().map_err(|e: toml::de::Error| damaged(e.message().to_owned()))?;
    if file.cluster_id.is_none() {
        return Ok(Some(NodeFile { cluster_name: cluster_name.to_owned(), ..file }));
    }
    if file.cluster_name != cluster_name {
        let (found, wanted) = (file.cluster_name, cluster_name.to_owned());
        return Err(IdentityError::OtherCluster { dir: dir.to_owned(), found, wanted });
    }
    Ok(Some(file))
}

/// A directory with data whose `node.toml` is gone must not get a new identity.
fn refuse_foreign(fs: &dyn Fs, dir: &Path) -> Result<(), IdentityError> {
    let entries = fs.list("").map_err(|e| failed(dir, "", e))?;
    match entries.iter().find(|e| e.is_dir && DATA_FOLDERS.contains(&e.name.as_str())) {
        Some(folder) => {
            let reason = format!("it is missing, but the directory holds {}/", folder.name);
            Err(IdentityError::Damaged { file: dir.join(FILE), reason })
        }
        None => Ok(()),
    }
}

fn write(fs: &dyn Fs, dir: &Path, file: &NodeFile) -> Result<(), IdentityError> {
    let text = toml::to_string(file).expect("plain values are always TOML");
    replace_file(fs, FILE, text.as_bytes()).map_err(|e| failed(dir, FILE, e))
}

/// What would keep a node of this cluster from using a directory that exists, as far as that can be seen without changing
/// it; `Ok(true)`: a node uses it now.
pub fn examine(fs: &dyn Fs, dir: &Path, cluster_name: &str) -> Result<bool, IdentityError> {
    read(fs, dir, cluster_name)?;
    if !exists(fs, LOCK).map_err(|e| failed(dir, LOCK, e))? {
        return Ok(false);
    }
    match fs.lock(LOCK) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(failed(dir, LOCK, error)),
    }
}

/// The data directory itself cannot be opened or made.
pub fn unusable(dir: &Path, error: io::Error) -> IdentityError {
    failed(dir, "", error)
}

/// A failed file operation, with the path and what to do about it.
fn failed(dir: &Path, name: &str, error: io::Error) -> IdentityError {
    let path = if name.is_empty() { dir.to_owned() } else { dir.join(name) };
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => IdentityError::Full(path),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            IdentityError::NotWritable(path)
        }
        _ => IdentityError::Io { path, source: error },
    }
}

/// Whether the directory can be written to: a clear word at start beats a dead log later.
pub fn probe(fs: &dyn Fs, dir: &Path) -> Result<(), IdentityError> {
    const PROBE: &str = "probe.tmp";
    let attempt = || -> io::Result<()> {
        let file = fs.open(PROBE, OpenMode::Truncate)?;
        file.write_at(0, &[0; 4096])?;
        file.sync()?;
        fs.remove(PROBE)
    };
    attempt().map_err(|e| failed(dir, PROBE, e))
}

#[cfg(test)]
mod tests;
