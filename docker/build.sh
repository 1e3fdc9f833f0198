#!/usr/bin/env bash
# Builds the image dunlin:local from scratch and static binaries. DUNLIN_BIN_DIR: a folder that has them already.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${DUNLIN_BIN_DIR:-}
if [ -z "$bin" ]; then
  scripts/build-static.sh >/dev/null
  bin=target/$(rustc -vV | sed -n 's/^host: //p')/release
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/rootfs/usr/bin" "$context/rootfs/var/lib/dunlin" "$context/rootfs/etc/dunlin" "$context/rootfs/tmp"
cp "$bin/dunlin" "$bin/nodetool" "$context/rootfs/usr/bin/"
DOCKER_BUILDKIT=0 docker build --quiet -t dunlin:local -f docker/Dockerfile.scratch "$context"
