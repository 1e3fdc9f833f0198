#!/usr/bin/env bash
# Release binaries that need nothing at run time: target/x86_64-unknown-linux-gnu/release/{dunlin,nodetool,dunlin-sim}.
# glibc is linked in, so host names are resolved by DNS and /etc/hosts only.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
  cargo build --release --locked --quiet --target "$target" --bins -p dunlin-cli -p dunlin-nodetool -p dunlin-sim
ls -l "target/$target/release/dunlin" "target/$target/release/nodetool" "target/$target/release/dunlin-sim"
