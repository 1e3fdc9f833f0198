#!/usr/bin/env bash
# A cluster of three local nodes asked for ten times what it can do: how much it still does, how long what it takes up
# takes, what it refuses, and its memory. First the capacity (closed loop, 64 clients), then ten times that in an open
# loop over CONNECTIONS (600) connections with at most 8 statements in flight on each, then the capacity again. Latencies
# are from when a statement was sent: when it was due it often could not be, which is the generator's wait, not the node's.
# Prints a Markdown table.
# SECONDS_EACH (10) bounds each run; DUNLIN_BIN_DIR names a folder with built binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-10}
connections=${CONNECTIONS:-600}
: "${DUNLIN_BENCH_PORT:=23041}"
. scripts/lib-cluster.sh
trap 'stop; rm -rf "$work"' EXIT
start "$work/cluster"
memory() { # the largest resident set of the nodes, MiB
  for pid in $(pgrep -P $launcher); do awk '/VmRSS/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true; done | sort -n | tail -1 | awk '{ printf "%.0f", $1 / 1024 }'
}
bench() { "$bin/dunlin" bench --host "$hosts" --seconds "$seconds" --value-size 100 --format json "$@"; }
row() { # name, JSON; "served" is the second of its three histograms
  refused=$(field OVERLOADED "$2" 1 || true) # none if nothing was refused
  printf '| %s | %.0f/s | %.1f ms | %.1f ms | %.0f/s | %s MiB |\n' "$1" "$(field operations_per_second "$2" 1)" \
    "$(field p50_us "$2" 2 | awk '{ print $1 / 1000 }')" "$(field p99_us "$2" 2 | awk '{ print $1 / 1000 }')" \
    "$(awk -v n="${refused:-0}" -v s="$(field seconds "$2" 1)" 'BEGIN { print n / s }')" "$(memory)"
}
machine
echo
echo "| load at QUORUM, 100 bytes | done | p50 | p99 | refused (OVERLOADED) | memory of the largest node |"
echo "|---|---|---|---|---|---|"
for mix in put get; do
  bench --clients 64 --mix $mix > "$work/json"
  row "$mix: capacity, 64 clients, closed loop" "$work/json"
  rate=$(field operations_per_second "$work/json" 1 | awk '{ printf "%d", 10 * $1 }')
  bench --clients "$connections" --pipeline 8 --rate "$rate" --mix $mix > "$work/json" || true
  row "$mix: $rate/s asked for over $connections connections, open loop" "$work/json"
  bench --clients 64 --mix $mix > "$work/json"
  row "$mix: capacity again" "$work/json"
done
down=$("$bin/nodetool" --host 127.0.0.1 --port $((base + 2)) status | grep -c '^D[NLJ]' || true)
echo
echo "Nodes that are taken for down afterwards: $down."
