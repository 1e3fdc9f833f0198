#!/usr/bin/env bash
# mmh3 5.3.1 and cassandra-driver 3.30.1 (PyPI, with geomet 1.1.0, click 8.5.1, Deprecated 1.3.1, wrapt 2.5.2)
#
# Expected: Cassandra's Murmur3Partitioner is Murmur3 x64 128 with seed 0, of which the first 64 bits are the token,
#   so any Murmur3 library computes the token of a key.
# What happens: equal for keys of ASCII and for every length that is a multiple of 16. Bytes from 0x80 up in the last,
#   incomplete block of 16 are taken as negative numbers by the partitioner (and by drivers, which must follow it), so
#   the tokens differ: of 10,000 random keys of 20 bytes about 9,370, of 10,000 ASCII keys none.
# Why it matters: a client, an exporter or a store that speaks CQL and computes tokens with a common Murmur3 library
#   passes every test with `user-123` and asks the wrong node for `naïve`. Test vectors for a partitioner need keys
#   with high bytes at lengths that are no multiple of 16.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" mmh3==5.3.1 \
  cassandra-driver==3.30.1 geomet==1.1.0 click==8.5.1 Deprecated==1.3.1 wrapt==2.5.2 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import random
import sys

import mmh3
from cassandra.metadata import Murmur3Token


def differ(key):
    return Murmur3Token.hash_fn(key) != mmh3.hash64(key, 0, True)[0]


for key in ["user-123", "naïve", "é" * 8, "é" * 9]:
    data = key.encode()
    print(f"{key} ({len(data)} bytes): driver {Murmur3Token.hash_fn(data)}, mmh3 {mmh3.hash64(data, 0, True)[0]}")
random.seed(1)
ascii_keys = sum(differ(b"user-%d" % i) for i in range(10_000))
full_blocks = sum(differ(random.randbytes(32)) for _ in range(10_000))
others = sum(differ(random.randbytes(20)) for _ in range(10_000))
print(f"of 10000 each, tokens differ: ASCII {ascii_keys}, 32 random bytes {full_blocks}, 20 random bytes {others}")
if ascii_keys or full_blocks or not 9_000 < others < 9_700:
    sys.exit("CHANGED: expected 0, 0 and about 9,370")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" 2>&1
echo "as stated"
