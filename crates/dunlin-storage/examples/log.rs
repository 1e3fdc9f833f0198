//! Figures of durable writes on a real disk: `cargo run --release --example log -- [seconds] [folder]`; times of a
//! call and processor time for each write are in microseconds.
//!
//! On a busy machine run it under `chrt -f 1`: otherwise each sync ends in a wait for the scheduler's next tick,
//! and the neighbours are measured. The first lines are the disk's own figures, to compare with.
#![allow(clippy::disallowed_methods)] // Measures time and works on a real disk.

use dunlin_storage::fs::{AlignedBuffer, File, Fs, OpenMode, OsFs};
use dunlin_storage::parallel::Threads;
use dunlin_storage::{Engine, EngineOptions, Lane, LogPosition, Strategy, TableOptions};
use dunlin_types::record::Latest;
use dunlin_types::schema::Compression;
use dunlin_types::{HostId, Key, Micros, Record, TableId, Token, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const TABLE: TableId = TableId(1);
const RECORDS: u64 = 1 << 16;

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

struct Rows(Vec<(Token, Key, Record)>);

impl Rows {
    fn new() -> Outcome<Rows> {
        let row = |n: u64| -> Outcome<_> {
            let key = Key::new(format!("{:016x}", mix(n)).into_bytes())?;
            let value = Value { written: Micros(n), expires: None, data: Some(vec![b'.'; 100].into()) };
            let record = Record::Latest(Latest { host: HostId([7; 16]), value });
            Ok((Token(mix(mix(n))), key, record))
        };
        (0..RECORDS).map(row).collect::<Outcome<_>>().map(Rows)
    }

    fn put(&self, engine: &Engine, n: u64) -> Outcome<LogPosition> {
        let (token, key, record) = &self.0[(n % RECORDS) as usize];
        Ok(engine.merge(TABLE, *token, key, record, true)?)
    }
}

/// Processor time of this process so far, as the system counts it: in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Time of each call of one thread: percentiles.
fn print(what: &str, count: u64, took: Duration, cpu: f64, times: &mut [u64], engine: Option<&Engine>) {
    times.sort_unstable();
    let at =
        |part: f64| times.get((times.len() as f64 * part) as usize).map_or(0.0, |&ns| ns as f64 / 1_000.0);
    print!(
        "{what:<40} {:>8.0}/s   us p50 {:>7.1} p99 {:>7.1} p99.9 {:>7.1} cpu {:>5.2}",
        count as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        cpu * 1e6 / count.max(1) as f64
    );
    if let Some(log) = engine.map(|engine| engine.stats().log) {
        let batch = log.records as f64 / log.frames.max(1) as f64;
        print!(
            "   batch {batch:.1}, {} segments, {} reused, direct {}",
            log.segments, log.segments_reused, log.direct
        );
    }
    println!();
}

/// Calls `work` in a thread each until the time is over; it returns how many writes it made.
fn run(
    what: &str,
    seconds: f64,
    threads: u64,
    engine: Option<&Engine>,
    work: &(dyn Fn(u64, u64) -> Outcome<u64> + Sync),
) -> Outcome<()> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let end = start + Duration::from_secs_f64(seconds);
    let (count, mut times) = std::thread::scope(|scope| {
        let spawn = |thread| {
            scope.spawn(move || -> Outcome<(u64, Vec<u64>)> {
                let (mut count, mut times, mut before) = (0, Vec::new(), Instant::now());
                while before < end {
                    count += work(thread, times.len() as u64)?;
                    let now = Instant::now();
                    times.push((now - before).as_nanos() as u64);
                    before = now;
                }
                Ok((count, times))
            })
        };
        let running: Vec<_> = (0..threads).map(spawn).collect();
        let mut sum = (0, Vec::new());
        for thread in running {
            let (count, times) = thread.join().map_err(|_| "a thread panicked")??;
            sum.0 += count;
            sum.1.extend(times);
        }
        Outcome::Ok(sum)
    })?;
    print(what, count, start.elapsed(), cpu_seconds() - cpu, &mut times, engine);
    Ok(())
}

fn open(dir: &str, name: &str) -> Outcome<Engine> {
    let fs = Arc::new(OsFs::new(format!("{dir}/{name}"))?);
    let options = EngineOptions { parallel: Arc::new(Threads::available()), ..EngineOptions::default() };
    let engine = Engine::open(fs, options)?;
    let options = TableOptions {
        dir: "tables/bench/kv".to_owned(),
        compression: Compression::Lz4,
        compaction: Strategy::default(),
    };
    engine.create_table(TABLE, options)?;
    Ok(engine)
}

