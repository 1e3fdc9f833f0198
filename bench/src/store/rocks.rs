//! RocksDB.

use super::{BACKGROUND, BLOCK_BYTES, Settings, Store};
use crate::data::Key;
use anyhow::Result;
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType,
    DataBlockIndexType, Direction, IteratorMode, Options, ReadOptions, WaitForCompactOptions, WriteOptions,
};
use std::path::Path;

pub struct Rocks {
    db: DB,
    durable: WriteOptions,
}

impl Rocks {
    pub fn open(dir: &Path, settings: Settings, direct: bool) -> Result<Rocks> {
        let mut table = BlockBasedOptions::default();
        table.set_block_size(BLOCK_BYTES);
        table.set_bloom_filter(10.0, false);
        table.set_format_version(6);
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        table.set_data_block_hash_ratio(0.75);
        table.set_block_cache(&Cache::new_hyper_clock_cache(settings.cache_bytes as usize, 0));
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(settings.memtable_bytes as usize);
        options.set_max_write_buffer_number(4);
        options.set_max_background_jobs(BACKGROUND as i32);
        options.set_max_bytes_for_level_base(256 << 20);
        options.set_target_file_size_base(64 << 20);
        options.set_recycle_log_file_num(4);
        use DBCompressionType::{Lz4, None};
        options.set_compression_per_level(&[None, None, Lz4, Lz4, Lz4, Lz4, Lz4]);
        options.set_bottommost_compression_type(Lz4);
        options.set_use_direct_reads(direct);
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        Ok(Rocks { db: DB::open(&options, dir)?, durable })
    }
}

impl Store for Rocks {
    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.db.put(key.text, value)?)
    }

    fn put_durable(&self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key.text, value, &self.durable)?)
    }

    fn get(&self, key: &Key, show: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.db.get_pinned(key.text)?;
        Ok(found.inspect(|value| show(value)).is_some())
    }

    fn scan(&self, from: &Key, limit: usize, show: &mut dyn FnMut(&[u8], &[u8])) -> Result<usize> {
        let mut entries = self.db.raw_iterator_opt(ReadOptions::default());
        entries.seek(from.text);
        let mut count = 0;
        while count < limit
            && let Some((key, value)) = entries.item()
        {
            show(key, value);
            count += 1;
            entries.next();
        }
        entries.status()?;
        Ok(count)
    }

    fn count(&self) -> Result<u64> {
        let mut entries = self.db.raw_iterator_opt(ReadOptions::default());
        let mut count = 0;
        entries.seek_to_first();
        while entries.valid() {
            count += 1;
            entries.next();
        }
        entries.status()?;
        Ok(count)
    }

    fn write_out(&self) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(self.db.flush()?)
    }

    fn settle(&self) -> Result<()> {
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn compact(&self) -> Result<()> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        self.settle()
    }

    fn is_log(&self, file: &str) -> bool {
        file.ends_with(".log")
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Looking at one entry proves that the store still answers; dropping ends background work.
        let first = self.db.iterator(IteratorMode::From(b"", Direction::Forward)).next();
        first.transpose()?;
        Ok(())
    }
}
