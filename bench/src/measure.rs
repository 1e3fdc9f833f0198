//! What a process used: time, processor, memory, files; and latencies.

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest latency that is told apart.
const LATENCY_MAX: Duration = Duration::from_secs(100);

/// Latencies of one kind of operation, in nanoseconds.
pub struct Latencies(Histogram<u64>);

/// Percentiles in microseconds.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

impl Latencies {
    pub fn new() -> Result<Latencies> {
        Ok(Latencies(Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, 3)?))
    }

    pub fn record(&mut self, since: Instant) {
        self.0.saturating_record(since.elapsed().as_nanos() as u64);
    }

    pub fn add(&mut self, other: &Latencies) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

/// What a stretch of work took.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub struct Usage {
    pub seconds: f64,
    /// User and system time of the whole process, background threads included.
    pub cpu_seconds: f64,
    /// Bytes given to write calls.
    pub written: u64,
    /// Bytes that reads fetched from the disk.
    pub disk_read: u64,
    /// Processor time of other processes, in percent of the machine.
    pub ext_cpu: f64,
}

/// Starts a stretch.
pub struct Meter {
    start: Instant,
    cpu: f64,
    written: u64,
    disk_read: u64,
    machine: Machine,
}

#[derive(Clone, Copy)]
struct Machine {
    /// Ticks of all processors, and of these the idle ones.
    all: u64,
    idle: u64,
}

impl Meter {
    pub fn start() -> Result<Meter> {
        let (written, disk_read) = io_counts()?;
        Ok(Meter { machine: machine()?, cpu: cpu_seconds(), written, disk_read, start: Instant::now() })
    }

    pub fn stop(&self) -> Result<Usage> {
        let seconds = self.start.elapsed().as_secs_f64();
        let cpu_seconds = cpu_seconds() - self.cpu;
        let (written, disk_read) = io_counts()?;
        let now = machine()?;
        let cores = std::thread::available_parallelism()?.get() as f64;
        let all = (now.all - self.machine.all).max(1) as f64;
        let busy = 1.0 - (now.idle - self.machine.idle) as f64 / all;
        let ext_cpu = (100.0 * (busy - cpu_seconds / (seconds.max(1e-3) * cores))).clamp(0.0, 100.0);
        let (written, disk_read) = (written - self.written, disk_read - self.disk_read);
        Ok(Usage { seconds, cpu_seconds, written, disk_read, ext_cpu })
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn machine() -> Result<Machine> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks: Vec<u64> =
        text.lines().next().unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let idle = ticks.iter().skip(3).take(2).sum();
    // The last two (guests) are counted among the first already.
    Ok(Machine { all: ticks.iter().take(8).sum(), idle })
}

fn io_counts() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/io")?;
    Ok((number(&text, "wchar:")?, number(&text, "read_bytes:")?))
}

/// Highest resident memory of this process so far, in bytes.
pub fn peak_memory() -> Result<u64> {
    Ok(number(&fs::read_to_string("/proc/self/status")?, "VmHWM:")? * 1024)
}

fn number(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes that the files below a folder take on disk: all, and those of the log.
pub fn disk_space(dir: &Path, is_log: &dyn Fn(&str) -> bool) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let (mut all, mut log) = (0, 0);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Files come and go while background work ends.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = metadata.blocks() * 512;
                all += bytes;
                if is_log(&entry.path().to_string_lossy()) {
                    log += bytes;
                }
            }
        }
    }
    Ok((all, log))
}
