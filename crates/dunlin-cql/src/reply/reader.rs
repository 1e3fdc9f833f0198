//! The way back: bytes in any pieces to replies. Used by clients; bounded and panic-free on any input.

use super::{Body, Cell, Field, Reply, Text, TraceLine};
use bytes::{Buf, Bytes, BytesMut};
use dunlin_types::ErrorCode;
use memchr::memchr;

/// Bytes that are no reply. The connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A reply grew over the reader's limit.
    #[error("a reply is longer than {0} bytes")]
    TooLong(usize),
    /// A line that is not in the protocol.
    #[error("not a line of the protocol: {0}")]
    BadLine(String),
}

/// Lines of this many bytes are not copied: their cells share them. Cells of shorter ones have bytes of their own,
/// so that a small value that is kept does not keep all that was read with it.
const SHARED_BYTES_MIN: usize = 4096;
/// Room made before each read.
const READ_BYTES: usize = 16 << 10;

/// Collects bytes and gives whole replies. Time is linear in the bytes, however they are cut.
#[derive(Debug)]
pub struct ReplyReader {
    /// Lines not taken yet.
    buffer: BytesMut,
    /// Bytes at the front of `buffer` known to hold no line end.
    searched: usize,
    reply_bytes_max: usize,
    /// Bytes of the lines taken of the present reply.
    reply_bytes: usize,
    pending: Pending,
}

#[derive(Debug, Default)]
struct Pending {
    warnings: Vec<String>,
    trace: Vec<TraceLine>,
    rows: Option<(Vec<String>, Vec<Vec<Cell>>)>,
}

impl ReplyReader {
    /// A reader that refuses replies longer than that.
    pub fn new(reply_bytes_max: usize) -> ReplyReader {
        ReplyReader {
            buffer: BytesMut::new(),
            searched: 0,
            reply_bytes_max,
            reply_bytes: 0,
            pending: Pending::default(),
        }
    }

    /// Adds bytes from the server.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The end of what came from the server, with room to read more into it: `push` without a copy. Only append.
    pub fn room(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// The bytes that are not part of a line taken.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Whether bytes of an unfinished reply are held.
    pub fn is_midway(&self) -> bool {
        !self.buffer.is_empty() || self.reply_bytes > 0
    }

    /// The next whole reply; `None` until more bytes come. After an error the reader gives no sense.
    pub fn take_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let Some(found) = memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                if self.reply_bytes + self.buffer.len() > self.reply_bytes_max {
                    return Err(ReplyError::TooLong(self.reply_bytes_max));
                }
                return Ok(None);
            };
            let end = self.searched + found;
            self.searched = 0;
            self.reply_bytes += end + 1;
            if self.reply_bytes > self.reply_bytes_max {
                return Err(ReplyError::TooLong(self.reply_bytes_max));
            }
            let body = if end < SHARED_BYTES_MIN {
                let body = self.pending.take_line(&self.buffer[..end], None)?;
                self.buffer.advance(end + 1);
                body
            } else {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                self.pending.take_line(&line, Some(&line))?
            };
            if let Some(body) = body {
                self.reply_bytes = 0;
                let Pending { warnings, trace, .. } = std::mem::take(&mut self.pending);
                return Ok(Some(Reply { warnings, trace, body }));
            }
        }
    }
}

