#!/usr/bin/env bash
# lmdb 3.0.0 (PyPI; bundles the LMDB library)
#
# Expected: when the map is full, deleting makes room: that is what an operator does first.
# What happens: a deletion copies the pages from root to leaf and therefore needs free pages itself. With a map that
#   was filled by puts until MDB_MAP_FULL, deleting key by key, each in a transaction of its own, is refused for about
#   a third of the keys (in a regular pattern: seven go, four are refused), and deleting all keys in one transaction
#   is refused as a whole, so nothing is freed. Only emptying the database (`drop`) goes through.
# Why it matters: "delete until there is room" is no plan for a copy-on-write store, and none for a log-structured one
#   either, where a deletion is one more record. A store needs a reserve that only deletions, and what makes them take
#   effect, may use.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" lmdb==3.0.0 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import sys

import lmdb


def full(name):
    """A map of 1 MiB, filled one put a transaction until it is full."""
    env = lmdb.open(f"{sys.argv[1]}/{name}", map_size=1 << 20, sync=False)
    keys = 0
    try:
        while True:
            with env.begin(write=True) as txn:
                txn.put(b"%08d" % keys, b"x" * 300)
            keys += 1
    except lmdb.MapFullError:
        return env, keys


env, keys = full("one-by-one")
refused = 0
for number in range(keys):
    try:
        with env.begin(write=True) as txn:
            txn.delete(b"%08d" % number)
    except lmdb.MapFullError:
        refused += 1
print(f"LMDB {'.'.join(map(str, lmdb.version()))}: {keys} keys fill the map")
print(f"deleted one by one: {refused} of {keys} refused with MDB_MAP_FULL")

env, keys = full("at-once")
try:
    with env.begin(write=True) as txn:
        for number in range(keys):
            txn.delete(b"%08d" % number)
    at_once = "done"
except lmdb.MapFullError:
    at_once = "refused with MDB_MAP_FULL"
with env.begin() as txn:
    left = txn.stat()["entries"]
print(f"deleted in one transaction: {at_once}, {left} of {keys} keys are left")
with env.begin(write=True) as txn:
    txn.drop(env.open_db(txn=txn), delete=False)
with env.begin() as txn:
    print("dropped:", txn.stat()["entries"], "keys are left")
if not keys // 10 < refused < keys or at_once == "done" or left != keys:
    sys.exit("CHANGED: expected refusals in both")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" "$dir" 2>&1
echo "as stated"
