//! What a child process does: opens a store, does one workload, prints the outcome.

mod fill;
mod read;
mod sync;

use crate::data::Values;
use crate::measure::{Latencies, Meter, Percentiles, Usage, disk_space, peak_memory};
use crate::plan::Kind;
use crate::store::{self, Engine, Settings, Store};
use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The work of one child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub engine: Engine,
    pub kind: Kind,
    pub dir: PathBuf,
    pub settings: Settings,
    /// Of the data set.
    pub keys: u64,
    pub value: usize,
    pub threads: usize,
    /// How long reads and durable writes go on.
    pub seconds: f64,
    /// Whether every key is counted at the end: not while a profile is taken.
    pub count: bool,
    /// Control group that bounds memory, page cache included.
    pub cgroup: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub operations: u64,
    /// Of the operations.
    pub usage: Usage,
    /// Of the operations and the background work they caused.
    pub settled: Usage,
    pub latencies: Percentiles,
    /// Of overwrites in a mix.
    pub updates: Option<Percentiles>,
    /// Bytes of keys and values written, and present.
    pub user_written: u64,
    pub user_present: u64,
    pub peak_memory: u64,
    /// Bytes on disk: all, and those of the log.
    pub space: u64,
    pub log: u64,
    /// The same after full compaction.
    pub compacted: Option<(u64, u64)>,
}

/// Runs in the child.
pub fn run(spec: &Spec) -> Result<Outcome> {
    become_foreground();
    if let Some(cgroup) = &spec.cgroup {
        std::fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
            .context("entering the control group")?;
        forget_pages(&spec.dir)?;
    }
    if spec.kind == Kind::Recovery {
        return sync::recovery(spec);
    }
    let store = store::open(spec.engine, &spec.dir, spec.settings)?;
    let values = Values::new(spec.value);
    let mut outcome = match spec.kind {
        Kind::FillSequential | Kind::FillRandom => fill::fill(&*store, &values, spec)?,
        Kind::Overwrite => fill::overwrite(&*store, &values, spec)?,
        Kind::Durable => sync::durable(&*store, &values, spec)?,
        Kind::Async => sync::asynchronous(&*store, &values, spec)?,
        Kind::Crash => sync::crash(&*store, &values, spec)?,
        Kind::Recovery | Kind::Read | Kind::Absent | Kind::Scan | Kind::YcsbA | Kind::YcsbB => {
            read::timed(&*store, &values, spec)?
        }
    };
    if outcome.peak_memory == 0 {
        outcome.peak_memory = peak_memory()?;
    }
    if outcome.space == 0 {
        (outcome.space, outcome.log) = disk_space(&spec.dir, &|file| store.is_log(file))?;
    }
    store.close()?;
    Ok(outcome)
}

/// Linux shares the processors among sessions, whatever the nice values in them: takes a session of its own,
/// and the highest weight. Where that is not permitted, others are measured too, and `ext_cpu` tells.
fn become_foreground() {
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/autogroup", "-19");
}

/// Takes the files of a folder out of the page cache.
fn forget_pages(dir: &Path) -> Result<()> {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = std::fs::File::open(&path)?;
                file.sync_all()?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            }
        }
    }
    Ok(())
}

/// What one thread did.
struct Share {
    operations: u64,
    latencies: Latencies,
    updates: Latencies,
}

impl Share {
    fn new() -> Result<Share> {
        Ok(Share { operations: 0, latencies: Latencies::new()?, updates: Latencies::new()? })
    }
}

/// Runs a closure on each of `threads` threads, and adds up.
fn on_threads(threads: usize, work: impl Fn(usize) -> Result<Share> + Sync) -> Result<(Share, Usage)> {
    let meter = Meter::start()?;
    let shares = std::thread::scope(|scope| -> Result<Vec<Share>> {
        let handles: Vec<_> =
            (0..threads).map(|i| (i, &work)).map(|(i, w)| scope.spawn(move || w(i))).collect();
        handles.into_iter().map(|h| h.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    })?;
    let usage = meter.stop()?;
    let mut sum = Share::new()?;
    for share in &shares {
        sum.operations += share.operations;
        sum.latencies.add(&share.latencies)?;
        sum.updates.add(&share.updates)?;
    }
    Ok((sum, usage))
}

/// Ends a timed loop, looking at the clock now and then only.
struct Deadline {
    end: Instant,
    count: u64,
    passed: bool,
}

impl Deadline {
    fn after(seconds: f64) -> Deadline {
        Deadline { end: Instant::now() + Duration::from_secs_f64(seconds), count: 0, passed: false }
    }

    fn has_passed(&mut self) -> bool {
        self.count += 1;
        if self.count & 31 == 0 {
            self.passed = Instant::now() >= self.end;
        }
        self.passed
    }
}

/// A latency is taken of one in so many fast operations: looking at the clock costs as much as some of them.
const SAMPLE: u64 = 8;

/// Tells the parent that it may end this process.
fn tell_ready() -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    Ok(out.flush()?)
}

/// Writes all keys of the data set in random order, unmeasured, and waits until nothing is left to do.
fn prefill(store: &dyn Store, values: &Values, keys: u64) -> Result<()> {
    fill::write(store, values, keys, crate::data::Order::Random, 0, 1)?;
    store.flush()?;
    store.settle()
}
