//! The calls of a client: each is a builder of its options, and a future.

mod batch;
mod execute;
mod get;
mod scan;
mod write;

pub use batch::{Batch, Outcomes};
pub use execute::Execute;
pub use get::{Found, Get, MultiGet};
pub use scan::{Row, Rows, Scan};
pub use write::{Write, Written};

use crate::retry::Repetition;
use dunlin_cql::limits::TIMEOUT_MAX;
use std::time::Duration;

/// What a node is told of the time that a call has: of one that may be repeated half, as an attempt has; and a little
/// less, so that its answer, which says more than silence, comes in time.
fn time_for_node(timeout: Option<Duration>, repetition: Repetition) -> Option<Duration> {
    let attempt = match repetition {
        Repetition::Harms => timeout?,
        Repetition::IsRecognised | Repetition::ReadsAgain => timeout? / 2,
    };
    let less = attempt - (attempt / 10).min(Duration::from_millis(100));
    Some(Duration::from_millis(less.as_millis() as u64).clamp(Duration::from_millis(1), TIMEOUT_MAX))
}

/// Calls of a [`MultiGet`] or [`Batch`] that are made at the same time.
const AT_ONCE: usize = 128;