impl Pending {
    /// Takes a line without its LF; gives the body if it was the last one. Cells share `shared`, which is the same line.
    fn take_line(&mut self, line: &[u8], shared: Option<&Bytes>) -> Result<Option<Body>, ReplyError> {
        let bad = || ReplyError::BadLine(String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned());
        let text = std::str::from_utf8(line).map_err(|_| bad())?;
        let (tag, rest) = text.split_once('\t').map_or((text, None), |(tag, rest)| (tag, Some(rest)));
        let mut fields = rest.into_iter().flat_map(|rest| rest.split('\t'));
        match tag {
            "COLUMNS" if self.rows.is_none() => {
                let columns = fields.map(|f| unescape(f).ok_or_else(bad)).collect::<Result<Vec<_>, _>>()?;
                self.rows = Some((columns, Vec::new()));
            }
            "ROW" => {
                let (columns, rows) = self.rows.as_mut().ok_or_else(bad)?;
                let mut row = Vec::with_capacity(columns.len());
                for field in fields {
                    row.push(cell(field, shared).ok_or_else(bad)?);
                }
                if row.len() != columns.len() {
                    return Err(bad());
                }
                rows.push(row);
            }
            "WARNING" => self.warnings.push(unescape(rest.ok_or_else(bad)?).ok_or_else(bad)?),
            "TRACE" => {
                let mut next = || fields.next().and_then(unescape).ok_or_else(bad);
                let micros = next()?.parse().map_err(|_| bad())?;
                self.trace.push(TraceLine { micros, node: next()?, text: next()? });
            }
            "OK" if self.rows.is_none() => return Ok(Some(Body::Ok(named(fields).ok_or_else(bad)?))),
            "END" => {
                let (columns, rows) = self.rows.take().ok_or_else(bad)?;
                let mut end = named(fields).ok_or_else(bad)?;
                if end.first().is_none_or(|(name, n)| name != "rows" || n.parse() != Ok(rows.len())) {
                    return Err(bad());
                }
                end.remove(0);
                return Ok(Some(Body::Rows { columns, rows, end }));
            }
            "ERROR" => {
                let mut next = || fields.next().and_then(unescape).ok_or_else(bad);
                let (name, message) = (next()?, next()?);
                let fields = named(fields).ok_or_else(bad)?;
                return Ok(Some(match ErrorCode::from_name(&name) {
                    Some(code) => Body::Error { code, message, fields },
                    None => Body::UnknownError { name: name.into(), message, fields },
                }));
            }
            _ => return Err(bad()),
        }
        Ok(None)
    }
}

/// The cell of a field of a row.
fn cell(field: &str, shared: Option<&Bytes>) -> Option<Cell> {
    if field == "\\N" {
        return Some(Cell::NULL);
    }
    match shared {
        Some(line) if !field.contains('\\') => {
            Text::from_utf8(line.slice_ref(field.as_bytes())).ok().map(Cell::from)
        }
        _ => unescape(field).map(Cell::text),
    }
}

fn named<'a>(fields: impl Iterator<Item = &'a str>) -> Option<Vec<Field>> {
    fields
        .map(|field| {
            let (name, value) = field.split_once('=')?;
            Some((unescape(name)?, unescape(value)?))
        })
        .collect()
}

