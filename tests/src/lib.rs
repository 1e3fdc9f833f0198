//! Tests of the whole: project rules (tidy), real processes, docker.
