//! Standard output, whose failures can be told from any other.

use std::fmt;
use std::io::{ErrorKind, Write};

/// Standard output could not be written.
#[derive(Debug)]
pub struct Unwritten(std::io::Error);

impl Unwritten {
    /// Whether nobody reads any more: no failure of the command.
    pub fn reader_is_gone(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for Unwritten {}

/// Writes a line; see [`crate::say!`].
pub fn write_line(line: fmt::Arguments<'_>) -> Result<(), Unwritten> {
    writeln!(std::io::stdout(), "{line}").map_err(Unwritten)
}

/// Writes a text; see [`crate::complain!`].
pub fn complain_line(text: fmt::Arguments<'_>) {
    let lines: Vec<String> = text.to_string().split('\n').map(crate::printable).collect();
    // There is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

/// Standard output for what is written in many pieces: buffered, and flushed by [`Output::flush`] alone.
pub struct Output(std::io::BufWriter<std::io::Stdout>);

impl Output {
    /// Standard output, with an empty buffer.
    #[expect(clippy::new_without_default, reason = "two of them at once would mix their bytes")]
    pub fn new() -> Output {
        Output(std::io::BufWriter::new(std::io::stdout()))
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Unwritten> {
        self.0.write_all(bytes).map_err(Unwritten)
    }

    /// Everything added so far is with the reader.
    pub fn flush(&mut self) -> Result<(), Unwritten> {
        self.0.flush().map_err(Unwritten)
    }
}

/// What the process has buffered is with the reader.
pub(crate) fn flush() -> Result<(), Unwritten> {
    std::io::stdout().flush().map_err(Unwritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_is_no_failure() {
        assert!(Unwritten(ErrorKind::BrokenPipe.into()).reader_is_gone());
        let full = Unwritten(ErrorKind::StorageFull.into());
        assert!(!full.reader_is_gone());
        assert_eq!(full.to_string(), "cannot write to standard output: no storage space");
    }
}
