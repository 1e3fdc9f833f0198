//! What each command does.

use super::batch::{run_all, run_apart};
use super::clock::Stopwatch;
use super::log;
use super::summary::Summary;
use crate::options::Options;
use crate::planted::{self, ALL};
use crate::run::{Plan, Report};
use clap::{Parser, Subcommand};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Whole clusters in one thread under a seed: faults, workload, checkers.
#[derive(Parser, Debug)]
#[command(name = "dunlin-sim", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Runs one seed and tells everything about it.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Bug to plant, by name.
        #[arg(long)]
        planted: Option<String>,
        /// Only these faults of the plan, by number.
        #[arg(long, value_delimiter = ',')]
        only: Option<Vec<usize>>,
        /// Shows the nodes' log, with a filter as of RUST_LOG (`info`, `dunlin_server=debug`).
        #[arg(long)]
        log: Option<String>,
    },
    /// Runs many seeds.
    Sweep {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first one.
        #[arg(long, conflicts_with = "from_commit")]
        start: Option<u64>,
        /// Takes the first one from a commit's hash, so that each commit is tried under other seeds.
        #[arg(long)]
        from_commit: Option<String>,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Ends at the first violation.
        #[arg(long)]
        fail_fast: bool,
    },
    /// Runs each seed twice and compares the hashes of the traces.
    Det {
        /// How many seeds.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        start: u64,
        /// Prints seed and hash only, to be compared with another process.
        #[arg(long)]
        print: bool,
    },
    /// Plants each bug and looks for a seed under which a checker sees it.
    Planted {
        /// Seeds to try for each bug.
        #[arg(long, default_value_t = 500)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        start: u64,
        /// Only this bug.
        #[arg(long)]
        bug: Option<String>,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Looks for the fewest faults under which a seed still fails.
    Shrink {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Bug to plant, by name.
        #[arg(long)]
        planted: Option<String>,
    },
}

/// Executes a command.
pub fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run { seed, planted, only, log } => {
            if let Some(filter) = log {
                log::show(&filter)?;
            }
            one(&plan_of(seed, planted.as_deref(), only.as_deref())?)
        }
        Command::Sweep { seeds, start, from_commit, jobs, fail_fast } => {
            let start = match (start, from_commit) {
                (Some(start), _) => start,
                (None, Some(commit)) => seed_of_commit(&commit)?,
                (None, None) => 1,
            };
            Ok(sweep(start, seeds, jobs, fail_fast))
        }
        Command::Det { seeds, start, print } => Ok(determinism(start, seeds, print)),
        Command::Planted { seeds, start, bug, jobs } => find_planted(start, seeds, bug.as_deref(), jobs),
        Command::Shrink { seed, planted } => shrink(plan_of(seed, planted.as_deref(), None)?),
    }
}

fn plan_of(seed: u64, planted: Option<&str>, only: Option<&[usize]>) -> anyhow::Result<Plan> {
    let bug = planted.map(|name| planted::by_name(name).ok_or_else(|| no_such_bug(name))).transpose()?;
    let mut plan = Plan::of(Options::draw(seed, bug));
    if let Some(only) = only {
        let kept = only.iter().filter_map(|number| plan.faults.get(*number).cloned());
        plan.faults = kept.collect();
    }
    Ok(plan)
}

fn no_such_bug(name: &str) -> anyhow::Error {
    let names: Vec<String> = ALL.iter().map(|bug| format!("{bug:?}")).collect();
    anyhow::anyhow!("no planted bug {name:?}; there are {}", names.join(", "))
}

/// Seeds of a commit: its first 40 bits, times room for a million seeds.
fn seed_of_commit(commit: &str) -> anyhow::Result<u64> {
    let digits = commit.get(..10).unwrap_or(commit);
    Ok(u64::from_str_radix(digits, 16)?.wrapping_mul(1_000_000))
}

fn one(plan: &Plan) -> anyhow::Result<ExitCode> {
    println!("{}", plan.options.summary());
    for (number, planned) in plan.faults.iter().enumerate() {
        println!("{number:>3} {:>8.3} s {:?}", planned.at as f64 / 1e9, planned.fault);
    }
    let watch = Stopwatch::start();
    let report = run_apart(plan.clone());
    println!("{}", describe(&report));
    let mut alone = Summary::default();
    alone.add(plan.options.seed, &report);
    print!("{alone}");
    println!("{:.2} s of CPU", watch.cpu().as_secs_f64());
    Ok(verdict(plan, &report))
}

fn describe(report: &Report) -> String {
    let [acknowledged, refused, unknown] = report.writes;
    let [answered, failed] = report.reads;
    format!(
        "hash {:016x}  simulated {:.1} s, {} polls, {} messages ({} late, {} lost, {} twice)\n\
         writes: {acknowledged} acknowledged, {refused} refused, {unknown} unknown; reads: {answered} answered, \
         {failed} failed; replicas equal {:.1} s after healing",
        report.hash,
        report.simulated as f64 / 1e9,
        report.polls,
        report.network.sent,
        report.network.late,
        report.network.lost,
        report.network.duplicated,
        report.healed_in as f64 / 1e9,
    )
}

