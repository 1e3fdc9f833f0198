//! From lines to the table.

use crate::plan::{Metric, ROWS, Row, Target};
use crate::run::Line;
use crate::store::Engine;
use crate::work::Outcome;
use anyhow::{Context as _, Result};
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- engine table: begin -->";
const END: &str = "<!-- engine table: end -->";

/// Median, lowest, highest of the repeats.
struct Figure {
    median: f64,
    low: f64,
    high: f64,
    p99: f64,
    cpu: f64,
    ext_cpu: f64,
}

/// One line for whoever waits.
pub fn progress(line: &Line) -> String {
    let head = format!("{:<12} {:>4} {:<14} #{}", line.workload, line.value, line.engine.name(), line.repeat);
    let Some(outcome) = &line.outcome else {
        return format!("{head} FAILED: {}", line.error.as_deref().unwrap_or_default());
    };
    let (u, p) = (&outcome.usage, &outcome.latencies);
    let mut text = format!(
        "{head} {:>9}/s {:>6.2} s, settled {:>6.2} s, p50 {:.1} p99 {:.1} p999 {:.1} us, {:.2} us CPU/op, {:.0} MiB, ext {:.0} %",
        thousands(outcome.operations as f64 / u.seconds),
        u.seconds,
        outcome.settled.seconds,
        p.p50,
        p.p99,
        p.p999,
        metric_cpu(outcome),
        outcome.peak_memory as f64 / f64::from(1 << 20),
        u.ext_cpu,
    );
    if outcome.user_written > 0 {
        let _ = write!(text, ", WA {:.2}", outcome.settled.written as f64 / outcome.user_written as f64);
    }
    if outcome.user_present > 0 {
        let space = |(all, log): (u64, u64)| (all - log) as f64 / outcome.user_present as f64;
        let _ = write!(text, ", space {:.2}", space((outcome.space, outcome.log)));
        if let Some(compacted) = outcome.compacted {
            let _ = write!(text, " compacted {:.2}", space(compacted));
        }
    }
    if u.disk_read > 0 && outcome.operations > 0 {
        let _ = write!(text, ", {:.1} KiB read/op", u.disk_read as f64 / 1024.0 / outcome.operations as f64);
    }
    text
}

fn metric(outcome: &Outcome, metric: Metric) -> f64 {
    let operations = outcome.operations as f64;
    match metric {
        Metric::Rate => operations / outcome.usage.seconds,
        Metric::Sustained => operations / outcome.settled.seconds,
        Metric::Seconds => outcome.usage.seconds,
        Metric::WriteAmplification => outcome.settled.written as f64 / outcome.user_written as f64,
        Metric::Space => {
            let (all, log) = outcome.compacted.unwrap_or((outcome.space, outcome.log));
            (all - log) as f64 / outcome.user_present as f64
        }
        Metric::Memory => outcome.peak_memory as f64 / f64::from(1 << 20),
    }
}

fn metric_cpu(outcome: &Outcome) -> f64 {
    outcome.settled.cpu_seconds * 1e6 / (outcome.operations as f64).max(1.0)
}

fn figure(lines: &[Line], row: &Row, engine: Engine) -> Option<Figure> {
    let workload = if engine.is_dunlin() { row.workload } else { row.against };
    let outcomes: Vec<&Outcome> = lines
        .iter()
        .filter(|l| l.workload == workload && l.value == row.value && l.engine == engine)
        .filter_map(|l| l.outcome.as_ref())
        .collect();
    let sorted = |of: &dyn Fn(&Outcome) -> f64| {
        let mut all: Vec<f64> = outcomes.iter().map(|o| of(o)).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let median = |all: &[f64]| match all.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => all[n / 2],
        n => (all[n / 2 - 1] + all[n / 2]) / 2.0,
    };
    let all = sorted(&|o| metric(o, row.metric));
    Some(Figure {
        low: *all.first()?,
        high: *all.last()?,
        median: median(&all),
        p99: median(&sorted(&|o| o.latencies.p99)),
        cpu: median(&sorted(&metric_cpu)),
        ext_cpu: median(&sorted(&|o| o.usage.ext_cpu)),
    })
}

