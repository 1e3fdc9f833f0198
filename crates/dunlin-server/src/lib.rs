//! A node: configuration, identity, start and stop order, client listener, admin HTTP, metrics, workers.
pub mod client;
pub mod config;
pub mod handler;
pub mod identity;
pub mod membership;
pub mod runtime;
pub mod schema;
pub mod store;
