#!/usr/bin/env bash
# The cluster's figures, each the median of three: writes and reads per second at QUORUM on three local nodes with 64
# and 256 clients (100-byte values), p50 and p99, in a table with siblings and in one where the last write wins; cold
# start to `ready`; wall time of `nodetool status`.
# Prints a Markdown table. SECONDS_EACH (5) bounds each run; DUNLIN_BIN_DIR names a folder with built binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-5}
: "${DUNLIN_BENCH_PORT:=22041}"
. scripts/lib-cluster.sh
trap 'stop; rm -rf "$work"' EXIT
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

machine
echo
echo "| figure | median of 3 |"
echo "|---|---|"
for run in 1 2 3; do
  began=$(now_ms); start "$work/cold$run"; echo $(($(now_ms) - began)) >> "$work/cold"; stop
done
echo "| cold start of three nodes to \`ready\` (certificates made, cluster founded) | $(median < "$work/cold") ms |"

start "$work/cluster"
for _ in 1 2 3; do
  began=$(date +%s%N); "$bin/nodetool" --host 127.0.0.1 --port $((base + 2)) status > /dev/null
  echo $((($(date +%s%N) - began) / 100000)) >> "$work/status"
done
echo "| \`nodetool status\`, wall time | $(median < "$work/status" | awk '{ printf "%.1f", $1 / 10 }') ms |"

"$bin/dunlin" shell "127.0.0.1:$base" -e "CREATE TABLE lww (key text PRIMARY KEY, value text) WITH conflicts = 'last_write_wins';" > /dev/null
for clients in 64 256; do
  for mix in put get a; do
    # The two modes take turns, so that whatever else the machine does meets both.
    for run in 1 2 3; do
      for table in kv lww; do
        "$bin/dunlin" bench --host "$hosts" --table dunlin.$table --clients $clients --seconds "$seconds" --value-size 100 --mix $mix --seed $run --format json > "$work/json"
        side=2; [ $mix = get ] && side=1 # reads come before writes
        field operations_per_second "$work/json" 1 >> "$work/$table$mix$clients.ops"
        for p in p50_us p99_us; do field $p "$work/json" $side >> "$work/$table$mix$clients.$p"; done
      done
    done
    for table in kv lww; do
      what=siblings; [ $table = lww ] && what=last_write_wins
      case $mix in a) name="half reads, half writes (p50, p99 of writes)";; *) name=$mix;; esac
      printf '| %s at QUORUM, %s, %s clients, 100 bytes | %.0f/s, p50 %.0f us, p99 %.0f us |\n' "$name" $what $clients \
        "$(median < "$work/$table$mix$clients.ops")" "$(median < "$work/$table$mix$clients.p50_us")" "$(median < "$work/$table$mix$clients.p99_us")"
    done
    ratio=$(awk -v a="$(median < "$work/kv$mix$clients.ops")" -v b="$(median < "$work/lww$mix$clients.ops")" 'BEGIN { printf "%.2f", a / b }')
    echo "| siblings ÷ last_write_wins, $mix, $clients clients | $ratio |"
  done
done
