//! Who is there and who is up: the membership state machine, without I/O.
//!
//! Every node keeps a small map of values about itself and spreads it by random pairwise exchanges
//! in the manner of Scuttlebutt (van Renesse, Dumitriu, Gough, Thomas 2008): three messages
//! ([`Syn`], [`SynAck`], [`Ack`]), digests of what each side knows, and deltas of just the values
//! that the other lacks. Heartbeats travel in the digests; a phi accrual detector (Hayashibara,
//! Défago, Yared, Katayama 2004) turns their silence into a conviction.
//!
//! Not here: sockets, timers, the layout chain and the schema. Those travel whole, by other
//! messages, when the digests of them that gossip carries ([`key::CHAIN_DIGEST`],
//! [`key::SCHEMA_DIGEST`]) differ.
//!
//! Start with [`membership::Gossip`], then [`state`] (what is kept of a node), [`digest`] and
//! [`delta`] (what travels), [`phi`] (the detector), [`peers`] (whom to talk to).

pub mod config;
pub mod delta;
pub mod digest;
pub mod key;
pub mod membership;
pub mod message;
pub mod peers;
pub mod phi;
pub mod state;

pub use config::Config;
pub use delta::{Delta, NodeDelta};
pub use digest::{Digest, NodeDigest};
pub use membership::{Event, Gossip, PeerView};
pub use message::{Ack, Header, Refusal, Syn, SynAck};
