//! fjall. It has no group commit of its own: [`Group`] adds one outside.

use super::group::Group;
use super::{BACKGROUND, BLOCK_BYTES, Settings, Store};
use crate::data::Key;
use anyhow::Result;
use fjall::config::{BlockSizePolicy, HashRatioPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use std::time::{Duration, Instant};

/// No work for so long counts as settled: fjall tells of running work, not of work that is due.
const QUIET: Duration = Duration::from_millis(200);

pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
    group: Group,
}

impl Fjall {
    pub fn open(dir: &Path, settings: Settings) -> Result<Fjall> {
        let database = Database::builder(dir)
            .cache_size(settings.cache_bytes)
            .worker_threads(BACKGROUND)
            .max_journaling_size(settings.memtable_bytes.max(64 << 20) * 8)
            .open()?;
        let keyspace = database.keyspace("bench", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(settings.memtable_bytes)
                .manual_journal_persist(settings.durable)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES as u32))
                .data_block_hash_ratio_policy(HashRatioPolicy::all(0.75))
        })?;
        Ok(Fjall { database, keyspace, group: Group::default() })
    }
}

impl Store for Fjall {
    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.keyspace.insert(key.text, value)?)
    }

    fn put_durable(&self, key: &Key, value: &[u8]) -> Result<()> {
        self.put(key, value)?;
        self.group.commit(|| Ok(self.database.persist(PersistMode::SyncData)?))
    }

    fn get(&self, key: &Key, show: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.keyspace.get(key.text)?;
        Ok(found.inspect(|value| show(value)).is_some())
    }

    fn scan(&self, from: &Key, limit: usize, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut count = 0;
        for entry in self.keyspace.range(from.text..).take(limit) {
            let (key, value) = entry.into_inner()?;
            show(&key, &value);
            count += 1;
        }
        Ok(count)
    }

    fn count(&self) -> Result<u64> {
        Ok(self.keyspace.len()? as u64)
    }

    fn write_out(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::Buffer)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.keyspace.rotate_memtable_and_wait()?)
    }

    fn settle(&self) -> Result<()> {
        let (mut done, mut since) = (self.database.compactions_completed(), Instant::now());
        while since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.database.compactions_completed();
            let busy = self.database.outstanding_flushes() > 0
                || self.database.active_compactions() > 0
                || self.keyspace.sealed_memtable_count() > 0;
            if busy || now != done {
                (done, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    fn compact(&self) -> Result<()> {
        self.keyspace.major_compact()?;
        self.settle()
    }

    fn is_log(&self, file: &str) -> bool {
        file.ends_with(".jnl") || file.contains("journal")
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.write_out()
    }
}
