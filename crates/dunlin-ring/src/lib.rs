//! Who owns what: virtual nodes, layouts, placement, assignment, and the chain that changes them.
//!
//! The ring is the circle of `u64` cut into equal virtual nodes ([`vnode`]). A [`Layout`] is one
//! immutable map of virtual nodes to members; [`assign`] makes the next one from the last and moves
//! little; the replicas of a token are found by walking the ring ([`walk`], cached in [`Placement`]).
//! [`LayoutChain`] is how layouts follow each other without a leader.
//!
//! Everything here is pure: nothing is sent, stored or timed. Start with [`layout`], then [`chain`].

pub mod assignment;
pub mod chain;
pub mod layout;
pub mod member;
pub mod moves;
pub mod placement;
pub mod staging;
pub mod vnode;
pub mod walk;
pub mod watermarks;

pub use assignment::assign;
pub use chain::LayoutChain;
pub use layout::{Layout, LayoutDigest, LayoutError};
pub use member::Member;
pub use moves::{Move, moves};
pub use placement::Placement;
pub use staging::{StageError, StagedChange, Staging};
pub use vnode::{Vnode, VnodeCount};
pub use walk::{rf_in, rf_total};
pub use watermarks::Watermarks;
