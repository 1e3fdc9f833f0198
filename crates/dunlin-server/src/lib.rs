//! A node: configuration, identity, start and stop order, client listener, admin HTTP, metrics, workers.
//!
//! [`run`] is a process; [`node`] is what it runs, and the simulator too. Start with [`node`], then
//! [`membership`] (how nodes become a cluster), [`store`] (how a write becomes durable) and [`client`] (how a
//! statement becomes a request).

pub mod admin;
pub mod client;
pub mod config;
pub mod handler;
pub mod identity;
mod leftovers;
pub mod membership;
pub mod metrics;
pub mod node;
mod purge;
mod resync;
pub mod run;
pub mod runtime;
pub mod schema;
mod settings;
mod show;
pub mod store;

pub use node::{Node, NodeParts, StartError, StoreMode};
pub use show::AdminDoor;
