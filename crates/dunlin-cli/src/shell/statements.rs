//! Statements out of bytes as they come: from `-e`, from a file, from a pipe.

use anyhow::{Context, bail};
use bytes::BytesMut;
use dunlin_cql::Splitter;
use dunlin_types::limits;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest statement with the comments before it, bytes: more than any node takes.
const BYTES_MAX: usize = limits::STATEMENT_BYTES_MAX + (1 << 20);
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;

/// A text that is read up to one statement's end after the other, and never further than it has to be kept.
pub struct Statements {
    name: String,
    directory: Option<PathBuf>,
    bytes: Box<dyn AsyncRead + Unpin>,
    /// What was read and not yet given out.
    buffer: BytesMut,
    /// Bytes of it that the splitter has seen.
    seen: usize,
    splitter: Splitter,
    line: u32,
    column: u32,
    ended: bool,
}

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
        Statements::new("stdin", Box::new(tokio::io::stdin()))
    }

    /// A file.
    pub async fn of_file(path: &Path) -> anyhow::Result<Statements> {
        let file = tokio::fs::File::open(path).await;
        let file = file.with_context(|| format!("cannot read {}", path.display()))?;
        let mut statements = Statements::new(&path.display().to_string(), Box::new(file));
        statements.directory = path.parent().map(Path::to_owned);
        Ok(statements)
    }

    fn new(name: &str, bytes: Box<dyn AsyncRead + Unpin>) -> Statements {
        Statements {
            name: name.to_owned(),
            directory: None,
            bytes,
            buffer: BytesMut::new(),
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
        loop {
            if let Some(end) = self.splitter.feed(&self.buffer[self.seen..]) {
                let length = self.seen + end;
                return self.give(length).map(Some);
            }
            self.seen = self.buffer.len();
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
            self.buffer.reserve(READ_BYTES);
            let read = self.bytes.read_buf(&mut self.buffer).await;
            self.ended = read.with_context(|| format!("cannot read {}", self.name))? == 0;
        }
    }

    /// Whether anything but blanks is known to follow what was given out.
    pub fn has_more(&self) -> bool {
        !self.buffer.trim_ascii().is_empty()
    }

    fn give(&mut self, length: usize) -> anyhow::Result<Chunk> {
        let bytes = self.buffer.split_to(length);
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
