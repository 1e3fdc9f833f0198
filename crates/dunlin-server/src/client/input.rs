//! Bytes of a connection to statements: framing, size limits, and the memory they may take.

use super::budget::Budget;
use super::greeting::{Foreign, Greeting, greeting};
use bytes::{Buf, BytesMut};
use dunlin_cql::splitter::leading_blanks;
use dunlin_cql::{Splitter, SyntaxError};
use std::sync::Arc;

/// What a connection may hold without asking the budget.
const FREE_BYTES: usize = 64 << 10;
/// Room made before each read.
const READ_BYTES: usize = 8 << 10;
/// A statement that is refused is skipped to its end, but not further than this many times the limit.
const SKIP_FACTOR: usize = 4;

/// Why a statement is refused unread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Longer than the limit.
    TooLong,
    /// No memory left for long statements.
    NoMemory,
}

/// What the input holds next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    /// A statement of so many bytes: [`Input::text`], then [`Input::consume`].
    Statement(usize),
    /// A statement that was skipped.
    Refused(Refused),
    /// A statement that was skipped as far as is sensible, and its end was not found.
    Lost(Refused),
    /// The peer speaks another protocol.
    Foreign(Foreign),
}

/// What is left at the end of the stream.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// An unfinished statement.
    Unfinished(SyntaxError),
    /// One that was being skipped.
    Refused(Refused),
}

/// The bytes of one connection that are not yet executed.
pub(super) struct Input {
    buffer: BytesMut,
    splitter: Splitter,
    /// Bytes of the buffer that the splitter has seen.
    scanned: usize,
    skipping: Option<(Refused, usize)>,
    /// The first bytes were looked at.
    greeted: bool,
    statement_bytes_max: usize,
    budget: Arc<Budget>,
    charged: usize,
}

impl Input {
    pub fn new(statement_bytes_max: usize, budget: Arc<Budget>) -> Input {
        Input {
            buffer: BytesMut::new(),
            splitter: Splitter::new(),
            scanned: 0,
            skipping: None,
            greeted: false,
            statement_bytes_max,
            budget,
            charged: 0,
        }
    }

