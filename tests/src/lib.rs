//! Tests of the whole: project rules ([tidy](../tests/tidy.rs)), real processes, docker.
//!
//! This library holds what those tests share: finding the workspace and its binaries, and driving a
//! real cluster on loopback.

pub mod binaries;
pub mod cluster;
