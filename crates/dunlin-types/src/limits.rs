//! Hard limits of the contract. All but the key's are upper bounds of configuration.

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 65_535;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Longest statement, bytes, its terminator included.
pub const STATEMENT_BYTES_MAX: usize = 32 << 20;
/// Statements of one connection that are read before the first is answered.
pub const PIPELINE_MAX: usize = 1024;
/// Client connections of one node.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Siblings of one key; the next write fails with TOO_MANY_SIBLINGS.
pub const SIBLINGS_MAX: usize = 100;
/// Bytes of one key's siblings together, the new one included; TOO_MANY_SIBLINGS beyond. So that the
/// records of three coordinators that know nothing of one another still fit into a message when merged.
pub const SIBLINGS_BYTES_MAX: usize = 20 << 20;
/// A message between nodes, bytes: a statement's values and room for the envelope.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Furthest that `USING TIMESTAMP` may lie ahead of the node's clock, microseconds.
pub const TIMESTAMP_AHEAD_MAX_US: u64 = 60_000_000;
/// Virtual nodes of a ring (a power of two).
pub const VNODES_MAX: u32 = 65_536;
/// Replication factor of one data centre.
pub const REPLICATION_FACTOR_MAX: u32 = 16;
/// Keys of one `IN (...)`, statements of one batch.
pub const KEYS_PER_STATEMENT_MAX: usize = 10_000;
