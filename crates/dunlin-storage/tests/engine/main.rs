//! The engine from outside: against a model, through crashes, faults and damage, and its files byte by byte.

mod bytes;
mod compaction;
mod conformance;
mod crash;
mod damage;
mod faults;
mod golden;
mod model;
mod planted;
mod scrub;
mod snapshot;
mod support;
mod tables;
