//! Text to tokens, one at a time, sharing the text where it can.

use crate::syntax::SyntaxError;
use data_encoding::HEXLOWER_PERMISSIVE;
use std::borrow::Cow;
use std::time::Duration;
use uuid::Uuid;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind<'a> {
    /// An unquoted word: keyword or name.
    Word(&'a str),
    /// A `"quoted"` name.
    QuotedName(Cow<'a, str>),
    /// A string.
    Text(Cow<'a, str>),
    /// `0x...`.
    Blob(Vec<u8>),
    /// An integer.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Double(f64),
    /// A number with a unit of time.
    Duration(Duration),
    /// A uuid.
    Uuid(Uuid),
    /// Punctuation.
    Symbol(&'static str),
    /// Nothing is left.
    End,
}

/// A token and its place, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: TokenKind<'a>,
    /// Its first byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
}

/// Symbols, longer ones before their beginnings.
const SYMBOLS: &[&str] = &[
    "<=", ">=", "<", ">", "=", "(", ")", "{", "}", "[", "]", ",", ".", ":", ";", "*", "?", "!", "+", "%", "-",
];

/// Gives the tokens of a text.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the first byte.
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// The next token; [`TokenKind::End`] for ever once the text is over.
    pub fn take_token(&mut self) -> Result<Token<'a>, SyntaxError> {
        self.skip_blanks()?;
        let start = self.at;
        let rest = &self.text[start..];
        let Some(first) = rest.as_bytes().first().copied() else {
            return Ok(Token { kind: TokenKind::End, start, end: start });
        };
        let (kind, length) = match first {
            b'\'' => self.quoted('\'', "string", TokenKind::Text)?,
            b'"' => self.quoted('"', "name", TokenKind::QuotedName)?,
            b'$' => self.raw_string()?,
            _ => match uuid_at(rest) {
                Some(id) => (TokenKind::Uuid(id), 36),
                None if first.is_ascii_digit() => self.number(rest)?,
                None if first == b'-' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
                    self.number(rest)?
                }
                None if first.is_ascii_alphabetic() || first == b'_' => {
                    let length = word_length(rest);
                    (TokenKind::Word(&rest[..length]), length)
                }
                None => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                    Some(symbol) => (TokenKind::Symbol(symbol), symbol.len()),
                    None => {
                        let character = rest.chars().next().unwrap_or_default();
                        let hint = character_hint(character);
                        let message = format!("no statement has the character {character:?} here{hint}");
                        return Err(self.error(message));
                    }
                },
            },
        };
        self.at += length;
        Ok(Token { kind, start, end: self.at })
    }

    /// Where it is, in bytes.
    #[cfg(test)]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Passes over the character that the last error was about.
    #[cfg(test)]
    pub fn skip_character(&mut self) {
        self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
    }

    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::at(self.text, self.at, message)
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = &self.text[self.at..];
            let blanks = crate::splitter::leading_blanks(rest.as_bytes());
            let trimmed = &rest[blanks..];
            self.at += blanks;
            if trimmed.starts_with("--") || trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                let length = comment
                    .find("*/")
                    .ok_or_else(|| self.error("expected */ to end the comment that starts here"))?;
                self.at += length + 4;
            } else {
                return Ok(());
            }
        }
    }

    /// A string or name between quotes that are doubled inside; gives its whole length.
    fn quoted(
        &self,
        quote: char,
        what: &str,
        kind: fn(Cow<'a, str>) -> TokenKind<'a>,
    ) -> Result<(TokenKind<'a>, usize), SyntaxError> {
        let inner = &self.text[self.at + 1..];
        let mut doubled = false;
        let mut end = 0;
        loop {
            let Some(found) = inner[end..].find(quote) else {
                return Err(self.error(format!("expected {quote} to end the {what} that starts here")));
            };
            end += found;
            if !inner[end + 1..].starts_with(quote) {
                break;
            }
            doubled = true;
            end += 2;
        }
        let content = &inner[..end];
        let content = if doubled {
            let quote = quote.to_string();
            Cow::Owned(content.replace(&quote.repeat(2), &quote))
        } else {
            Cow::Borrowed(content)
        };
        Ok((kind(content), end + 2))
    }

    fn raw_string(&self) -> Result<(TokenKind<'a>, usize), SyntaxError> {
        let Some(inner) = self.text[self.at..].strip_prefix("$$") else {
            return Err(self.error("expected $$ to start a string, found a single $"));
        };
        let end =
            inner.find("$$").ok_or_else(|| self.error("expected $$ to end the string that starts here"))?;
        Ok((TokenKind::Text(Cow::Borrowed(&inner[..end])), end + 4))
    }

    fn number(&self, rest: &'a str) -> Result<(TokenKind<'a>, usize), SyntaxError> {
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        if rest.starts_with("0x") || rest.starts_with("0X") {
            let length = word_length(rest);
            let blob = HEXLOWER_PERMISSIVE
                .decode(&bytes[2..length])
                .map_err(|_| self.error("a blob has two hex digits for each byte after 0x"))?;
            return Ok((TokenKind::Blob(blob), length));
        }
        let sign = usize::from(bytes[0] == b'-');
        let mut end = sign + digits(sign);
        let whole = end;
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = if bytes.len() > end + 1 + signed { digits(end + 1 + signed) } else { 0 };
            if exponent > 0 {
                end += 1 + signed + exponent;
            }
        }
        let unit = &rest[end..end + word_length(&rest[end..])];
        if end > whole {
            if !unit.is_empty() {
                return Err(
                    self.error(format!("expected a number, found {}", shorten(&rest[..end + unit.len()])))
                );
            }
            let value: f64 = rest[..end].parse().unwrap_or(f64::INFINITY);
            if value.is_infinite() {
                return Err(self.error("the number is too large for a double"));
            }
            return Ok((TokenKind::Double(value), end));
        }
        let value: i128 = rest[..end].parse().map_err(|_| self.error("the integer has too many digits"))?;
        if unit.is_empty() {
            return Ok((TokenKind::Integer(value), end));
        }
        let unit_us: u64 = match unit.to_ascii_lowercase().as_str() {
            "us" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            _ => {
                return Err(self.error(format!(
                    "expected a number or a duration in us, ms, s or m, found {}",
                    shorten(&rest[..end + unit.len()])
                )));
            }
        };
        let micros = u64::try_from(value).ok().and_then(|n| n.checked_mul(unit_us));
        let micros = micros.ok_or_else(|| self.error("the duration is out of range"))?;
        Ok((TokenKind::Duration(Duration::from_micros(micros)), end + unit.len()))
    }
}

