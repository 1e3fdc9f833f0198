#!/usr/bin/env bash
# hdrhistogram 7.6.0 (Rust crate)
#
# Expected: with small counters (`Histogram<u8>`, `Histogram<u16>`, offered to save memory) the documentation says
#   that counts stop at the counter's maximum: percentiles lean towards the rarer values.
# What happens: once one bucket has stopped, every percentile up to 100 can be 0, a value that was never recorded: of
#   1,000 times 5 and 10 times 500 with u8 counters, `len()` is 1,010 and the 50th, 90th and 99th percentile are 0.
#   The number of samples goes on counting, the search for the percentile's rank runs past the last bucket and answers
#   0. With u64 counters they are 5, 5 and 500 for the 99.9th.
# Why it matters: latencies crowd in few buckets, so a busy node is where it happens, and an alarm on "p99 above"
#   stays silent for ever. A histogram per table or peer with small counters needs a reset before 255 or 65,535 equal
#   values, or no small counters.
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
hdrhistogram = { version = "=7.6.0", default-features = false }
TOML
cat >"$dir/src/main.rs" <<'RS'
use hdrhistogram::{Counter, Histogram};

fn percentiles<C: Counter>() -> (u64, Vec<u64>) {
    let mut histogram = Histogram::<C>::new(3).unwrap();
    for (value, times) in [(5, 1_000), (500, 10)] {
        for _ in 0..times {
            histogram.record(value).unwrap();
        }
    }
    (histogram.len(), [0.5, 0.9, 0.99, 0.999].map(|q| histogram.value_at_quantile(q)).to_vec())
}

fn main() {
    let (small, large) = (percentiles::<u8>(), percentiles::<u64>());
    println!("u8 counters:  {} samples, p50 p90 p99 p99.9: {:?}", small.0, small.1);
    println!("u64 counters: {} samples, p50 p90 p99 p99.9: {:?}", large.0, large.1);
    if small != (1_010, vec![0; 4]) || large != (1_010, vec![5, 5, 5, 500]) {
        println!("CHANGED: expected 0 for each percentile with u8 counters, 5, 5, 5 and 500 with u64 counters");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe"
echo "as stated"
