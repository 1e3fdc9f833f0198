//! Records out of the bytes of a file, one after the other, in bounded memory.
//!
//! Strict where other readers guess: a record with a quote in a wrong place could be read as several things, so it is
//! none. It costs its first line alone: reading goes on with the next, so a quote that is never closed does not
//! take the rest of the file with it.

use super::dialect::Dialect;
use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memchr2, memchr3};
use std::borrow::Cow;
use std::ops::Range;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest record, bytes: more than a value of the largest size with every byte escaped.
const RECORD_BYTES_MAX: usize = 40 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// The line that ends data which stand in a text of statements.
const END_MARK: &[u8] = b"\\.";

/// One record.
#[derive(Debug)]
pub struct Record {
    /// Its first line, from 1.
    pub line: u64,
    /// As it stands in the file, without the line's end.
    pub raw: Bytes,
    /// Its cells; or why it has none.
    pub cells: Result<Cells, String>,
}

/// The cells of a record.
#[derive(Debug)]
pub struct Cells {
    dialect: Dialect,
    raw: Bytes,
    /// Without the quotes.
    spans: Vec<Range<usize>>,
}

impl Cells {
    /// How many.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// A cell's text. The error says where it is no text.
    pub fn text(&self, i: usize) -> Result<Cow<'_, str>, String> {
        let not_text = |at: usize, byte: u8| {
            format!("column {} is not UTF-8: byte 0x{byte:02x} at its position {}", i + 1, at + 1)
        };
        let place = |bytes: &[u8], error: std::str::Utf8Error| {
            not_text(error.valid_up_to(), bytes[error.valid_up_to()])
        };
        match self.dialect.unescape(&self.raw[self.spans[i].clone()]) {
            Cow::Borrowed(bytes) => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| place(bytes, error))
            }
            Cow::Owned(bytes) => String::from_utf8(bytes)
                .map(Cow::Owned)
                .map_err(|error| place(error.as_bytes(), error.utf8_error())),
        }
    }
}

/// Reads records.
pub struct Records<R> {
    input: R,
    dialect: Dialect,
    buffer: BytesMut,
    /// Bytes taken from the input.
    taken: u64,
    line: u64,
    input_ended: bool,
    /// The data end at a line `\.`, which was not met yet.
    until_mark: bool,
    ended: bool,
}

/// How far a record was looked at.
struct Scan {
    at: usize,
    state: State,
    cell: usize,
    spans: Vec<Range<usize>>,
}

enum State {
    CellStart,
    Bare,
    Quoted,
    /// Behind a quote that ends the cell, unless another one follows.
    Closed,
}

enum Step {
    /// The record ends here; its line's end is so long.
    Record(usize),
    /// More bytes are needed.
    More,
    /// It is no record.
    Wrong(String),
}

impl<R: AsyncRead + Unpin> Records<R> {
    /// Of a whole input.
    pub fn new(input: R, dialect: Dialect) -> Records<R> {
        Records {
            input,
            dialect,
            buffer: BytesMut::new(),
            taken: 0,
            line: 1,
            input_ended: false,
            until_mark: false,
            ended: false,
        }
    }

    /// Of an input of which this was read already, up to a line `\.`, or its end.
    pub fn until_mark(input: R, read: BytesMut, dialect: Dialect) -> Records<R> {
        Records { taken: read.len() as u64, buffer: read, until_mark: true, ..Records::new(input, dialect) }
    }

    /// What was read and belongs to nobody, behind the mark.
    pub fn into_rest(self) -> (R, BytesMut) {
        (self.input, self.buffer)
    }

    /// Bytes that were used so far.
    pub fn position(&self) -> u64 {
        self.taken - self.buffer.len() as u64
    }

    /// Lines that were used so far.
    pub fn lines(&self) -> u64 {
        self.line - 1
    }

    /// The next record; `None` at the end. Blank lines are none. Safe to drop.
    pub async fn next(&mut self) -> std::io::Result<Option<Record>> {
        if self.taken == 0 && !self.ended {
            self.begin().await?;
        }
        while !self.ended {
            let blank = match self.buffer[..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                [] | [b'\r'] if !self.input_ended => {
                    self.fill().await?;
                    continue;
                }
                [] => break,
                [b'\r'] => 1,
                _ => {
                    let record = self.record().await?;
                    return Ok((!self.ended).then_some(record));
                }
            };
            self.buffer.advance(blank);
            self.line += 1;
        }
        self.ended = true;
        Ok(None)
    }

