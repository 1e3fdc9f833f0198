//! A whole text, such as a file or what was typed, cut into its statements.

use super::{Mode, Part, Splitter, is_blank, leading_blanks};
use std::borrow::Cow;
use std::fmt;

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Bytes before it.
    pub offset: usize,
    /// Its line, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The beginning of a text. A byte order mark there takes no column.
    const START: Place = Place { offset: 0, line: 1, column: 1 };

    /// The place `bytes` further on; `text` is the whole.
    fn after(self, text: &str, bytes: usize) -> Place {
        let passed = text.get(self.offset..self.offset + bytes).unwrap_or_default();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (line, column) = match passed.rfind('\n') {
            Some(at) => {
                let lines = passed.bytes().filter(|b| *b == b'\n').count();
                (self.line.saturating_add(count(lines)), 1 + count(passed[at + 1..].chars().count()))
            }
            None => (self.line, self.column.saturating_add(count(passed.chars().count()))),
        };
        Place { offset: self.offset + bytes, line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What the end of a text leaves open. Its [`fmt::Display`] is a sentence for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// What it is.
    pub part: Part,
    /// Where it starts.
    pub place: Place,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, missing) = match self.part {
            Part::Text => ("string", "is not closed: ' is missing"),
            Part::RawText => ("string", "is not closed: $$ is missing"),
            Part::QuotedName => ("quoted name", "is not closed: \" is missing"),
            Part::Comment => ("comment", "is not closed: */ is missing"),
            Part::Batch => ("batch", "is not ended: APPLY BATCH; is missing"),
            Part::Statement => ("statement", "is not ended: ; is missing"),
        };
        write!(f, "the {what} that starts at {} {missing}", self.place)
    }
}

/// A statement of a text with the comments before it, or the comments behind the last one.
///
/// The pieces in order, with the blanks between them, are the text: nothing is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// From its first byte that is not blank up to its `;`, or to the end of the text without blanks. Positions in
    /// a server's errors count from here.
    pub text: &'a str,
    /// Where that begins in the whole text.
    pub start: Place,
    /// The statement alone: from its first token on, without the `;`. Empty if there are only comments.
    pub body: &'a str,
    /// Where that begins in the whole text.
    pub body_start: Place,
    /// What is open at the end of the text; `None` if the piece ends with its `;` or is only comments.
    pub unfinished: Option<Unfinished>,
    /// It ends with its `;`.
    pub is_terminated: bool,
}

impl<'a> Piece<'a> {
    /// Whether there is no statement: only comments, of which the last may be open ([`Piece::unfinished`]), or
    /// nothing but a `;` behind them.
    pub fn is_blank(&self) -> bool {
        self.body.is_empty()
    }

    /// The text to send to a server: ended by a `;` that no comment swallows. `None` if there is no statement, or
    /// if something in it is open and no `;` would end it.
    pub fn to_send(&self) -> Option<Cow<'a, str>> {
        if self.is_blank() {
            return None;
        }
        match self.unfinished {
            None => Some(Cow::Borrowed(self.text)),
            Some(Unfinished { part: Part::Statement, .. }) => {
                let mut splitter = Splitter::new();
                splitter.run(self.text.as_bytes());
                let end = if splitter.mode == Mode::LineComment { "\n;" } else { ";" };
                Some(Cow::Owned(format!("{}{end}", self.text)))
            }
            Some(_) => None,
        }
    }

    /// The place in the whole text of a position in [`Piece::text`] as a server's error gives it.
    pub fn place_of(&self, line: u32, column: u32) -> (u32, u32) {
        let shift = if line <= 1 { self.start.column - 1 } else { 0 };
        (self.start.line.saturating_add(line.saturating_sub(1)), column.saturating_add(shift))
    }
}

/// Cuts a text into statements, each with its line. Nothing is skipped: comments go with the statement behind
/// them, those behind the last statement are a piece of their own, a lone `;` too.
pub fn statements(text: &str) -> Pieces<'_> {
    // A mark at the very beginning is none of the first line's columns.
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    Pieces { text, at: Place { offset: mark, ..Place::START } }
}

/// See [`statements`].
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    text: &'a str,
    at: Place,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let whole = self.text;
        let blanks = leading_blanks(&whole.as_bytes()[self.at.offset..]);
        let start = self.at.after(whole, blanks);
        let rest = &whole[start.offset..];
        if rest.is_empty() {
            self.at = start;
            return None;
        }
        let mut splitter = Splitter::new();
        let end = splitter.run(rest.as_bytes());
        self.at = start.after(whole, end.unwrap_or(rest.len()));
        let open = if end.is_some() { None } else { splitter.open() };
        let text = match (end, open.map(|open| open.part)) {
            (Some(length), _) => &rest[..length],
            (None, None | Some(Part::Statement)) => trimmed(rest),
            (None, Some(_)) => rest,
        };
        let first = splitter.first_token();
        let body = first.map_or("", |first| &text[first..text.len() - usize::from(end.is_some())]);
        Some(Piece {
            text,
            start,
            body,
            body_start: start.after(whole, first.unwrap_or(0)),
            unfinished: open
                .map(|open| Unfinished { part: open.part, place: start.after(whole, open.offset) }),
            is_terminated: end.is_some(),
        })
    }
}

/// The text with a blank in the place of every comment: for whoever reads a statement without the lexer.
pub fn without_comments(text: &str) -> Cow<'_, str> {
    let (mut splitter, mut out) = (Splitter::new(), String::new());
    // Up to where it is copied, or from where on it is not, within a comment.
    let mut kept = 0;
    let mut in_comment = false;
    for (at, byte) in text.bytes().enumerate() {
        let in_line = splitter.mode == Mode::LineComment;
        splitter.step(byte);
        splitter.offset += 1;
        let now = matches!(splitter.mode, Mode::LineComment | Mode::BlockComment | Mode::BlockCommentStar);
        if now && !in_comment {
            out.push_str(&text[kept..splitter.mark]);
            out.push(' ');
        } else if in_comment && !now {
            // The end of the line is none of a comment.
            kept = if in_line { at } else { at + 1 };
        }
        in_comment = now;
    }
    if out.is_empty() && !in_comment {
        return Cow::Borrowed(text);
    }
    if !in_comment {
        out.push_str(&text[kept..]);
    }
    Cow::Owned(out)
}

/// Without the blanks at its end.
fn trimmed(text: &str) -> &str {
    text.trim_end_matches(|c: char| c == '\u{feff}' || c.is_ascii() && is_blank(c as u8))
}
