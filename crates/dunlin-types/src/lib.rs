//! The vocabulary of Dunlin.
//!
//! Every other crate speaks in these words: who (host id, generation, incarnation), where (key,
//! token), when (wall and monotonic time, hybrid clock), what (record, version, context), how sure
//! (consistency), how it failed (errors of the contract), and how much (limits). The crate is pure;
//! it only declares the seams [`runtime::Clock`], [`runtime::Rng`] and [`runtime::Runtime`].
//!
//! Start with [`record`] (what a replica stores and how two copies merge) and [`version`]
//! (dots, vectors, contexts).

pub mod codec;
pub mod consistency;
pub mod error;
pub mod host;
pub mod key;
pub mod limits;
pub mod record;
pub mod runtime;
pub mod schema;
pub mod time;
pub mod version;
pub mod view;

pub use consistency::Consistency;
pub use error::{ClusterError, ErrorCode, ReplicaOutcome};
pub use host::{Actor, ClusterId, Generation, HostId};
pub use key::{Key, PartitionerKey, Token, TokenRange};
pub use record::{Record, Value};
pub use schema::{ConflictMode, KeyspaceDef, TableDef, TableId};
pub use time::{Hlc, HlcClock, Micros, Mono};
pub use version::{Context, Dot};
