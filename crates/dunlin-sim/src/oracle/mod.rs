//! Judges a run by what its clients saw. Pure.
//!
//! The history ([`history`]) holds what clients asked and were told, nothing else: no version vector, dot or
//! clock of a server is believed. Every written value names its write; a context token is known by the
//! values that were shown beside it. From that follows for each write what it certainly superseded and
//! what it may have superseded ([`past`]), and from those the rules ([`check`]).
//!
//! What the history cannot decide is given to the servers: a write without a context supersedes what its
//! coordinating replica held, which no client sees; so it *may* have superseded anything invoked before it
//! was answered. Keys that are only written with contexts are judged exactly.

mod bits;
mod check;
mod history;
mod past;
mod rule;

pub use check::{Checked, Final, Terms, check};
pub use history::{
    Basis, History, KeyId, Outcome, Read, Seen, TableMode, Write, WriteId, value_of, write_of,
};
pub use rule::{Rule, Violation};

#[cfg(test)]
mod tests;
