//! The disk of a simulated machine: a [`MemFs`] with faults that the plan of a run turns on.

use crate::executor::{HostId, Nanos, World};
use crate::random::{Purpose, Stream};
use dunlin_storage::fs::MemFs;
use dunlin_storage::fs::memory::{Fault, Operation, OperationKind};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// A machine's disk. It outlives the processes on the machine.
#[derive(Clone)]
pub struct SimDisk {
    fs: MemFs,
    faults: Arc<Mutex<Faults>>,
}

struct Faults {
    chance: Stream,
    /// So many syncs fail.
    failing_syncs: u32,
    /// The power goes at the changing operation after so many more.
    stop_after: Option<u64>,
    /// What a sync takes, beyond what the node's store plans for: the machine stands still meanwhile.
    sync_cost: Nanos,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(world: &Arc<World>, host: HostId) -> SimDisk {
        let faults = Arc::new(Mutex::new(Faults {
            chance: Stream::new(world.seed(), Purpose::Disk(host.0)),
            failing_syncs: 0,
            stop_after: None,
            sync_cost: 0,
        }));
        let fs = MemFs::new();
        let (plan, world) = (faults.clone(), Arc::downgrade(world));
        fs.set_hook(Some(Box::new(move |operation| {
            let world = world.upgrade()?;
            plan.lock().strike(&world, host, operation)
        })));
        SimDisk { fs, faults }
    }

    /// The file system.
    pub fn fs(&self) -> &MemFs {
        &self.fs
    }

    /// Lets the next syncs fail.
    pub fn fail_syncs(&self, syncs: u32) {
        self.faults.lock().failing_syncs = syncs;
    }

    /// Lets the power go at a file operation soon to come.
    pub fn stop_soon(&self, operations_max: u64) {
        let mut faults = self.faults.lock();
        let after = faults.chance.below(operations_max);
        faults.stop_after = Some(after);
    }

    /// Lets every sync block the machine so long.
    pub fn set_sync_cost(&self, cost: Nanos) {
        self.faults.lock().sync_cost = cost;
    }

    /// Leaves only so much room beyond what is used; `None` leaves plenty.
    pub fn set_room(&self, bytes: Option<u64>) {
        let used: u64 = self.fs.files().iter().map(|(_, length)| length).sum();
        self.fs.set_capacity(bytes.map(|room| used + room));
    }

    /// Damages a bit of one of the files chosen, on the medium; `false` if there is none with content.
    pub fn flip_bit(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let files: Vec<(String, u64)> =
            self.fs.files().into_iter().filter(|(path, length)| *length > 0 && wanted(path)).collect();
        if files.is_empty() {
            return false;
        }
        let mut faults = self.faults.lock();
        let (path, length) = &files[faults.chance.below(files.len() as u64) as usize];
        let (offset, bit) = (faults.chance.below(*length), faults.chance.below(8) as u8);
        drop(faults);
        self.fs.flip_bit(path, offset, bit)
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut faults = self.faults.lock();
        faults.failing_syncs = 0;
        faults.stop_after = None;
        faults.sync_cost = 0;
        drop(faults);
        self.fs.set_capacity(None);
    }

    /// The power goes: what was not synced may be lost.
    pub fn lose_power(&self) {
        let mut faults = self.faults.lock();
        faults.stop_after = None;
        let seed = faults.chance.random();
        drop(faults);
        self.fs.crash(seed);
    }

    /// The process ends and the system goes on; sometimes it has dropped clean pages by the time they are
    /// read again, so that what a failed sync lost shows.
    pub fn lose_process(&self) {
        let mut faults = self.faults.lock();
        let stopped = self.fs.is_stopped();
        let forget = faults.chance.chance(0.5);
        drop(faults);
        assert!(!stopped, "a stopped disk has lost power");
        self.fs.kill();
        if forget {
            self.fs.drop_caches();
        }
    }
}

impl Faults {
    fn strike(&mut self, world: &World, host: HostId, operation: &Operation<'_>) -> Option<Fault> {
        if operation.kind.is_change()
            && let Some(left) = self.stop_after
        {
            self.stop_after = left.checked_sub(1);
            if left == 0 {
                world.note("power lost at a file operation", &[u64::from(host.0), operation.number]);
                world.condemn(host, "power lost");
                return Some(Fault::Stop);
            }
        }
        if operation.kind != OperationKind::Sync {
            return None;
        }
        if self.sync_cost > 0 {
            world.charge(host, self.sync_cost);
        }
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            world.note("sync failed", &[u64::from(host.0), operation.number]);
            return Some(Fault::Error(io::ErrorKind::Other));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_storage::fs::{Fs, OpenMode, read_file};

    #[test]
    fn a_stopped_disk_condemns_its_machine() {
        let world = World::new(1, None);
        let host = world.add_host();
        let process = world.start_process(host);
        let disk = SimDisk::new(&world, host);
        disk.stop_soon(5);
        let file = disk.fs().open("a", OpenMode::CreateNew);
        let writes = file.map(|file| (0..5).map(|i| file.write_at(i, b"x").is_ok()).collect::<Vec<_>>());
        assert!(writes.is_err() || writes.is_ok_and(|all| all.contains(&false)));
        assert!(!world.is_running(host, process));
        disk.lose_power();
        assert!(disk.fs().list("").is_ok());
    }

    #[test]
    fn a_failed_sync_fails_once() {
        let world = World::new(1, None);
        let host = world.add_host();
        let disk = SimDisk::new(&world, host);
        let file = disk.fs().open("a", OpenMode::CreateNew).expect("create");
        file.write_at(0, b"x").expect("write");
        disk.fail_syncs(1);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        assert_eq!(read_file(disk.fs(), "a").expect("read"), b"x", "the cache still shows it");
    }
}
