//! A node: configuration, identity, start and stop order, client listener, admin HTTP, metrics, workers.
pub mod client;
pub mod config;
pub mod identity;
pub mod runtime;
pub mod store;
