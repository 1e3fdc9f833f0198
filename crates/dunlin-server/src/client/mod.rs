//! Clients: the text protocol from the socket to the coordinator and back.
//!
//! [`listener`] takes connections; each runs [`connection`], which cuts the bytes into statements
//! ([`input`]), keeps their order ([`pipeline`]) and has them executed by its [`Session`]. A session needs
//! no socket, so the simulator drives the same code. Start with [`session`], then [`execute`].

pub mod admission;
pub mod budget;
pub mod connection;
mod describe;
mod errors;
mod execute;
mod explain;
mod greeting;
mod input;
pub mod limit;
pub mod listener;
mod page;
mod pipeline;
mod read;
mod scan;
pub mod services;
pub mod session;
mod stream;
mod system;
#[cfg(test)]
mod tests;

pub use services::{ClientBackend, ClientServices, ClientSettings, Readiness};
pub use session::Session;
