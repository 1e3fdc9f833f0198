//! The values that every node tells about itself, and their bounds.

/// Node name: the SAN of its certificate. Text.
pub const NAME: &str = "name";
/// Where peers reach it: `address:port`, text. Gossip itself reads this one.
pub const INTERNODE: &str = "internode";
/// Where clients reach it: `address:port`, text.
pub const CLIENT: &str = "client";
/// Where operators reach it: `address:port`, text.
pub const ADMIN: &str = "admin";
/// Its data centre. Text.
pub const DATA_CENTER: &str = "data_center";
/// Its rack. Text.
pub const RACK: &str = "rack";
/// Its weight in the ring. Decimal text.
pub const WEIGHT: &str = "weight";
/// What it is doing. Text; [`STATUS_SHUTDOWN`] is read by gossip itself, the others are the server's.
pub const STATUS: &str = "status";
/// Bytes of data it holds. Decimal text.
pub const LOAD: &str = "load";
/// Digest of its layout chain.
pub const CHAIN_DIGEST: &str = "chain_digest";
/// Digest of its schema.
pub const SCHEMA_DIGEST: &str = "schema_digest";
/// Version of the software. Text.
pub const VERSION: &str = "version";
/// Its wall clock when last set, microseconds. Decimal text.
pub const WALL_CLOCK: &str = "wall_clock";
/// Hints it holds for others. Decimal text.
pub const HINTS: &str = "hints";

/// Value of [`STATUS`] by which a node says that it stops: it is down at once, until its next start.
pub const STATUS_SHUTDOWN: &str = "SHUTDOWN";

/// Longest name of a value, bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Values of one node.
pub const VALUES_MAX: usize = 64;
/// Nodes that are kept and that one message may name.
pub const NODES_MAX: usize = 4096;
/// Longest cluster name, bytes.
pub const CLUSTER_NAME_BYTES_MAX: usize = 256;
