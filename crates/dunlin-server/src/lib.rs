//! A node: configuration, identity, start and stop order, client listener, admin HTTP, metrics, workers.
pub mod admin;
pub mod client;
pub mod config;
pub mod handler;
pub mod identity;
pub mod membership;
pub mod metrics;
pub mod node;
pub mod operator;
pub mod runtime;
pub mod schema;
mod settings;
pub mod store;

pub use node::{Node, NodeParts, StartError, StoreMode};
