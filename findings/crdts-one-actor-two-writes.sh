#!/usr/bin/env bash
# crdts 7.3.2 (Rust crate)
#
# Expected: a multi-value register keeps concurrent writes side by side, and replicas that saw the same operations, in
#   whatever order, hold the same. Its documentation proposes to ship the context of a read to clients and to make the
#   write of what comes back.
# What happens: two writes that one actor makes from one read (two clients of one server that both read before either
#   wrote) get the same clock. The second to arrive replaces the first, without a sibling, and replicas that get the
#   two in different order keep different values under equal clocks: merging both ways changes nothing, ever.
# Why it matters: with a server as the actor, as in Dynamo, a version vector counts the server's events, not the
#   client's knowledge. A write needs a dot of its own, minted where it is stored, beside the context it supersedes;
#   then both are siblings, and equal clocks mean equal values.
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
crdts = { version = "=7.3.2", default-features = false }
TOML
cat >"$dir/src/main.rs" <<'RS'
use crdts::{CmRDT, CvRDT, MVReg};

fn main() {
    let empty: MVReg<&str, &str> = MVReg::new();
    let of_alice = empty.write("from alice", empty.read().derive_add_ctx("server"));
    let of_bob = empty.write("from bob", empty.read().derive_add_ctx("server"));

    let (mut here, mut there) = (empty.clone(), empty);
    here.apply(of_alice.clone());
    here.apply(of_bob.clone());
    there.apply(of_bob);
    there.apply(of_alice);
    println!("two writes from one read, in one order: {:?}, in the other: {:?}", here.read().val, there.read().val);

    let (here_before, there_before) = (here.clone(), there.clone());
    here.merge(there_before);
    there.merge(here_before);
    let (here, there) = (here.read(), there.read());
    println!("after merging both ways: {:?} and {:?}", here.val, there.val);
    println!("clocks are equal: {}", here.add_clock == there.add_clock);
    if here.val != ["from bob"] || there.val != ["from alice"] || here.add_clock != there.add_clock {
        println!("CHANGED: expected one value each, different ones, under equal clocks");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe"
echo "as stated"
