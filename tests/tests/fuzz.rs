//! Replays the corpora of `fuzz/` through its targets, and mutates them with a fixed seed: what a fuzzer found
//! stays found, and a new decoder is shaken a little at each run, without cargo-fuzz.
//! `DUNLIN_CORPUS=write` writes the valid inputs of the targets to their corpora.

#![allow(clippy::disallowed_methods, reason = "a test reads and writes corpora")]

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};
use targets::TARGETS;

/// Mutated inputs of each target.
const ROUNDS: u64 = 2000;

fn fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(path)
}

fn corpus(name: &str) -> PathBuf {
    fuzz("corpus").join(name)
}

/// Corpus files in order of name, and the target's valid inputs.
fn inputs(target: &targets::Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    let folder = corpus(target.name);
    if std::env::var_os("DUNLIN_CORPUS").is_some_and(|v| v == "write") {
        std::fs::create_dir_all(&folder).expect("a folder");
        for (n, seed) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("valid-{n}")), seed).expect("a seed is written");
        }
    }
    let Ok(entries) = std::fs::read_dir(&folder) else { return inputs };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    inputs.extend(files.iter().map(|file| std::fs::read(file).expect("a corpus file")));
    inputs
}

/// Splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    /// A few changes: bits, telling bytes, pieces cut out, doubled, cut off.
    fn mutate(&mut self, input: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 | 1 if at < input.len() => input[at] ^= 1 << self.below(8),
                2 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 => input.truncate(at),
                4 => {
                    let end = (at + self.below(16)).min(input.len());
                    input.drain(at..end);
                }
                _ => {
                    let end = (at + self.below(16)).min(input.len());
                    let piece = input[at..end].to_vec();
                    let to = self.below(input.len() + 1);
                    input.splice(to..to, piece);
                }
            }
        }
    }
}

#[test]
fn decoders_survive_their_corpora_and_mutations_of_them() {
    for target in TARGETS {
        let mut inputs = inputs(target);
        inputs.push(Vec::new());
        inputs.iter().for_each(|input| (target.run)(input));
        let mut chance = Chance(0xd0);
        for round in 0..ROUNDS {
            let mut input = inputs[chance.below(inputs.len())].clone();
            chance.mutate(&mut input);
            let run = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(run.is_ok(), "{} round {round}: {}", target.name, input.escape_ascii());
        }
    }
}

#[test]
fn every_target_has_its_binary() {
    let manifest = std::fs::read_to_string(fuzz("Cargo.toml")).expect("the manifest of fuzz/");
    for target in TARGETS {
        let path = format!("fuzz_targets/{}.rs", target.name);
        let text = std::fs::read_to_string(fuzz(&path)).expect("a file for each target");
        assert!(text.contains(&format!("run(\"{}\"", target.name)) && manifest.contains(&path), "{path}");
    }
    let binaries = std::fs::read_dir(fuzz("fuzz_targets")).expect("the folder").count();
    assert_eq!(binaries, TARGETS.len());
}
