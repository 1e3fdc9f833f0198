//! A reply as bytes: lines of tab-separated fields, escaped as PostgreSQL's COPY text format does.

use super::{Body, Field, Reply};

impl Reply {
    /// Appends the reply's lines.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Body::Rows { columns, rows, .. } = &self.body {
            out.extend_from_slice(b"COLUMNS");
            columns.iter().for_each(|column| put_field(out, column.as_bytes()));
            out.push(b'\n');
            for row in rows {
                out.extend_from_slice(b"ROW");
                for cell in row {
                    match cell.bytes() {
                        Some(text) => put_field(out, text),
                        None => out.extend_from_slice(b"\t\\N"),
                    }
                }
                out.push(b'\n');
            }
        }
        for warning in &self.warnings {
            out.extend_from_slice(b"WARNING");
            put_field(out, warning.as_bytes());
            out.push(b'\n');
        }
        for line in &self.trace {
            out.extend_from_slice(b"TRACE");
            put_field(out, line.micros.to_string().as_bytes());
            put_field(out, line.node.as_bytes());
            put_field(out, line.text.as_bytes());
            out.push(b'\n');
        }
        match &self.body {
            Body::Ok(fields) => {
                out.extend_from_slice(b"OK");
                put_fields(out, fields);
            }
            Body::Rows { rows, end, .. } => {
                out.extend_from_slice(b"END\trows=");
                out.extend_from_slice(rows.len().to_string().as_bytes());
                put_fields(out, end);
            }
            Body::Error { code, message, fields } => put_error(out, code.name(), message, fields),
            Body::UnknownError { name, message, fields } => put_error(out, name, message, fields),
        }
        out.push(b'\n');
    }

    /// The reply's lines.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.encode(&mut out);
        out
    }
}

fn put_error(out: &mut Vec<u8>, code: &str, message: &str, fields: &[Field]) {
    out.extend_from_slice(b"ERROR");
    put_field(out, code.as_bytes());
    put_field(out, message.as_bytes());
    put_fields(out, fields);
}

fn put_fields(out: &mut Vec<u8>, fields: &[Field]) {
    for (name, value) in fields {
        out.push(b'\t');
        put_escaped(out, name.as_bytes());
        out.push(b'=');
        put_escaped(out, value.as_bytes());
    }
}

fn put_field(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'\t');
    put_escaped(out, text);
}

/// Copies the text in runs between the four bytes that are escaped.
fn put_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = text.iter().position(|b| matches!(b, b'\t' | b'\n' | b'\r' | b'\\')) {
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(match text[at] {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\\\",
        });
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}
