#!/usr/bin/env bash
# prometheus-client 0.25.2 (Rust crate) and prometheus_client 0.26.0 (PyPI, the official parser of OpenMetrics)
#
# Expected: registering a second metric under a name that is taken is refused, or the two are written as one family.
# What happens: the Rust registry takes it and writes the family twice, each with its own metadata and a sample of the
#   same name and labels. By the format a name may be described once; the official parser refuses the text as a whole,
#   so that every other metric of the process is lost with it.
# Why it matters: two parts of a server that both count "writes", or one part that is set up once for each table, are
#   enough to blind the monitoring, and the server's own tests see nothing. A test should parse what the process
#   exports with a parser of somebody else's, after everything was registered.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" \
  prometheus_client==0.26.0 2>"$dir/pip" \
  || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[dependencies]
prometheus-client = "=0.25.2"
TOML
cat >"$dir/src/main.rs" <<'RS'
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Prints what is exported with the metrics named.
fn main() {
    let mut registry = Registry::default();
    for name in std::env::args().skip(1) {
        let counter: Counter = Counter::default();
        counter.inc();
        registry.register(name, "Statements", counter);
    }
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    print!("{text}");
}
RS
cat >"$dir/probe.py" <<'PY'
import subprocess
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def families(*names):
    text = subprocess.run([sys.argv[1], *names], check=True, capture_output=True, text=True).stdout
    try:
        return text, [family.name for family in text_string_to_metric_families(text)]
    except ValueError as error:
        return text, f"{type(error).__name__}: {error}"


once, twice = families("reads", "writes"), families("reads", "writes", "writes")
print("each name once:", once[1])
print(twice[0], end="")
print("one name twice:", twice[1])
if once[1] != ["reads", "writes"] or not str(twice[1]).startswith("ValueError"):
    sys.exit("CHANGED: expected both families, then a refusal of the whole text")
PY
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" "$dir/target/debug/probe" 2>&1
echo "as stated"
