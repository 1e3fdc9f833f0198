//! What the shell does and no server: known here so that a server can say so, and for completion.

use super::{Parsed, Parser};
use crate::lexer::TokenKind;
use crate::limits::{COLUMNS_MAX, OPTIONS_MAX};
use crate::statement::Statement;
use crate::syntax::Expected;

impl Parser<'_> {
    /// One of them; the present token is its keyword. Always an error.
    pub(super) fn shell_command(&mut self) -> Parsed<Statement> {
        let TokenKind::Word(word) = self.current.kind else { return self.fail_as(Expected::Statement) };
        let word = word.to_ascii_uppercase();
        let refused =
            self.error(format!("{word} is a command of the shell (dunlin shell), not of the server"));
        if self.completing {
            self.advance()?;
            match word.as_str() {
                "COPY" => self.copy()?,
                "SOURCE" => self.file()?,
                "EXPAND" => {
                    let _ = self.accept_word("ON")? || self.accept_word("OFF")?;
                }
                _ => {}
            }
        }
        Err(refused)
    }

    /// `t [(k, v)] FROM|TO 'file' [WITH option = value AND ...]`.
    fn copy(&mut self) -> Parsed<()> {
        self.table()?;
        if self.accept_symbol("(")? {
            self.list(COLUMNS_MAX, "columns", |parser| parser.name(Expected::Column))?;
        }
        let stream = if self.accept_word("FROM")? {
            "STDIN"
        } else {
            self.expect_word("TO")?;
            "STDOUT"
        };
        if !self.accept_word(stream)? {
            self.file()?;
        }
        if !self.accept_word("WITH")? {
            return Ok(());
        }
        for _ in 0..OPTIONS_MAX {
            let name = self.name(Expected::CopyOption)?;
            self.expect_symbol("=")?;
            match name.as_str() {
                "rejects" => self.file()?,
                "header" | "context" => {
                    let _ = self.accept_word("TRUE")? || self.accept_word("FALSE")? || self.literal().is_ok();
                }
                _ => {
                    self.literal()?;
                }
            }
            if !self.accept_word("AND")? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn file(&mut self) -> Parsed<()> {
        self.note(Expected::File);
        match self.current.kind {
            TokenKind::Text(_) => self.advance().map(|_| ()),
            _ => self.fail(Expected::File),
        }
    }
}
