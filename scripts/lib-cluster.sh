# Sourced by the scripts that measure a cluster, from the repository's root: binaries in $bin (DUNLIN_BIN_DIR names a
# folder with built ones), three local nodes on ports from $base (DUNLIN_BENCH_PORT), reached at $hosts.
# shellcheck shell=bash
bin=${DUNLIN_BIN_DIR:-}
if [ -z "$bin" ]; then
  cargo build --release --quiet --locked --bins -p dunlin-cli -p dunlin-nodetool
  bin=target/release
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/dunlin-bench.XXXXXX")
base=$DUNLIN_BENCH_PORT
hosts="127.0.0.1:$base,127.0.0.1:$((base + 10)),127.0.0.1:$((base + 20))"
launcher=

start() { # folder; returns when the cluster is ready
  "$bin/dunlin" local --nodes 3 --dir "$1" --base-port "$base" > "$work/out" 2>&1 &
  launcher=$!
  until grep -qsx ready "$work/out"; do
    kill -0 $launcher 2>/dev/null || { cat "$work/out"; exit 1; }
    sleep 0.01
  done
}
stop() { [ -z "$launcher" ] || { kill -TERM $launcher 2>/dev/null || true; wait $launcher 2>/dev/null || true; launcher=; }; }

# The n-th number under that name in a file of JSON: name, file, n. Fails if there is none.
field() { grep -o "\"$1\": *[0-9.]*" "$2" | sed 's/.*: *//' | sed -n "$3p"; }

machine() { echo "machine: $(nproc) cores, $(awk -F: '/model name/ { print $2; exit }' /proc/cpuinfo | sed 's/^ //'), $(uname -sr); commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"; }
