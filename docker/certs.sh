#!/usr/bin/env bash
# Certificates for compose.yaml: docker/certs/ca.crt, and NAME.crt and NAME.key for n1, n2 and n3.
# DUNLIN_BIN_DIR: a folder with the dunlin command; first argument: another folder for the certificates.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${DUNLIN_BIN_DIR:-target/release}
dir=${1:-docker/certs}
[ -f "$dir/ca.crt" ] || "$bin/dunlin" certs init --dir "$dir"
for name in n1 n2 n3; do
  [ -f "$dir/$name.crt" ] || "$bin/dunlin" certs issue "$name" --san "$name" --dir "$dir" >/dev/null
done
# The containers run as uid 65532 and have to read their keys.
if [ "$(id -u)" = 0 ]; then chown 65532 "$dir"/n?.key; fi
echo "certificates are in $dir"
