#!/usr/bin/env bash
# The engine beside RocksDB, fjall and LMDB: every workload of docs/benchmarks.md, three times, engines in turn; about
# an hour. Writes the table into docs/benchmarks.md and the single results to bench/target/results.jsonl.
# Arguments go to `enginebench run`: --quick, --only read,scan, --engines dunlin-bare,rocksdb, --perf FOLDER, ...
# RocksDB is built from source: 10 to 40 minutes the first time; needs clang and libclang. Run as root on a quiet machine:
# durable workloads are measured under the scheduling class FIFO, and the one larger than memory in a control group.
set -euo pipefail
cd "$(dirname "$0")/.."
# For all engines alike; RocksDB picks its checksum instructions by it.
export RUSTFLAGS="-C target-cpu=x86-64-v3 -C target-feature=+pclmulqdq"
target=${CARGO_TARGET_DIR:-bench/target}
CARGO_TARGET_DIR=$target cargo build --release --locked --manifest-path bench/Cargo.toml
page=(--page docs/benchmarks.md)
for argument; do
  # A part of the table does not replace the whole.
  case $argument in --quick | --only* | --engines* | --values* | --page* | --perf* | --repeats*) page=() ;; esac
done
data=${ENGINEBENCH_DIR:-$target/data}
mkdir -p "$data"
exec "$target/release/enginebench" run --dir "$data" --json "$target/results.jsonl" "${page[@]}" "$@"
