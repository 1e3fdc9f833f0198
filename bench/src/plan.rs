//! What is measured, and the table it goes into.

use crate::store::Engine;
use serde::{Deserialize, Serialize};

/// What a child process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    FillSequential,
    FillRandom,
    /// Writes that wait for the disk, one at a time per thread.
    Durable,
    /// The same from clients that are not threads.
    Async,
    Read,
    Absent,
    Scan,
    /// Half reads, half overwrites.
    YcsbA,
    /// 95 % reads.
    YcsbB,
    /// Fills a log, and waits to be killed.
    Crash,
    /// Opens what a killed process left.
    Recovery,
    /// Overwrites everything three times, then compacts.
    Overwrite,
}

/// On which data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// An empty folder that nobody else uses.
    Fresh,
    /// The data set that the workload `fill` leaves.
    Filled,
    /// A data set that does not fit into the memory allowed.
    Cold,
}

/// One or more child processes per engine and repeat.
pub struct Workload {
    pub id: &'static str,
    pub kind: Kind,
    pub value: usize,
    pub threads: usize,
    pub base: Base,
}

impl Workload {
    /// Whether the store of this name takes part.
    pub fn takes(&self, engine: Engine) -> bool {
        match engine {
            Engine::Lmdb => {
                let base = self.kind == Kind::FillRandom && self.threads == 1;
                self.base != Base::Cold && (base || matches!(self.kind, Kind::Read | Kind::Scan))
            }
            Engine::RocksdbDirect => self.base == Base::Cold && self.kind != Kind::FillRandom,
            _ => self.kind != Kind::Async || engine.is_dunlin(),
        }
    }

    /// Its rate depends on the latency of the disk: measured under the scheduling class FIFO.
    pub fn is_disk_bound(&self) -> bool {
        matches!(self.kind, Kind::Durable | Kind::Async)
            || self.base == Base::Cold && self.kind != Kind::FillRandom
    }
}

const fn load(id: &'static str, kind: Kind, value: usize, threads: usize, base: Base) -> Workload {
    Workload { id, kind, value, threads, base }
}

/// In the order they run: what changes a data set comes after what reads it.
pub const WORKLOADS: &[Workload] = &[
    load("fill-seq", Kind::FillSequential, 100, 1, Base::Fresh),
    load("fill-2", Kind::FillRandom, 100, 2, Base::Fresh),
    load("fill", Kind::FillRandom, 100, 1, Base::Filled),
    load("read", Kind::Read, 100, 1, Base::Filled),
    load("read-2", Kind::Read, 100, 2, Base::Filled),
    load("absent", Kind::Absent, 100, 1, Base::Filled),
    load("scan", Kind::Scan, 100, 1, Base::Filled),
    load("ycsb-b", Kind::YcsbB, 100, 2, Base::Filled),
    load("ycsb-a", Kind::YcsbA, 100, 2, Base::Filled),
    load("fill", Kind::FillRandom, 1024, 1, Base::Filled),
    load("read", Kind::Read, 1024, 1, Base::Filled),
    load("scan", Kind::Scan, 1024, 1, Base::Filled),
    load("durable-64", Kind::Durable, 100, 64, Base::Fresh),
    load("async-64", Kind::Async, 100, 2, Base::Fresh),
    load("durable-1", Kind::Durable, 100, 1, Base::Fresh),
    load("cold-fill", Kind::FillRandom, 1024, 1, Base::Cold),
    load("cold-read", Kind::Read, 1024, 1, Base::Cold),
    load("cold-read-8", Kind::Read, 1024, 8, Base::Cold),
    load("cold-absent", Kind::Absent, 1024, 1, Base::Cold),
    load("recovery", Kind::Recovery, 100, 1, Base::Fresh),
    load("recovery", Kind::Recovery, 1024, 1, Base::Fresh),
    load("overwrite", Kind::Overwrite, 100, 1, Base::Fresh),
];

/// Clients of [`Kind::Async`].
pub const CLIENTS: usize = 64;
/// Entries of a scan.
pub const SCAN: usize = 100;
/// Bytes of keys and values that [`Kind::Crash`] leaves in the log.
pub const LOG_BYTES: u64 = 256 << 20;

