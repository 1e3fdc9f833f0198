//! The COPY statement's own small grammar.

use super::dialect::Dialect;
use dunlin_cql::SyntaxError;
use dunlin_cql::lexer::{Lexer, Token, TokenKind};
use dunlin_cql::name::TableName;
use std::path::PathBuf;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into the table.
    From,
    /// Out of it.
    To,
}

/// A column of the file, as it is named in the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// A column of the table.
    Column(String),
    /// `CONTEXT(column)`.
    Context(String),
    /// `TTL(column)`.
    Ttl(String),
}

/// A parsed COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// As it is named; the keyspace may be the session's.
    pub table: TableName,
    /// The file's columns in their order; none: the table's.
    pub columns: Vec<Named>,
    /// Which way.
    pub direction: Direction,
    /// `None`: standard input or output.
    pub file: Option<PathBuf>,
    /// The first row names the columns.
    pub header: bool,
    /// The file's signs.
    pub dialect: Dialect,
    /// Where rows go that cannot be loaded.
    pub rejects: Option<PathBuf>,
}

/// Options that other tools have and this one has not, and what to do.
const ELSEWHERE: [(&str, &str); 7] = [
    ("null", "no column of a row is ever null here: an empty cell is the empty text"),
    ("nullval", "no column of a row is ever null here: an empty cell is the empty text"),
    ("errfile", "the rows that could not be loaded go into the file of rejects = 'file'"),
    (
        "skiprows",
        "leave rows out of the file, as in tail -n +101 rows.csv | dunlin shell -e \"COPY t FROM STDIN\"",
    ),
    ("maxrows", "cut the file, as in head -n 100 rows.csv | dunlin shell -e \"COPY t FROM STDIN\""),
    ("pagesize", "pages are as long as the memory of both sides allows"),
    ("ttl", "add a column TTL(column) to the file, or set the table's default_time_to_live"),
];

const OPTIONS: &str = "header, delimiter, quote, escape, encoding and rejects";

/// Parses a statement without its `;`, or says what was expected and where.
pub fn parse(text: &str) -> Result<Copy, SyntaxError> {
    Parser { text, lexer: Lexer::new(text) }.copy()
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
}

impl<'t> Parser<'t> {
    fn copy(mut self) -> Result<Copy, SyntaxError> {
        let token = self.lexer.take_token()?;
        if !is_word(&token, "COPY") {
            return Err(self.expected("COPY", &token));
        }
        let mut table = TableName { keyspace: None, table: self.name("a table")? };
        let mut token = self.lexer.take_token()?;
        if token.kind == TokenKind::Symbol(".") {
            table = TableName { keyspace: Some(table.table), table: self.name("a table")? };
            token = self.lexer.take_token()?;
        }
        let mut columns = Vec::new();
        if token.kind == TokenKind::Symbol("(") {
            columns = self.columns()?;
            token = self.lexer.take_token()?;
        }
        let direction = match &token {
            token if is_word(token, "FROM") => Direction::From,
            token if is_word(token, "TO") => Direction::To,
            token => return Err(self.expected("FROM or TO", token)),
        };
        let token = self.lexer.take_token()?;
        let file = match (&token.kind, direction) {
            (TokenKind::Text(name), _) if !name.is_empty() => Some(PathBuf::from(name.as_ref())),
            (_, Direction::From) if is_word(&token, "STDIN") => None,
            (_, Direction::To) if is_word(&token, "STDOUT") => None,
            (_, Direction::From) => return Err(self.expected("'file' in single quotes, or STDIN", &token)),
            (_, Direction::To) => return Err(self.expected("'file' in single quotes, or STDOUT", &token)),
        };
        let dialect = Dialect::default();
        let mut copy = Copy { table, columns, direction, file, header: false, dialect, rejects: None };
        self.options(&mut copy)?;
        Ok(copy)
    }

