//! LMDB: a B-tree in a memory map, the reference for point reads and scans. Filled in batches.

use super::Store;
use crate::data::Key;
use anyhow::{Result, anyhow};
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};
use std::ops::Bound;
use std::path::Path;
use std::sync::Mutex;

const MAP_BYTES: usize = 16 << 30;
/// Puts of one transaction.
const BATCH: usize = 1000;

pub struct Lmdb {
    env: Env,
    database: Database<Bytes, Bytes>,
    batch: Mutex<Vec<(Key, Vec<u8>)>>,
}

impl Lmdb {
    pub fn open(dir: &Path) -> Result<Lmdb> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: the folder is this process's alone; nobody changes the file beneath the map, and a
        // file that a crash broke is thrown away.
        #[allow(unsafe_code)]
        let env = unsafe {
            options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_READ_AHEAD);
            options.open(dir)?
        };
        let mut transaction = env.write_txn()?;
        let database = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Lmdb { env, database, batch: Mutex::default() })
    }

    fn write(&self, batch: &mut Vec<(Key, Vec<u8>)>) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in batch.drain(..) {
            self.database.put(&mut transaction, &key.text, &value)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Lmdb {
    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        let mut batch = self.batch.lock().map_err(|_| anyhow!("another writer failed"))?;
        batch.push((*key, value.to_vec()));
        if batch.len() == BATCH { self.write(&mut batch) } else { Ok(()) }
    }

    fn put_durable(&self, key: &Key, value: &[u8]) -> Result<()> {
        self.put(key, value)?;
        self.write_out()?;
        Ok(self.env.force_sync()?)
    }

    fn get(&self, key: &Key, show: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let transaction = self.env.read_txn()?;
        let found = self.database.get(&transaction, &key.text)?;
        Ok(found.inspect(|value| show(value)).is_some())
    }

    fn scan(&self, from: &Key, limit: usize, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<usize> {
        let transaction = self.env.read_txn()?;
        let mut count = 0;
        let range = (Bound::Included(from.text.as_slice()), Bound::Unbounded);
        for entry in self.database.range(&transaction, &range)?.take(limit) {
            let (key, value) = entry?;
            show(key, value);
            count += 1;
        }
        Ok(count)
    }

    fn count(&self) -> Result<u64> {
        let transaction = self.env.read_txn()?;
        Ok(self.database.len(&transaction)?)
    }

    fn write_out(&self) -> Result<()> {
        let mut batch = self.batch.lock().map_err(|_| anyhow!("another writer failed"))?;
        self.write(&mut batch)
    }

    fn flush(&self) -> Result<()> {
        self.write_out()
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn compact(&self) -> Result<()> {
        Ok(())
    }

    fn is_log(&self, _file: &str) -> bool {
        false
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.write_out()
    }
}
