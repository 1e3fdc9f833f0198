#!/usr/bin/env bash
# The main job on real data: WordNet (about 150,000 words) into three nodes through COPY at QUORUM, one node
# killed in the middle of the load and restarted, then every key read back through another node and compared.
#
#   scripts/demo.sh             WordNet from Debian's wordnet-base
#   scripts/demo.sh FILE.csv    a CSV of your own: two columns, key and value, no header, keys unique
#
# Exits 0 only if every key came back as it was. DUNLIN_BIN_DIR names a folder with built binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/dunlin-demo.XXXXXX")
launcher=
restarted=
finish() {
  status=$?
  for pid in $restarted $launcher; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in $restarted $launcher; do wait "$pid" 2>/dev/null || true; done
  if [ "$status" = 0 ]; then rm -rf "$work"; else echo "kept for a look: $work"; fi
  exit "$status"
}
trap finish EXIT
say() { printf '%s\n' "$*"; }

# --- the words ------------------------------------------------------------------------------------
csv=${1:-}
if [ -z "$csv" ]; then
  words=/usr/share/wordnet
  if [ ! -f $words/data.noun ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing wordnet-base"
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends wordnet-base; } >/dev/null 2>&1 || true
  fi
  if [ ! -f $words/data.noun ]; then
    say "WordNet is not here and could not be installed (Debian package wordnet-base)."
    say "Give a CSV of your own instead: scripts/demo.sh FILE.csv"
    exit 2
  fi
  csv=$work/words.csv
  # data.POS: offset file pos count (hex) {lemma lex_id}*count ... | gloss. One row a lemma, glosses joined by " | ".
  cat $words/data.noun $words/data.verb $words/data.adj $words/data.adv | awk '
    function hex(text,   value, i) {
      for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
      return value }
    /^  / { next }
    { bar = index($0, " | "); gloss = substr($0, bar + 3); sub(/[ \t]+$/, "", gloss)
      n = split(substr($0, 1, bar - 1), field, " "); count = hex(field[4])
      for (i = 0; i < count; i++) {
        word = field[5 + 2 * i]; sub(/\((a|p|ip)\)$/, "", word); gsub("_", " ", word)
        if (!(word in glosses)) { order[++words] = word; glosses[word] = gloss }
        else if (index(glosses[word], gloss) == 0) glosses[word] = glosses[word] " | " gloss
      } }
    END { for (i = 1; i <= words; i++) { w = order[i]; g = glosses[w]
            gsub(/"/, "\"\"", w); gsub(/"/, "\"\"", g); printf "\"%s\",\"%s\"\n", w, g } }' > "$csv"
fi
[ -s "$csv" ] || { say "no rows in $csv"; exit 2; }
total=$(wc -l < "$csv")
say "words: $total, $(du -h "$csv" | cut -f1) of CSV"

# --- the cluster ----------------------------------------------------------------------------------
bin=${DUNLIN_BIN_DIR:-}
if [ -z "$bin" ]; then
  cargo build --release --quiet --bins -p dunlin-cli -p dunlin-nodetool
  bin=target/release
fi
dunlin=$bin/dunlin nodetool=$bin/nodetool
base=${DUNLIN_DEMO_PORT:-21041}
began=$(date +%s%N)
"$dunlin" local --nodes 3 --dir "$work/cluster" --base-port "$base" > "$work/local.out" 2> "$work/local.err" &
launcher=$!
until grep -qx ready "$work/local.out"; do
  kill -0 $launcher 2>/dev/null || { say "the cluster did not start:"; cat "$work/local.out" "$work/local.err"; exit 1; }
  sleep 0.05
done
say "cluster ready after $(( ($(date +%s%N) - began) / 1000000 )) ms"
client() { echo "127.0.0.1:$((base + 10 * ($1 - 1)))"; }
tool() { node=$1; shift; "$nodetool" --host 127.0.0.1 --port $((base + 10 * (node - 1) + 2)) "$@"; }

# Writes that the three nodes have coordinated.
written() {
  for node in 1 2 3; do tool $node --format json info 2>/dev/null || true; done |
    grep -Eo '"client_writes": *[0-9]+' | grep -Eo '[0-9]+' | awk '{ s += $1 } END { print s + 0 }'
}

"$dunlin" shell "$(client 1)" -e "CREATE TABLE words (lemma text PRIMARY KEY, gloss text)" >/dev/null

# --- load, and kill node 3 on the way ---------------------------------------------------------------
began=$(date +%s%N)
"$dunlin" shell "$(client 1)" -e "CONSISTENCY QUORUM; COPY words (lemma, gloss) FROM '$csv'" > "$work/copy.out" 2> "$work/copy.err" &
copy=$!
while kill -0 $copy 2>/dev/null; do
  loaded=$(written)
  [ "$loaded" -ge $((total / 3)) ] && break
  sleep 0.05
done
kill -0 $copy 2>/dev/null || { say "the load was over before the kill: it proves nothing"; cat "$work/copy.out" "$work/copy.err"; exit 1; }
victim=$(pgrep -f "server --config $work/cluster/n3/dunlin.toml" | head -1)
kill -9 "$victim"
say "killed node 3 (kill -9) after $loaded of $total words"
sleep 2
"$dunlin" server --config "$work/cluster/n3/dunlin.toml" 2> "$work/n3-restarted.log" &
restarted=$!
say "restarted node 3"
wait $copy || { say "COPY failed:"; cat "$work/copy.out" "$work/copy.err"; exit 1; }
took=$(( ($(date +%s%N) - began) / 1000000 ))
say "loaded: $total words in $took ms, $(( total * 1000 / (took > 0 ? took : 1) )) words/s at QUORUM"

# --- hints ----------------------------------------------------------------------------------------
pending=
for _ in $(seq 1 600); do
  pending=0
  for node in 1 2; do
    n=$(tool $node --format json hints list | grep -Eo '"count": *[0-9]+' | grep -Eo '[0-9]+' | awk '{ s += $1 } END { print s + 0 }')
    pending=$((pending + n))
  done
  [ "$pending" = 0 ] && [ "$(tool 1 --format json status | grep -c '"up": *true')" = 3 ] && break
  sleep 0.1
done
delivered=0
for node in 1 2; do
  n=$(tool $node --format json hints list | grep -Eo '"delivered": *[0-9]+' | grep -Eo '[0-9]+' | awk '{ s += $1 } END { print s + 0 }')
  delivered=$((delivered + n))
done
say "hints delivered: $delivered, pending: $pending"

# --- read every key back through node 3 and compare -----------------------------------------------
began=$(date +%s%N)
"$dunlin" verify --host "$(client 2)" --table dunlin.words --consistency QUORUM "$csv" | tee "$work/verify.out"
took=$(( ($(date +%s%N) - began) / 1000000 ))
say "read back in $took ms, $(( total * 1000 / (took > 0 ? took : 1) )) words/s at QUORUM"
[ "$pending" = 0 ] || { say "hints are still pending"; exit 1; }