    fn columns(&mut self) -> Result<Vec<Named>, SyntaxError> {
        let mut columns = Vec::new();
        loop {
            let name = self.lexer.take_token()?;
            let function = match &name {
                token if is_word(token, "CONTEXT") => Some(Named::Context as fn(String) -> Named),
                token if is_word(token, "TTL") => Some(Named::Ttl as fn(String) -> Named),
                _ => None,
            };
            let mut token = self.lexer.take_token()?;
            let named = match function {
                Some(function) if token.kind == TokenKind::Symbol("(") => {
                    let inner = function(self.name("the value column")?);
                    let close = self.lexer.take_token()?;
                    if close.kind != TokenKind::Symbol(")") {
                        return Err(self.expected(")", &close));
                    }
                    token = self.lexer.take_token()?;
                    inner
                }
                _ => Named::Column(self.name_in(&name, "a column")?),
            };
            columns.push(named);
            match token.kind {
                TokenKind::Symbol(",") => {}
                TokenKind::Symbol(")") => return Ok(columns),
                _ => return Err(self.expected(", or )", &token)),
            }
        }
    }

    fn options(&mut self, copy: &mut Copy) -> Result<(), SyntaxError> {
        let mut given: Vec<String> = Vec::new();
        loop {
            let token = self.lexer.take_token()?;
            let joint = if given.is_empty() { "WITH" } else { "AND" };
            match token.kind {
                TokenKind::End | TokenKind::Symbol(";") => break,
                _ if is_word(&token, joint) => {}
                _ => return Err(self.expected(joint, &token)),
            }
            let name = self.lexer.take_token()?;
            let TokenKind::Word(word) = name.kind else { return Err(self.expected("an option", &name)) };
            let word = word.to_ascii_lowercase();
            let equals = self.lexer.take_token()?;
            if equals.kind != TokenKind::Symbol("=") {
                return Err(self.expected("=", &equals));
            }
            let value = self.lexer.take_token()?;
            if given.contains(&word) {
                return Err(self.wrong(&name, format!("{word} is given twice")));
            }
            self.option(copy, &word, &name, &value)?;
            given.push(word);
        }
        let Dialect { delimiter, quote, escape } = copy.dialect;
        if delimiter == quote || delimiter == escape {
            let what = "the delimiter has to be another sign than quote and escape";
            return Err(SyntaxError::at(self.text, self.text.len(), what));
        }
        Ok(())
    }

    fn option(
        &self,
        copy: &mut Copy,
        word: &str,
        name: &Token<'_>,
        value: &Token<'_>,
    ) -> Result<(), SyntaxError> {
        match word {
            "header" => match &value.kind {
                TokenKind::Word(word) if word.eq_ignore_ascii_case("true") => copy.header = true,
                TokenKind::Word(word) if word.eq_ignore_ascii_case("false") => copy.header = false,
                TokenKind::Text(text) if text.eq_ignore_ascii_case("true") => copy.header = true,
                TokenKind::Text(text) if text.eq_ignore_ascii_case("false") => copy.header = false,
                _ => return Err(self.expected("header = true or header = false", value)),
            },
            "delimiter" => copy.dialect.delimiter = self.sign(word, value)?,
            "quote" => {
                let sign = self.sign(word, value)?;
                if copy.dialect.escape == copy.dialect.quote {
                    copy.dialect.escape = sign;
                }
                copy.dialect.quote = sign;
            }
            "escape" => copy.dialect.escape = self.sign(word, value)?,
            "encoding" => {
                let text = self.text_of(word, value)?;
                if !["utf8", "utf-8"].contains(&text.to_ascii_lowercase().as_str()) {
                    let what = format!(
                        "encoding {text} is not supported, only UTF-8: convert the file, as with iconv -f {text} -t utf-8"
                    );
                    return Err(self.wrong(value, what));
                }
            }
            "rejects" if copy.direction == Direction::From => {
                copy.rejects = Some(PathBuf::from(self.text_of(word, value)?));
            }
            "rejects" => return Err(self.wrong(name, "rejects is an option of COPY FROM".to_owned())),
            _ => {
                let hint = ELSEWHERE.iter().find(|(known, _)| *known == word).map(|(_, hint)| *hint);
                let what = match hint {
                    Some(hint) => format!("COPY has no option {word}: {hint}"),
                    None => format!("COPY has no option {word}; its options are {OPTIONS}"),
                };
                return Err(self.wrong(name, what));
            }
        }
        Ok(())
    }

    fn text_of(&self, option: &str, value: &Token<'t>) -> Result<String, SyntaxError> {
        match &value.kind {
            TokenKind::Text(text) if !text.is_empty() => Ok(text.to_string()),
            _ => Err(self.expected(&format!("{option} = '...' in single quotes"), value)),
        }
    }

