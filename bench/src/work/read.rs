//! Reads, scans, and mixes of reads and overwrites, for a while.

use super::{Deadline, Outcome, SAMPLE, Share, Spec, on_threads};
use crate::data::{Key, Order, Random, Values, Zipf};
use crate::plan::{Kind, SCAN};
use crate::store::{BLOCK_BYTES, Store};
use anyhow::{Result, bail, ensure};
use std::time::Instant;

/// Fewest reads that may meet a block while the cache warms up.
const WARM: u64 = 8;

/// Warms the cache, then reads for as long as told.
pub fn timed(store: &dyn Store, values: &Values, spec: &Spec) -> Result<Outcome> {
    let zipf = Zipf::new(spec.keys);
    let mut reader = Reader::new(store, values, spec.keys);
    if spec.cgroup.is_none() {
        let entries = BLOCK_BYTES / (16 + spec.value);
        for n in (0..spec.keys).step_by((entries as u64 / WARM).max(1) as usize) {
            reader.present(n)?;
        }
    }
    let sample = if spec.cgroup.is_some() || spec.kind == Kind::Scan { 1 } else { SAMPLE };
    let (share, usage) = on_threads(spec.threads, |thread| {
        let (mut share, mut random) = (Share::new()?, Random::new(thread as u64 + 1));
        let mut reader = Reader::new(store, values, spec.keys);
        let mut deadline = Deadline::after(spec.seconds);
        while !deadline.has_passed() {
            let start = (share.operations % sample == 0).then(Instant::now);
            let mut update = false;
            match spec.kind {
                Kind::Read => reader.present(random.below(spec.keys))?,
                Kind::Absent => reader.absent(random.below(1 << 40))?,
                Kind::Scan => reader.scan(random.below(spec.keys))?,
                Kind::YcsbA | Kind::YcsbB => {
                    let n = zipf.next(&mut random);
                    update = random.below(100) < if spec.kind == Kind::YcsbA { 50 } else { 5 };
                    if update { reader.update(n, random.next())? } else { reader.present(n)? }
                }
                kind => bail!("{kind:?} does not read"),
            }
            if let Some(start) = start {
                share.latencies.record(start);
                if update {
                    share.updates.record(start);
                }
            }
            share.operations += 1;
        }
        Ok(share)
    })?;
    let mixed = matches!(spec.kind, Kind::YcsbA | Kind::YcsbB);
    Ok(Outcome {
        operations: share.operations,
        usage,
        settled: usage,
        latencies: share.latencies.percentiles(),
        updates: mixed.then(|| share.updates.percentiles()),
        ..Outcome::default()
    })
}

/// Reads, and looks at every answer.
struct Reader<'a> {
    store: &'a dyn Store,
    values: &'a Values,
    keys: u64,
    scratch: Vec<u8>,
    /// Scans that met the end.
    short: u64,
}

impl<'a> Reader<'a> {
    fn new(store: &'a dyn Store, values: &'a Values, keys: u64) -> Reader<'a> {
        Reader { store, values, keys, scratch: Vec::new(), short: 0 }
    }

    fn present(&mut self, n: u64) -> Result<()> {
        let mut verdict = Ok(());
        let found = self.store.get(&Key::of(n, Order::Random), &mut |value| {
            verdict = self.values.check(n, value, &mut self.scratch);
        })?;
        ensure!(found, "entry {n} is missing");
        verdict
    }

    fn absent(&mut self, n: u64) -> Result<()> {
        ensure!(!self.store.get(&Key::absent(n), &mut |_| ())?, "a key that was never written has a value");
        Ok(())
    }

    fn update(&mut self, n: u64, generation: u64) -> Result<()> {
        self.values.fill(n, generation, &mut self.scratch);
        self.store.put(&Key::of(n, Order::Random), &self.scratch)
    }

    /// Each value names its entry, and the entry its key.
    fn scan(&mut self, n: u64) -> Result<()> {
        let (mut count, mut wrong) = (0, None);
        self.store.scan(&Key::of(n, Order::Random), SCAN, &mut |key, value| {
            count += 1;
            let number = value.get(..8).and_then(|b| b.try_into().ok()).map_or(u64::MAX, u64::from_le_bytes);
            let right = number < self.keys
                && value.len() == self.values.bytes()
                && Key::of(number, Order::Random).text == key;
            if !right {
                wrong = Some(number);
            }
        })?;
        if let Some(number) = wrong {
            bail!("a scan met a wrong entry {number}");
        }
        // Only a scan that begins close to the end of the order is shorter.
        self.short += u64::from(count < SCAN);
        ensure!(count > 0 && self.short < 10 + self.keys / 1000, "a scan of {count} entries");
        Ok(())
    }
}
