//! How cells are written in a file: RFC 4180, with other signs where a file has them.

use std::borrow::Cow;

/// The signs of a file, one byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Between cells.
    pub delimiter: u8,
    /// Around a cell.
    pub quote: u8,
    /// Before a quote, or itself, that stands for itself. The quote: it is doubled.
    pub escape: u8,
}

impl Default for Dialect {
    fn default() -> Dialect {
        Dialect { delimiter: b',', quote: b'"', escape: b'"' }
    }
}

impl Dialect {
    /// Appends a row, its line's end included.
    pub fn write_row<'c>(&self, out: &mut Vec<u8>, cells: impl IntoIterator<Item = &'c str>) {
        for (i, cell) in cells.into_iter().enumerate() {
            if i > 0 {
                out.push(self.delimiter);
            }
            self.write_cell(out, cell.as_bytes());
        }
        out.push(b'\n');
    }

    /// Appends a cell, quoted where anybody could read it as something else.
    pub fn write_cell(&self, out: &mut Vec<u8>, cell: &[u8]) {
        let wants_quotes = |b: &u8| [self.delimiter, self.quote, self.escape, b'\n', b'\r'].contains(b);
        // Nothing, a byte order mark, or blanks at the ends: readers differ.
        let is_delicate = cell.is_empty() || cell.starts_with(b"\xef\xbb\xbf") || cell.trim_ascii() != cell;
        if !is_delicate && !cell.iter().any(wants_quotes) {
            out.extend_from_slice(cell);
            return;
        }
        out.push(self.quote);
        for part in cell.split_inclusive(|b| *b == self.quote || *b == self.escape) {
            let (&last, before) = part.split_last().expect("no part is empty");
            out.extend_from_slice(before);
            if last == self.quote || last == self.escape {
                out.push(self.escape);
            }
            out.push(last);
        }
        out.push(self.quote);
    }

    /// What a cell stands for; `inner` is what is between its quotes, if it has any.
    pub fn unescape<'c>(&self, inner: &'c [u8]) -> Cow<'c, [u8]> {
        let Some(first) = inner.iter().position(|b| *b == self.escape) else { return Cow::Borrowed(inner) };
        let mut out = inner[..first].to_vec();
        let mut rest = &inner[first..];
        while let Some((&byte, after)) = rest.split_first() {
            match after.split_first() {
                Some((&escaped, after)) if byte == self.escape => {
                    out.push(escaped);
                    rest = after;
                }
                _ => {
                    out.push(byte);
                    rest = after;
                }
            }
        }
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dialect: Dialect, cells: &[&str]) -> String {
        let mut out = Vec::new();
        dialect.write_row(&mut out, cells.iter().copied());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quotes_stand_where_they_are_needed() {
        let rfc = Dialect::default();
        assert_eq!(written(rfc, &["a", "b c", "\\N"]), "a,b c,\\N\n");
        assert_eq!(
            written(rfc, &["", " x", "a,b", "say \"hi\""]),
            "\"\",\" x\",\"a,b\",\"say \"\"hi\"\"\"\n"
        );
        assert_eq!(written(rfc, &["\u{feff}x", "a\rb", "a\nb"]), "\"\u{feff}x\",\"a\rb\",\"a\nb\"\n");
        let other = Dialect { delimiter: b';', quote: b'\'', escape: b'\\' };
        assert_eq!(written(other, &["it's", "a\\b", "a;b"]), "'it\\'s';'a\\\\b';'a;b'\n");
    }

    #[test]
    fn an_escape_stands_for_what_follows() {
        let rfc = Dialect::default();
        assert_eq!(rfc.unescape(b"a\"\"b"), &b"a\"b"[..]);
        let other = Dialect { escape: b'\\', ..rfc };
        assert_eq!(other.unescape(b"a\\\"b\\\\"), &b"a\"b\\"[..]);
    }
}
