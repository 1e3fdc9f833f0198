#!/usr/bin/env bash
# quick_cache 0.7.0 (Rust crate)
#
# Expected: a cache of 64 MiB keeps an item of 4 MiB when there is room, at least for the moment; where it does not
#   keep one, the entry of that key stays as it was or the caller is told.
# What happens: the capacity is divided among the shards (here 16, set by hand; by default it goes with the number of
#   cores), and an item about as large as a shard's part (0.97 of it) is dropped inside `insert`, which returns
#   nothing: of items of 3 MiB, each alone in the cache, 100 of 100 are found again, of 4 MiB none. If the key had a
#   smaller value before, that is gone too.
# Why it matters: the largest values are the dearest to read again and are the ones that are never cached, from a size
#   that depends on the machine. A block or row cache needs its own bound on what it takes, below the shard's part,
#   and a count of what it turned away.
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
quick_cache = "=0.7.0"
TOML
cat >"$dir/src/main.rs" <<'RS'
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

const MIB: u64 = 1 << 20;

/// The value is the weight.
#[derive(Clone)]
struct Weight;

impl Weighter<u64, u64> for Weight {
    fn weight(&self, _key: &u64, value: &u64) -> u64 {
        *value
    }
}

fn main() {
    let options = OptionsBuilder::new()
        .shards(16)
        .estimated_items_capacity(16 * 1024)
        .weight_capacity(64 * MIB)
        .build()
        .unwrap();
    let cache = Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
    println!("{} shards, {} MiB in all", cache.num_shards(), cache.capacity() / MIB);
    let mut kept = Vec::new();
    for mib in [1, 2, 3, 4, 8] {
        let found = (0..100)
            .filter(|&key| {
                cache.clear();
                cache.insert(key, mib * MIB);
                cache.get(&key).is_some()
            })
            .count();
        println!("an item of {mib} MiB in the empty cache: found again {found} of 100 times");
        kept.push(found);
    }
    cache.clear();
    cache.insert(7, MIB);
    let before = cache.get(&7);
    cache.insert(7, 4 * MIB);
    let after = cache.get(&7);
    println!("a value of 1 MiB replaced by one of 4 MiB: before {before:?}, after {after:?}");
    if kept != [100, 100, 100, 0, 0] || before.is_none() || after.is_some() {
        println!("CHANGED: expected 100, 100, 100, 0 and 0, and nothing after the replacement");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe"
echo "as stated"
