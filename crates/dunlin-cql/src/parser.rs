//! Tokens to statements: recursive descent, one file for each family of statements.
//!
//! The parser notes what it looked for at the present token. When nothing fits, that list is the
//! error's "expected ..."; at the end of an unfinished text it is what could be typed next.

mod data;
mod hints;
mod options;
mod schema;
mod select;
mod session;
mod shell;
#[cfg(test)]
mod tests;

use crate::lexer::{Lexer, Token, TokenKind, shorten};
use crate::literal::Literal;
use crate::name::{TableName, is_reserved};
use crate::statement::Statement;
use crate::syntax::{Expected, SyntaxError, join};

type Parsed<T> = Result<T, SyntaxError>;

/// Reads one statement. A `;` at its end is allowed and not needed; anything after it is an error.
pub fn parse(text: &str) -> Result<Statement, SyntaxError> {
    let mut parser = Parser::new(text)?;
    let statement = parser.statement()?;
    parser.statement_end()?;
    Ok(statement)
}

/// What may come at the end of an unfinished text; empty if the text is wrong before its end.
pub(crate) fn expected_at_end(text: &str) -> Vec<Expected> {
    let Ok(mut parser) = Parser::new(text) else { return Vec::new() };
    parser.completing = true;
    let finished = parser.statement().and_then(|_| parser.statement_end());
    if parser.current.kind != TokenKind::End {
        return Vec::new();
    }
    if finished.is_ok() {
        parser.note(Expected::End);
    }
    parser.tried
}

