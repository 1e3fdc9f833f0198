//! What a batch of runs went through.

use crate::executor::Nanos;
use crate::run::Report;
use std::collections::BTreeMap;
use std::fmt;

/// Sums over runs.
#[derive(Default)]
pub struct Summary {
    runs: u64,
    simulated: Nanos,
    polls: u64,
    messages: u64,
    writes: [u64; 3],
    reads: [u64; 2],
    obligations: u64,
    coverage: BTreeMap<&'static str, u64>,
    branches: BTreeMap<&'static str, u64>,
    /// Seeds with violations.
    pub failed: Vec<u64>,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, seed: u64, report: &Report) {
        self.runs += 1;
        self.simulated += report.simulated;
        self.polls += report.polls;
        self.messages += report.network.sent;
        self.obligations += report.checked.obligations;
        self.writes.iter_mut().zip(report.writes).for_each(|(sum, n)| *sum += n);
        self.reads.iter_mut().zip(report.reads).for_each(|(sum, n)| *sum += n);
        for (sums, counts) in [(&mut self.coverage, &report.coverage), (&mut self.branches, &report.branches)]
        {
            counts.iter().for_each(|(what, times)| *sums.entry(what).or_default() += times);
        }
        if !report.violations.is_empty() {
            self.failed.push(seed);
            self.failed.sort_unstable();
        }
    }

    fn of(&self, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (&'static str, u64)> {
        self.coverage.iter().filter(move |(what, _)| wanted(what)).map(|(what, times)| (*what, *times))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [acknowledged, refused, unknown] = self.writes;
        let [answered, failed] = self.reads;
        writeln!(
            f,
            "seeds: {}, {:.2} simulated hours, {} polls, {} messages",
            self.runs,
            self.simulated as f64 / 3.6e12,
            self.polls,
            self.messages
        )?;
        writeln!(
            f,
            "operations: {}; writes: {acknowledged} acknowledged, {refused} refused, {unknown} unknown; \
             reads: {answered} answered and judged, {failed} failed; {} obligations",
            acknowledged + refused + unknown + answered + failed,
            self.obligations
        )?;
        let faults: Vec<(&str, u64)> =
            self.of(|what| what.starts_with("fault ")).map(|(what, n)| (&what[6..], n)).collect();
        writeln!(f, "faults: {}{}", faults.iter().map(|(_, n)| n).sum::<u64>(), list(faults.into_iter()))?;
        let branches = self.branches.iter().map(|(what, times)| (*what, *times));
        writeln!(f, "rare branches: {}{}", self.branches.values().sum::<u64>(), list(branches))?;
        let is_code = |what: &str| what.starts_with(|first: char| first.is_ascii_uppercase());
        writeln!(f, "errors:{}", list(self.of(is_code)))?;
        writeln!(f, "happenings:{}", list(self.of(|what| !is_code(what) && !what.starts_with("fault "))))
    }
}

/// Each on a line of its own.
fn list<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    counts.map(|(what, times)| format!("\n{times:>10} {what}")).collect()
}