/// Violations shown of one run.
const SHOWN_MAX: usize = 5;

fn verdict(plan: &Plan, report: &Report) -> ExitCode {
    if report.violations.is_empty() {
        println!("no violation");
        return ExitCode::SUCCESS;
    }
    tell_violations(plan.options.seed, report);
    ExitCode::FAILURE
}

fn tell_violations(seed: u64, report: &Report) {
    println!("seed {seed}: {} violations", report.violations.len());
    for violation in report.violations.iter().take(SHOWN_MAX) {
        println!("  {violation}");
    }
    println!("  replay: cargo run --release -p dunlin-sim -- run --seed {seed}");
}

fn sweep(start: u64, seeds: u64, jobs: usize, fail_fast: bool) -> ExitCode {
    println!("seeds {start}..{}", start + seeds);
    let watch = Stopwatch::start();
    let mut batch = Summary::default();
    run_all(start..start + seeds, jobs, Plan::of_seed, |seed, report| {
        batch.add(seed, &report);
        if !report.violations.is_empty() {
            tell_violations(seed, &report);
        }
        !fail_fast || batch.failed.is_empty()
    });
    print!("{batch}");
    println!("time: {:.1} s, {:.1} s of CPU", watch.elapsed().as_secs_f64(), watch.cpu().as_secs_f64());
    if batch.failed.is_empty() {
        println!("no violation");
        return ExitCode::SUCCESS;
    }
    println!("{} failing seeds: {:?}", batch.failed.len(), batch.failed);
    ExitCode::FAILURE
}

fn determinism(start: u64, seeds: u64, print: bool) -> ExitCode {
    let mut different = 0;
    for seed in start..start + seeds {
        let first = run_apart(Plan::of_seed(seed)).hash;
        if print {
            println!("{seed} {first:016x}");
            continue;
        }
        let second = run_apart(Plan::of_seed(seed)).hash;
        if first != second {
            different += 1;
            println!("seed {seed}: {first:016x} and {second:016x}");
        }
    }
    if !print {
        println!("{seeds} seeds twice, {different} with different traces");
    }
    if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn find_planted(start: u64, seeds: u64, only: Option<&str>, jobs: usize) -> anyhow::Result<ExitCode> {
    let only = only.map(|name| planted::by_name(name).ok_or_else(|| no_such_bug(name))).transpose()?;
    let mut missed = 0;
    for bug in ALL.into_iter().filter(|bug| only.is_none_or(|only| only == *bug)) {
        let watch = Stopwatch::start();
        // By oracle: after how many seeds it saw the bug, and what it said.
        let mut caught: BTreeMap<u8, (u64, String)> = BTreeMap::new();
        let mut tried = 0;
        let plan = |seed| Plan::of(Options::draw(seed, Some(bug)));
        run_all(start..start + seeds, jobs, plan, |seed, report| {
            tried += 1;
            for violation in &report.violations {
                let says = || (tried, format!("seed {seed}: {violation}"));
                caught.entry(violation.rule.oracle()).or_insert_with(says);
            }
            !caught.contains_key(&planted::oracle_of(bug))
        });
        let cpu = watch.cpu().as_secs_f64();
        match caught.get(&planted::oracle_of(bug)) {
            Some((after, says)) => println!("{bug:?}: after {after} seeds ({cpu:.1} s of CPU), {says}"),
            None => {
                missed += 1;
                println!(
                    "{bug:?}: NOT caught by oracle {} within {seeds} seeds ({cpu:.1} s of CPU)",
                    planted::oracle_of(bug)
                );
            }
        }
        for (oracle, (after, says)) in caught.iter().filter(|(o, _)| **o != planted::oracle_of(bug)) {
            println!("    oracle {oracle} after {after} seeds, {says}");
        }
    }
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shrink(mut plan: Plan) -> anyhow::Result<ExitCode> {
    let seed = plan.options.seed;
    let first = run_apart(plan.clone());
    let Some(rule) = first.violations.first().map(|violation| violation.rule) else {
        println!("seed {seed} has no violation");
        return Ok(ExitCode::SUCCESS);
    };
    let mut kept: Vec<usize> = (0..plan.faults.len()).collect();
    let all = plan.faults.clone();
    let mut at = 0;
    while at < kept.len() {
        let mut fewer = kept.clone();
        fewer.remove(at);
        plan.faults = fewer.iter().map(|number| all[*number].clone()).collect();
        let report = run_apart(plan.clone());
        if report.violations.iter().any(|violation| violation.rule == rule) {
            kept = fewer;
        } else {
            at += 1;
        }
    }
    println!("{rule:?} needs {} of {} faults:", kept.len(), all.len());
    for number in &kept {
        println!("{number:>3} {:>8.3} s {:?}", all[*number].at as f64 / 1e9, all[*number].fault);
    }
    let list: Vec<String> = kept.iter().map(ToString::to_string).collect();
    println!("replay: cargo run --release -p dunlin-sim -- run --seed {seed} --only {}", list.join(","));
    Ok(ExitCode::FAILURE)
}