pub(crate) struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    current: Token<'a>,
    tried: Vec<Expected>,
    /// What the shell alone does is read too: for its completion.
    completing: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parsed<Parser<'a>> {
        let mut lexer = Lexer::new(text);
        let current = lexer.take_token()?;
        Ok(Parser { text, lexer, current, tried: Vec::new(), completing: false })
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let TokenKind::Word(word) = self.current.kind else { return self.fail_as(Expected::Statement) };
        let mut upper = [0; 16];
        let Some(upper) = upper.get_mut(..word.len()) else { return self.fail_as(Expected::Statement) };
        upper.copy_from_slice(word.as_bytes());
        upper.make_ascii_uppercase();
        match &*upper {
            b"SELECT" => {
                self.advance()?;
                self.select().map(Statement::Select)
            }
            b"INSERT" | b"UPDATE" | b"DELETE" => self.write().map(Statement::Write),
            b"BEGIN" => self.batch(),
            b"CREATE" => self.create(),
            b"ALTER" => self.alter(),
            b"DROP" => self.drop(),
            b"TRUNCATE" => self.truncate(),
            b"USE" | b"CONSISTENCY" | b"TRACING" | b"PAGING" | b"LOGIN" | b"DESCRIBE" | b"DESC" | b"SHOW"
            | b"EXPLAIN" | b"HELP" | b"QUIT" | b"EXIT" => self.session_statement(),
            b"COPY" | b"SOURCE" | b"EXPAND" | b"MORE" => self.shell_command(),
            _ => self.fail_as(Expected::Statement),
        }
    }

    fn statement_end(&mut self) -> Parsed<()> {
        if self.current.kind == TokenKind::Symbol(";") {
            self.advance()?;
        }
        if self.current.kind == TokenKind::End { Ok(()) } else { self.fail(Expected::End) }
    }

    fn advance(&mut self) -> Parsed<Token<'a>> {
        self.tried.clear();
        let next = self.lexer.take_token()?;
        Ok(std::mem::replace(&mut self.current, next))
    }

    /// The error that names everything looked for at this token, and `expected`.
    fn fail<T>(&mut self, expected: Expected) -> Parsed<T> {
        self.note(expected);
        let found = match self.current.kind {
            TokenKind::End => "the end".into(),
            _ => shorten(&self.text[self.current.start..self.current.end]),
        };
        let hint = hints::after(self.text, &self.current, &self.tried);
        Err(self.error(format!("expected {}, found {found}{hint}", join(&self.tried))))
    }

    /// The same, naming `expected` alone.
    fn fail_as<T>(&mut self, expected: Expected) -> Parsed<T> {
        self.tried.clear();
        self.fail(expected)
    }

    /// An error at this token.
    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::at(self.text, self.current.start, message)
    }

    fn note(&mut self, expected: Expected) {
        if !self.tried.contains(&expected) {
            self.tried.push(expected);
        }
    }

    fn is_word(&mut self, keyword: &'static str) -> bool {
        self.note(Expected::Word(keyword));
        matches!(self.current.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn accept_word(&mut self, keyword: &'static str) -> Parsed<bool> {
        let found = self.is_word(keyword);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect_word(&mut self, keyword: &'static str) -> Parsed<()> {
        if self.accept_word(keyword)? { Ok(()) } else { self.fail(Expected::Word(keyword)) }
    }

    fn accept_symbol(&mut self, symbol: &'static str) -> Parsed<bool> {
        self.note(Expected::Symbol(symbol));
        let found = self.current.kind == TokenKind::Symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect_symbol(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.accept_symbol(symbol)? { Ok(()) } else { self.fail(Expected::Symbol(symbol)) }
    }

    /// A name, folded to lower case unless quoted.
    fn name(&mut self, expected: Expected) -> Parsed<String> {
        let name = match &self.current.kind {
            TokenKind::Word(word) => {
                let word: &'a str = word;
                let lower = word.to_ascii_lowercase();
                if is_reserved(&lower) {
                    self.note(expected);
                    let message = format!(
                        "expected {}, found {word}, a keyword: quote it to use it as a name",
                        join(&self.tried)
                    );
                    return Err(self.error(message));
                }
                lower
            }
            TokenKind::QuotedName(name) if name.is_empty() => {
                return Err(self.error("a name has at least one character"));
            }
            TokenKind::QuotedName(name) => name.to_string(),
            _ => return self.fail(expected),
        };
        self.advance()?;
        Ok(name)
    }

    fn table(&mut self) -> Parsed<TableName> {
        let first = self.name(Expected::Table)?;
        if self.current.kind == TokenKind::Symbol(".") {
            self.advance()?;
            return Ok(TableName { keyspace: Some(first), table: self.name(Expected::Table)? });
        }
        Ok(TableName { keyspace: None, table: first })
    }

    fn text(&mut self) -> Parsed<String> {
        match self.current.kind {
            TokenKind::Text(_) => match self.advance()?.kind {
                TokenKind::Text(text) => Ok(text.into_owned()),
                _ => self.fail(Expected::Text),
            },
            _ => self.fail(Expected::Text),
        }
    }

    fn integer(&mut self) -> Parsed<i128> {
        match self.current.kind {
            TokenKind::Integer(n) => {
                self.advance()?;
                Ok(n)
            }
            _ => self.fail(Expected::Integer),
        }
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let literal = match &mut self.current.kind {
            TokenKind::Text(text) => Literal::Text(std::mem::take(text).into_owned()),
            TokenKind::Blob(bytes) => Literal::Blob(std::mem::take(bytes)),
            TokenKind::Integer(n) => Literal::Integer(*n),
            TokenKind::Double(x) => Literal::Double(*x),
            TokenKind::Uuid(id) => Literal::Uuid(*id),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("true") => Literal::Boolean(true),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("false") => Literal::Boolean(false),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("null") => Literal::Null,
            TokenKind::Word(word) if word.eq_ignore_ascii_case("nan") => Literal::Double(f64::NAN),
            TokenKind::Word(word) if word.eq_ignore_ascii_case("infinity") => Literal::Double(f64::INFINITY),
            TokenKind::Symbol("-") => {
                self.advance()?;
                if !self.is_word("INFINITY") {
                    return self.fail(Expected::Word("INFINITY"));
                }
                Literal::Double(f64::NEG_INFINITY)
            }
            _ => return self.fail(Expected::Constant),
        };
        self.advance()?;
        Ok(literal)
    }

    /// `item (, item)*` up to the closing parenthesis, which is taken; the opening one was.
    fn list<T>(
        &mut self,
        max: usize,
        what: &str,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        loop {
            if items.len() == max {
                return Err(self.error(format!("more than {max} {what}")));
            }
            items.push(item(self)?);
            if !self.accept_symbol(",")? {
                self.expect_symbol(")")?;
                return Ok(items);
            }
        }
    }
}
