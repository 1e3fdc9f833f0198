//! Rust client of Dunlin's text protocol.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dunlin_client::{Client, TableName};
//!
//! let client = Client::builder().nodes(["127.0.0.1:9041", "127.0.0.2:9041"]).build()?;
//! let table: TableName = "dunlin.kv".parse()?;
//! client.put(&table, "alice", "3 apples").await?;
//! let found = client.get(&table, "alice").await?;
//! assert_eq!(found.values, ["3 apples"]);
//! # Ok(()) }
//! ```
//!
//! [`Client`] is a whole cluster: it spreads calls over the nodes, many of them on a few shared connections, and tries
//! another node where nothing can be applied twice by it. [`Connection`] is one session with one node, opened by a
//! [`Connector`]. [`reply`] is what comes back for a statement.

mod address;
mod builder;
pub mod call;
mod client;
mod cluster;
mod columns;
mod connection;
mod connector;
mod dispatch;
mod error;
mod node;
mod pipe;
pub mod reply;
mod retry;
mod statement;
mod stream;
mod tls;
mod tokens;
mod value;

pub use address::{CLIENT_PORT, NodeAddress, NotANode};
pub use builder::{BuildError, Builder};
pub use call::{Found, Row, Rows, Written};
pub use client::Client;
pub use columns::Columns;
pub use connection::Connection;
pub use connector::Connector;
pub use dunlin_cql::name::TableName;
pub use dunlin_cql::reply::{Text, TraceLine};
pub use dunlin_cql::statement::Durability;
pub use dunlin_cql::value::TypeError;
pub use dunlin_types::schema::{KeyType, ValueType};
pub use dunlin_types::{ConflictMode, Consistency, ErrorCode, Token};
pub use error::ClientError;
pub use reply::{Failure, Reply};
pub use statement::NotOneStatement;
pub use tls::{Tls, TlsError};
pub use tokens::{Context, PageToken};
pub use value::Value;
