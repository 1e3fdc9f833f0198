//! The Dynamo part: coordinator, replica, hints, read repair, Merkle repair, range transfer.

pub mod store;
