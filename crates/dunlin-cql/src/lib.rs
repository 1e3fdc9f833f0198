//! The language of Dunlin: text to statement to operation, and replies to text.
//!
//! The crate is pure: no clock, no I/O, no cluster. A server feeds bytes to a
//! [`splitter::Splitter`], hands each statement's text to [`parse`], and the [`Statement`] together
//! with the schema and the session to [`plan`], which checks it and gives a typed [`Operation`]. What came of it
//! goes back as a [`Reply`], which knows its bytes. Clients use [`reply::ReplyReader`] for the way back.
//!
//! Start with [`statement`] (what can be said) and [`operation`] (what it then means).

pub mod complete;
pub mod describe;
pub mod help;
pub mod lexer;
pub mod limits;
pub mod literal;
pub mod name;
pub mod operation;
mod parser;
mod plan;
mod print;
pub mod reply;
pub mod splitter;
pub mod statement;
pub mod syntax;
pub mod system;
pub mod value;

pub use literal::Literal;
pub use operation::Operation;
pub use parser::parse;
pub use plan::{PlanError, SessionState, plan};
pub use reply::{Body, Cell, Reply};
pub use splitter::Splitter;
pub use statement::Statement;
pub use syntax::SyntaxError;
