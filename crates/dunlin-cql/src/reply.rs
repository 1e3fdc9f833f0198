//! What the server answers: structured, and as bytes of the protocol page.
//!
//! [`Reply::encode`] is for servers; [`ReplyReader`] takes bytes in any pieces and gives replies back.

mod encode;
mod reader;
mod text;

use bytes::Bytes;
use dunlin_types::ErrorCode;
use dunlin_types::error::Applied;

pub use reader::{ReplyError, ReplyReader};
pub use text::Text;

/// One cell of a row: UTF-8 text or null.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cell(Option<Text>);

impl Cell {
    /// `\N`.
    pub const NULL: Cell = Cell(None);

    /// Text.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell(Some(Text::from(text.into())))
    }

    /// Text that shares the given bytes; `None` if they are not UTF-8.
    pub fn shared(bytes: &Bytes) -> Option<Cell> {
        Some(Cell(Some(Text::from_utf8(bytes.clone()).ok()?)))
    }

    /// The text; `None` if null.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The text, shared; `None` if null.
    pub fn into_text(self) -> Option<Text> {
        self.0
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.0.as_ref().map(Text::as_bytes)
    }
}

impl<T: Into<Text>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell(Some(text.into()))
    }
}

/// `name=value` of a last line.
pub type Field = (String, String);

/// Answer to one statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// `WARNING` lines.
    pub warnings: Vec<String>,
    /// `TRACE` lines.
    pub trace: Vec<TraceLine>,
    /// The answer proper.
    pub body: Body,
}

/// A `TRACE` line. Its [`std::fmt::Display`] is for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceLine {
    /// Microseconds since the statement was taken up.
    pub micros: u64,
    /// Name of the node.
    pub node: String,
    /// What happened.
    pub text: String,
}

impl std::fmt::Display for TraceLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}  {}  {}", self.micros, self.node, self.text)
    }
}

/// The answer proper.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// `OK`.
    Ok(Vec<Field>),
    /// `COLUMNS`, `ROW`..., `END`. `rows=` is written from the number of rows.
    Rows {
        /// Headings.
        columns: Vec<String>,
        /// Each as long as the headings.
        rows: Vec<Vec<Cell>>,
        /// Fields of `END` after `rows=`.
        end: Vec<Field>,
    },
    /// `ERROR`.
    Error {
        /// What kind.
        code: ErrorCode,
        /// For a person.
        message: String,
        /// Details.
        fields: Vec<Field>,
    },
    /// `ERROR` with a code that is not in this version: a newer server may know more.
    UnknownError {
        /// The code's name.
        name: Box<str>,
        /// For a person.
        message: String,
        /// Details.
        fields: Vec<Field>,
    },
}

impl Body {
    /// The fields of the last line; for rows those after `rows=`.
    pub fn fields(&self) -> &[Field] {
        match self {
            Body::Ok(fields)
            | Body::Rows { end: fields, .. }
            | Body::Error { fields, .. }
            | Body::UnknownError { fields, .. } => fields,
        }
    }

    fn fields_mut(&mut self) -> &mut Vec<Field> {
        match self {
            Body::Ok(fields)
            | Body::Rows { end: fields, .. }
            | Body::Error { fields, .. }
            | Body::UnknownError { fields, .. } => fields,
        }
    }
}

impl From<Body> for Reply {
    fn from(body: Body) -> Reply {
        Reply { warnings: Vec::new(), trace: Vec::new(), body }
    }
}

impl Reply {
    /// `OK` without fields.
    pub fn ok() -> Reply {
        Body::Ok(Vec::new()).into()
    }

    /// About how many bytes of memory it holds.
    pub fn weight(&self) -> usize {
        const LINE: usize = 64;
        match &self.body {
            Body::Rows { rows, .. } => {
                let cells = rows.iter().flatten().map(|cell| cell.bytes().map_or(1, <[u8]>::len) + 1);
                LINE + cells.sum::<usize>()
            }
            Body::Ok(_) | Body::Error { .. } | Body::UnknownError { .. } => LINE,
        }
    }

    /// `OK` with one field.
    pub fn ok_with(name: impl Into<String>, value: impl Into<String>) -> Reply {
        Body::Ok(vec![(name.into(), value.into())]).into()
    }

    /// Rows, with nothing more than `rows=` at their end.
    pub fn rows(columns: Vec<String>, rows: Vec<Vec<Cell>>) -> Reply {
        Body::Rows { columns, rows, end: Vec::new() }.into()
    }

    /// `ERROR` without fields.
    pub fn error(code: ErrorCode, message: impl Into<String>) -> Reply {
        Body::Error { code, message: message.into(), fields: Vec::new() }.into()
    }

    /// Adds a field to the last line.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Reply {
        self.body.fields_mut().push((name.into(), value.into()));
        self
    }

    /// The value of a field of the last line.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.body.fields().iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The error code, if it is an error of this version.
    pub fn code(&self) -> Option<ErrorCode> {
        match self.body {
            Body::Error { code, .. } => Some(code),
            _ => None,
        }
    }
}

impl From<crate::SyntaxError> for Reply {
    fn from(error: crate::SyntaxError) -> Reply {
        Reply::error(ErrorCode::Syntax, error.message)
            .with("line", error.line.to_string())
            .with("column", error.column.to_string())
    }
}

impl From<crate::PlanError> for Reply {
    fn from(error: crate::PlanError) -> Reply {
        let reply = Reply::error(error.code, error.message);
        match error.code {
            // As everywhere else where something is too large.
            ErrorCode::TooLarge => reply.with("applied", Applied::No.name()),
            _ => reply,
        }
    }
}