/// The uuid in canonical form that the text starts with, not followed by more of a word.
fn uuid_at(text: &str) -> Option<Uuid> {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 36
        && bytes[8] == b'-'
        && bytes[13] == b'-'
        && bytes[18] == b'-'
        && bytes[23] == b'-'
        && !bytes.get(36).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if shape { Uuid::try_parse_ascii(&bytes[..36]).ok() } else { None }
}

/// What somebody may have meant who typed or pasted that character.
fn character_hint(character: char) -> &'static str {
    match character {
        '`' | '\u{b4}' | '\u{2018}'..='\u{201f}' | '\u{2032}' | '\u{2033}' | '\u{ab}' | '\u{bb}' => {
            "; a string is in straight single quotes: 'abc'"
        }
        '\\' => "; a quote in a string is doubled, as in 'it''s': a backslash escapes nothing",
        '\0' => "; is the text in UTF-16? It has to be in UTF-8",
        '#' => "; a comment begins with -- or //",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "; the sign - is the one of ASCII",
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' => "; it is not seen, and does not belong there",
        c if c.is_whitespace() => "; it looks like a blank and is none: type the blank anew",
        _ => "",
    }
}

fn word_length(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

/// The beginning of some text, for messages.
pub fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(crate::limits::FOUND_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Result<Vec<TokenKind<'_>>, SyntaxError> {
        let mut lexer = Lexer::new(text);
        let mut kinds = Vec::new();
        loop {
            match lexer.take_token()?.kind {
                TokenKind::End => return Ok(kinds),
                kind => kinds.push(kind),
            }
        }
    }

    #[test]
    fn every_kind() {
        use TokenKind::*;
        let id = "550e8400-e29b-41d4-a716-446655440000";
        let text = format!(
            "kv 'it''s' $$a'b$$ \"A\"\"b\" 0xCAfe -42 1.5 -2e3 500ms {id} <= < -- x\n/* y */ k.v // z"
        );
        let expected = vec![
            Word("kv"),
            Text("it's".into()),
            Text("a'b".into()),
            QuotedName("A\"b".into()),
            Blob(vec![0xca, 0xfe]),
            Integer(-42),
            Double(1.5),
            Double(-2000.0),
            Duration(std::time::Duration::from_millis(500)),
            Uuid(id.parse().unwrap()),
            Symbol("<="),
            Symbol("<"),
            Word("k"),
            Symbol("."),
            Word("v"),
        ];
        assert_eq!(kinds(&text), Ok(expected));
        assert_eq!(kinds("deadbeef-e29b-41d4-a716-446655440000").unwrap().len(), 1);
        assert_eq!(kinds("0x"), Ok(vec![Blob(vec![])]));
        assert_eq!(kinds("1.x"), Ok(vec![Integer(1), Symbol("."), Word("x")]));
    }

    #[test]
    fn errors_say_where() {
        let check = |text: &str, line, column, message: &str| {
            assert_eq!(kinds(text), Err(SyntaxError { message: message.into(), line, column }), "{text}");
        };
        check("a\n 'b", 2, 2, "expected ' to end the string that starts here");
        check("'é' \"b", 1, 5, "expected \" to end the name that starts here");
        check("$$b$", 1, 1, "expected $$ to end the string that starts here");
        check("$b", 1, 1, "expected $$ to start a string, found a single $");
        check("/* a", 1, 1, "expected */ to end the comment that starts here");
        check("0xABC", 1, 1, "a blob has two hex digits for each byte after 0x");
        check("5days", 1, 1, "expected a number or a duration in us, ms, s or m, found 5days");
        check("1e999", 1, 1, "the number is too large for a double");
        check("@", 1, 1, "no statement has the character '@' here");
        check("9999999999999999999999999999999999999999", 1, 1, "the integer has too many digits");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = kinds(&text);
        }

        #[test]
        fn nor_does_text_near_the_language(text in r#"[a-f0-9xX;'"$.\-+/*\n éeE]{0,60}"#) {
            let _ = kinds(&text);
        }
    }
}