    /// The buffer, with room to read into. Read, then call [`Input::take`].
    pub fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 2 {
            self.grow();
        }
        &mut self.buffer
    }

    fn grow(&mut self) {
        // Doubling, so that a long statement is copied a bounded number of times.
        let wanted = (self.buffer.len() + READ_BYTES).max(self.buffer.len() * 2);
        let charge = wanted.saturating_sub(FREE_BYTES);
        if charge > self.charged {
            if !self.budget.take(charge - self.charged) {
                self.skip(Refused::NoMemory);
                self.shrink();
                self.buffer.reserve(READ_BYTES);
                return;
            }
            self.charged = charge;
        }
        self.buffer.reserve(wanted - self.buffer.len());
    }

    /// Drops what is held of the present statement; the rest of it will be dropped as it comes.
    fn skip(&mut self, why: Refused) {
        self.skipping = Some((why, self.buffer.len()));
        self.buffer.clear();
        self.scanned = 0;
    }

    /// Gives memory back once nothing is held.
    fn shrink(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > FREE_BYTES {
            self.buffer = BytesMut::new();
        }
        if self.buffer.is_empty() && self.charged > 0 {
            self.budget.give_back(std::mem::take(&mut self.charged));
        }
    }

    /// Whether no more bytes are held.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether the peer is in the middle of a statement; true as second if that takes much memory.
    pub fn partial(&self) -> (bool, bool) {
        (!self.buffer.is_empty() || self.skipping.is_some(), self.charged > 0 || self.skipping.is_some())
    }

    /// The next frame, if it is whole.
    pub fn take(&mut self) -> Option<Frame> {
        if !self.greeted {
            match greeting(&self.buffer) {
                Greeting::Text => self.greeted = true,
                Greeting::Unknown => {}
                Greeting::MoreNeeded => return None,
                Greeting::Foreign(foreign) => return Some(Frame::Foreign(foreign)),
            }
        }
        if self.skipping.is_some() {
            return self.take_skipped();
        }
        if self.scanned == 0 {
            let blanks = leading_blanks(&self.buffer);
            self.buffer.advance(blanks);
        }
        match self.splitter.feed(&self.buffer[self.scanned..]) {
            Some(end) => {
                let length = self.scanned + end;
                if length > self.statement_bytes_max {
                    self.consume(length);
                    return Some(Frame::Refused(Refused::TooLong));
                }
                Some(Frame::Statement(length))
            }
            None => {
                self.scanned = self.buffer.len();
                if self.scanned > self.statement_bytes_max {
                    self.skip(Refused::TooLong);
                }
                self.shrink();
                None
            }
        }
    }

    fn take_skipped(&mut self) -> Option<Frame> {
        let (why, skipped) = self.skipping?;
        if let Some(end) = self.splitter.feed(&self.buffer) {
            self.skipping = None;
            self.consume(end);
            return Some(Frame::Refused(why));
        }
        let skipped = skipped + self.buffer.len();
        self.buffer.clear();
        self.skipping = Some((why, skipped));
        self.shrink();
        (skipped > self.statement_bytes_max.saturating_mul(SKIP_FACTOR)).then_some(Frame::Lost(why))
    }

    /// The text of the statement just taken, without blanks before it: positions in errors count from its first
    /// word, or from the comment before that. The error if it is not UTF-8.
    pub fn text(&self, length: usize) -> Result<&str, SyntaxError> {
        let bytes = &self.buffer[..length];
        let bytes = &bytes[leading_blanks(bytes)..];
        std::str::from_utf8(bytes).map_err(|error| {
            let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            SyntaxError::at(valid, valid.len(), "expected UTF-8, found other bytes")
        })
    }

    /// Drops the statement just taken.
    pub fn consume(&mut self, length: usize) {
        self.buffer.advance(length);
        self.scanned = 0;
        self.shrink();
    }

    /// At the end of the stream: what is left of a statement that was not finished. It is dropped.
    pub fn finish(&mut self) -> Option<Left> {
        let left = match self.skipping.take() {
            Some((why, _)) => Some(Left::Refused(why)),
            None => self.splitter.open().map(|open| {
                let blanks = leading_blanks(&self.buffer);
                let text = String::from_utf8_lossy(&self.buffer[blanks..]);
                // Characters that are none are counted like those that take their place.
                let before = String::from_utf8_lossy(&self.buffer[blanks..open.offset.max(blanks)]);
                Left::Unfinished(SyntaxError::unfinished(&text, before.len(), open.part))
            }),
        };
        self.buffer.clear();
        self.splitter = Splitter::new();
        self.scanned = 0;
        self.shrink();
        left
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.budget.give_back(self.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(max: usize, budget: usize) -> (Input, Arc<Budget>) {
        let budget = Arc::new(Budget::new(budget));
        (Input::new(max, Arc::clone(&budget)), budget)
    }

    /// Feeds pieces and lists what comes out.
    fn frames(input: &mut Input, pieces: &[&[u8]]) -> Vec<String> {
        let mut out = Vec::new();
        for piece in pieces {
            input.room().extend_from_slice(piece);
            while let Some(frame) = input.take() {
                match frame {
                    Frame::Statement(length) => {
                        out.push(input.text(length).map_or_else(|e| e.to_string(), str::to_owned));
                        input.consume(length);
                    }
                    Frame::Foreign(_) | Frame::Lost(_) => {
                        out.push(format!("{frame:?}"));
                        return out;
                    }
                    other => out.push(format!("{other:?}")),
                }
            }
        }
        out
    }

    #[test]
    fn statements_in_pieces_without_leading_blanks() {
        let (mut input, _) = input(100, 0);
        assert_eq!(frames(&mut input, &[b"\r\n USE", b" x;\nUSE y; ", b";"]), ["USE x;", "USE y;", ";"]);
        assert!(input.is_empty());
        assert_eq!(input.finish(), None);
        assert_eq!(
            frames(&mut input, &[b"'\xff';"]),
            ["expected UTF-8, found other bytes (line 1, column 2)"]
        );
        assert!(frames(&mut input, &[b"USE z"]).is_empty());
        assert!(input.finish().is_some());
    }

    #[test]
    fn marks_and_comments_before_a_statement_are_no_columns_and_no_statement() {
        let mark = "\u{feff}".as_bytes();
        for pieces in
            [&[mark, b"@;"][..], &[b"\n \xef", b"\xbb", b"\xbf@;"], &[b"\xef\xbb\xbf\x0b\xef\xbb\xbf\n@;"]]
        {
            let (mut input, _) = input(100, 0);
            assert_eq!(frames(&mut input, pieces), ["@;"]);
        }
        let (mut input, _) = input(100, 0);
        let batch = "BEGIN BATCH a; b; APPLY BATCH;";
        let out = frames(&mut input, &[mark, batch.as_bytes(), b"-- x;\n /* ; */ y; // z", b"\n;"]);
        assert_eq!(out, [batch, "-- x;\n /* ; */ y;", "// z\n;"]);
        assert_eq!(input.finish(), None);
        assert!(frames(&mut input, &[b" -- nothing\n/* more */ "]).is_empty());
        assert_eq!(input.finish(), None);
    }

    #[test]
    fn the_end_says_what_is_open_and_where() {
        let check = |bytes: &[u8], line, column, expected: &str| {
            let (mut input, _) = input(100, 0);
            frames(&mut input, &[b"x;\n", bytes]);
            let Some(Left::Unfinished(error)) = input.finish() else { panic!("{expected}") };
            assert_eq!((error.line, error.column), (line, column), "{expected}");
            assert!(error.message.starts_with(expected), "{}", error.message);
            assert!(input.is_empty() && input.finish().is_none());
        };
        check(b"SELECT", 1, 1, "expected ; to end the statement");
        check(b"\xef\xbb\xbf -- c\n SELECT", 2, 2, "expected ; to end the statement");
        check(b"\n a\n 'b", 2, 2, "expected ' to end the string");
        check(b"a \xff\xff\"b", 1, 5, "expected \" to end the name");
        check(b"a $$b", 1, 3, "expected $$ to end the string");
        check(b"/* b", 1, 1, "expected */ to end the comment");
        check(b"BEGIN BATCH a;", 1, 1, "expected APPLY BATCH; to end the batch");
        let (mut long, _) = input(10, 1 << 20);
        frames(&mut long, &[b"'0123456789"]);
        assert_eq!(long.finish(), Some(Left::Refused(Refused::TooLong)));
    }

    #[test]
    fn a_long_statement_is_skipped_to_its_end() {
        let (mut input, _) = input(10, 1 << 20);
        let out = frames(&mut input, &[b"a", b"bcdefghijk", b"'lm;'", b"n;o;", b"0123456789;p;"]);
        assert_eq!(out, ["Refused(TooLong)", "o;", "Refused(TooLong)", "p;"]);
        let out = frames(&mut input, &[b"'0123456789", &[b'x'; 50]]);
        assert_eq!(out, ["Lost(TooLong)"]);
    }

    #[test]
    fn long_statements_share_a_budget() {
        let (mut first, budget) = input(1 << 20, 1 << 20);
        let mut second = Input::new(1 << 20, Arc::clone(&budget));
        let piece = [b'x'; 8192];
        for _ in 0..100 {
            assert!(frames(&mut first, &[&piece]).is_empty());
        }
        assert!(budget.left() < 1 << 19);
        let mut refused = frames(&mut second, &[&piece[..]; 100]);
        refused.append(&mut frames(&mut second, &[b";y;"]));
        assert_eq!(refused, ["Refused(NoMemory)", "y;"]);
        assert_eq!(frames(&mut first, &[b";"])[0].len(), 819_201);
        drop((first, second));
        assert_eq!(budget.left(), 1 << 20);
    }
}
