//! Durable writes, and recovery of what a killed process left in the log.

use super::{Deadline, Outcome, Share, Spec, on_threads, prefill, tell_ready};
use crate::data::{Key, Order, Random, Values};
use crate::measure::{Meter, Percentiles};
use crate::plan::{CLIENTS, LOG_BYTES};
use crate::store::{self, Store};
use anyhow::{Context as _, Result, ensure};
use std::time::{Duration, Instant};

/// Keys read after a recovery.
const PROBES: u64 = 10_000;

/// Threads that wait for each write. The store is filled first, so that those that recycle log files have some.
pub fn durable(store: &dyn Store, values: &Values, spec: &Spec) -> Result<Outcome> {
    prefill(store, values, spec.keys)?;
    let (share, usage) = on_threads(spec.threads, |thread| {
        let (mut share, mut value) = (Share::new()?, Vec::new());
        let mut random = Random::new(thread as u64 + 1);
        let end = Instant::now() + Duration::from_secs_f64(spec.seconds);
        while Instant::now() < end {
            let n = random.below(spec.keys);
            values.fill(n, random.next(), &mut value);
            let start = Instant::now();
            store.put_durable(&Key::of(n, Order::Random), &value)?;
            share.latencies.record(start);
            share.operations += 1;
        }
        Ok(share)
    })?;
    Ok(Outcome {
        operations: share.operations,
        usage,
        settled: usage,
        latencies: share.latencies.percentiles(),
        ..Outcome::default()
    })
}

/// Clients that are a number and a time, a thread for many of them.
pub fn asynchronous(store: &dyn Store, values: &Values, spec: &Spec) -> Result<Outcome> {
    let writes = store.asynchronous().context("this store has no asynchronous writes")?;
    prefill(store, values, spec.keys)?;
    let (share, usage) = on_threads(spec.threads, |thread| {
        let (mut share, mut value) = (Share::new()?, Vec::new());
        let mut random = Random::new(thread as u64 + 1);
        let mut deadline = Deadline::after(spec.seconds);
        let mut clients: Vec<Option<(u64, Instant)>> = vec![None; CLIENTS / spec.threads];
        loop {
            let durable = writes.durable()?;
            let ending = deadline.has_passed();
            let mut waiting = 0;
            for client in &mut clients {
                if let Some((position, start)) = *client {
                    if position > durable {
                        waiting += 1;
                        continue;
                    }
                    share.latencies.record(start);
                    share.operations += 1;
                    *client = None;
                }
                if !ending {
                    let n = random.below(spec.keys);
                    values.fill(n, random.next(), &mut value);
                    let start = Instant::now();
                    *client = Some((writes.submit(&Key::of(n, Order::Random), &value)?, start));
                    waiting += 1;
                }
            }
            if ending && waiting == 0 {
                return Ok(share);
            }
            writes.wait(durable)?;
        }
    })?;
    Ok(Outcome {
        operations: share.operations,
        usage,
        settled: usage,
        latencies: share.latencies.percentiles(),
        ..Outcome::default()
    })
}

/// Entries that make up the log, in a data set of `keys`.
fn logged(spec: &Spec) -> u64 {
    (LOG_BYTES / (16 + spec.value as u64)).min(spec.keys)
}

/// Writes to a store that flushes nothing, says so, and sleeps until it is killed.
pub fn crash(store: &dyn Store, values: &Values, spec: &Spec) -> Result<Outcome> {
    super::fill::write(store, values, logged(spec), Order::Random, 0, 1)?;
    store.write_out()?;
    tell_ready()?;
    std::thread::sleep(Duration::from_secs(600));
    anyhow::bail!("nobody killed this process")
}

/// Times the opening of what a killed process left, and reads some of it.
pub fn recovery(spec: &Spec) -> Result<Outcome> {
    let meter = Meter::start()?;
    let store = store::open(spec.engine, &spec.dir, spec.settings)?;
    let usage = meter.stop()?;
    let values = Values::new(spec.value);
    let entries = logged(spec);
    let (mut scratch, mut random) = (Vec::new(), Random::new(1));
    for probe in 0..PROBES.min(entries) {
        // The last ones written too: they are lost first.
        let n = if probe < 100 { entries - 1 - probe % entries } else { random.below(entries) };
        let mut verdict = Ok(());
        let found = store.get(&Key::of(n, Order::Random), &mut |value| {
            verdict = values.check(n, value, &mut scratch);
        })?;
        ensure!(found, "entry {n} of {entries} was lost");
        verdict?;
    }
    let outcome = Outcome {
        operations: entries,
        usage,
        settled: usage,
        latencies: Percentiles::default(),
        user_written: entries * (16 + spec.value as u64),
        peak_memory: crate::measure::peak_memory()?,
        ..Outcome::default()
    };
    store.close()?;
    Ok(outcome)
}
