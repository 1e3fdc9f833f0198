//! Messages between nodes: the [`Transport`] seam and its implementation over QUIC.
//!
//! The seam ([`seam`]) moves whole messages as bytes between addresses; what they mean is decided
//! above ([`codec`] only turns values into bytes and back). [`quic`] is the implementation a node
//! runs, [`tls`] and [`certs`] say whom it trusts, and [`conformance`] is the suite that every
//! implementation of the seam has to pass, the simulated one included.
//!
//! The crate knows nothing of rings, records or membership: who may speak to whom beyond "has a
//! certificate of the cluster's CA" is checked by the handler.

pub mod certs;
pub mod codec;
pub mod conformance;
pub mod quic;
pub mod seam;
pub mod tls;

pub use quic::{QuicOptions, QuicTransport};
pub use seam::{Handler, Incoming, Lane, Transport, TransportError};
pub use tls::TlsIdentity;
