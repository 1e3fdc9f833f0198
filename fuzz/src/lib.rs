//! The fuzz targets, one function each; `fuzz_targets/` gives every one its binary, and the test
//! `tests/tests/fuzz.rs` of the main workspace replays the corpora through the same functions.

pub mod targets;
