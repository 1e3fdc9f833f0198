//! The command line of the simulator.

mod batch;
mod clock;
mod commands;
mod log;
mod summary;

pub use batch::{run_all, run_apart};
pub use clock::Stopwatch;
pub use commands::{Cli, execute};
