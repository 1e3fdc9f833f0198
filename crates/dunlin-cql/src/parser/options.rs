//! `WITH name = value AND ...` and `USING name value AND ...`.

use super::{Parsed, Parser};
use crate::lexer::TokenKind;
use crate::limits;
use crate::literal::Literal;
use crate::statement::{Durability, OptionValue, Using, WithOption};
use crate::syntax::Expected;
use dunlin_types::Consistency;
use std::time::Duration;
use uuid::Uuid;

impl Parser<'_> {
    /// The options after `WITH`, which was taken.
    pub(super) fn with_options(&mut self) -> Parsed<Vec<WithOption>> {
        let mut options = Vec::new();
        loop {
            if options.len() == limits::OPTIONS_MAX {
                return Err(self.error(format!("more than {} options", limits::OPTIONS_MAX)));
            }
            let name = self.name(Expected::Option)?;
            self.expect_symbol("=")?;
            let value = self.option_value()?;
            options.push(WithOption { name, value });
            if !self.accept_word("AND")? {
                return Ok(options);
            }
        }
    }

    fn option_value(&mut self) -> Parsed<OptionValue> {
        if !self.accept_symbol("{")? {
            return self.literal().map(OptionValue::Literal);
        }
        let mut entries = Vec::new();
        if self.accept_symbol("}")? {
            return Ok(OptionValue::Map(entries));
        }
        loop {
            if entries.len() == limits::OPTIONS_MAX {
                return Err(self.error(format!("more than {} entries", limits::OPTIONS_MAX)));
            }
            let key = self.literal()?;
            self.expect_symbol(":")?;
            entries.push((key, self.literal()?));
            if !self.accept_symbol(",")? {
                self.expect_symbol("}")?;
                return Ok(OptionValue::Map(entries));
            }
        }
    }

    /// `[USING ...]`.
    pub(super) fn using(&mut self) -> Parsed<Using> {
        let mut using = Using::default();
        if !self.accept_word("USING")? {
            return Ok(using);
        }
        loop {
            self.using_option(&mut using)?;
            if !self.accept_word("AND")? {
                return Ok(using);
            }
        }
    }

    fn using_option(&mut self, using: &mut Using) -> Parsed<()> {
        let TokenKind::Word(word) = self.current.kind else { return self.fail_as(Expected::UsingOption) };
        let name = word.to_ascii_uppercase();
        let start = self.current.start;
        let twice = match name.as_str() {
            "CONSISTENCY" => {
                self.advance()?;
                using.consistency.replace(self.consistency()?).is_some()
            }
            "TTL" => {
                self.advance()?;
                using.ttl_s.replace(self.integer()?).is_some()
            }
            "CONTEXT" => {
                self.advance()?;
                using.context.replace(self.text()?).is_some()
            }
            "AFTER" => {
                self.advance()?;
                using.after.replace(self.text()?).is_some()
            }
            "TIMESTAMP" => {
                self.advance()?;
                using.timestamp_us.replace(self.integer()?).is_some()
            }
            "TIMEOUT" => {
                self.advance()?;
                using.timeout.replace(self.duration()?).is_some()
            }
            "DURABILITY" => {
                self.advance()?;
                using.durability.replace(self.durability()?).is_some()
            }
            "REQUEST" => {
                self.advance()?;
                using.request.replace(self.uuid()?).is_some()
            }
            "PAGE" => {
                self.advance()?;
                using.page.replace(self.text()?).is_some()
            }
            _ => return self.fail_as(Expected::UsingOption),
        };
        if twice {
            return Err(crate::SyntaxError::at(self.text, start, format!("{name} is given twice")));
        }
        Ok(())
    }

    pub(super) fn consistency(&mut self) -> Parsed<Consistency> {
        if let TokenKind::Word(word) = self.current.kind
            && let Ok(level) = word.parse()
        {
            self.advance()?;
            return Ok(level);
        }
        self.fail(Expected::Consistency)
    }

    fn duration(&mut self) -> Parsed<Duration> {
        let TokenKind::Duration(duration) = self.current.kind else { return self.fail(Expected::Duration) };
        self.advance()?;
        Ok(duration)
    }

    fn durability(&mut self) -> Parsed<Durability> {
        if self.accept_word("SYNCED")? {
            return Ok(Durability::Synced);
        }
        self.expect_word("BUFFERED")?;
        Ok(Durability::Buffered)
    }

    fn uuid(&mut self) -> Parsed<Uuid> {
        let id = match &self.current.kind {
            TokenKind::Uuid(id) => Some(*id),
            // Canonical form only, as everywhere.
            TokenKind::Text(text) if text.len() == 36 => Uuid::parse_str(text).ok(),
            _ => None,
        };
        match id {
            Some(id) => {
                self.advance()?;
                Ok(id)
            }
            None => self.fail(Expected::Uuid),
        }
    }

    /// `[IF NOT EXISTS]`.
    pub(super) fn if_not_exists(&mut self) -> Parsed<bool> {
        let found = self.accept_word("IF")?;
        if found {
            self.expect_word("NOT")?;
            self.expect_word("EXISTS")?;
        }
        Ok(found)
    }

    /// `[IF EXISTS]`.
    pub(super) fn if_exists(&mut self) -> Parsed<bool> {
        let found = self.accept_word("IF")?;
        if found {
            self.expect_word("EXISTS")?;
        }
        Ok(found)
    }

    /// `k = key`, the name of the column first.
    pub(super) fn equals(&mut self) -> Parsed<(String, Literal)> {
        let column = self.name(Expected::Column)?;
        self.expect_symbol("=")?;
        Ok((column, self.literal()?))
    }
}
