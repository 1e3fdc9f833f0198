//! Seeds that once failed, and a fixed range of others. Fresh ones: `dunlin-sim sweep`.

use dunlin_sim::cli::run_all;
use dunlin_sim::run::Plan;

/// Threads; the machines of continuous integration have two cores.
const WORKERS: usize = 2;

fn assert_clean(seeds: Vec<u64>) {
    let mut failures = Vec::new();
    run_all(seeds.into_iter(), WORKERS, Plan::of_seed, |seed, report| {
        if let Some(violation) = report.violations.first() {
            failures.push(format!("seed {seed}: {violation}"));
        }
        true
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Seeds of the file, one a line: the number, and what it found.
fn kept_seeds() -> Vec<u64> {
    let lines = include_str!("../seeds.txt").lines();
    let entries = lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries
        .map(|line| {
            let number = line.split_whitespace().next().unwrap_or_default();
            number.parse().unwrap_or_else(|_| panic!("seeds.txt: {line:?} does not begin with a seed"))
        })
        .collect()
}

#[test]
fn seeds_that_once_failed_do_not_fail_again() {
    assert_clean(kept_seeds());
}

#[test]
fn a_few_dozen_seeds_show_no_violation() {
    assert_clean((5000..5040).collect());
}
