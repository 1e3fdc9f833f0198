//! Where a statement ends, found while the bytes are still coming.
//!
//! The splitter sees each byte once, keeps no bytes, and knows just enough of the language not to be
//! fooled: strings `'...'` and `$$...$$`, quoted names, the three kinds of comments, and that a batch
//! ends with `APPLY BATCH;` and not at its inner semicolons. It works on bytes, valid UTF-8 or not.
//!
//! It also has to be right about text that is wrong: were a batch cut at an inner semicolon because of
//! something that does not belong there, the rest of it would be executed alone. So `BEGIN BATCH` opens a batch
//! wherever it stands outside of quotes and comments (with `UNLOGGED`, `LOGGED` or `COUNTER` between, too), batches nest, and
//! a batch ends at the `;` after `APPLY BATCH` or after anything that starts with `APPLY`. The words are reserved: no
//! statement but `HELP BEGIN BATCH` may have them otherwise.
//!
//! For a whole text there is [`statements`].

mod pieces;
#[cfg(test)]
mod tests;

pub use pieces::{Piece, Pieces, Place, Unfinished, statements, without_comments};

/// Finds statement ends in a stream of bytes.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    mode: Mode,
    phase: Phase,
    /// Batches that are open, one in the other.
    depth: u32,
    word: Word,
    /// Bytes since the last statement's end.
    offset: usize,
    /// Offset of the first token.
    first: usize,
    /// Offset of the word being read, or read last.
    word_at: usize,
    /// Offset of the last `BEGIN`.
    begin: usize,
    /// Offset of the `BEGIN` of the outermost batch.
    batch: usize,
    /// Offset of the quote or comment that the mode is about.
    mark: usize,
    /// The quote that was closed last, and the offset behind it: one that opens there again is part of the same.
    closed: (u8, usize),
}

/// What the next byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Open,
    Dash,
    Slash,
    Dollar,
    /// One or two bytes of a byte order mark, which is a blank.
    Mark1,
    Mark2,
    Text,
    QuotedName,
    Raw,
    RawDollar,
    LineComment,
    BlockComment,
    BlockCommentStar,
}

/// How far a batch is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// No token yet.
    #[default]
    Start,
    /// The statement began with `HELP`: it may name what it likes.
    Help,
    /// Not in a batch.
    Plain,
    /// Not in a batch, the last token is `BEGIN`.
    Begin,
    /// The same with `UNLOGGED`, `LOGGED` or `COUNTER` behind it.
    BeginKind,
    /// In a batch, at the start of one of its statements.
    Inner,
    /// In a batch.
    Batch,
    /// In a batch, the last token is `BEGIN`.
    BatchBegin,
    /// The same with `UNLOGGED`, `LOGGED` or `COUNTER` behind it.
    BatchBeginKind,
    /// In a batch, the last token is `APPLY`.
    BatchApply,
    /// In a batch that the next `;` ends.
    Applied,
}

/// The first bytes of the word being read, lower case.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    bytes: [u8; 8],
    length: u8,
}

impl Word {
    /// A word that is none of interest.
    const OTHER: Word = Word { bytes: [0; 8], length: 9 };

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte.to_ascii_lowercase();
        }
        // One past the end says "longer than any word of interest".
        self.length = (self.length + 1).min(Word::OTHER.length);
    }

    fn is(&self, word: &[u8]) -> bool {
        self.bytes.get(..usize::from(self.length)) == Some(word)
    }

    fn is_kind_of_batch(&self) -> bool {
        self.is(b"unlogged") || self.is(b"logged") || self.is(b"counter")
    }
}

/// What an unfinished text leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A string in single quotes.
    Text,
    /// A string between `$$`.
    RawText,
    /// A name in double quotes.
    QuotedName,
    /// A comment between `/*` and `*/`.
    Comment,
    /// A batch without its `APPLY BATCH`.
    Batch,
    /// A statement of which nothing but the `;` need be missing.
    Statement,
}

/// The innermost thing that is open, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// What it is.
    pub part: Part,
    /// Offset of its first byte, counted from the last statement's end.
    pub offset: usize,
}

impl Splitter {
    /// A splitter at the start of a statement.
    pub fn new() -> Splitter {
        Splitter::default()
    }

