//! Tests of the whole: project rules ([tidy](../tests/tidy.rs)), real processes, docker.
//!
//! This library holds what those tests share: finding the workspace and its binaries, and driving a
//! real cluster on loopback.

#![allow(clippy::disallowed_methods, reason = "tests of real processes use real time, files and threads")]

pub mod binaries;
pub mod cluster;
