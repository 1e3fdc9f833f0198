#!/usr/bin/env bash
# Builds the image from scratch, starts three containers, writes through one and reads through the others, stops
# one and goes on, then removes everything. Needs a Docker engine, and docker-compose or docker run alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${DUNLIN_BIN_DIR:-}
if [ -z "$bin" ]; then
  scripts/build-static.sh >/dev/null
  bin=target/$(rustc -vV | sed -n 's/^host: //p')/release
fi
export DUNLIN_BIN_DIR=$bin
project=dunlin-test-$$
certs=$(mktemp -d)
finish() {
  status=$?
  [ "$status" = 0 ] || for n in n1 n2 n3; do echo "--- $n"; docker logs --tail 20 "$project-$n" 2>&1 || true; done
  docker rm -f -v "$project-n1" "$project-n2" "$project-n3" >/dev/null 2>&1 || true
  docker network rm "$project" >/dev/null 2>&1 || true
  rm -rf "$certs"
  exit "$status"
}
trap finish EXIT

docker/build.sh >/dev/null
docker/certs.sh "$certs" >/dev/null
chmod 755 "$certs"
docker network create "$project" >/dev/null
for n in n1 n2 n3; do
  docker run -d --name "$project-$n" --hostname "$n" --network "$project" --network-alias "$n" \
    -v "$certs:/etc/dunlin/certs:ro" -v "$PWD/docker/dunlin.toml:/etc/dunlin/dunlin.toml:ro" \
    -e DUNLIN_CLUSTER__NAME=docker-test -e "DUNLIN_CLUSTER__SEEDS=n1:7000,n2:7000" \
    -e "DUNLIN_NODE__NAME=$n" -e DUNLIN_NODE__DATA_DIR=/var/lib/dunlin -e "DUNLIN_INTERNODE__ADDRESS=$n:7000" \
    -e "DUNLIN_INTERNODE__CERTIFICATE=/etc/dunlin/certs/$n.crt" -e "DUNLIN_INTERNODE__KEY=/etc/dunlin/certs/$n.key" \
    -e DUNLIN_CLIENT__ADDRESS=0.0.0.0:9041 -e DUNLIN_CLIENT__ALLOW_PLAINTEXT=true \
    dunlin:local >/dev/null
done
inside() { n=$1; shift; docker exec "$project-$n" "$@"; }
up=0
for _ in $(seq 1 300); do
  up=$(inside n1 /usr/bin/nodetool --format json status 2>/dev/null | grep -Eo '"up": *true' | wc -l || true)
  state=$(inside n1 /usr/bin/nodetool --format json status 2>/dev/null | grep -Eio '"state": *"normal"' | wc -l || true)
  [ "$up" = 3 ] && [ "$state" = 3 ] && break
  sleep 0.2
done
[ "$up" = 3 ] || { echo "three containers did not form a cluster: $up up"; exit 1; }
inside n1 /usr/bin/dunlin put alice "3 apples"
[ "$(inside n2 /usr/bin/dunlin get alice)" = "3 apples" ] || { echo "n2 does not read what n1 wrote"; exit 1; }
docker kill "$project-n3" >/dev/null
inside n1 /usr/bin/dunlin put bob "1 pear"
[ "$(inside n2 /usr/bin/dunlin get bob)" = "1 pear" ] || { echo "QUORUM fails with one node down"; exit 1; }
docker start "$project-n3" >/dev/null
for _ in $(seq 1 150); do
  [ "$(inside n3 /usr/bin/dunlin get bob 2>/dev/null || true)" = "1 pear" ] && break
  sleep 0.2
done
[ "$(inside n3 /usr/bin/dunlin get bob)" = "1 pear" ] || { echo "the restarted container does not answer"; exit 1; }
health=
for _ in $(seq 1 100); do
  health=$(docker inspect --format '{{.State.Health.Status}}' "$project-n1")
  [ "$health" = healthy ] && break
  sleep 0.2
done
[ "$health" = healthy ] || { echo "the health check says $health"; exit 1; }
echo "three containers: joined, written, one killed, read at QUORUM, restarted; image $(docker image inspect --format '{{.Size}}' dunlin:local) bytes"
