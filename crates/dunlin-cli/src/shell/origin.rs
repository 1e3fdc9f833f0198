//! Where a statement comes from: for its errors, and for what it may do there.

use super::statements::{Chunk, Statements};
use std::path::Path;

/// Where a statement comes from.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// What errors call the text: a file, `-e`, `stdin`. `None`: a person at the prompt, who sees what was typed.
    pub name: Option<&'a str>,
    /// Relative names of files start here; `None`: where the shell was started.
    pub directory: Option<&'a Path>,
    /// The text, of which more may follow.
    pub statements: Option<&'a Statements>,
    line: u32,
    column: u32,
}

impl<'a> Origin<'a> {
    /// Typed at the prompt.
    pub const PROMPT: Origin<'static> =
        Origin { name: None, directory: None, statements: None, line: 1, column: 1 };

    /// A chunk of a text.
    pub fn of(statements: &'a Statements, chunk: &Chunk) -> Origin<'a> {
        Origin {
            name: Some(statements.name()),
            directory: statements.directory(),
            statements: Some(statements),
            line: chunk.line,
            column: chunk.column,
        }
    }

    /// Whether a person waits at a prompt for the answer.
    pub fn is_prompt(&self) -> bool {
        self.name.is_none()
    }

    /// The place in the whole text of one in the chunk.
    pub fn place(&self, line: u32, column: u32) -> (u32, u32) {
        let shift = if line <= 1 { self.column - 1 } else { 0 };
        (self.line.saturating_add(line.saturating_sub(1)), column.saturating_add(shift))
    }
}
