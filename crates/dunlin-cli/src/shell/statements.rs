//! Statements out of bytes as they come: from `-e`, from a file, from a pipe.

use anyhow::{Context, bail};
use bytes::BytesMut;
use dunlin_cql::Splitter;
use dunlin_types::limits;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest statement with the comments before it, bytes: more than any node takes.
const BYTES_MAX: usize = limits::STATEMENT_BYTES_MAX + (1 << 20);
/// What standard input is called.
const STDIN: &str = "stdin";
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// A text that is read up to one statement's end after the other, and never further than it has to be kept.
pub struct Statements {
    name: String,
    directory: Option<PathBuf>,
    source: RefCell<Rest>,
    /// Bytes of what is buffered that the splitter has seen.
    seen: usize,
    splitter: Splitter,
    line: u32,
    column: u32,
    ended: bool,
}

/// What was not given out yet.
struct Rest {
    bytes: Input,
    /// What was read of them.
    buffer: BytesMut,
    /// Lines that were used otherwise than as statements.
    lines: u64,
}

/// Where bytes come from.
pub type Input = Box<dyn AsyncRead + Unpin>;

/// The text from the last statement's end to the next one's, or to the end of all.
#[derive(Debug)]
pub struct Chunk {
    /// Blanks, comments, and at most one statement.
    pub text: String,
    /// Line of its first byte, from 1.
    pub line: u32,
    /// Column of its first byte in characters, from 1.
    pub column: u32,
}

impl Statements {
    /// The text of `-e`.
    pub fn of_argument(text: &str) -> Statements {
        Statements::new("-e", Box::new(std::io::Cursor::new(text.as_bytes().to_vec())))
    }

    /// Standard input.
    pub fn of_standard_input() -> Statements {
        Statements::new(STDIN, Box::new(tokio::io::stdin()))
    }

    /// A file.
    pub async fn of_file(path: &Path) -> anyhow::Result<Statements> {
        let file = tokio::fs::File::open(path).await;
        let file = file.with_context(|| format!("cannot read {}", path.display()))?;
        let mut statements = Statements::new(&path.display().to_string(), Box::new(file));
        statements.directory = path.parent().map(Path::to_owned);
        Ok(statements)
    }

    fn new(name: &str, bytes: Input) -> Statements {
        Statements {
            name: name.to_owned(),
            directory: None,
            source: RefCell::new(Rest { bytes, buffer: BytesMut::new(), lines: 0 }),
            seen: 0,
            splitter: Splitter::new(),
            line: 1,
            column: 1,
            ended: false,
        }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the file is that it comes from.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The next chunk; `None` at the end. An error names the place. Safe to drop.
    pub async fn next(&mut self) -> anyhow::Result<Option<Chunk>> {
        let source = self.source.get_mut();
        if source.lines > 0 {
            self.line = self.line.saturating_add(u32::try_from(source.lines).unwrap_or(u32::MAX));
            self.column = 1;
            source.lines = 0;
        }
        loop {
            let source = self.source.get_mut();
            if let Some(end) = self.splitter.feed(&source.buffer[self.seen..]) {
                let length = self.seen + end;
                return self.give(length).map(Some);
            }
            self.seen = source.buffer.len();
            if self.seen > BYTES_MAX {
                bail!(
                    "{}:{}: what begins here is longer than {} MiB and has no end: no node takes such a statement",
                    self.name,
                    self.line,
                    BYTES_MAX >> 20
                );
            }
            if self.ended {
                let length = self.seen;
                return if length == 0 { Ok(None) } else { self.give(length).map(Some) };
            }
            source.buffer.reserve(READ_BYTES);
            let read = source.bytes.read_buf(&mut source.buffer).await;
            self.ended = read.with_context(|| format!("cannot read {}", self.name))? == 0;
        }
    }

    /// Whether anything but blanks is known to follow what was given out.
    pub fn has_more(&self) -> bool {
        !self.source.borrow().buffer.trim_ascii().is_empty()
    }

    /// Whether it is what standard input holds.
    pub fn is_standard_input(&self) -> bool {
        self.name == STDIN
    }

    /// Hands out what stands behind the line of the last statement, as data: what is to be read, and what of it was read.
    /// Where it is not taken back, the text has ended.
    pub async fn lend(&self) -> anyhow::Result<(Input, BytesMut)> {
        let nothing = Rest { bytes: Box::new(tokio::io::empty()), buffer: BytesMut::new(), lines: 0 };
        let Rest { mut bytes, mut buffer, .. } = self.source.replace(nothing);
        loop {
            if let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line = buffer.split_to(end + 1);
                if !line.trim_ascii().is_empty() {
                    bail!("the rows begin on the line behind the statement, not beside it");
                }
                return Ok((bytes, buffer));
            }
            buffer.reserve(READ_BYTES);
            if bytes.read_buf(&mut buffer).await? == 0 {
                return Ok((bytes, BytesMut::new()));
            }
        }
    }

    /// Goes on behind data of so many lines.
    pub fn take_back(&self, bytes: Input, buffer: BytesMut, lines: u64) {
        // And the end of the statement's own line.
        self.source.replace(Rest { bytes, buffer, lines: lines + 1 });
    }

    fn give(&mut self, length: usize) -> anyhow::Result<Chunk> {
        let bytes = self.source.get_mut().buffer.split_to(length);
        self.seen = 0;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let good = &bytes[..error.valid_up_to()];
                let line = self.line as usize + good.iter().filter(|b| **b == b'\n').count();
                let hint = match bytes[..] {
                    [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => " (it looks like UTF-16)",
                    _ => "",
                };
                bail!(
                    "{}:{line}: the byte 0x{:02x} is not UTF-8{hint}: save the text as UTF-8; nothing from this statement on was run",
                    self.name,
                    bytes[error.valid_up_to()]
                );
            }
        };
        let chunk = Chunk { line: self.line, column: self.column, text };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match chunk.text.rfind('\n') {
            Some(at) => {
                self.line = self.line.saturating_add(count(chunk.text.matches('\n').count()));
                self.column = 1 + count(chunk.text[at + 1..].chars().count());
            }
            None => self.column = self.column.saturating_add(count(chunk.text.chars().count())),
        }
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(bytes: &[u8]) -> anyhow::Result<Vec<(String, u32, u32)>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut statements = Statements::new("t", Box::new(std::io::Cursor::new(bytes.to_vec())));
            let mut found = Vec::new();
            while let Some(chunk) = statements.next().await? {
                found.push((chunk.text, chunk.line, chunk.column));
            }
            Ok(found)
        })
    }

    #[test]
    fn every_byte_is_given_out_with_its_place() {
        let found = chunks("USE a; SELECT ';'\n;\n-- é\nx".as_bytes()).unwrap();
        let expected = [("USE a;", 1, 1), (" SELECT ';'\n;", 1, 7), ("\n-- é\nx", 2, 2)]
            .map(|(t, l, c)| (t.to_owned(), l, c));
        assert_eq!(found, expected);
        assert!(chunks(b"").unwrap().is_empty());
    }

    #[test]
    fn a_byte_that_is_not_utf_8_is_named_with_its_line() {
        let error = chunks(b"a;\nb;\n'caf\xe9';").unwrap_err().to_string();
        assert!(error.contains("t:3: the byte 0xe9 is not UTF-8"), "{error}");
    }
}
