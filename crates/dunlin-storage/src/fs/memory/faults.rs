//! What can be done to a simulated disk, and what is counted on it.

use std::collections::BTreeMap;
use std::io;

/// What an operation of the file system does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OperationKind {
    /// Opens an existing file.
    Open,
    /// Creates or empties a file.
    Create,
    /// Reads a file.
    Read,
    /// Writes a file.
    Write,
    /// Cuts or grows a file.
    SetLength,
    /// Syncs a file.
    Sync,
    /// Renames a file.
    Rename,
    /// Gives a file one more name.
    HardLink,
    /// Removes a file.
    Remove,
    /// Removes a directory.
    RemoveDir,
    /// Creates a directory.
    CreateDir,
    /// Lists a directory.
    List,
    /// Syncs a directory.
    SyncDir,
    /// Takes a lock.
    Lock,
}

impl OperationKind {
    /// Whether it changes what a crash may leave behind.
    pub fn is_change(self) -> bool {
        !matches!(self, OperationKind::Open | OperationKind::Read | OperationKind::List | OperationKind::Lock)
    }
}

/// An operation about to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation<'a> {
    /// Changing operations so far on this disk, this one included if it is one.
    pub number: u64,
    /// What it does.
    pub kind: OperationKind,
    /// To which file or directory.
    pub path: &'a str,
    /// Bytes to read or write.
    pub bytes: u64,
}

/// What happens instead of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails. A failed write or change of length may have done a part; a failed sync has the Linux
    /// meaning: an unknown part of the unsynced writes reached the disk, the rest never will, reads still
    /// show all of it until the cache is dropped, and the next sync reports success. A direct write that is
    /// synced is a write and a sync: after a failure at either, reads show what reached the disk.
    Error(io::ErrorKind),
    /// The power goes before it: this and every later operation fails until [`super::MemFs::crash`] or
    /// [`super::MemFs::kill`].
    Stop,
}

/// Decides about each operation; `None` lets it pass. Runs under the disk's lock: must not use the disk.
pub type Hook = Box<dyn FnMut(&Operation<'_>) -> Option<Fault> + Send>;

/// Counters of a simulated disk, over its whole life.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Operations by kind, failed ones included.
    pub operations: BTreeMap<OperationKind, u64>,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Faults that the hook caused.
    pub faults: u64,
    /// Crashes, with loss of what was not durable.
    pub crashes: u64,
    /// Unsynced changes that a crash or a failed sync threw away, whole or in part.
    pub changes_lost: u64,
    /// Unsynced changes of names that a crash threw away.
    pub names_lost: u64,
}

/// Splitmix64 (Steele, Lea, Flood 2014): what survives must depend on the seed alone.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.random()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.random() & 1 == 1
    }
}
