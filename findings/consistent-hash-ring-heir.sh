#!/usr/bin/env bash
# consistent_hash_ring 0.8.0 (Rust crate)
#
# Expected: `replicas(key)` names the nodes that hold a key; when the first of them leaves, the key's new owner is one
#   of the others, which have the data already. That is what a ring with a preference list is for.
# What happens: the replicas are found by hashing the key's hash again and again, each time to another place of the
#   ring, but a removal gives the key to the next node on the ring. With 8 nodes and 3 replicas the new owner is one
#   of the former replicas for 29 of 100 keys only, as chance has it (2 of 7).
# Why it matters: for the other 71 the first read after a node's death goes to a node that has nothing, and all
#   replicas are still alive. Owner, replicas, ranges to move and stand-ins have to come from one walk.
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
consistent_hash_ring = "=0.8.0"
TOML
cat >"$dir/src/main.rs" <<'RS'
use consistent_hash_ring::{Ring, RingBuilder};

const KEYS: usize = 5_000;

fn main() {
    let nodes: Vec<String> = (1..=8).map(|n| format!("node-{n}")).collect();
    let ring: Ring<String> = RingBuilder::default().vnodes(64).nodes_iter(nodes.iter().cloned()).build();
    let without: Vec<Ring<String>> = nodes
        .iter()
        .map(|node| {
            let mut ring = ring.clone();
            ring.remove(node);
            ring
        })
        .collect();
    let (mut first, mut second, mut any) = (0, 0, 0);
    for number in 0..KEYS {
        let key = format!("key-{number}");
        let replicas: Vec<&String> = ring.replicas(&key).take(3).collect();
        first += usize::from(replicas[0] == ring.get(&key));
        let gone = nodes.iter().position(|node| node == replicas[0]).unwrap();
        let heir = without[gone].get(&key);
        second += usize::from(heir == replicas[1]);
        any += usize::from(replicas[1..].contains(&heir));
    }
    println!("8 nodes, 3 replicas, {KEYS} keys: the owner is the first replica for {first}");
    println!("after the owner has left: the new owner is the second replica for {second}, any former replica for {any}");
    if first != KEYS || any * 2 > KEYS {
        println!("CHANGED: expected the first always to be the owner, and a former replica for fewer than half");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe"
echo "as stated"
