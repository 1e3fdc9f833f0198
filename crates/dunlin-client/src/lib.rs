//! Rust client of Dunlin's text protocol.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = dunlin_client::Client::new(["127.0.0.1:9041", "127.0.0.2:9041"]);
//! let table = "dunlin.kv".parse()?;
//! client.put(&table, "alice", "3 apples").await?;
//! assert_eq!(client.get(&table, "alice").await?.values, ["3 apples"]);
//! # Ok(()) }
//! ```
//!
//! [`Client`] picks a node, keeps idle connections, and tries another node when nothing can be applied twice by
//! it: its writes carry request ids, by which nodes know a repetition. [`Connection`] is one socket with pipelining. [`reply`] is what comes back.

mod address;
mod client;
mod columns;
mod connection;
mod connector;
mod error;
pub mod reply;
mod retry;
mod statement;
mod stream;
mod tls;

pub use address::{CLIENT_PORT, NodeAddress, NotANode};
pub use client::{Client, Found, Options};
pub use columns::Columns;
pub use connection::Connection;
pub use connector::Connector;
pub use dunlin_cql::name::TableName;
pub use dunlin_cql::reply::{Text, TraceLine};
pub use dunlin_cql::value::TypeError;
pub use error::ClientError;
pub use reply::{Failure, Reply};
pub use statement::NotOneStatement;
pub use tls::{Tls, TlsError};
