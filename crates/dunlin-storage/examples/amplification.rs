//! How much is written for what: `cargo run --release --example amplification -- [keys] [value bytes] [folder]`.
//! Keys are written in random order, then three times over; nothing is synced but what flushes need.
#![allow(clippy::disallowed_methods)] // Measures time and works on a real disk.

use dunlin_storage::fs::OsFs;
use dunlin_storage::{Engine, EngineError, EngineOptions, Lane, Strategy, TableOptions};
use dunlin_types::record::Latest;
use dunlin_types::schema::Compression;
use dunlin_types::{HostId, Micros, Record, TableId, Token, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TABLE: TableId = TableId(1);
const ROUNDS: u64 = 4;

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

fn report(engine: &Engine, what: &str, user_bytes: u64, live_bytes: u64, start: Instant) {
    let stats = engine.stats();
    let table = &stats.tables[0];
    let share = |bytes: u64| bytes as f64 / user_bytes as f64;
    println!(
        "{what}: {:.1} s, log {:.2} + flush {:.2} + merge {:.2} = {:.2} of what was written, space {:.2} of what is there, {} SSTables ({} of level 0), {} merges",
        start.elapsed().as_secs_f64(),
        share(stats.log.bytes_written),
        share(stats.bytes_flushed),
        share(stats.bytes_compacted),
        share(stats.log.bytes_written + stats.bytes_flushed + stats.bytes_compacted),
        table.sstable_bytes as f64 / live_bytes as f64,
        table.sstables,
        table.sstables_level0,
        stats.compactions,
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let keys: u64 = args.next().map_or(Ok(2_000_000), |n| n.parse())?;
    let value_bytes: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let dir = args.next().unwrap_or_else(|| "amplification-data".to_owned());
    let fs = Arc::new(OsFs::new(&dir)?);
    let engine = Engine::open(fs, EngineOptions::default())?;
    let options = TableOptions {
        dir: "tables/bench/kv".to_owned(),
        compression: Compression::Lz4,
        compaction: Strategy::Leveled,
    };
    engine.create_table(TABLE, options)?;
    let (start, ended) = (Instant::now(), AtomicBool::new(false));
    let live_bytes = keys * (16 + value_bytes as u64);
    std::thread::scope(|scope| {
        let engine = &engine;
        for lane in [Lane::Flush, Lane::Compaction] {
            let ended = &ended;
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    if !engine.maintenance(lane).is_ok_and(|step| step.worked) {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
            });
        }
        let mut bytes = Vec::new();
        for n in 0..keys * ROUNDS {
            // In every round each key once.
            let key = mix((n + n / keys * 7_919) % keys);
            let mut data = vec![b'.'; value_bytes];
            let half = value_bytes / 2;
            for (i, chunk) in data[..half].chunks_mut(8).enumerate() {
                chunk.copy_from_slice(&mix(n + i as u64 * 977).to_le_bytes()[..chunk.len()]);
            }
            let value =
                Value { written: Micros(1_700_000_000_000_000 + n), expires: None, data: Some(data.into()) };
            bytes.clear();
            Record::Latest(Latest { host: HostId([7; 16]), value }).encode(&mut bytes);
            let text = format!("{key:016x}");
            while let Err(error) = engine.merge_bytes(TABLE, Token(mix(key)), text.as_bytes(), &bytes, false)
            {
                let EngineError::Overloaded { .. } = error else { panic!("{error}") };
                std::thread::sleep(Duration::from_millis(1));
            }
            if (n + 1) % keys == 0 {
                report(
                    engine,
                    &format!("round {}", n / keys),
                    live_bytes * (n / keys + 1),
                    live_bytes,
                    start,
                );
            }
        }
        engine.flush(None).expect("flush");
        while engine.stats().tables[0].bytes_pending > 0 || !engine.stats().running.is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        report(engine, "settled", live_bytes * ROUNDS, live_bytes, start);
        ended.store(true, Ordering::Relaxed);
    });
    engine.compact(None)?;
    report(&engine, "compacted", live_bytes * ROUNDS, live_bytes, start);
    drop(engine);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