    fn sign(&self, option: &str, value: &Token<'_>) -> Result<u8, SyntaxError> {
        let TokenKind::Text(text) = &value.kind else {
            return Err(self.expected(&format!("{option} = 'x' in single quotes"), value));
        };
        match text.as_bytes() {
            b"\\t" => Ok(b'\t'),
            [byte] if byte.is_ascii() && *byte != b'\n' && *byte != b'\r' => Ok(*byte),
            _ => Err(self.wrong(value, format!("{option} is one ASCII character or '\\t', not {text:?}"))),
        }
    }

    fn name(&mut self, what: &str) -> Result<String, SyntaxError> {
        let token = self.lexer.take_token()?;
        self.name_in(&token, what)
    }

    fn name_in(&self, token: &Token<'_>, what: &str) -> Result<String, SyntaxError> {
        match &token.kind {
            TokenKind::Word(word) => Ok(word.to_ascii_lowercase()),
            TokenKind::QuotedName(name) if !name.is_empty() => Ok(name.to_string()),
            _ => Err(self.expected(what, token)),
        }
    }

    fn expected(&self, what: &str, token: &Token<'_>) -> SyntaxError {
        let found = match self.text.get(token.start..token.end) {
            Some("") | None => "the end",
            Some(found) => found,
        };
        self.wrong(token, format!("expected {what}, found {}", dunlin_cql::lexer::shorten(found)))
    }

    fn wrong(&self, token: &Token<'_>, message: String) -> SyntaxError {
        SyntaxError::at(self.text, token.start, message)
    }
}

fn is_word(token: &Token<'_>, wanted: &str) -> bool {
    matches!(token.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_copy() {
        let copy = parse(
            "COPY \"Shop\" . \"T\" (lemma, CONTEXT(\"Gloss\"), ttl) FROM '/tmp/it''s.csv' -- all\n\
             WITH HEADER = TRUE AND delimiter = '\\t' AND escape = '\\' AND Rejects = 'bad.csv' AND encoding = 'UTF-8'",
        )
        .unwrap();
        assert_eq!(copy.table, "\"Shop\".\"T\"".parse().unwrap());
        let columns =
            [Named::Column("lemma".into()), Named::Context("Gloss".into()), Named::Column("ttl".into())];
        assert_eq!(copy.columns, columns);
        assert_eq!((copy.direction, copy.header), (Direction::From, true));
        assert_eq!(copy.file, Some("/tmp/it's.csv".into()));
        assert_eq!(copy.dialect, Dialect { delimiter: b'\t', quote: b'"', escape: b'\\' });
        assert_eq!(copy.rejects, Some("bad.csv".into()));
        let copy = parse("copy kv to stdout with quote = ''''").unwrap();
        assert_eq!((copy.direction, copy.file), (Direction::To, None));
        assert_eq!(copy.dialect, Dialect { delimiter: b',', quote: b'\'', escape: b'\'' });
    }

    #[test]
    fn errors_say_what_was_expected_and_where() {
        for (text, column, part) in [
            ("COPY", 5, "expected a table, found the end"),
            ("COPY t", 7, "expected FROM or TO"),
            ("COPY t INTO 'x'", 8, "expected FROM or TO, found INTO"),
            ("COPY t FROM x", 13, "single quotes"),
            ("COPY t FROM STDOUT", 13, "or STDIN"),
            ("COPY t TO STDIN", 11, "or STDOUT"),
            ("COPY t (a b) TO 'x'", 11, "expected , or )"),
            ("COPY t FROM 'x' WITH head = 1", 22, "no option head; its options are header, delimiter"),
            ("COPY t FROM 'x' WITH null = ''", 22, "no option null: no column"),
            ("COPY t FROM 'x' WITH header = 1", 31, "header = true"),
            ("COPY t FROM 'x' WITH header = true, delimiter = ';'", 35, "expected AND"),
            ("COPY t FROM 'x' WITH delimiter = 'é'", 34, "one ASCII character"),
            ("COPY t FROM 'x' WITH encoding = 'latin1'", 33, "encoding latin1 is not supported"),
            ("COPY t FROM 'x' WITH header = true AND header = false", 40, "given twice"),
            ("COPY t TO 'x' WITH rejects = 'y'", 20, "COPY FROM"),
            ("COPY t TO 'x' WITH delimiter = '\"'", 35, "another sign"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {error}");
            assert_eq!(error.column, column, "{text}");
        }
    }
}
