#!/usr/bin/env bash
# cassandra-driver 3.30.1 (PyPI, with geomet 1.1.0, click 8.5.1, Deprecated 1.3.1, wrapt 2.5.2)
#
# Expected: a CQL `timestamp` is a 64-bit count of milliseconds; Python's datetime counts microseconds; so a value
#   read and written back is the same value, in the whole range of years 1 to 9999.
# What happens: the driver goes through a float. Up to 2^33 seconds from 1970 (March 2242, and October 1697 before it)
#   all is exact. Beyond, microseconds are invented, and binding cuts them off: 8589934592001 is read as ...32.000999
#   and written back as 8589934592000. About 24 of 100 values in the two decades after that bound change by a
#   millisecond.
# Why it matters: "never" is often a date far in the future. Read, compare, write back makes another value of it,
#   which is a lost compare-and-set and a difference that repair finds on every pass. A test of round trips for a
#   store's client needs such dates, and the store should not be blamed for them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" \
  cassandra-driver==3.30.1 geomet==1.1.0 click==8.5.1 Deprecated==1.3.1 wrapt==2.5.2 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import random
import struct
import sys

from cassandra.cqltypes import DateType

BOUND = 2**33 * 1000


def back(ms):
    read = DateType.deserialize(struct.pack(">q", ms), 4)
    return read, struct.unpack(">q", DateType.serialize(read, 4))[0]


def lost(low, high):
    return sum(back(ms)[1] != ms for ms in (random.randrange(low, high) for _ in range(10_000)))


random.seed(1)
for ms in (BOUND - 1, BOUND + 1, -BOUND - 1):
    read, written = back(ms)
    print(f"{ms} is read as {read} and written back as {written}")
before = lost(-BOUND, BOUND)
after = lost(BOUND, BOUND + 20 * 366 * 86_400_000)
print(f"of 10000 values each, changed by reading and writing: before the bound {before}, in 20 years after it {after}")
if before or not 1_900 < after < 2_900 or back(BOUND + 1)[1] != BOUND:
    sys.exit("CHANGED: expected 0 before and about 2,400 after")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" 2>&1
echo "as stated"
