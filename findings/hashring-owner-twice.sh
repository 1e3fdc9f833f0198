#!/usr/bin/env bash
# hashring 0.3.6 (Rust crate)
#
# Expected: `get_with_replicas(key, n)` gives the owner and the n nodes behind it, and when the ring has fewer, all
#   nodes once, as its documentation says.
# What happens: with n equal to the number of nodes the walk goes one step too far: three nodes, n = 3 gives four
#   entries, c b a c, the owner at both ends. n = 2 and n = 4 give three. A node that was added a second time is on
#   the ring twice: with n = 2 it then fills two of the three places for 84 of 100 keys.
# Why it matters: "as many replicas as nodes" is the usual size of a small cluster. Whoever counts acknowledgements by
#   entries takes two answers of one node for a quorum. A walk has to collect distinct nodes and to be tested with
#   fewer, as many and more nodes than replicas.
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
hashring = "=0.3.6"
TOML
cat >"$dir/src/main.rs" <<'RS'
use hashring::HashRing;

fn main() {
    let mut ring = HashRing::new();
    for node in ["a", "b", "c"] {
        ring.add(node);
    }
    let mut lengths = Vec::new();
    for replicas in 1..=4 {
        let nodes = ring.get_with_replicas(&"key", replicas).unwrap();
        println!("3 nodes, owner and {replicas} more: {nodes:?}");
        lengths.push(nodes.len());
    }
    let three = ring.get_with_replicas(&"key", 3).unwrap();
    let owner_twice = three[0] == three[3];

    ring.add("a");
    let keys: Vec<String> = (0..1000).map(|n| format!("key-{n}")).collect();
    let twice = |nodes: &[&str]| nodes.iter().filter(|&&node| node == "a").count() == 2;
    let keys_with_twice = keys.iter().filter(|key| twice(&ring.get_with_replicas(key, 2).unwrap())).count();
    println!("a added again: {} nodes on the ring, a twice among 3 for {keys_with_twice} of 1000 keys", ring.len());
    if lengths != [2, 3, 4, 3] || !owner_twice || keys_with_twice == 0 {
        println!("CHANGED: expected 2, 3, 4 and 3 entries, the owner twice in the third");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe"
echo "as stated"