    /// A byte order mark is no data.
    async fn begin(&mut self) -> std::io::Result<()> {
        while self.buffer.len() < 3 && !self.input_ended {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.buffer.advance(3);
        }
        if self.buffer.starts_with(b"\xff\xfe") || self.buffer.starts_with(b"\xfe\xff") {
            let what = "it looks like UTF-16: convert it, as with iconv -f utf-16 -t utf-8";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
        }
        Ok(())
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        let read = self.input.read_buf(&mut self.buffer).await?;
        self.taken += read as u64;
        self.input_ended = read == 0;
        Ok(())
    }

    async fn record(&mut self) -> std::io::Result<Record> {
        let mut scan = Scan { at: 0, state: State::CellStart, cell: 0, spans: Vec::with_capacity(2) };
        loop {
            let step = scan.go_on(&self.buffer, self.input_ended, self.dialect);
            match step {
                Step::Record(end) => {
                    let raw = self.buffer.split_to(scan.at).freeze();
                    self.buffer.advance(end);
                    let line = self.line;
                    self.line += memchr_iter(b'\n', &raw).count() as u64 + 1;
                    if self.until_mark && raw[..] == *END_MARK {
                        self.ended = true;
                    }
                    let cells = Cells { dialect: self.dialect, raw: raw.clone(), spans: scan.spans };
                    return Ok(Record { line, raw, cells: Ok(cells) });
                }
                Step::Wrong(why) => return self.give_up_line(why).await,
                Step::More if self.buffer.len() > RECORD_BYTES_MAX => {
                    let why = match scan.state {
                        State::Quoted => {
                            format!("a quote is not closed within {} MiB", RECORD_BYTES_MAX >> 20)
                        }
                        _ => format!("it is longer than {} MiB", RECORD_BYTES_MAX >> 20),
                    };
                    return self.give_up_line(why).await;
                }
                Step::More => self.fill().await?,
            }
        }
    }

    /// The record that begins here is none: goes on behind its first line.
    async fn give_up_line(&mut self, why: String) -> std::io::Result<Record> {
        let line = self.line;
        self.line += 1;
        let mut raw = Bytes::new();
        let mut seen = 0;
        loop {
            let end = memchr(b'\n', &self.buffer[seen..]).map(|at| seen + at);
            seen = end.unwrap_or(self.buffer.len());
            let is_last = end.is_some() || self.input_ended;
            if is_last || seen > RECORD_BYTES_MAX {
                let piece = self.buffer.split_to(seen).freeze();
                // Of a line that is longer than any record its beginning is kept.
                raw = if raw.is_empty() { piece } else { raw };
                seen = 0;
            }
            if is_last {
                self.buffer.advance(usize::from(end.is_some()));
                break;
            }
            self.fill().await?;
        }
        if raw.ends_with(b"\r") {
            raw.truncate(raw.len() - 1);
        }
        Ok(Record { line, raw, cells: Err(why) })
    }
}

impl Scan {
    fn end_cell(&mut self, end: usize) {
        self.spans.push(self.cell..end);
    }

