//! The directory tree of a simulated disk: names as seen, names as durable, and what lies between.

use super::content::Content;
use super::faults::Chance;
use crate::fs::{DirEntry, parent};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

/// A file's bytes, shared by its names and handles.
pub(crate) type Inode = Arc<Mutex<Content>>;

#[derive(Clone)]
enum Node {
    Dir,
    File(Inode),
}

#[derive(Clone)]
enum Change {
    Set(String, Node),
    Remove(String),
    /// Within one directory: both names change in one step.
    Rename {
        from: String,
        to: String,
        node: Node,
    },
}

impl Change {
    fn directory(&self) -> &str {
        match self {
            Change::Set(path, _) | Change::Remove(path) => parent(path),
            Change::Rename { to, .. } => parent(to),
        }
    }
}

type Tree = BTreeMap<String, Node>;

/// Invariant: `live` is `durable` with all of `pending` applied.
#[derive(Clone, Default)]
pub(crate) struct Names {
    live: Tree,
    durable: Tree,
    pending: Vec<Change>,
}

fn error(kind: io::ErrorKind, path: &str) -> io::Error {
    io::Error::new(kind, format!("{path:?}"))
}

impl Names {
    fn check_parent(&self, path: &str) -> io::Result<()> {
        match parent(path) {
            "" => Ok(()),
            dir => match self.live.get(dir) {
                Some(Node::Dir) => Ok(()),
                Some(Node::File(_)) => Err(error(io::ErrorKind::NotADirectory, dir)),
                None => Err(error(io::ErrorKind::NotFound, dir)),
            },
        }
    }

    pub(crate) fn file(&self, path: &str) -> io::Result<&Inode> {
        match self.live.get(path) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Dir) => Err(error(io::ErrorKind::IsADirectory, path)),
            None => Err(error(io::ErrorKind::NotFound, path)),
        }
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Inode)> {
        self.live.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path.as_str(), inode)),
            Node::Dir => None,
        })
    }

    pub(crate) fn create(&mut self, path: &str) -> io::Result<Inode> {
        self.check_parent(path)?;
        if self.live.contains_key(path) {
            return Err(error(io::ErrorKind::AlreadyExists, path));
        }
        let inode = Inode::default();
        self.change(Change::Set(path.to_owned(), Node::File(inode.clone())));
        Ok(inode)
    }

    pub(crate) fn create_dir(&mut self, path: &str) -> io::Result<()> {
        self.check_parent(path)?;
        match self.live.get(path) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(error(io::ErrorKind::AlreadyExists, path)),
            None if path.is_empty() => Ok(()),
            None => {
                self.change(Change::Set(path.to_owned(), Node::Dir));
                Ok(())
            }
        }
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = Node::File(self.file(from)?.clone());
        self.check_parent(to)?;
        if let Some(Node::Dir) = self.live.get(to) {
            return Err(error(io::ErrorKind::IsADirectory, to));
        }
        let same = |other: &Inode| self.file(from).is_ok_and(|inode| Arc::ptr_eq(inode, other));
        if from == to || self.file(to).is_ok_and(same) {
            return Ok(());
        }
        if parent(from) == parent(to) {
            self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), node });
        } else {
            self.change(Change::Set(to.to_owned(), node));
            self.change(Change::Remove(from.to_owned()));
        }
        Ok(())
    }

    pub(crate) fn hard_link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = Node::File(self.file(from)?.clone());
        self.check_parent(to)?;
        if self.live.contains_key(to) {
            return Err(error(io::ErrorKind::AlreadyExists, to));
        }
        self.change(Change::Set(to.to_owned(), node));
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.file(path)?;
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    pub(crate) fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        match self.live.get(path) {
            Some(Node::Dir) if self.list(path)?.is_empty() => {
                self.change(Change::Remove(path.to_owned()));
                Ok(())
            }
            Some(Node::Dir) => Err(error(io::ErrorKind::DirectoryNotEmpty, path)),
            Some(Node::File(_)) => Err(error(io::ErrorKind::NotADirectory, path)),
            None => Err(error(io::ErrorKind::NotFound, path)),
        }
    }

    pub(crate) fn check_dir(&self, path: &str) -> io::Result<()> {
        match self.live.get(path) {
            _ if path.is_empty() => Ok(()),
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(error(io::ErrorKind::NotADirectory, path)),
            None => Err(error(io::ErrorKind::NotFound, path)),
        }
    }

    pub(crate) fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.check_dir(path)?;
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let below = self.live.range::<str, _>(from).take_while(|(p, _)| p.starts_with(&prefix));
        Ok(below
            .filter(|(p, _)| !p[prefix.len()..].contains('/'))
            .map(|(p, node)| {
                let bytes = match node {
                    Node::File(inode) => inode.lock().bytes().len() as u64,
                    Node::Dir => 0,
                };
                DirEntry { name: p[prefix.len()..].to_owned(), is_dir: matches!(node, Node::Dir), bytes }
            })
            .collect())
    }

    pub(crate) fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        self.check_dir(path)?;
        for change in std::mem::take(&mut self.pending) {
            if change.directory() == path {
                apply(&mut self.durable, &change);
            } else {
                self.pending.push(change);
            }
        }
        Ok(())
    }

    /// Keeps a prefix of the changes that were not synced, and what they lead to. Returns how many were lost.
    pub(crate) fn crash(&mut self, chance: &mut Chance) -> u64 {
        let pending = std::mem::take(&mut self.pending);
        let kept = chance.below(pending.len() as u64 + 1) as usize;
        for change in &pending[..kept] {
            apply(&mut self.durable, change);
        }
        // What lies in a directory whose own name is gone cannot be reached.
        let mut reachable = Tree::new();
        for (path, node) in &self.durable {
            if parent(path).is_empty() || matches!(reachable.get(parent(path)), Some(Node::Dir)) {
                reachable.insert(path.clone(), node.clone());
            }
        }
        self.live.clone_from(&reachable);
        self.durable = reachable;
        (pending.len() - kept) as u64
    }

    /// An independent copy, files included.
    pub(crate) fn fork(&self) -> Names {
        let mut copies: BTreeMap<usize, Inode> = BTreeMap::new();
        let mut copy = |node: &Node| match node {
            Node::Dir => Node::Dir,
            Node::File(inode) => Node::File(
                copies
                    .entry(Arc::as_ptr(inode) as usize)
                    .or_insert_with(|| Arc::new(Mutex::new(inode.lock().clone())))
                    .clone(),
            ),
        };
        let live = self.live.iter().map(|(p, n)| (p.clone(), copy(n))).collect();
        let durable = self.durable.iter().map(|(p, n)| (p.clone(), copy(n))).collect();
        let pending = self
            .pending
            .iter()
            .map(|change| match change {
                Change::Set(path, node) => Change::Set(path.clone(), copy(node)),
                Change::Remove(path) => Change::Remove(path.clone()),
                Change::Rename { from, to, node } => {
                    Change::Rename { from: from.clone(), to: to.clone(), node: copy(node) }
                }
            })
            .collect();
        Names { live, durable, pending }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }
}

fn apply(tree: &mut Tree, change: &Change) {
    match change {
        Change::Set(path, node) => {
            tree.insert(path.clone(), node.clone());
        }
        Change::Remove(path) => {
            tree.remove(path);
        }
        Change::Rename { from, to, node } => {
            tree.remove(from);
            tree.insert(to.clone(), node.clone());
        }
    }
}