/// What of an outcome a row shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Operations a second.
    Rate,
    /// Operations a second until background work has ended.
    Sustained,
    /// Seconds; fewer are better.
    Seconds,
    /// Bytes written per byte of keys and values.
    WriteAmplification,
    /// Bytes on disk, log left out, per byte of keys and values, after full compaction.
    Space,
    /// Peak resident memory in MiB.
    Memory,
}

/// What the ratio has to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Target {
    /// The ratio to the better peer, at least.
    AtLeast(f64),
    /// The same, at most.
    AtMost(f64),
    /// The ratio to RocksDB, at most.
    OfRocks(f64),
}

/// A row of the table.
pub struct Row {
    pub label: &'static str,
    /// Of Dunlin.
    pub workload: &'static str,
    /// Of the peers.
    pub against: &'static str,
    pub value: usize,
    pub metric: Metric,
    pub target: Target,
}

const fn row(label: &'static str, workload: &'static str, value: usize, target: f64) -> Row {
    let target = Target::AtLeast(target);
    Row { label, workload, against: workload, value, metric: Metric::Rate, target }
}

const fn with(row: Row, metric: Metric, target: Target) -> Row {
    Row { metric, target, ..row }
}

/// The table of targets.
pub const ROWS: &[Row] = &[
    row("fill sequential, 100 B, 1 thread", "fill-seq", 100, 2.0),
    row("fill random, 100 B, 1 thread", "fill", 100, 2.5),
    row("fill random, 100 B, 2 threads", "fill-2", 100, 3.0),
    with(
        row("fill random, 1 KiB, until compaction has settled", "fill", 1024, 1.8),
        Metric::Sustained,
        Target::AtLeast(1.8),
    ),
    row("durable writes, 100 B, 64 blocking threads", "durable-64", 100, 1.7),
    Row {
        against: "durable-64",
        ..row("durable writes, 100 B, 64 asynchronous clients on 2 threads", "async-64", 100, 3.5)
    },
    row("durable writes, 100 B, one client", "durable-1", 100, 1.0),
    row("point read, present, 100 B, 1 thread", "read", 100, 2.5),
    row("point read, present, 100 B, 2 threads", "read-2", 100, 2.5),
    row("point read, present, 1 KiB, 1 thread", "read", 1024, 2.2),
    row("point read, absent, 100 B, 1 thread", "absent", 100, 2.5),
    row("scan of 100 entries, 100 B", "scan", 100, 3.0),
    row("scan of 100 entries, 1 KiB", "scan", 1024, 2.2),
    row("YCSB-A, 100 B, 2 threads", "ycsb-a", 100, 2.5),
    row("YCSB-B, 100 B, 2 threads", "ycsb-b", 100, 2.2),
    row("larger than memory, 1 KiB, present, 1 thread", "cold-read", 1024, 1.3),
    row("larger than memory, 1 KiB, present, 8 threads", "cold-read-8", 1024, 1.15),
    row("larger than memory, 1 KiB, absent, 1 thread", "cold-absent", 1024, 3.0),
    with(
        row("recovery of a 256 MiB log, 100 B", "recovery", 100, 8.0),
        Metric::Seconds,
        Target::AtLeast(8.0),
    ),
    with(
        row("recovery of a 256 MiB log, 1 KiB", "recovery", 1024, 3.0),
        Metric::Seconds,
        Target::AtLeast(3.0),
    ),
    with(
        row("write amplification, 100 B, overwritten 3 times", "overwrite", 100, 0.0),
        Metric::WriteAmplification,
        Target::OfRocks(0.85),
    ),
    with(
        row("space after full compaction, 100 B", "overwrite", 100, 0.0),
        Metric::Space,
        Target::AtMost(1.0),
    ),
    with(row("peak memory, fill random 100 B", "fill", 100, 0.0), Metric::Memory, Target::AtMost(1.1)),
    with(row("peak memory, fill random 1 KiB", "fill", 1024, 0.0), Metric::Memory, Target::AtMost(1.1)),
    with(row("peak memory, point reads 1 KiB", "read", 1024, 0.0), Metric::Memory, Target::AtMost(1.1)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_workload() {
        for row in ROWS {
            for id in [row.workload, row.against] {
                assert!(WORKLOADS.iter().any(|w| w.id == id && w.value == row.value), "{}", row.label);
            }
        }
    }
}
