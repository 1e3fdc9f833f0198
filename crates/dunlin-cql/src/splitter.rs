//! Where a statement ends, found while the bytes are still coming.
//!
//! The splitter sees each byte once, keeps no bytes, and knows just enough of the language not to be
//! fooled: strings `'...'` and `$$...$$`, quoted names, the three kinds of comments, and that a batch
//! ends with `APPLY BATCH;` and not at its inner semicolons. It works on bytes, valid UTF-8 or not.

/// Finds statement ends in a stream of bytes.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    mode: Mode,
    phase: Phase,
    word: Word,
}

/// What the next byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Open,
    Dash,
    Slash,
    Dollar,
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
    /// `BEGIN` so far.
    Begin,
    /// Not a batch.
    Plain,
    /// In a batch.
    Batch,
    /// In a batch, the last token is `APPLY`.
    BatchApply,
    /// In a batch, the last two tokens are `APPLY BATCH`.
    BatchApplied,
}

/// The first bytes of the word being read, lower case.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    bytes: [u8; 6],
    length: u8,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.length)) {
            *place = byte.to_ascii_lowercase();
        }
        // One past the end says "longer than any word of interest".
        self.length = (self.length + 1).min(7);
    }

    fn is(&self, word: &[u8]) -> bool {
        self.bytes.get(..usize::from(self.length)) == Some(word)
    }
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
        let mut at = 0;
        while at < bytes.len() {
            at += self.skip(&bytes[at..]);
            let Some(&byte) = bytes.get(at) else { break };
            if self.step(byte) {
                *self = Splitter::new();
                return Some(at + 1);
            }
            at += 1;
        }
        None
    }

    /// Whether nothing but blanks and comments has been seen since the last statement's end.
    pub fn is_at_start(&self) -> bool {
        self.phase == Phase::Start
            && self.word.length == 0
            && matches!(self.mode, Mode::Open | Mode::LineComment)
    }

    /// How many of the bytes change nothing in the present mode.
    fn skip(&self, bytes: &[u8]) -> usize {
        let stop = match self.mode {
            Mode::Text => bytes.iter().position(|b| *b == b'\''),
            Mode::QuotedName => bytes.iter().position(|b| *b == b'"'),
            Mode::Raw => bytes.iter().position(|b| *b == b'$'),
            Mode::LineComment => bytes.iter().position(|b| *b == b'\n'),
            Mode::BlockComment => bytes.iter().position(|b| *b == b'*'),
            Mode::Open if self.phase == Phase::Plain => {
                bytes.iter().position(|b| matches!(b, b'\'' | b'"' | b'$' | b'-' | b'/' | b';'))
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
            (Mode::Dash | Mode::Slash | Mode::Dollar, _) => {
                self.take_token(false);
                return self.step_open(byte);
            }
            (Mode::Open, _) => return self.step_open(byte),
            (Mode::Text, b'\'') | (Mode::QuotedName, b'"') | (Mode::RawDollar, b'$') => {
                self.mode = Mode::Open
            }
            (Mode::Raw, b'$') => self.mode = Mode::RawDollar,
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
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            self.word.push(byte);
            return false;
        }
        self.take_token(true);
        match byte {
            b';' if matches!(self.phase, Phase::Batch | Phase::BatchApply) => self.phase = Phase::Batch,
            b';' => return true,
            b'-' => self.mode = Mode::Dash,
            b'/' => self.mode = Mode::Slash,
            b'$' => self.mode = Mode::Dollar,
            b'\'' => {
                self.take_token(false);
                self.mode = Mode::Text;
            }
            b'"' => {
                self.take_token(false);
                self.mode = Mode::QuotedName;
            }
            _ if byte.is_ascii_whitespace() => {}
            _ => self.take_token(false),
        }
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
        self.phase = match self.phase {
            Phase::Start if token.is(b"begin") => Phase::Begin,
            Phase::Begin if token.is(b"batch") => Phase::Batch,
            Phase::Start | Phase::Begin | Phase::Plain => Phase::Plain,
            Phase::BatchApply if token.is(b"batch") => Phase::BatchApplied,
            Phase::Batch | Phase::BatchApply | Phase::BatchApplied if token.is(b"apply") => Phase::BatchApply,
            Phase::Batch | Phase::BatchApply | Phase::BatchApplied => Phase::Batch,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Statements and the unfinished rest, fed in pieces of that many bytes.
    fn split(text: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut splitter, mut found, mut rest) = (Splitter::new(), Vec::new(), Vec::new());
        for mut piece in text.chunks(piece) {
            while let Some(end) = splitter.feed(piece) {
                rest.extend_from_slice(&piece[..end]);
                found.push(std::mem::take(&mut rest));
                piece = &piece[end..];
            }
            rest.extend_from_slice(piece);
        }
        (found, rest)
    }

    fn check(text: &str, expected: &[&str], rest: &str) {
        for piece in [1, 2, 3, 1000] {
            let (found, left) = split(text.as_bytes(), piece);
            let found: Vec<_> = found.iter().map(|s| std::str::from_utf8(s).unwrap()).collect();
            assert_eq!(found, expected, "in pieces of {piece}");
            assert_eq!(left, rest.as_bytes(), "in pieces of {piece}");
        }
    }

    #[test]
    fn semicolons_end_statements_outside_of_quotes_and_comments() {
        check("a;b;c", &["a;", "b;"], "c");
        check("INSERT 'a;''b;';x", &["INSERT 'a;''b;';"], "x");
        check("$$a;'$b$$;x$;$$$;", &["$$a;'$b$$;", "x$;"], "$$$;");
        check("\"a;\"\"\";x", &["\"a;\"\"\";"], "x");
        check(
            "a -- b;\n;c // d;\n;/* ;*/ e /*/;**/;",
            &["a -- b;\n;", "c // d;\n;", "/* ;*/ e /*/;**/;"],
            "",
        );
        check("a - b; c / d;", &["a - b;", " c / d;"], "");
        check("a-;b/;c$;", &["a-;", "b/;", "c$;"], "");
        check(";;", &[";", ";"], "");
    }

    #[test]
    fn a_batch_ends_with_apply_batch() {
        let batch = "begin BATCH insert 'x;'; delete; APPLY /* ; */ Batch;";
        check(&format!("{batch}next;"), &[batch, "next;"], "");
        check("BEGIN BATCH a APPLY BATCH;b", &["BEGIN BATCH a APPLY BATCH;"], "b");
        check("BEGIN;BATCH;", &["BEGIN;", "BATCH;"], "");
        check("x BEGIN BATCH;", &["x BEGIN BATCH;"], "");
        check("BEGIN \"BATCH\";", &["BEGIN \"BATCH\";"], "");
        check(
            "BEGIN BATCH APPLY x BATCH; 'APPLY' BATCH; APPLY BATCHES;",
            &[],
            "BEGIN BATCH APPLY x BATCH; 'APPLY' BATCH; APPLY BATCHES;",
        );
    }

    #[test]
    fn blanks_and_comments_are_not_a_statement() {
        let at_start = |text: &str| {
            let mut splitter = Splitter::new();
            let mut rest = text.as_bytes();
            while let Some(end) = splitter.feed(rest) {
                rest = &rest[end..];
            }
            splitter.is_at_start()
        };
        assert!(at_start(""));
        assert!(at_start(" \n -- x\n /* y */ "));
        assert!(at_start("a; "));
        assert!(!at_start("a; b"));
        assert!(!at_start("'"));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in r#"[ab;'"$\-/*\n ]{0,60}"#, piece in 1usize..7) {
            prop_assert_eq!(split(text.as_bytes(), piece), split(text.as_bytes(), 1000));
        }

        #[test]
        fn nothing_is_lost(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (found, rest) = split(&bytes, 5);
            prop_assert_eq!([found.concat(), rest].concat(), bytes);
        }
    }
}
