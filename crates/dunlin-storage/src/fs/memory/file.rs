//! An open file of a simulated disk.

use super::content::SECTOR_BYTES;
use super::faults::{Chance, OperationKind};
use super::names::Inode;
use super::{MemFs, State, power_is_off};
use crate::fs::File;
use std::io;

pub(super) struct MemFile {
    pub(super) fs: MemFs,
    pub(super) path: String,
    pub(super) inode: Inode,
    pub(super) writable: bool,
    pub(super) direct: bool,
    pub(super) epoch: u64,
}

impl MemFile {
    fn check(&self, state: &State, writes: bool) -> io::Result<()> {
        if self.epoch != state.epoch {
            return Err(io::Error::other("a handle of a process that has ended"));
        }
        if writes && !self.writable {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{:?} is open to read only", self.path),
            ));
        }
        Ok(())
    }

    fn write(&self, state: &mut State, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(state, true)?;
        let places = [offset as usize, bytes.len(), bytes.as_ptr().addr()];
        if self.direct && !bytes.is_empty() && places.iter().any(|place| place % SECTOR_BYTES != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a direct write that is not aligned"));
        }
        let injected = state.begin(OperationKind::Write, &self.path, bytes.len() as u64)?;
        let length = self.inode.lock().bytes().len() as u64;
        let wanted = offset + bytes.len() as u64;
        let fits = state.room(length, wanted).max(offset) - offset;
        let part = if injected.is_some() { fits / 2 } else { fits };
        if part > 0 {
            self.inode.lock().write(offset as usize, &bytes[..part as usize]);
            state.statistics.bytes_written += part;
        }
        match injected {
            Some(error) => Err(self.failed(error, OperationKind::Write)),
            None if fits < bytes.len() as u64 => Err(io::Error::from(io::ErrorKind::StorageFull)),
            None => Ok(()),
        }
    }

    fn failed(&self, error: io::ErrorKind, kind: OperationKind) -> io::Error {
        io::Error::new(error, format!("injected: {kind:?} of {:?}", self.path))
    }
}

impl File for MemFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.fs.state.lock();
        self.check(&state, false)?;
        if let Some(error) = state.begin(OperationKind::Read, &self.path, buffer.len() as u64)? {
            return Err(self.failed(error, OperationKind::Read));
        }
        let inode = self.inode.lock();
        let from = (offset as usize).min(inode.bytes().len());
        let to = from.saturating_add(buffer.len()).min(inode.bytes().len());
        buffer[..to - from].copy_from_slice(&inode.bytes()[from..to]);
        state.statistics.bytes_read += (to - from) as u64;
        Ok(to - from)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(&mut self.fs.state.lock(), offset, bytes)
    }

    fn write_synced_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.direct {
            self.write_at(offset, bytes)?;
            return self.sync();
        }
        let mut state = self.fs.state.lock();
        self.write(&mut state, offset, bytes)?;
        if let Some(error) = state.begin(OperationKind::Sync, &self.path, bytes.len() as u64)? {
            let mut chance = Chance::new(state.number);
            state.statistics.changes_lost += self.inode.lock().fail_last(&mut chance);
            return Err(self.failed(error, OperationKind::Sync));
        }
        self.inode.lock().sync_last();
        Ok(())
    }

    fn block_bytes(&self) -> usize {
        if self.direct { SECTOR_BYTES } else { 0 }
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.fs.state.lock();
        self.check(&state, false)?;
        if state.stopped {
            return Err(power_is_off());
        }
        Ok(self.inode.lock().bytes().len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.fs.state.lock();
        self.check(&state, true)?;
        if let Some(error) = state.begin(OperationKind::SetLength, &self.path, bytes)? {
            return Err(self.failed(error, OperationKind::SetLength));
        }
        let length = self.inode.lock().bytes().len() as u64;
        if state.room(length, bytes) < bytes {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.inode.lock().set_length(bytes as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.fs.state.lock();
        self.check(&state, false)?;
        if let Some(error) = state.begin(OperationKind::Sync, &self.path, 0)? {
            let mut chance = Chance::new(state.number);
            state.statistics.changes_lost += self.inode.lock().fail_sync(&mut chance);
            return Err(self.failed(error, OperationKind::Sync));
        }
        self.inode.lock().sync();
        Ok(())
    }
}
