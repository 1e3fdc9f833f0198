#!/usr/bin/env bash
# cassandra-driver 3.30.1 (PyPI, with geomet 1.1.0, click 8.5.1, Deprecated 1.3.1, wrapt 2.5.2)
#
# Expected: a plain INSERT is not idempotent for the driver (`Statement.is_idempotent` is False), so when the
#   connection breaks after the statement was sent, the caller is told that the outcome is unknown.
# What happens: the driver sends the same INSERT, byte for byte and with the same timestamp, to the next node and
#   reports success. The caller never learns that it ran twice. `is_idempotent` is not looked at.
# Why it matters: a store whose node dies between applying a write and answering sees that write again through another
#   node. If each arrival is a new event (a new dot, a counter step, an append) one call became two. A server can only
#   tell by what comes along: equal key, value and timestamp from the frame.
#
# Two small servers on loopback speak as much of the native protocol v4 as the driver needs to connect. The first to
# get the INSERT closes the connection without an answer, as a node does that is killed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" \
  cassandra-driver==3.30.1 geomet==1.1.0 click==8.5.1 Deprecated==1.3.1 wrapt==2.5.2 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import logging
import socket
import struct
import sys
import threading
import uuid

from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT
from cassandra.policies import RoundRobinPolicy
from cassandra.query import SimpleStatement

logging.disable(logging.CRITICAL)

ERROR, STARTUP, READY, OPTIONS, SUPPORTED, QUERY, RESULT, REGISTER = 0, 1, 2, 5, 6, 7, 8, 11
TEXT, UUID, INET, SET = b"\0\x0d", b"\0\x0c", b"\0\x10", b"\0\x22\0\x0d"
HOSTS = ["127.0.0.1", "127.0.0.2"]
inserts = []  # (address of the node, body of the frame)
lock = threading.Lock()


def string(text):
    return struct.pack(">H", len(text)) + text.encode()


def cell(value):
    return struct.pack(">i", len(value)) + value


def rows(columns, table):
    body = struct.pack(">iii", 2, 1, len(columns)) + string("system") + string(table)
    for name, kind, _ in columns:
        body += string(name) + kind
    return body + struct.pack(">i", 1) + b"".join(cell(value) for _, _, value in columns)


def node(host, table):
    number = HOSTS.index(host)
    token = str((number * 2 - 1) * 2**61).encode()
    address = "rpc_address" if table == "local" else "peer"
    columns = [
        (address, INET, socket.inet_aton(host)),
        ("data_center", TEXT, b"dc1"),
        ("rack", TEXT, b"r1"),
        ("host_id", UUID, uuid.UUID(int=number + 1).bytes),
        ("release_version", TEXT, b"4.0.0"),
        ("schema_version", UUID, uuid.UUID(int=9).bytes),
        ("tokens", SET, struct.pack(">i", 1) + cell(token)),
    ]
    if table == "local":
        columns += [
            ("key", TEXT, b"local"),
            ("cluster_name", TEXT, b"stub"),
            ("partitioner", TEXT, b"org.apache.cassandra.dht.Murmur3Partitioner"),
        ]
    else:
        columns += [("rpc_address", INET, socket.inet_aton(host))]
    return rows(columns, table)


def answer(host, text, body):
    """The opcode and body for a statement; None to cut the connection."""
    if "system.local" in text:
        return RESULT, node(host, "local")
    if "system.peers_v2" in text:
        return ERROR, struct.pack(">i", 0x2200) + string("no such table")
    if "system.peers" in text:
        return RESULT, node(HOSTS[1 - HOSTS.index(host)], "peers")
    if text.startswith("INSERT"):
        with lock:
            inserts.append((host, body))
            if len(inserts) == 1:
                return None
    return RESULT, struct.pack(">i", 1)


def read(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def serve(connection, host):
    stream = connection.makefile("rb")
    try:
        while True:
            version, _, number, opcode, length = struct.unpack(">BBhBi", read(stream, 9))
            body = read(stream, length)
            if version != 4:
                text = "Invalid or unsupported protocol version; the lowest supported version is 4 and the greatest is 4"
                reply = ERROR, struct.pack(">i", 0x0A) + string(text)
            elif opcode == OPTIONS:
                reply = SUPPORTED, struct.pack(">H", 2) + string("CQL_VERSION") + struct.pack(">H", 1) + string(
                    "3.4.5") + string("COMPRESSION") + struct.pack(">H", 0)
            elif opcode == QUERY:
                size = struct.unpack(">i", body[:4])[0]
                reply = answer(host, body[4:4 + size].decode(), body)
            else:
                reply = READY, b""
            if reply is None:
                connection.shutdown(socket.SHUT_RDWR)
                return
            connection.sendall(struct.pack(">BBhBi", 0x84, 0, number, reply[0], len(reply[1])) + reply[1])
    except (EOFError, OSError):
        pass
    finally:
        connection.close()


def listen(host, port):
    listener = socket.create_server((host, port))

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, host), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


port = listen(HOSTS[0], 0)
listen(HOSTS[1], port)
profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=20)
cluster = Cluster(HOSTS, port=port, protocol_version=4, schema_metadata_enabled=False, token_metadata_enabled=False,
                  execution_profiles={EXEC_PROFILE_DEFAULT: profile})
session = cluster.connect(wait_for_all_pools=True)
statement = SimpleStatement("INSERT INTO app.visits (k, v) VALUES ('page', 'one more')")
print("is_idempotent:", statement.is_idempotent)
try:
    session.execute(statement)
    outcome = "success"
except Exception as error:
    outcome = type(error).__name__
cluster.shutdown()

print("the caller is told:", outcome)
for number, (host, body) in enumerate(inserts, 1):
    print(f"arrival {number}: {len(body)} bytes, at {'another node' if host != inserts[0][0] else 'a node'}")
same = len(inserts) == 2 and inserts[0][1] == inserts[1][1] and inserts[0][0] != inserts[1][0]
print("the same bytes at both nodes:", same)
if statement.is_idempotent or outcome != "success" or not same:
    sys.exit("CHANGED: expected success after the same frame at two nodes")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" 2>&1
echo "as stated"
