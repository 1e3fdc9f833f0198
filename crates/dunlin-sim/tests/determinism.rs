//! The same seed runs the same: twice in one process, and in another process.

use dunlin_sim::cli::run_apart;
use dunlin_sim::run::Plan;
use std::process::Command;

const SEEDS: u64 = 20;

fn hash(seed: u64) -> String {
    format!("{:016x}", run_apart(Plan::of_seed(seed)).hash)
}

#[test]
fn twenty_seeds_leave_the_same_trace_in_every_process() {
    let first: Vec<String> = (1..=SEEDS).map(hash).collect();
    for (seed, hash_before) in (1..=SEEDS).zip(&first) {
        assert_eq!(hash(seed), *hash_before, "seed {seed}, again in the same process");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin-sim"))
        .args(["det", "--print", "--start", "1", "--seeds", &SEEDS.to_string()])
        .output()
        .expect("the simulator can be started");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("hashes are text");
    let elsewhere: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(elsewhere, first, "in another process");
}

#[test]
fn different_seeds_leave_different_traces() {
    assert_ne!(hash(1), hash(2));
}
