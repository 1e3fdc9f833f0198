//! Rust client of Dunlin's text protocol.
//!
//! ```no_run
//! # async fn example() -> Result<(), dunlin_client::ClientError> {
//! let client = dunlin_client::Client::new(["127.0.0.1:9041", "127.0.0.2:9041"]);
//! client.put("dunlin.kv", "alice", "3 apples").await?;
//! assert_eq!(client.get("dunlin.kv", "alice").await?.values, ["3 apples"]);
//! # Ok(()) }
//! ```
//!
//! [`Client`] picks a node, keeps idle connections, and tries another node when nothing can be applied twice by
//! it: its writes carry request ids, by which nodes know a repetition. [`Connection`] is one socket with pipelining. [`reply`] is what comes back.

mod client;
mod columns;
mod connection;
mod connector;
mod error;
pub mod reply;
mod retry;
pub mod text;

pub use client::{Client, Found, Options};
pub use columns::{Columns, literal};
pub use connection::Connection;
pub use connector::Connector;
pub use error::ClientError;
pub use reply::{Failure, Reply};