fn thousands(rate: f64) -> String {
    match rate {
        r if r >= 999_500.0 => format!("{:.2}M", r / 1e6),
        r if r >= 10_000.0 => format!("{:.0}k", r / 1e3),
        r if r >= 1_000.0 => format!("{:.1}k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

fn show(value: f64, metric: Metric) -> String {
    match metric {
        Metric::Rate | Metric::Sustained => thousands(value),
        Metric::Seconds => format!("{value:.2} s"),
        Metric::WriteAmplification | Metric::Space => format!("{value:.2}"),
        Metric::Memory => format!("{value:.0} MiB"),
    }
}

fn cell(figure: Option<&Figure>, metric: Metric) -> String {
    let Some(f) = figure else { return "–".to_owned() };
    if f.low == f.high {
        return show(f.median, metric);
    }
    format!("{} [{}–{}]", show(f.median, metric), show(f.low, metric), show(f.high, metric))
}

/// The Markdown table of all rows that have figures.
pub fn table(lines: &[Line]) -> String {
    let mut text = String::from(
        "| workload | Dunlin, bare | Dunlin, replica | RocksDB | fjall | LMDB | bare ÷ best | replica ÷ best | target | p99 µs, bare / best | CPU µs/op, bare / best | others' CPU |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let of = |engine| figure(lines, row, engine);
        let (bare, replica) = (of(Engine::DunlinBare), of(Engine::DunlinReplica));
        let (rocks, fjall, lmdb) = (of(Engine::Rocksdb), of(Engine::Fjall), of(Engine::Lmdb));
        let lmdb =
            lmdb.filter(|_| matches!(row.workload, "read" | "read-2" | "scan") && row.metric == Metric::Rate);
        let rocks = better(row.metric, rocks, of(Engine::RocksdbDirect));
        if [&bare, &replica, &rocks, &fjall].iter().all(|f| f.is_none()) {
            continue;
        }
        let cells =
            [&bare, &replica, &rocks, &fjall, &lmdb].map(|f| cell(f.as_ref(), row.metric)).join(" | ");
        let ext =
            [&bare, &replica, &rocks, &fjall].into_iter().flatten().map(|f| f.ext_cpu).fold(0.0, f64::max);
        let best = match row.target {
            Target::OfRocks(_) => rocks,
            _ => better(row.metric, rocks, fjall),
        };
        let ratio = |mine: &Option<Figure>| {
            let (mine, best) = (mine.as_ref()?, best.as_ref()?);
            let seconds = row.metric == Metric::Seconds;
            Some(if seconds { best.median / mine.median } else { mine.median / best.median })
        };
        let show_ratio = |r: Option<f64>| r.map_or("–".to_owned(), |r| format!("{r:.2}"));
        let (target, met) = match row.target {
            Target::AtLeast(t) => (format!("≥ {t}"), ratio(&bare).map(|r| r >= t)),
            Target::AtMost(t) | Target::OfRocks(t) => (format!("≤ {t}"), ratio(&bare).map(|r| r <= t)),
        };
        let verdict = match met {
            Some(true) => " ✓",
            Some(false) => " ✗",
            None => "",
        };
        let timed = matches!(row.metric, Metric::Rate | Metric::Sustained);
        let pair = |of: &dyn Fn(&Figure) -> f64| match (&bare, &best) {
            (Some(a), Some(b)) if timed => format!("{:.3} / {:.3}", of(a), of(b)),
            _ => "–".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {cells} | {} | {} | {target}{verdict} | {} | {} | {ext:.0} % |",
            row.label,
            show_ratio(ratio(&bare)),
            show_ratio(ratio(&replica)),
            pair(&|f| (f.p99 * 100.0).round() / 100.0),
            pair(&|f| (f.cpu * 100.0).round() / 100.0),
        );
    }
    text
}

fn better(metric: Metric, a: Option<Figure>, b: Option<Figure>) -> Option<Figure> {
    match (a, b) {
        (Some(a), Some(b)) => {
            let higher = matches!(metric, Metric::Rate | Metric::Sustained);
            Some(if (a.median >= b.median) == higher { a } else { b })
        }
        (a, b) => a.or(b),
    }
}

/// Puts the table between the marks of a page.
pub fn write_page(page: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(page)?;
    let (head, rest) = text.split_once(BEGIN).context("the page has no mark for the table")?;
    let (_, tail) = rest.split_once(END).context("the page has no mark for the end of the table")?;
    Ok(std::fs::write(page, format!("{head}{BEGIN}\n\n{table}\n{END}{tail}"))?)
}
