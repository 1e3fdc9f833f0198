#!/usr/bin/env bash
# zstandard 0.25.0 and lz4 4.4.5 (PyPI), lz4_flex 0.14.2 (Rust crate)
#
# Expected: both formats say that frames written one behind the other are read as one stream of their contents, as the
#   command line tools do; that is how one appends to a compressed file.
# What happens: it depends on the call. In Python the functions for bytes, `ZstdDecompressor().decompress` and
#   `lz4.frame.decompress`, give the first frame and drop the rest without an error; `zstandard.open` and
#   `lz4.frame.open` give all. In Rust the reader of lz4_flex says end of file after each frame: `read_to_end` gives
#   the first one, and the same call once more gives the next.
# Why it matters: a log, an export or a backup to which something was appended reads back short, with no error on
#   either side. A file format should hold its own count of what it contains, and a reader go on until the input is
#   used up.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$dir/lib" \
  zstandard==0.25.0 lz4==4.4.5 2>"$dir/pip" || { cat "$dir/pip"; echo "could not install the packages"; exit 2; }

cat >"$dir/probe.py" <<'PY'
import io
import sys

import lz4.frame
import zstandard

one = zstandard.ZstdCompressor()
zstd = one.compress(b"first ") + one.compress(b"second")
lz4_frames = lz4.frame.compress(b"first ") + lz4.frame.compress(b"second")
open(sys.argv[1], "wb").write(lz4_frames)
seen = {
    "zstandard, decompress": zstandard.ZstdDecompressor().decompress(zstd),
    "zstandard, open": zstandard.open(io.BytesIO(zstd)).read(),
    "lz4, decompress": lz4.frame.decompress(lz4_frames),
    "lz4, open": lz4.frame.open(io.BytesIO(lz4_frames)).read(),
}
for name, data in seen.items():
    print(f"{name}: {data}")
if list(seen.values()) != [b"first ", b"first second"] * 2:
    sys.exit("CHANGED: expected the first frame, all, the first frame, all")
PY
PYTHONPATH="$dir/lib" python3 "$dir/probe.py" "$dir/two.lz4" 2>&1

mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[dependencies]
lz4_flex = { version = "=0.14.2", default-features = false, features = ["std", "frame", "safe-decode", "checked-decode"] }
TOML
cat >"$dir/src/main.rs" <<'RS'
use std::io::Read;

fn main() {
    let file = std::fs::File::open(std::env::args().nth(1).unwrap()).unwrap();
    let mut decoder = lz4_flex::frame::FrameDecoder::new(file);
    let mut texts = Vec::new();
    for call in ["first", "second", "third"] {
        let mut text = String::new();
        decoder.read_to_string(&mut text).unwrap();
        println!("lz4_flex, {call} read to the end: {text:?}");
        texts.push(text);
    }
    if texts != ["first ", "second", ""] {
        println!("CHANGED: expected one frame a call");
        std::process::exit(1);
    }
}
RS
export CARGO_TARGET_DIR="$dir/target" CARGO_PROFILE_DEV_DEBUG=0
nice -n 10 cargo build --quiet --manifest-path "$dir/Cargo.toml" || { echo "could not build the probe"; exit 2; }
"$dir/target/debug/probe" "$dir/two.lz4"
echo "as stated"
