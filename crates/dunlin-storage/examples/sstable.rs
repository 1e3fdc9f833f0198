//! Figures of one SSTable that is wholly in the block cache, and of its writer:
//! `cargo run --release -p dunlin-storage --example sstable -- [entries] [value bytes] [none|lz4|zstd] [folder] [threads]`.
//! Every figure is the best of five rounds, in CPU time of the slowest thread: other work on the machine
//! takes part in it only as far as it takes cache and memory.
#![allow(clippy::disallowed_methods)] // Measures time and works on a real disk.

use dunlin_storage::fs::OsFs;
use dunlin_storage::probe::Probe;
use dunlin_types::record::Latest;
use dunlin_types::schema::Compression;
use dunlin_types::{HostId, Micros, Record, Token, Value};

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

fn place(n: u64) -> (Token, [u8; 16]) {
    let mut key = [0; 16];
    let mut rest = mix(n);
    for byte in &mut key {
        *byte = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    (Token(mix(mix(n))), key)
}

fn record(n: u64, bytes: usize) -> Vec<u8> {
    let mut data = vec![b'.'; bytes];
    for (i, chunk) in data[..bytes / 2].chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&mix(n ^ (i as u64) << 40).to_le_bytes()[..chunk.len()]);
    }
    let value = Value { written: Micros(1_700_000_000_000_000 + n), expires: None, data: Some(data.into()) };
    Record::Latest(Latest { host: HostId([7; 16]), value }).to_bytes().to_vec()
}

/// CPU time of this thread, seconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the system counts");
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("nanoseconds first") / 1e9
}

/// Runs `round(thread)` on all threads, five times.
fn report(what: &str, count: u64, threads: u64, round: impl Fn(u64) + Sync) {
    let timed = |thread| {
        let start = cpu_seconds();
        round(thread);
        cpu_seconds() - start
    };
    let mut best = f64::MAX;
    for _ in 0..5 {
        let slowest = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|t| scope.spawn(move || timed(t))).collect();
            threads.into_iter().map(|t| t.join().expect("a round")).fold(0.0, f64::max)
        });
        best = best.min(slowest);
    }
    println!("{what:<28} {:>12.0}/s {:>8.1} ns", (count * threads) as f64 / best, best * 1e9 / count as f64);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let entries: u64 = args.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let bytes: usize = args.next().map_or(Ok(100), |n| n.parse())?;
    let compression = match args.next().as_deref() {
        Some("lz4") => Compression::Lz4,
        Some("zstd") => Compression::Zstd,
        _ => Compression::None,
    };
    let dir = args.next().unwrap_or_else(|| "figures-data".to_owned());
    let threads: u64 = args.next().map_or(Ok(1), |n| n.parse())?;
    let fs = OsFs::new(&dir)?;
    let mut order: Vec<u64> = (0..entries).collect();
    order.sort_by_key(|&n| place(n).0);
    let rows: Vec<_> = order.iter().map(|&n| (place(n).0, place(n).1.to_vec(), record(n, bytes))).collect();
    let start = cpu_seconds();
    let probe = Probe::build(&fs, rows.into_iter(), compression, 4096, 4 << 30)?;
    println!(
        "{:<28} {:>12.0}/s, {} B a file entry",
        "write",
        entries as f64 / (cpu_seconds() - start),
        probe.file_bytes() / entries
    );
    report("read all, not cached", entries, 1, |_| {
        probe.read_all().expect("reads");
    });
    order.sort_by_key(|&n| mix(n ^ 0x5555));
    for &n in &order {
        let (token, key) = place(n);
        assert!(probe.get(token, &key)?.is_some());
    }
    let reads = entries.min(1_000_000);
    let gets = |thread: u64, offset: u64| {
        let mut found = 0;
        for n in 0..reads {
            let (token, key) = place(mix(n + thread) % entries + offset);
            found += u64::from(probe.get(token, &key).expect("reads").is_some());
        }
        assert_eq!(found, if offset == 0 { reads } else { 0 });
    };
    report("make a key only", reads, 1, |_| {
        let sum = (0..reads).fold(0u64, |sum, n| {
            let (token, key) = place(mix(n) % entries);
            sum ^ token.0 ^ u64::from(key[3])
        });
        assert_ne!(sum, 1);
    });
    report("get, present", reads, threads, |thread| gets(thread, 0));
    report("get, absent", reads, threads, |thread| gets(thread, 1 << 40));
    report("scan of 100", 20_000, threads, |thread| {
        for n in 0..20_000 {
            probe.scan(Token(mix(n ^ thread << 32)), 100).expect("reads");
        }
    });
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
