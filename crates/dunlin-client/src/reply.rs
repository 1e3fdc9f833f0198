//! What came back for a statement, as text. The typed verbs of [`crate::Client`] make their results of it.

use dunlin_cql::Body;
use dunlin_cql::reply::{Field, Text, TraceLine};
use dunlin_types::ErrorCode;
use std::fmt;

/// An `ERROR` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its code as sent; see [`Failure::kind`].
    pub code: String,
    /// For a person.
    pub message: String,
    /// `name=value` fields in order.
    pub fields: Vec<Field>,
}

impl Failure {
    /// The code, if this client knows it.
    pub fn kind(&self) -> Option<ErrorCode> {
        ErrorCode::from_name(&self.code)
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    /// Whether a write may have happened: only where the server says `applied=maybe`, or failed in a way it
    /// does not know.
    pub fn maybe_applied(&self) -> bool {
        match self.field("applied") {
            Some(applied) => applied != "no",
            None => matches!(
                self.kind(),
                Some(ErrorCode::WriteTimeout | ErrorCode::WriteFailure | ErrorCode::Internal) | None
            ),
        }
    }

    /// Whether the same statement may succeed a little later.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                ErrorCode::Unavailable
                    | ErrorCode::WriteTimeout
                    | ErrorCode::ReadTimeout
                    | ErrorCode::WriteFailure
                    | ErrorCode::ReadFailure
                    | ErrorCode::Overloaded
                    | ErrorCode::NotReady
                    | ErrorCode::Stale
            )
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        for (i, (name, value)) in self.fields.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { " (" } else { ", " })?;
        }
        if self.fields.is_empty() { Ok(()) } else { write!(f, ")") }
    }
}

impl std::error::Error for Failure {}

/// A reply without an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// Names of the columns; `None` for a statement without rows.
    pub columns: Option<Vec<String>>,
    /// Cells, each row as long as the columns; `None` is null.
    pub rows: Vec<Vec<Option<Text>>>,
    /// `WARNING` lines.
    pub warnings: Vec<String>,
    /// `TRACE` lines.
    pub trace: Vec<TraceLine>,
    /// `name=value` fields of the last line, but for `rows`.
    pub fields: Vec<Field>,
}

impl Reply {
    /// The value of a field of the last line: `context`, `applied`, `page`, ...
    pub fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    /// Where a column stands in each row.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.as_ref()?.iter().position(|column| column == name)
    }
}

fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// The reply, or the error that it carries.
pub(crate) fn outcome(reply: dunlin_cql::Reply) -> Result<Reply, Failure> {
    let dunlin_cql::Reply { warnings, trace, body } = reply;
    match body {
        Body::Ok(fields) => Ok(Reply { columns: None, rows: Vec::new(), warnings, trace, fields }),
        Body::Rows { columns, rows, end } => {
            let texts =
                |row: Vec<dunlin_cql::Cell>| row.into_iter().map(dunlin_cql::Cell::into_text).collect();
            let rows = rows.into_iter().map(texts).collect();
            Ok(Reply { columns: Some(columns), rows, warnings, trace, fields: end })
        }
        Body::Error { code, message, fields } => {
            Err(Failure { code: code.name().to_owned(), message, fields })
        }
        Body::UnknownError { name, message, fields } => Err(Failure { code: name.into(), message, fields }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reply, Failure> {
        let mut reader = dunlin_cql::reply::ReplyReader::new(1 << 20);
        reader.push(text.as_bytes());
        outcome(reader.take_reply().unwrap().expect("a whole reply"))
    }

    #[test]
    fn the_examples_of_the_protocol() {
        let reply = parse("OK\tcontext=AQEB\n").unwrap();
        assert_eq!((reply.field("context"), &reply.columns), (Some("AQEB"), &None));

        let reply =
            parse("COLUMNS\tkey\tvalue\nROW\talice\t3 apples\nROW\tbob\t\\N\nEND\trows=2\tpage=x=y\n")
                .unwrap();
        assert_eq!(reply.rows[0][1].as_deref(), Some("3 apples"));
        assert_eq!(reply.rows[1][reply.column("value").unwrap()], None);
        assert_eq!(reply.field("page"), Some("x=y"));

        let failure = parse("ERROR\tUNAVAILABLE\tno\tapplied=no\talive=1\n").unwrap_err();
        assert_eq!(failure.kind(), Some(ErrorCode::Unavailable));
        assert!(!failure.maybe_applied() && failure.is_temporary());
        assert_eq!(failure.to_string(), "UNAVAILABLE: no (applied=no, alive=1)");
    }

    #[test]
    fn an_unknown_failure_of_a_write_may_have_applied() {
        for (line, maybe) in [
            ("ERROR\tWRITE_TIMEOUT\tx\n", true),
            ("ERROR\tWRITE_TIMEOUT\tx\tapplied=maybe\n", true),
            ("ERROR\tSYNTAX\tx\n", false),
            ("ERROR\tNEW_CODE\tx\n", true),
        ] {
            let failure = parse(line).unwrap_err();
            assert_eq!(failure.maybe_applied(), maybe, "{line}");
            assert!(line.contains(&failure.code), "{failure}");
        }
    }
}