    /// Looks at what was not looked at yet.
    fn go_on(&mut self, bytes: &[u8], ended: bool, dialect: Dialect) -> Step {
        let Dialect { delimiter, quote, escape } = dialect;
        loop {
            let Some(&byte) = bytes.get(self.at) else {
                if !ended {
                    return Step::More;
                }
                match self.state {
                    State::CellStart => self.spans.push(self.at..self.at),
                    State::Bare => self.end_cell(self.at),
                    State::Quoted => return Step::Wrong("a quote is not closed".to_owned()),
                    State::Closed => {}
                }
                return Step::Record(0);
            };
            match self.state {
                State::CellStart if byte == quote => {
                    self.at += 1;
                    self.cell = self.at;
                    self.state = State::Quoted;
                }
                State::CellStart => {
                    self.cell = self.at;
                    self.state = State::Bare;
                }
                State::Bare if byte == delimiter => {
                    self.end_cell(self.at);
                    self.at += 1;
                    self.state = State::CellStart;
                }
                State::Bare if byte == quote => {
                    return Step::Wrong(format!(
                        "column {} has a quote in its middle: a cell with a quote stands in quotes, its own quotes escaped",
                        self.spans.len() + 1
                    ));
                }
                State::Bare if byte == escape => match bytes.len() - self.at {
                    1 if !ended => return Step::More,
                    1 => return Step::Wrong("it ends with an escape".to_owned()),
                    _ => self.at += 2,
                },
                State::Bare | State::Closed if byte == b'\n' || byte == b'\r' => {
                    match line_end(&bytes[self.at..], ended) {
                        None => return Step::More,
                        Some(0) => {
                            return Step::Wrong(
                                "a carriage return without a line feed: such a cell stands in quotes"
                                    .to_owned(),
                            );
                        }
                        Some(length) => {
                            if matches!(self.state, State::Bare) {
                                self.end_cell(self.at);
                            }
                            return Step::Record(length);
                        }
                    }
                }
                State::Bare => self.at += plain(&bytes[self.at..], delimiter, quote, escape),
                State::Quoted if byte == escape && escape != quote => match bytes.len() - self.at {
                    1 if !ended => return Step::More,
                    1 => return Step::Wrong("a quote is not closed".to_owned()),
                    _ => self.at += 2,
                },
                State::Quoted if byte == quote => {
                    self.end_cell(self.at);
                    self.at += 1;
                    self.state = State::Closed;
                }
                State::Quoted => {
                    let rest = &bytes[self.at..];
                    self.at += memchr2(quote, escape, rest).unwrap_or(rest.len());
                }
                State::Closed if byte == quote && escape == quote => {
                    self.spans.pop();
                    self.at += 1;
                    self.state = State::Quoted;
                }
                State::Closed if byte == delimiter => {
                    self.at += 1;
                    self.state = State::CellStart;
                }
                State::Closed => {
                    return Step::Wrong(format!(
                        "something stands behind the closing quote of column {}: quotes inside are escaped by {} here (WITH escape = ...)",
                        self.spans.len(),
                        if escape == quote { "doubling".to_owned() } else { char::from(escape).to_string() },
                    ));
                }
            }
        }
    }
}

/// Bytes of an unquoted cell that are looked for no further; at least one.
fn plain(bytes: &[u8], delimiter: u8, quote: u8, escape: u8) -> usize {
    let first = memchr3(delimiter, quote, b'\n', &bytes[1..]).map_or(bytes.len(), |at| at + 1);
    memchr2(escape, b'\r', &bytes[1..first]).map_or(first, |at| at + 1)
}