/// Runs `measured` while another thread does maintenance.
fn maintained(engine: &Engine, measured: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| -> Outcome<()> {
            while !stop.load(Ordering::Relaxed) {
                if !engine.maintenance(Lane::Any)?.worked {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Ok(())
        });
        let result = measured();
        stop.store(true, Ordering::Relaxed);
        worker.join().map_err(|_| "maintenance panicked")??;
        result
    })
}

fn disk(dir: &str, seconds: f64) -> Outcome<()> {
    let fs = OsFs::new(format!("{dir}/disk"))?;
    let plain = fs.open("file", OpenMode::Truncate)?;
    plain.write_at(0, &vec![0; 64 << 20])?;
    plain.sync()?;
    let direct: Arc<dyn File> = fs.open("file", OpenMode::Direct)?;
    let mut block = AlignedBuffer::new();
    block.resize(4096);
    let place = |n: u64| n % (16 << 10) * 4096;
    run("disk: 4 KiB direct and synced, written", seconds, 1, None, &|_, n| {
        direct.write_synced_at(place(n), &block)?;
        Ok(1)
    })?;
    run("disk: 4 KiB and fdatasync, written", seconds, 1, None, &|_, n| {
        plain.write_at(place(n), &block)?;
        plain.sync()?;
        Ok(1)
    })?;
    let growing = fs.open("growing", OpenMode::Truncate)?;
    run("disk: 4 KiB and fdatasync, growing", seconds, 1, None, &|_, n| {
        growing.write_at(n * 4096, &block)?;
        growing.sync()?;
        Ok(1)
    })
}

/// Clients that wait for their position, not for a call: each thread has many, and one thread commits.
fn asynchronous(engine: &Engine, rows: &Rows, seconds: f64, clients: u64, threads: u64) -> Outcome<()> {
    let (stop, wanted) = (AtomicBool::new(false), AtomicU64::new(0));
    let parked: std::sync::Mutex<()> = std::sync::Mutex::default();
    let (work, done) = (std::sync::Condvar::new(), std::sync::Condvar::new());
    let lock = || parked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::scope(|scope| {
        let committer = scope.spawn(|| -> Outcome<()> {
            while !stop.load(Ordering::Acquire) {
                if wanted.load(Ordering::Acquire) <= engine.durable().0 {
                    let guard = lock();
                    if wanted.load(Ordering::Acquire) <= engine.durable().0 {
                        drop(work.wait_timeout(guard, Duration::from_millis(1)));
                    }
                    continue;
                }
                engine.commit()?;
                drop(lock());
                done.notify_all();
            }
            Ok(())
        });
        let result =
            run("64 clients on 2 threads, one commits", seconds, threads, Some(engine), &|thread, n| {
                let mut last = LogPosition(0);
                for client in 0..clients / threads {
                    last = rows.put(engine, (n * threads + thread) * clients + client)?;
                }
                wanted.fetch_max(last.0, Ordering::AcqRel);
                let mut guard = lock();
                work.notify_one();
                while engine.durable() < last {
                    guard = done.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                Ok(clients / threads)
            });
        stop.store(true, Ordering::Release);
        work.notify_one();
        committer.join().map_err(|_| "the committer panicked")??;
        result
    })
}

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let seconds: f64 = args.next().map_or(Ok(3.0), |n| n.parse())?;
    let dir = args.next().unwrap_or_else(|| "log-data".to_owned());
    let rows = Rows::new()?;
    disk(&dir, seconds.min(1.0))?;
    for (threads, what) in [(1, "1 thread, a commit each"), (64, "64 threads, a commit each")] {
        let engine = open(&dir, &format!("threads-{threads}"))?;
        maintained(&engine, || {
            for _ in 0..2 {
                run(what, seconds, threads, Some(&engine), &|thread, n| {
                    let position = rows.put(&engine, n * threads + thread)?;
                    assert!(engine.commit()? >= position);
                    Ok(1)
                })?;
            }
            Ok(())
        })?;
    }
    let engine = open(&dir, "clients")?;
    maintained(&engine, || {
        run("64 clients on 2 threads, both commit", seconds, 2, Some(&engine), &|thread, n| {
            for client in 0..32 {
                rows.put(&engine, (n * 2 + thread) * 64 + client)?;
            }
            engine.commit()?;
            Ok(32)
        })?;
        asynchronous(&engine, &rows, seconds, 64, 2)
    })?;
    drop(engine);
    let start = Instant::now();
    let engine = open(&dir, "clients")?;
    let log = engine.stats().log;
    println!(
        "replay of {} records in {} MiB: {:.2} s",
        log.records_recovered,
        log.bytes >> 20,
        start.elapsed().as_secs_f64()
    );
    drop(engine);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
