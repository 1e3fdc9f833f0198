#!/usr/bin/env bash
# diskcache 5.6.3 (PyPI)
#
# Expected: a key that is equal finds the entry, as in a dictionary: `("region", "region")` is one key, however its
#   two strings came about.
# What happens: a tuple is stored by its pickle, and a pickle says "the same object again" where a tuple holds one
#   object twice. So a tuple of one string twice and a tuple of two equal strings are two keys: the second misses what
#   the first stored, and after a second `set` both stand in the cache, equal, with values of their own. Strings from
#   the source are one object, strings that were parsed are not: tests pass, readers of files miss.
# Why it matters: key bytes must come from the value alone. A serialisation that is right for reading back (every
#   pickle here gives the same tuple) is not thereby canonical, and a store that hashes or compares such bytes has two
#   copies of one key that no repair brings together.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" diskcache==5.6.3 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import sys

import diskcache

cache = diskcache.Cache(sys.argv[1])
one = "region"
two = "".join(["reg", "ion"])
first, second = (one, one), (one, two)
cache[first] = "set by the first key"
equal, found = first == second, cache.get(second)
print("keys are equal:", equal, "- hash equally:", hash(first) == hash(second))
print("the second key finds:", found)
cache[second] = "set by the second key"
entries = [(key, cache[key]) for key in (first, second)]
print("entries after both were set:", len(cache), entries)
if not equal or found is not None or len(cache) != 2:
    sys.exit("CHANGED: expected a miss and two entries")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" "$dir/cache" 2>&1
echo "as stated"
