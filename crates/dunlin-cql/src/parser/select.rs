//! `SELECT`.

use super::{Parsed, Parser};
use crate::lexer::TokenKind;
use crate::limits::SELECT_ITEMS_MAX;
use crate::statement::{Comparison, Condition, SelectItem, SelectStatement};
use crate::syntax::Expected;
use dunlin_types::limits::KEYS_PER_STATEMENT_MAX;

const COMPARISONS: [(&str, Comparison); 4] = [
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
];

impl Parser<'_> {
    /// What follows `SELECT`, which was taken.
    pub(super) fn select(&mut self) -> Parsed<SelectStatement> {
        let mut items = Vec::new();
        if !self.accept_symbol("*")? {
            loop {
                if items.len() == SELECT_ITEMS_MAX {
                    return Err(self.error(format!("more than {SELECT_ITEMS_MAX} items")));
                }
                items.push(self.select_item()?);
                if !self.accept_symbol(",")? {
                    break;
                }
            }
        }
        self.expect_word("FROM")?;
        let table = self.table()?;
        let condition = if self.accept_word("WHERE")? { self.condition()? } else { Condition::All };
        let limit = if self.accept_word("LIMIT")? { Some(self.limit()?) } else { None };
        let using = self.using()?;
        Ok(SelectStatement { items, table, condition, limit, using })
    }

    fn limit(&mut self) -> Parsed<u64> {
        match self.current.kind {
            TokenKind::Integer(n) if n > 0 && u64::try_from(n).is_ok() => {
                self.advance()?;
                Ok(n as u64)
            }
            TokenKind::Integer(_) => Err(self.error("a LIMIT is 1 or more")),
            _ => self.fail(Expected::Integer),
        }
    }

    fn select_item(&mut self) -> Parsed<SelectItem> {
        let quoted = matches!(self.current.kind, TokenKind::QuotedName(_));
        let start = self.current.start;
        let name = self.name(Expected::Column)?;
        if quoted || self.current.kind != TokenKind::Symbol("(") {
            return Ok(SelectItem::Column(name));
        }
        let wrap: fn(String) -> SelectItem = match name.as_str() {
            "context" => SelectItem::Context,
            "ttl" => SelectItem::Ttl,
            "writetime" => SelectItem::WriteTime,
            "token" => SelectItem::Token,
            "count" => |_| SelectItem::Count,
            _ => {
                let message =
                    format!("expected CONTEXT, TTL, WRITETIME, TOKEN or COUNT before (, found {name}");
                return Err(crate::SyntaxError::at(self.text, start, message));
            }
        };
        self.advance()?;
        let inner = if name == "count" {
            self.expect_symbol("*")?;
            String::new()
        } else {
            self.name(Expected::Column)?
        };
        self.expect_symbol(")")?;
        Ok(wrap(inner))
    }

    fn condition(&mut self) -> Parsed<Condition> {
        let quoted = matches!(self.current.kind, TokenKind::QuotedName(_));
        let column = self.name(Expected::Column)?;
        if !quoted && column == "token" && self.current.kind == TokenKind::Symbol("(") {
            return self.token_bounds();
        }
        if self.accept_symbol("=")? {
            return Ok(Condition::Equals { column, key: self.literal()? });
        }
        if self.accept_word("IN")? {
            self.expect_symbol("(")?;
            let keys = self.list(KEYS_PER_STATEMENT_MAX, "keys", |parser| parser.literal())?;
            return Ok(Condition::In { column, keys });
        }
        self.fail(Expected::Word("IN"))
    }

    /// `(k) > n [AND TOKEN(k) <= m]`: the word `TOKEN` was taken.
    fn token_bounds(&mut self) -> Parsed<Condition> {
        let (column, bound) = self.token_bound()?;
        let mut bounds = vec![bound];
        if self.accept_word("AND")? {
            self.expect_word("TOKEN")?;
            let start = self.current.start;
            let (second, bound) = self.token_bound()?;
            if second != column {
                let message = format!("expected TOKEN({column}) again, found TOKEN({second})");
                return Err(crate::SyntaxError::at(self.text, start, message));
            }
            bounds.push(bound);
        }
        Ok(Condition::Tokens { column, bounds })
    }

    fn token_bound(&mut self) -> Parsed<(String, (Comparison, i128))> {
        self.expect_symbol("(")?;
        let column = self.name(Expected::Column)?;
        self.expect_symbol(")")?;
        for (symbol, comparison) in COMPARISONS {
            if self.accept_symbol(symbol)? {
                return Ok((column, (comparison, self.integer()?)));
            }
        }
        self.fail(Expected::Symbol(">="))
    }
}
