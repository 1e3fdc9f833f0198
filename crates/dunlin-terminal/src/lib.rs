//! What both commands say to a person or to a pipe, and what they are told by the command line and the environment.
//!
//! Standard output may be a closed pipe or a full disk, so every line is written with [`say!`], whose error goes up
//! to [`finish`]: a reader that has seen enough ends the command quietly, anything else is one line and status 1.
//! Standard error may be gone too: [`complain!`] then says nothing. Neither ever panics, which `println!` does, and which
//! clippy therefore refuses in both commands. The parser's own words, help and version and wrong usage, go through the
//! same door ([`parse`]). [`conformance`] holds every verb of a command to that.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod command_line;
pub mod conformance;
mod environment;
mod output;
mod printable;
mod progress;
mod status;

pub use command_line::parse;
pub use environment::{WrongVariable, variable};
pub use output::{Output, Unwritten, complain_line, write_line};
pub use printable::{printable, turns};
pub use progress::Progress;
pub use status::{Format, explain, finish, finish_as};

/// Writes a line to standard output. Its value is the outcome: hand it on with `?`.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::write_line(::std::format_args!($($arg)*)) };
}

/// Writes a line, or a text of several, to standard error, if that can be written. Whoever's words are in it, they steer no
/// terminal.
#[macro_export]
macro_rules! complain {
    ($($arg:tt)*) => { $crate::complain_line(::std::format_args!($($arg)*)) };
}
