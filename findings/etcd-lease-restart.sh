#!/usr/bin/env bash
# etcd-server and etcd-client 3.4.23-4+b4 (Debian 12)
#
# Expected: a key with a lease of 60 seconds is gone 60 seconds after it was last renewed, whatever happens to the
#   servers meanwhile, or sooner.
# What happens: by default only the length of a lease is kept on disk, not its end. A server that starts gives every
#   lease its full length again: after 6 seconds 54 are left, after a clean restart 60. (There is an experimental
#   setting that keeps more; it is off.)
# Why it matters: where servers restart oftener than leases end (a rolling restart, a node in a loop), a lock or a
#   session of a client that died long ago stays for ever. A time to live that has to survive its server is stored as
#   the moment of its end, and tests of TTL need a restart in the middle.
set -euo pipefail
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
chmod 755 "$dir"
get() { cd "$dir" && apt-get download -qq "$1" 2>apt && dpkg -x "${1%%=*}"_*.deb .; }
for package in etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4; do
  (get "$package") || { cat "$dir/apt"; echo "could not get the packages"; exit 2; }
done
export ETCDCTL_API=3 PATH="$dir/usr/bin:$PATH"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
client="http://127.0.0.1:$(free_port)" peer="http://127.0.0.1:$(free_port)"

start() {
  etcd --data-dir "$dir/data" --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" >>"$dir/log" 2>&1 &
  pid=$!
  for _ in $(seq 100); do
    etcdctl --endpoints "$client" endpoint health >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail -3 "$dir/log"; echo "the server did not start"; exit 2
}
left() { etcdctl --endpoints "$client" lease timetolive "$lease" | sed -n 's/.*remaining(\(-\?[0-9]*\)s).*/\1/p'; }

start
lease=$(etcdctl --endpoints "$client" lease grant 60 | cut -d' ' -f2)
etcdctl --endpoints "$client" put lock held --lease="$lease" >/dev/null
sleep 6
before=$(left)
kill "$pid"; wait "$pid" || true
start
after=$(left)
echo "a lease of 60 s: $before s are left after 6 s, $after s after a restart"
kill "$pid"; wait "$pid" || true
pid=
if [ "$before" -gt 55 ] || [ "$after" -lt 58 ]; then
  echo "CHANGED: expected at most 55 and then 58 or more"
  exit 1
fi
echo "as stated"
