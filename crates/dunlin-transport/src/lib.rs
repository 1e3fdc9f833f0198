//! Messages between nodes: the Transport seam, its QUIC implementation, lanes, certificates, codec.

pub mod seam;
pub use seam::{Handler, Incoming, Lane, Transport, TransportError};
