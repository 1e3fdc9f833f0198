#!/usr/bin/env bash
# obstore 0.12.1 (PyPI; Python binding of the Rust crate object_store, with typing_extensions 4.16.0)
#
# Expected: the stores of one library behind one interface take the same keys and list alike, so that tests on the
#   store in memory speak for the one on disk.
# What happens: `a` and `a/b`, and a name that ends in `#1`, are objects like others in memory (and in S3) and are
#   refused on disk: the first because a file is no folder, the second because the store on disk keeps such names for
#   uploads under way. And in both a prefix is a folder, not the beginning of a name: `list("a")` has neither `a` nor
#   `ab`.
# Why it matters: snapshots named by table, and a table named like the beginning of another one's path, work in tests
#   and fail on the operator's disk. Whoever writes to such a store must give every object a name that is never a
#   folder of another one and ends in an extension, and must not build a clean-up on prefixes of names.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" \
  obstore==0.12.1 typing_extensions==4.16.0 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import sys

from obstore.store import LocalStore, MemoryStore

KEYS = ["a", "a/b", "ab", "part#1"]


def refused(store):
    out = []
    for key in KEYS:
        try:
            store.put(key, b"x")
        except Exception as error:
            print(f"  {key}: {type(error).__name__}")
            out.append(key)
    return out


print("in memory, refused:")
memory = MemoryStore()
in_memory = refused(memory)
listed = [entry["path"] for batch in memory.list("a") for entry in batch]
print("on disk, refused:")
on_disk = refused(LocalStore(sys.argv[1], mkdir=True))
print("list('a') in memory:", listed)
if in_memory or on_disk != ["a/b", "part#1"] or listed != ["a/b"]:
    sys.exit("CHANGED: expected no refusal in memory, two on disk, and only a/b in the list")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" "$dir/objects" 2>&1
echo "as stated"
