#!/usr/bin/env bash
# kademlia 2.2.3 (PyPI, with rpcudp 5.0.1, u-msgpack-python 2.8.0)
#
# Expected: `set` returns True when a node holds the new value; a node that was away and comes back takes part with
#   what it has, and does not undo what was written meanwhile.
# What happens: a node that meets another one for the first time in its routing table sends it every value that it
#   might have to hold, and the receiver stores what comes, without a version. A node that comes back meets everybody
#   for the first time. Of three nodes with fixed ids one goes away with "old", "new" is set (True) and read, the node
#   comes back with its storage and its id and joins: all three nodes then hold and answer "old".
# Why it matters: handing data to a newcomer is a write like any other and has to carry the version that the value was
#   written with; the receiver merges. A copy that dates a value by its arrival, or not at all, turns each return of a
#   node into a roll-back.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" \
  kademlia==2.2.3 rpcudp==5.0.1 u-msgpack-python==2.8.0 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import asyncio
import logging
import sys

from kademlia.network import Server
from kademlia.storage import ForgetfulStorage
from kademlia.utils import digest

logging.disable(logging.CRITICAL)
NAMES = ["0-a", "0-b", "0-c"]  # their digests are the ids
storages = [ForgetfulStorage() for _ in NAMES]


async def start(number, port=0):
    server = Server(node_id=digest(NAMES[number]), storage=storages[number])
    await server.listen(port, "127.0.0.1")
    return server


def address(server):
    return server.transport.get_extra_info("sockname")


def held():
    return [storage.get(digest("k")) for storage in storages]


async def until(what):
    for _ in range(100):
        if what():
            return
        await asyncio.sleep(0.05)


async def main():
    a, b, c = [await start(number) for number in range(3)]
    await b.bootstrap([address(a)])
    await c.bootstrap([address(a)])
    await a.bootstrap([address(b)])
    print("set old:", await a.set("k", "old"), "- held:", held())
    port = address(b)[1]
    b.stop()
    acknowledged = await a.set("k", "new")
    read = await a.get("k"), await c.get("k")
    print("b is away, set new:", acknowledged, "- held:", held(), "- a and c read:", read)
    b = await start(1, port)
    await b.bootstrap([address(a), address(c)])
    await until(lambda: held() == ["old"] * 3)
    after = [await server.get("k") for server in (a, b, c)]
    print("b is back - held:", held(), "- read:", after)
    for server in (a, b, c):
        server.stop()
    if not acknowledged or read != ("new", "new") or after != ["old"] * 3:
        sys.exit("CHANGED: expected True, new and new, then old everywhere")


asyncio.run(main())
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" 2>&1
echo "as stated"
