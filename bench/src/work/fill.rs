//! Fills and overwrites.

use super::{Outcome, SAMPLE, Share, Spec, on_threads};
use crate::data::{Key, Order, Values, mix};
use crate::measure::{Meter, Usage, disk_space, peak_memory};
use crate::plan::Kind;
use crate::store::Store;
use anyhow::{Result, ensure};
use std::time::Instant;

/// How often [`overwrite`] writes each key again.
const PASSES: u64 = 3;

/// Writes every key once, on as many threads as told.
pub fn write(
    store: &dyn Store,
    values: &Values,
    keys: u64,
    order: Order,
    generation: u64,
    threads: usize,
) -> Result<(Share, Usage)> {
    on_threads(threads, |thread| {
        let (mut share, mut value) = (Share::new()?, Vec::new());
        for n in (thread as u64..keys).step_by(threads) {
            let key = Key::of(n, order);
            values.fill(n, generation, &mut value);
            if (n / threads as u64).is_multiple_of(SAMPLE) {
                let start = Instant::now();
                store.put(&key, &value)?;
                share.latencies.record(start);
            } else {
                store.put(&key, &value)?;
            }
            share.operations += 1;
        }
        Ok(share)
    })
}

/// An empty store takes all keys; measured until it has them, and until it has settled.
pub fn fill(store: &dyn Store, values: &Values, spec: &Spec) -> Result<Outcome> {
    let order = if spec.kind == Kind::FillSequential { Order::Sequential } else { Order::Random };
    let meter = Meter::start()?;
    let (share, _) = write(store, values, spec.keys, order, 0, spec.threads)?;
    store.write_out()?;
    let usage = meter.stop()?;
    store.flush()?;
    store.settle()?;
    let settled = meter.stop()?;
    let peak_memory = peak_memory()?;
    count(store, spec)?;
    let user = spec.keys * (16 + spec.value as u64);
    Ok(Outcome {
        operations: share.operations,
        usage,
        settled,
        latencies: share.latencies.percentiles(),
        user_written: user,
        user_present: user,
        peak_memory,
        ..Outcome::default()
    })
}

/// A store that has all keys takes them three times again, each time in another order.
pub fn overwrite(store: &dyn Store, values: &Values, spec: &Spec) -> Result<Outcome> {
    super::prefill(store, values, spec.keys)?;
    let meter = Meter::start()?;
    let (mut share, mut value) = (Share::new()?, Vec::new());
    for pass in 1..=PASSES {
        // A step that shares no factor with the count visits every key once.
        let step = (spec.keys / 2 + mix(pass) % (spec.keys / 4).max(1)..)
            .find(|step| gcd(*step, spec.keys) == 1)
            .unwrap_or(1);
        let mut n = mix(pass) % spec.keys;
        for _ in 0..spec.keys {
            values.fill(n, pass, &mut value);
            let start = (share.operations % SAMPLE == 0).then(Instant::now);
            store.put(&Key::of(n, Order::Random), &value)?;
            if let Some(start) = start {
                share.latencies.record(start);
            }
            share.operations += 1;
            n = (n + step) % spec.keys;
        }
    }
    store.write_out()?;
    let usage = meter.stop()?;
    store.flush()?;
    store.settle()?;
    let settled = meter.stop()?;
    let (space, log) = disk_space(&spec.dir, &|file| store.is_log(file))?;
    store.compact()?;
    let compacted = disk_space(&spec.dir, &|file| store.is_log(file))?;
    count(store, spec)?;
    let user = spec.keys * (16 + spec.value as u64);
    Ok(Outcome {
        operations: share.operations,
        usage,
        settled,
        latencies: share.latencies.percentiles(),
        user_written: PASSES * user,
        user_present: user,
        space,
        log,
        compacted: Some(compacted),
        ..Outcome::default()
    })
}

fn count(store: &dyn Store, spec: &Spec) -> Result<()> {
    if spec.count {
        let count = store.count()?;
        ensure!(count == spec.keys, "{} keys written, {count} present", spec.keys);
    }
    Ok(())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
