#!/usr/bin/env bash
# rocksdict 0.3.29 (PyPI; bundles RocksDB)
#
# Expected: keys of one Python type come back in that type's order, so that a range read from a key on sees all that
#   is larger. For integers of any size and sign this is so.
# What happens: floats are stored by their bits. Positive ones are in order, negative ones stand behind all of them
#   and run backwards: 0.5, 1.5, 100.0, -0.5, -1.5. A read from -1.0 on gives [-1.5], leaving out -0.5 and every
#   positive key.
# Why it matters: byte order is the only order an LSM store has. An encoding of keys is right if `a < b` holds before
#   and after it for pairs of every sign, and a test with positive numbers does not show that.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" rocksdict==0.3.29 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import sys

from rocksdict import Rdict

seen = {}
for name, keys in (("integers", [2, -1, 300, 0, -300, 10**30]), ("floats", [0.5, -0.5, 1.5, -1.5, 100.0])):
    store = Rdict(f"{sys.argv[1]}/{name}")
    for key in keys:
        store[key] = b""
    seen[name] = list(store.keys())
    print(f"{name}: {seen[name]}, in order: {seen[name] == sorted(keys)}")
    if name == "floats":
        from_minus_one = list(store.keys(from_key=-1.0))
        print("floats from -1.0 on:", from_minus_one, "expected:", sorted(k for k in keys if k >= -1.0))
    store.close()
if (seen["integers"] != sorted(seen["integers"]) or seen["floats"] != [0.5, 1.5, 100.0, -0.5, -1.5]
        or from_minus_one != [-1.5]):
    sys.exit("CHANGED: expected integers in order, negative floats last and backwards")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" "$dir" 2>&1
echo "as stated"
