//! Rough figures of the engine on a real disk: `cargo run --release --example figures -- [entries] [folder]`.
//! A benchmark against other engines is a separate program; this one only shows that nothing is slow by far.
#![allow(clippy::disallowed_methods)] // Measures time and works on a real disk.

use dunlin_storage::fs::OsFs;
use dunlin_storage::{Engine, EngineError, EngineOptions, TableOptions};
use dunlin_types::record::Latest;
use dunlin_types::schema::Compression;
use dunlin_types::{HostId, Key, Micros, Record, TableId, Token, TokenRange, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const TABLE: TableId = TableId(1);

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

fn key(n: u64) -> (Token, Key) {
    let text = format!("{:016x}", mix(n));
    (Token(mix(mix(n))), Key::new(text.into_bytes()).expect("a key of 16 bytes"))
}

fn record(n: u64) -> Record {
    let mut data = vec![b'.'; 100];
    for chunk in data[..50].chunks_mut(8) {
        chunk.copy_from_slice(&mix(n).to_le_bytes()[..chunk.len()]);
    }
    let value = Value { written: Micros(1_700_000_000_000_000 + n), expires: None, data: Some(data.into()) };
    Record::Latest(Latest { host: HostId([7; 16]), value })
}

fn report(what: &str, count: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<44} {:>9.0}/s  ({seconds:.2} s)", count as f64 / seconds);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let entries: u64 = args.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = args.next().unwrap_or_else(|| "figures-data".to_owned());
    let fs = Arc::new(OsFs::new(&dir)?);
    let engine = Arc::new(Engine::open(fs.clone(), EngineOptions::default())?);
    let options = TableOptions {
        dir: "tables/bench/kv".to_owned(),
        compression: Compression::Lz4,
        compaction: dunlin_storage::Strategy::Leveled,
    };
    engine.create_table(TABLE, options)?;

    let stop = Arc::new(AtomicBool::new(false));
    let worker = std::thread::Builder::new().name("maintenance".into()).spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                if !engine.maintenance(dunlin_storage::Lane::Any).expect("maintenance").worked {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        }
    })?;

    let records: Vec<_> = (0..entries).map(|n| (key(n), record(n))).collect();
    let put = |range: std::ops::Range<usize>, synced| -> Result<(), EngineError> {
        for ((token, key), record) in &records[range] {
            while let Err(e) = engine.merge(TABLE, *token, key, record, synced) {
                if !matches!(e, EngineError::Overloaded { .. }) {
                    return Err(e);
                }
                std::thread::yield_now();
            }
        }
        Ok(())
    };
    let all = records.len();
    let start = Instant::now();
    put(0..all, false)?;
    engine.write_out()?;
    report("insert, 100 B, buffered, 1 thread", entries, start);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let halves = [0..all / 2, all / 2..all].map(|half| scope.spawn(|| put(half, false)));
        halves.into_iter().try_for_each(|half| half.join().expect("a writer"))
    })?;
    engine.write_out()?;
    report("overwrite, 2 threads", entries, start);
    let start = Instant::now();
    for chunk in 0..2_000 {
        put(chunk * 64 % (all - 64)..chunk * 64 % (all - 64) + 64, true)?;
        engine.commit()?;
    }
    report("durable, 64 a sync", 128_000, start);
    let start = Instant::now();
    for n in 0..2_000 {
        put(n..n + 1, true)?;
        engine.commit()?;
    }
    report("durable, 1 a sync", 2_000, start);
    stop.store(true, Ordering::Relaxed);
    worker.join().expect("the worker");

    let reads = entries.min(1_000_000);
    let probe = |offset: u64| -> Result<u64, EngineError> {
        let mut found = 0;
        for n in 0..reads {
            let (token, key) = key(mix(n) % entries + offset);
            found += u64::from(engine.get(TABLE, token, &key)?.is_some());
        }
        Ok(found)
    };
    println!("{:#?}", engine.stats().tables);
    engine.flush(None)?;
    while engine.maintenance(dunlin_storage::Lane::Any)?.worked {}
    let start = Instant::now();
    engine.compact(None)?;
    report("full compaction", entries, start);
    probe(0)?;
    let start = Instant::now();
    assert_eq!(probe(0)?, reads);
    report("read, present, cached (with making the key)", reads, start);
    let start = Instant::now();
    assert_eq!(probe(1 << 40)?, 0);
    report("read, absent (with making the key)", reads, start);
    let start = Instant::now();
    for n in 0..10_000u64 {
        let range = TokenRange { first: Token(mix(n)), last: Token(u64::MAX) };
        engine.scan(TABLE, range, None, 100, usize::MAX)?;
    }
    report("scan of 100", 10_000, start);
    let stats = engine.stats();
    println!("{stats:#?}");
    put(0..all.min(500_000), true)?;
    engine.commit()?;
    drop(engine);
    let start = Instant::now();
    let engine = Engine::open(fs, EngineOptions::default())?;
    report("open, records recovered", engine.stats().log.records_recovered, start);
    drop(engine);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
