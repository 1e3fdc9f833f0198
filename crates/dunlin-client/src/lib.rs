//! Rust client of the text protocol: get, put, delete, scan, execute; pool, pipelining, retry rules.
