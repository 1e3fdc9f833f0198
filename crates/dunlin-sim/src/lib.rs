//! Whole clusters in one thread under a seed.
//!
//! A run is a function of its seed: virtual time ([`executor`]), a faulty network ([`network`]), disks that
//! forget ([`disk`]), nodes that crash, pause, drift and come back, clients that keep a history, and
//! checkers that judge it ([`oracle`]). It is a test instrument; nothing of a node depends on it.

pub mod cli;
pub mod cluster;
pub mod complaints;
pub mod disk;
pub mod economy;
pub mod executor;
pub mod fault;
pub mod network;
pub mod options;
pub mod oracle;
pub mod planted;
pub mod random;
pub mod run;
pub mod runtime;
pub mod workload;
