//! `COPY table [(column, ...)] FROM|TO 'file.csv'|STDIN|STDOUT [WITH option = value [AND ...]]`.
//!
//! FROM ([`load`]): [`records`] cuts the file, [`mapping`] says which column is what, [`rows`] checks cells and makes
//! statements, and several [`sender`]s have many of them in flight. A row that fails for a passing reason (a node dies, a
//! time-out) is sent again, under the same request id where two writes of it would be two values. A row that cannot be
//! taken is counted and told with its line, the rest is loaded; [`tally`] knows both.
//! TO ([`unload`]): page after page into a file that is there whole or not at all.

pub mod dialect;
mod link;
mod load;
pub mod mapping;
pub mod records;
mod rows;
mod sender;
mod statement;
mod tally;
mod unload;

pub use link::Cluster;
pub use load::{Source, load};
pub use statement::{Copy, Direction, parse};
pub use tally::Tally;
pub use unload::unload;

/// How long nothing may get on before a COPY is given up.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
