#!/usr/bin/env bash
# phi-accrual 0.1.0 (Rust crate)
#
# Expected: the suspicion phi follows from how a silence compares with the beats before it: it is the same whether
#   times are given in seconds or in milliseconds.
# What happens: the mean is taken as beats per unit of time where the length of an interval is meant. For one beat per
#   unit the two are the same number, which is how the crate's own test runs. With beats every second, given in
#   seconds, a silence of two intervals has phi 37; the same beats in milliseconds, with the lower bound of the
#   deviation scaled as well, have 1.6 there and 7.3 after five. A beat that comes in time has 0.3 and 0.8.
# Why it matters: a detector has to be tested with intervals other than 1, and for what one sets: after how long a
#   silence a peer is down. With the usual threshold of 8 this one finds a dead peer after 2 or after 6 intervals, by
#   the unit.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[dependencies]
phi-accrual = "=0.1.0"
TOML
cat >"$dir/src/main.rs" <<'RS'
use phi_accrual::PhiFailureDetector;

/// Phi after silences of 1, 2 and 5 intervals, and the first tenth of an interval at which it passes 8.
fn after_regular_beats(interval: u64) -> ([f64; 3], f64) {
    let mut detector = PhiFailureDetector::new().min_stddev(interval as f64 * 0.1);
    for beat in 0..100 {
        detector.heartbeat(beat * interval);
    }
    let last = 99 * interval;
    let phis = [1, 2, 5].map(|silence| detector.phi(last + silence * interval));
    let down = (0..100).map(|n| last + n * interval / 10).find(|&at| detector.phi(at) > 8.0).unwrap();
    (phis, (down - last) as f64 / interval as f64)
}

fn main() {
    let (seconds, down_s) = after_regular_beats(1);
    let (millis, down_ms) = after_regular_beats(1_000);
    println!("a beat a second, phi after 1, 2 and 5 intervals of silence:");
    println!("in seconds:      {seconds:.1?}, above 8 after {down_s} intervals");
    println!("in milliseconds: {millis:.1?}, above 8 after {down_ms} intervals");
    if seconds[1] < 30.0 || millis[1] > 2.0 || down_s != 2.0 || down_ms < 5.0 {
        println!("CHANGED: expected another verdict in each unit");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe"
echo "as stated"
