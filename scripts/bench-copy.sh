#!/usr/bin/env bash
# COPY beside an earlier build of it, in one run: memory and time for large rows, rows a second for small ones.
#
#   scripts/bench-copy.sh BASE_DUNLIN [DUNLIN] [ROWS]
#
# Each build loads into a single node of its own, one after the other: 100 rows of 4 MiB both ways, and ROWS (1,000,000)
# small rows. Needs /usr/bin/time (Debian's `time`); about 3 GiB of disk.
set -euo pipefail
base=${1:?usage: scripts/bench-copy.sh BASE_DUNLIN [DUNLIN] [ROWS]}
new=${2:-target/release/dunlin}
rows=${3:-1000000}
[ -x /usr/bin/time ] || { echo "this needs /usr/bin/time (Debian package time)"; exit 2; }
work=$(mktemp -d)
node=
cleanup() { [ -z "$node" ] || kill "$node" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT

echo "making the files"
awk 'BEGIN { v = "y"; while (length(v) < 4194304) v = v v; for (i = 0; i < 100; i++) printf "L%03d,%s\n", i, v }' > "$work/large.csv"
awk -v n="$rows" 'BEGIN { for (i = 0; i < n; i++) printf "key%08d,value %d of these\n", i, i }' > "$work/small.csv"

# build, port, statement: prints seconds and KiB at the most
timed() { # binary, label, statement
  /usr/bin/time -f '%e %M' -o "$work/time" "$1" shell 127.0.0.1:19041 -e "$3" > "$work/out" 2>&1 || { cat "$work/out"; exit 1; }
  read -r seconds kib < "$work/time"
  printf '%-8s %-12s %8.1f s %8.0f MiB   %s\n' "$label" "$2" "$seconds" "$((kib / 1024))" "$(tail -n 1 "$work/out")"
}

for label in base new; do
  bin=$base
  [ "$label" = base ] || bin=$new
  rm -rf "$work/data"
  "$bin" local --nodes 1 --base-port 19041 --dir "$work/data" > "$work/log" 2>&1 < <(sleep 100000) &
  node=$!
  for _ in $(seq 300); do
    "$bin" shell 127.0.0.1:19041 -e 'SELECT * FROM kv LIMIT 1' > /dev/null 2>&1 && break
    sleep 0.1
  done
  timed "$bin" "large, in" "COPY kv FROM '$work/large.csv'"
  timed "$bin" "large, out" "COPY kv TO '$work/out.csv'"
  cmp <(sort "$work/out.csv" | md5sum) <(sort "$work/large.csv" | md5sum) || { echo "what came out is not what went in"; exit 1; }
  "$bin" shell 127.0.0.1:19041 -e 'TRUNCATE kv' > /dev/null
  timed "$bin" "small, in" "COPY kv FROM '$work/small.csv'"
  timed "$bin" "small, out" "COPY kv TO '$work/out.csv'"
  kill "$node"; wait "$node" 2>/dev/null || true
  node=
done
