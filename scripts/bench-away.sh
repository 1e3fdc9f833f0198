#!/usr/bin/env bash
# A node of three is killed under load, stays away for AWAY (60) seconds, and comes back while the load goes on, with
# anti-entropy off: how many hints wait for it, how long they take to be delivered, and in how many records its copy
# differs from the others when the load is over and no hint is left (hints and read repair then did all of it). Reads
# and writes are half and half at QUORUM over KEYS (100000) keys of 100 bytes, RATE (2000) statements a second in an
# open loop. Prints a Markdown table; exit status 1 if copies differ. DUNLIN_BIN_DIR names a folder with built binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
away=${AWAY:-60}
rate=${RATE:-2000}
keys=${KEYS:-100000}
before=${BEFORE:-10}
after=${AFTER:-30}
: "${DUNLIN_BENCH_PORT:=24041}"
. scripts/lib-cluster.sh
export DUNLIN_REPAIR__INTERVAL_S=0
restarted= load=
finish() {
  status=$?
  for pid in $load $restarted $launcher; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $load $restarted $launcher; do wait "$pid" 2>/dev/null || true; done
  if [ "$status" = 0 ]; then rm -rf "$work"; else echo "kept for a look: $work"; fi
  exit "$status"
}
trap finish EXIT
start "$work/cluster"
tool() { node=$1; shift; "$bin/nodetool" --port $((base + 2 + 10 * (node - 1))) "$@"; }
hinted() { # the sum of a field over nodes 1 and 2
  for node in 1 2; do tool $node --format json hints list; done | { grep -Eo "\"$1\": *[0-9]+" || true; } | awk '{ s += $2 } END { print s + 0 }'
}
# Records in which node 3 differs from the others; comparing mends them.
differing() { tool 3 --format json repair dunlin kv | grep -Eo '"records_(sent|received)": *[0-9]+' | awk '{ s += $2 } END { print s + 0 }'; }
now() { date +%s%N; }
seconds_since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", (b - a) / 1e9 }'; }

asked="127.0.0.1:$base,127.0.0.1:$((base + 10))" # not the one that goes away
"$bin/dunlin" bench --host "$asked" --clients 32 --rate "$rate" --pipeline 8 --keys "$keys" --value-size 100 --mix a \
  --seconds $((before + away + after)) --format json > "$work/json" &
load=$!
sleep "$before"
victim=$(pgrep -P $launcher -f "cluster/n3/dunlin.toml" | head -1)
kill -9 "$victim"
sleep "$away"
kill -0 $load 2>/dev/null || { echo "the load was over before the node came back: it proves nothing"; exit 1; }
kept=$(hinted count) bytes=$(hinted bytes)
began=$(now)
"$bin/dunlin" server --config "$work/cluster/n3/dunlin.toml" 2> "$work/n3.log" &
restarted=$!
until [ "$(tool 1 --format json status 2>/dev/null | grep -c '"up": *true')" = 3 ] &&
  [ "$(tool 2 --format json status 2>/dev/null | grep -c '"up": *true')" = 3 ]; do sleep 0.05; done
up=$(seconds_since "$began")
began=$(now)
tool 1 hints wait --timeout 600 > /dev/null
tool 2 hints wait --timeout 600 > /dev/null
emptied=$(seconds_since "$began")
kill -0 $load 2>/dev/null && during=yes || during=no
wait $load
load=
tool 1 hints wait --timeout 600 > /dev/null
tool 2 hints wait --timeout 600 > /dev/null
delivered=$(hinted delivered) dropped=$(hinted dropped)
found=$(differing)

machine
echo
echo "| a node of three away for $away s under $rate statements/s, half writes, $keys keys; anti-entropy off | |"
echo "|---|---|"
echo "| hints kept when it came back | $kept ($((bytes / 1024)) KiB) |"
echo "| started and seen as up after | $up s |"
echo "| hints of before delivered after another | $emptied s (load still on: $during) |"
echo "| hints delivered in all, dropped | $delivered, $dropped |"
echo "| records that differed when the load was over | $found |"
[ "$found" = 0 ]