/// The text of a field; `None` if an escape is not one of the four.
fn unescape(field: &str) -> Option<String> {
    let Some(first) = field.find('\\') else { return Some(field.to_owned()) };
    let mut out = String::with_capacity(field.len());
    out.push_str(&field[..first]);
    let mut chars = field[first..].chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let mut reader = ReplyReader::new(1 << 20);
        reader.push(bytes);
        reader.take_reply()
    }

    #[test]
    fn the_examples_of_the_protocol_page() {
        let rows =
            Reply::rows(vec!["key".into(), "value".into()], vec![vec!["alice".into(), "3 apples".into()]]);
        assert_eq!(rows.to_bytes(), b"COLUMNS\tkey\tvalue\nROW\talice\t3 apples\nEND\trows=1\n");
        assert_eq!(Reply::ok_with("context", "AQEB").to_bytes(), b"OK\tcontext=AQEB\n");
        let error =
            crate::SyntaxError { message: "expected a statement, found SELEC".into(), line: 1, column: 1 };
        assert_eq!(
            Reply::from(error).to_bytes(),
            b"ERROR\tSYNTAX\texpected a statement, found SELEC\tline=1\tcolumn=1\n"
        );
    }

    #[test]
    fn a_warning_may_hold_anything() {
        let mut reply = Reply::ok();
        reply.warnings.push("a\tb\nc\\".into());
        assert_eq!(reply.to_bytes(), b"WARNING\ta\\tb\\nc\\\\\nOK\n");
        assert_eq!(read(&reply.to_bytes()), Ok(Some(reply)));
    }

    #[test]
    fn an_unknown_code_keeps_its_name() {
        let line = b"ERROR\tFROM_THE_FUTURE\tno\tapplied=no\n";
        let reply = read(line).unwrap().unwrap();
        let Body::UnknownError { name, message, .. } = &reply.body else { panic!("{reply:?}") };
        assert_eq!((&**name, message.as_str()), ("FROM_THE_FUTURE", "no"));
        assert_eq!((reply.field("applied"), reply.code()), (Some("no"), None));
        assert_eq!(reply.to_bytes(), line);
    }

    #[test]
    fn long_cells_are_not_copied_and_short_ones_hold_no_more_than_themselves() {
        let long = "x".repeat(SHARED_BYTES_MIN);
        let mut reader = ReplyReader::new(1 << 20);
        reader.push(format!("COLUMNS\tk\tv\nROW\ta\t{long}\nROW\tb\tshort\nEND\trows=2\n").as_bytes());
        let held = reader.unread().as_ptr_range();
        let Body::Rows { rows, .. } = reader.take_reply().unwrap().unwrap().body else { panic!("rows") };
        let at = |row: usize| rows[row][1].as_str().unwrap().as_ptr();
        assert!(held.contains(&at(0)) && !held.contains(&at(1)));
        assert_eq!(rows[0][1].as_str(), Some(long.as_str()));
    }

    #[test]
    fn a_long_reply_is_refused() {
        let mut reader = ReplyReader::new(10);
        reader.push(b"ERROR\tINV");
        assert_eq!(reader.take_reply(), Ok(None));
        reader.push(b"ALID");
        assert_eq!(reader.take_reply(), Err(ReplyError::TooLong(10)));
    }

    fn fields() -> impl Strategy<Value = Vec<Field>> {
        prop::collection::vec(("[a-z_]{1,8}", any::<String>()), 0..3)
    }

    fn body() -> impl Strategy<Value = Body> {
        let text = prop_oneof![
            any::<String>(),
            (any::<String>(), 1usize..2000).prop_map(|(text, times)| text.repeat(times)),
        ];
        let cell = prop::option::of(text).prop_map(|c| c.map_or(Cell::NULL, Cell::text));
        let rows = (1usize..4).prop_flat_map(move |width| {
            let row = prop::collection::vec(cell.clone(), width);
            (prop::collection::vec(any::<String>(), width), prop::collection::vec(row, 0..4), fields())
        });
        let code = prop::sample::select(ErrorCode::ALL);
        prop_oneof![
            fields().prop_map(Body::Ok),
            rows.prop_map(|(columns, rows, end)| Body::Rows { columns, rows, end }),
            (any::<String>(), fields()).prop_map(|(message, fields)| {
                Body::UnknownError { name: "FROM_THE_FUTURE".into(), message, fields }
            }),
            (code, any::<String>(), fields()).prop_map(|(code, message, fields)| Body::Error {
                code,
                message,
                fields
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn replies_survive_the_wire_in_any_pieces(
            bodies in prop::collection::vec(body(), 1..4),
            warnings in prop::collection::vec(any::<String>(), 0..2),
            piece in prop_oneof![1usize..40, 1000usize..100_000],
        ) {
            let trace = vec![TraceLine { micros: 7, node: "n1".into(), text: warnings.concat() }];
            let sent: Vec<Reply> = bodies
                .into_iter()
                .map(|body| Reply { warnings: warnings.clone(), trace: trace.clone(), body })
                .collect();
            let mut bytes = Vec::new();
            sent.iter().for_each(|reply| reply.encode(&mut bytes));
            let mut reader = ReplyReader::new(64 << 20);
            let mut got = Vec::new();
            for piece in bytes.chunks(piece) {
                reader.push(piece);
                while let Some(reply) = reader.take_reply().unwrap() {
                    got.push(reply);
                }
            }
            prop_assert_eq!(got, sent);
            prop_assert!(!reader.is_midway());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), tag in 0usize..8) {
            let tags: [&[u8]; 8] = [b"", b"OK\t", b"END\t", b"ROW\t", b"COLUMNS\ta\nROW\t", b"COLUMNS\ta\nEND\t", b"TRACE\t1\t", b"ERROR\t"];
            let _ = read(&[tags[tag], &bytes, b"\n"].concat());
        }
    }
}
