//! A reply, parsed from its lines.

use crate::text::unescape;
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
    pub fields: Vec<(String, String)>,
}

impl Failure {
    /// The code, if this client knows it.
    pub fn kind(&self) -> Option<ErrorCode> {
        ErrorCode::from_name(&self.code)
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
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
    /// Cells; `None` is null.
    pub rows: Vec<Vec<Option<String>>>,
    /// `WARNING` lines.
    pub warnings: Vec<String>,
    /// `TRACE` lines: microseconds, node, text.
    pub trace: Vec<Vec<String>>,
    /// `name=value` fields of the last line.
    pub fields: Vec<(String, String)>,
}

impl Reply {
    /// The value of a field of the last line: `context`, `rows`, `page`, ...
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Takes lines until the reply is whole.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    reply: Reply,
}

/// The whole reply, or a complaint about its text.
pub(crate) type Built = Result<Result<Reply, Failure>, String>;

impl Builder {
    /// Takes a line without its LF. `Some` when it was the last one; the builder is then empty again.
    pub(crate) fn line(&mut self, line: &str) -> Option<Built> {
        let mut fields = line.split('\t');
        let tag = fields.next().unwrap_or_default();
        match tag {
            "COLUMNS" => self.reply.columns = Some(fields.map(|f| unescape(f).unwrap_or_default()).collect()),
            "ROW" => self.reply.rows.push(fields.map(unescape).collect()),
            "WARNING" => self.reply.warnings.push(fields.map(|f| unescape(f).unwrap_or_default()).collect()),
            "TRACE" => self.reply.trace.push(fields.map(|f| unescape(f).unwrap_or_default()).collect()),
            "OK" | "END" => {
                let mut reply = std::mem::take(&mut self.reply);
                reply.fields = fields.map(pair).collect();
                return Some(Ok(Ok(reply)));
            }
            "ERROR" => {
                self.reply = Reply::default();
                let code = fields.next().unwrap_or_default().to_owned();
                let message = fields.next().and_then(unescape).unwrap_or_default();
                return Some(Ok(Err(Failure { code, message, fields: fields.map(pair).collect() })));
            }
            _ => {
                return Some(Err(format!(
                    "a line that starts with {:?}",
                    tag.chars().take(32).collect::<String>()
                )));
            }
        }
        None
    }
}

fn pair(field: &str) -> (String, String) {
    let (name, value) = field.split_once('=').unwrap_or((field, ""));
    (name.to_owned(), unescape(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Built {
        let mut builder = Builder::default();
        text.lines().find_map(|line| builder.line(line)).expect("a whole reply")
    }

    #[test]
    fn the_examples_of_the_protocol() {
        let reply = parse("OK\tcontext=AQEB").unwrap().unwrap();
        assert_eq!((reply.field("context"), &reply.columns), (Some("AQEB"), &None));

        let reply = parse("COLUMNS\tkey\tvalue\nROW\talice\t3 apples\nROW\tbob\t\\N\nEND\trows=2\tpage=x=y")
            .unwrap()
            .unwrap();
        assert_eq!(reply.rows[0], [Some("alice".to_owned()), Some("3 apples".to_owned())]);
        assert_eq!(reply.rows[1][1], None);
        assert_eq!(reply.field("page"), Some("x=y"));

        let failure = parse("ERROR\tUNAVAILABLE\tno\tapplied=no\talive=1").unwrap().unwrap_err();
        assert_eq!(failure.kind(), Some(ErrorCode::Unavailable));
        assert!(!failure.maybe_applied() && failure.is_temporary());
        assert_eq!(failure.to_string(), "UNAVAILABLE: no (applied=no, alive=1)");

        assert!(parse("HTTP/1.1 400 Bad Request").is_err());
    }

    #[test]
    fn an_unknown_failure_of_a_write_may_have_applied() {
        for (line, maybe) in [
            ("ERROR\tWRITE_TIMEOUT\tx", true),
            ("ERROR\tWRITE_TIMEOUT\tx\tapplied=maybe", true),
            ("ERROR\tSYNTAX\tx", false),
            ("ERROR\tNEW_CODE\tx", true),
        ] {
            assert_eq!(parse(line).unwrap().unwrap_err().maybe_applied(), maybe, "{line}");
        }
    }
}