/// Length of the line's end that bytes begin with; 0: none; `None`: more bytes are needed.
fn line_end(bytes: &[u8], ended: bool) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        [b'\r'] if !ended => None,
        [b'\r'] => Some(1),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC: Dialect = Dialect { delimiter: b',', quote: b'"', escape: b'"' };
    const CQLSH: Dialect = Dialect { escape: b'\\', ..RFC };

    /// Gives its bytes in pieces of so many.
    struct Slow<'b>(&'b [u8], usize);

    impl AsyncRead for Slow<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            out: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let length = self.1.min(self.0.len()).min(out.remaining());
            let (now, later) = self.0.split_at(length);
            out.put_slice(now);
            self.0 = later;
            std::task::Poll::Ready(Ok(()))
        }
    }

    fn all<R: AsyncRead + Unpin>(mut records: Records<R>) -> (Vec<String>, Records<R>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut found = Vec::new();
        while let Some(record) = runtime.block_on(records.next()).unwrap() {
            let cells = record.cells.and_then(|cells| {
                (0..cells.len()).map(|i| cells.text(i).map(Cow::into_owned)).collect::<Result<Vec<_>, _>>()
            });
            found.push(match cells {
                Ok(cells) => format!("{}: {}", record.line, cells.join("|")),
                Err(why) => {
                    format!("{}! {} <- {why}", record.line, String::from_utf8_lossy(&record.raw))
                }
            });
        }
        (found, records)
    }

    /// What is read, however the bytes arrive.
    fn read(bytes: &[u8], dialect: Dialect) -> Vec<String> {
        let whole = all(Records::new(bytes, dialect)).0;
        for piece in [1, 2, 3, 7] {
            assert_eq!(all(Records::new(Slow(bytes, piece), dialect)).0, whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn records_and_their_lines() {
        assert_eq!(
            read(b"a,1\nb,\"2\nor 3\"\r\n\n\r\nc,\n\"d\",\"\"\"\"", RFC),
            ["1: a|1", "2: b|2\nor 3", "6: c|", "7: d|\""]
        );
        assert_eq!(read("\u{feff}a,1".as_bytes(), RFC), ["1: a|1"]);
        assert_eq!(read(b"\"\xef\xbb\xbfa\",1\r\n", RFC), ["1: \u{feff}a|1"]);
        assert_eq!(read(b" a , b \n,\n", RFC), ["1:  a | b ", "2: |"]);
        assert_eq!(read(b"a,1\n\\.\nb,2\n", RFC), ["1: a|1", "2: \\.", "3: b|2"]);
        assert!(read(b"", RFC).is_empty());
    }

    #[test]
    fn a_record_that_is_none_costs_its_first_line() {
        let found = read(b"a,1\nb,\"open\nc,3\nd,4\n", RFC);
        assert_eq!(found, ["1: a|1", "2! b,\"open <- a quote is not closed", "3: c|3", "4: d|4"]);
        let found = read(b"a,\"say \\\"hi\\\"\"\nb,5\" pipe\nc,\"x\ny\" z\nd,4\r", RFC);
        assert!(
            found[0].starts_with(
                "1! a,\"say \\\"hi\\\"\" <- something stands behind the closing quote of column 2"
            )
        );
        assert!(found[1].starts_with("2! b,5\" pipe <- column 2 has a quote in its middle"), "{found:?}");
        assert!(found[2].starts_with("3! c,\"x <- something stands behind"), "{found:?}");
        assert!(found[3].starts_with("4! y\" z <- column 1 has a quote"), "{found:?}");
        assert_eq!(found[4], "5: d|4");
        let found = read(b"a,1\nb,caf\xe9\nc,x\ry\nd,4\n", RFC);
        assert!(found[1].contains("column 2 is not UTF-8: byte 0xe9 at its position 4"), "{found:?}");
        assert!(found[2].contains("a carriage return without a line feed"), "{found:?}");
        assert_eq!(found[3], "4: d|4");
    }

    #[test]
    fn other_signs() {
        let found = read(b"a,\"say \\\"hi\\\"\"\nb\\,c,\"x\\\\\"\n", CQLSH);
        assert_eq!(found, ["1: a|say \"hi\"", "2: b,c|x\\"]);
        let found = read(b"a,\"x\"\"y\"\nb,\\", CQLSH);
        assert!(
            found[0].contains("escaped by \\ here") && found[1].contains("ends with an escape"),
            "{found:?}"
        );
    }

    #[test]
    fn data_end_at_their_mark_and_the_rest_is_kept() {
        for piece in [1, 5, 100] {
            let input = Slow(b"2\n\\.\nSELECT 1;\n", piece);
            let (found, records) = all(Records::until_mark(input, b"a,1\nb,"[..].into(), RFC));
            assert_eq!(found, ["1: a|1", "2: b|2"]);
            let (mut input, mut rest) = records.into_rest();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            while runtime.block_on(input.read_buf(&mut rest)).unwrap() > 0 {}
            assert_eq!(rest, &b"SELECT 1;\n"[..]);
        }
    }

    #[test]
    fn a_record_without_end_is_given_up_and_the_memory_is_bounded() {
        let mut bytes = b"a,1\nb,\"".to_vec();
        bytes.resize(RECORD_BYTES_MAX + (2 << 20), b'x');
        bytes.extend_from_slice(b"\nc,3\n");
        let found = all(Records::new(&bytes[..], RFC)).0;
        assert_eq!(found.len(), 3);
        assert!(found[1].ends_with("a quote is not closed within 40 MiB"));
        assert_eq!(found[2], "3: c|3");
    }

    proptest::proptest! {
        /// What is written is read back, whatever it is and whatever the signs are.
        #[test]
        fn there_and_back(
            rows in proptest::collection::vec(("[ -~\u{feff}\u{e9}\r\n\t\"\\\\;,']{0,8}", "[a\"\\\\,;\r\n]{0,6}"), 0..6),
            delimiter in proptest::sample::select(vec![b',', b';', b'\t']),
            quote in proptest::sample::select(vec![b'"', b'\'']),
            escape in proptest::sample::select(vec![None, Some(b'\\')]),
        ) {
            let dialect = Dialect { delimiter, quote, escape: escape.unwrap_or(quote) };
            let mut out = Vec::new();
            for (a, b) in &rows {
                dialect.write_row(&mut out, [a.as_str(), b.as_str()]);
            }
            let mut records = Records::new(Slow(&out, 3), dialect);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for (a, b) in &rows {
                let record = runtime.block_on(records.next()).unwrap().unwrap();
                let cells = record.cells.unwrap();
                proptest::prop_assert_eq!(cells.len(), 2);
                proptest::prop_assert_eq!(cells.text(0).unwrap(), a.as_str());
                proptest::prop_assert_eq!(cells.text(1).unwrap(), b.as_str());
            }
            proptest::prop_assert!(runtime.block_on(records.next()).unwrap().is_none());
        }
    }
}
