//! The Dynamo part: coordinator, replica, hints, read repair, Merkle repair, range transfer.
//!
//! A node has one [`core::Core`] (its doors), one [`coordinator::Coordinator`] for clients and one
//! [`replica::Replica`] for other nodes over it. What the node knows of its cluster comes in as an
//! immutable [`view::View`]. Follow a write: `coordinator/put.rs` -> `coordinator/coordinate.rs` (at a
//! replica: mint the version) -> `coordinator/spread.rs` (send, count) -> `replica.rs` (at the others). A read:
//! `coordinator/get.rs` -> `coordinator/tracker.rs` -> `coordinator/read_repair.rs`.

pub mod context_token;
pub mod coordinator;
pub mod core;
pub mod foreground;
pub mod gaps;
pub mod handover;
pub mod hints;
pub mod local;
pub mod message;
pub mod patience;
pub mod repair;
pub mod replica;
pub mod store;
pub mod transfer;
pub mod view;
