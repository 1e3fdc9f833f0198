//! Statements about the session and the cluster: `USE`, `CONSISTENCY`, `DESCRIBE`, `EXPLAIN`, ...

use super::{Parsed, Parser};
use crate::lexer::TokenKind;
use crate::limits::PAGE_ROWS_MAX;
use crate::statement::{DescribeStatement, Statement};
use crate::syntax::Expected;

/// Words of a help topic.
const TOPIC_WORDS_MAX: usize = 3;

impl Parser<'_> {
    /// One of them; the present token is its keyword.
    pub(super) fn session_statement(&mut self) -> Parsed<Statement> {
        let TokenKind::Word(word) = self.advance()?.kind else { return self.fail_as(Expected::Statement) };
        match word.to_ascii_uppercase().as_str() {
            "USE" => Ok(Statement::Use { keyspace: self.name(Expected::Keyspace)? }),
            "CONSISTENCY" => {
                let shown = self.is_end();
                self.note(Expected::Consistency);
                Ok(Statement::Consistency(if shown { None } else { Some(self.consistency()?) }))
            }
            "TRACING" => {
                let shown = self.is_end();
                let on = self.accept_word("ON")?;
                if !on && !self.accept_word("OFF")? {
                    return if shown { Ok(Statement::ShowTracing) } else { self.fail(Expected::Word("OFF")) };
                }
                Ok(Statement::Tracing(on))
            }
            "PAGING" => self.paging(),
            "LOGIN" => Ok(Statement::Login { user: self.text()?, password: self.text()? }),
            "SHOW" => {
                if self.accept_word("VERSION")? {
                    return Ok(Statement::ShowVersion);
                }
                self.expect_word("SESSION")?;
                Ok(Statement::ShowSession)
            }
            "EXPLAIN" => {
                self.expect_word("SELECT")?;
                self.select().map(Statement::Explain)
            }
            "HELP" => self.help(),
            "QUIT" | "EXIT" => Ok(Statement::Quit),
            _ => self.describe(),
        }
    }

    fn is_end(&self) -> bool {
        matches!(self.current.kind, TokenKind::End | TokenKind::Symbol(";"))
    }

    fn paging(&mut self) -> Parsed<Statement> {
        if self.accept_word("OFF")? {
            return Ok(Statement::Paging(None));
        }
        match self.current.kind {
            TokenKind::Integer(n) if (1..=i128::from(PAGE_ROWS_MAX)).contains(&n) => {
                self.advance()?;
                Ok(Statement::Paging(Some(n as u32)))
            }
            TokenKind::Integer(_) => Err(self.error(format!("a page has 1 to {PAGE_ROWS_MAX} rows"))),
            _ if self.is_end() => {
                self.note(Expected::Integer);
                Ok(Statement::ShowPaging)
            }
            _ => self.fail(Expected::Integer),
        }
    }

    fn help(&mut self) -> Parsed<Statement> {
        let mut words: Vec<String> = Vec::new();
        while !self.is_end() {
            if words.len() == TOPIC_WORDS_MAX {
                return self.fail(Expected::End);
            }
            match &self.current.kind {
                TokenKind::Word(word) => words.push(word.to_ascii_lowercase()),
                _ => return self.fail(Expected::Topic),
            }
            self.advance()?;
        }
        self.note(Expected::Topic);
        Ok(Statement::Help(if words.is_empty() { None } else { Some(words.join(" ")) }))
    }

    fn describe(&mut self) -> Parsed<Statement> {
        let what = if self.accept_word("KEYSPACES")? {
            DescribeStatement::Keyspaces
        } else if self.accept_word("TABLES")? {
            DescribeStatement::Tables
        } else if self.accept_word("CLUSTER")? {
            DescribeStatement::Cluster
        } else if self.accept_word("SCHEMA")? {
            DescribeStatement::Schema
        } else if self.accept_word("KEYSPACE")? {
            DescribeStatement::Keyspace(self.name(Expected::Keyspace)?)
        } else {
            self.expect_word("TABLE")?;
            DescribeStatement::Table(self.table()?)
        };
        Ok(Statement::Describe(what))
    }
}