    /// Looks at the bytes that follow those of earlier calls. `Some(n)`: the statement ends with the
    /// `n`-th of them (its `;`), the rest was not looked at and belongs to the next statement. `None`:
    /// all were looked at, and more are needed.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = self.run(bytes);
        if end.is_some() {
            *self = Splitter::new();
        }
        end
    }

    /// Whether nothing but blanks and whole comments has been seen since the last statement's end.
    pub fn is_at_start(&self) -> bool {
        self.open().is_none()
    }

    /// What would be unfinished if no more came; `None` at the start.
    pub fn open(&self) -> Option<Open> {
        let part = match self.mode {
            Mode::Text => Part::Text,
            Mode::QuotedName => Part::QuotedName,
            Mode::Raw | Mode::RawDollar => Part::RawText,
            Mode::BlockComment | Mode::BlockCommentStar => Part::Comment,
            _ => return self.open_statement(),
        };
        Some(Open { part, offset: self.mark })
    }

    fn open_statement(&self) -> Option<Open> {
        let first = self.first_token()?;
        let mut ended = self.clone();
        ended.take_token(true);
        Some(match (ended.depth, ended.phase) {
            (0, _) | (1, Phase::Applied) => Open { part: Part::Statement, offset: first },
            _ => Open { part: Part::Batch, offset: ended.batch },
        })
    }

    /// Offset of the first token, if there was one.
    fn first_token(&self) -> Option<usize> {
        let begun = matches!(self.mode, Mode::Dash | Mode::Slash | Mode::Dollar | Mode::Mark1 | Mode::Mark2);
        (begun || self.word.length > 0 || self.phase != Phase::Start).then_some(self.first)
    }

    /// The same as [`Splitter::feed`], but at the end of a statement everything is left as it is.
    fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let skipped = self.skip(&bytes[at..]);
            at += skipped;
            self.offset += skipped;
            let Some(&byte) = bytes.get(at) else { break };
            if self.step(byte) {
                return Some(at + 1);
            }
            at += 1;
            self.offset += 1;
        }
        None
    }

    /// How many of the bytes change nothing in the present mode.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        let stop = match self.mode {
            Mode::Text => bytes.iter().position(|b| *b == b'\''),
            Mode::QuotedName => bytes.iter().position(|b| *b == b'"'),
            Mode::Raw => bytes.iter().position(|b| *b == b'$'),
            Mode::LineComment => bytes.iter().position(|b| *b == b'\n'),
            Mode::BlockComment => bytes.iter().position(|b| *b == b'*'),
            // The one word of interest here begins with a B.
            Mode::Open if self.phase == Phase::Plain && matches!(self.word.length, 0 | 9) => {
                let stop = bytes
                    .iter()
                    .position(|b| matches!(b, b'\'' | b'"' | b'$' | b'-' | b'/' | b';' | b'b' | b'B'))
                    .unwrap_or(bytes.len());
                if let Some(last) = bytes[..stop].last() {
                    self.word = if is_of_word(*last) { Word::OTHER } else { Word::default() };
                }
                return stop;
            }
            _ => Some(0),
        };
        stop.unwrap_or(bytes.len())
    }

    /// Takes one byte; true if it ends the statement.
    fn step(&mut self, byte: u8) -> bool {
        match (self.mode, byte) {
            (Mode::Dash, b'-') | (Mode::Slash, b'/') => self.mode = Mode::LineComment,
            (Mode::Slash, b'*') => self.mode = Mode::BlockComment,
            (Mode::Dollar, b'$') => {
                self.take_token(false);
                self.mode = Mode::Raw;
            }
            (Mode::Mark1, 0xbb) => self.mode = Mode::Mark2,
            (Mode::Mark2, 0xbf) => self.mode = Mode::Open,
            (Mode::Dash | Mode::Slash | Mode::Dollar | Mode::Mark1 | Mode::Mark2, _) => {
                self.take_token(false);
                return self.step_open(byte);
            }
            (Mode::Open, _) => return self.step_open(byte),
            (Mode::Text, b'\'') | (Mode::QuotedName, b'"') => {
                self.closed = (byte, self.offset + 1);
                self.mode = Mode::Open;
            }
            (Mode::Raw, b'$') => self.mode = Mode::RawDollar,
            (Mode::RawDollar, b'$') => self.mode = Mode::Open,
            (Mode::RawDollar, _) => self.mode = Mode::Raw,
            (Mode::LineComment, b'\n') | (Mode::BlockCommentStar, b'/') => self.mode = Mode::Open,
            (Mode::BlockComment, b'*') => self.mode = Mode::BlockCommentStar,
            (Mode::BlockCommentStar, b'*') => {}
            (Mode::BlockCommentStar, _) => self.mode = Mode::BlockComment,
            (Mode::Text | Mode::QuotedName | Mode::Raw | Mode::LineComment | Mode::BlockComment, _) => {}
        }
        false
    }

    fn step_open(&mut self, byte: u8) -> bool {
        self.mode = Mode::Open;
        if is_of_word(byte) {
            if self.word.length == 0 {
                self.start_token();
                self.word_at = self.offset;
            }
            self.word.push(byte);
            return false;
        }
        self.take_token(true);
        if is_blank(byte) {
            return false;
        }
        if byte == b';' {
            return self.take_semicolon();
        }
        self.start_token();
        match byte {
            b'-' => self.open_at(Mode::Dash),
            b'/' => self.open_at(Mode::Slash),
            b'$' => self.open_at(Mode::Dollar),
            0xef => self.open_at(Mode::Mark1),
            b'\'' | b'"' => {
                self.take_token(false);
                let mode = if byte == b'"' { Mode::QuotedName } else { Mode::Text };
                if self.closed == (byte, self.offset) {
                    // A doubled quote: still what was open before.
                    self.mode = mode;
                } else {
                    self.open_at(mode);
                }
            }
            _ => self.take_token(false),
        }
        false
    }

    fn open_at(&mut self, mode: Mode) {
        self.mode = mode;
        self.mark = self.offset;
    }

    /// Notes the place of the statement's first token; what then turns out a comment is followed by a better one.
    fn start_token(&mut self) {
        if self.phase == Phase::Start && self.word.length == 0 {
            self.first = self.offset;
        }
    }

    /// A `;`; true if the statement ends with it.
    fn take_semicolon(&mut self) -> bool {
        if self.phase == Phase::Applied {
            self.depth -= 1;
        }
        if self.depth == 0 {
            return true;
        }
        self.phase = Phase::Inner;
        false
    }

    /// Ends the word being read, if any (`word`), or takes a token that is not a word.
    fn take_token(&mut self, word: bool) {
        let token = if !word {
            Word::default()
        } else if self.word.length == 0 {
            return;
        } else {
            std::mem::take(&mut self.word)
        };
        if token.is(b"begin") {
            self.begin = self.word_at;
        }
        self.phase = match self.phase {
            Phase::Help => Phase::Help,
            Phase::Applied => Phase::Applied,
            Phase::Start if token.is(b"help") => Phase::Help,
            Phase::Begin | Phase::BeginKind | Phase::BatchBegin | Phase::BatchBeginKind
                if token.is(b"batch") =>
            {
                if self.depth == 0 {
                    self.batch = self.begin;
                }
                self.depth = self.depth.saturating_add(1);
                Phase::Inner
            }
            Phase::Begin if token.is_kind_of_batch() => Phase::BeginKind,
            Phase::Start | Phase::Plain | Phase::Begin | Phase::BeginKind => {
                if token.is(b"begin") {
                    Phase::Begin
                } else {
                    Phase::Plain
                }
            }
            Phase::BatchBegin if token.is_kind_of_batch() => Phase::BatchBeginKind,
            Phase::Inner if token.is(b"apply") => Phase::Applied,
            Phase::BatchApply if token.is(b"batch") => Phase::Applied,
            _ if token.is(b"begin") => Phase::BatchBegin,
            _ if token.is(b"apply") => Phase::BatchApply,
            _ => Phase::Batch,
        };
    }
}

/// How many bytes at the beginning are blanks or whole byte order marks, which say nothing before a statement.
pub fn leading_blanks(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if is_blank(*byte) {
            at += 1;
        } else if bytes[at..].starts_with("\u{feff}".as_bytes()) {
            at += 3;
        } else {
            break;
        }
    }
    at
}

/// ASCII white space and the vertical tab: what the lexer passes over too.
pub(crate) fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
