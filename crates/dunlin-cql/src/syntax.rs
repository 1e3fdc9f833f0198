//! What can be expected at a place of a statement, and the error when it is not there.

use crate::splitter::Part;
use std::fmt;

/// Text that is not a statement, with the place (from 1, in characters) and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct SyntaxError {
    /// For a person: what was expected and what was found.
    pub message: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl SyntaxError {
    /// An error at a byte offset of `text`.
    pub fn at(text: &str, offset: usize, message: impl Into<String>) -> SyntaxError {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        SyntaxError {
            message: message.into(),
            line: count(before.matches('\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
        }
    }
}

impl SyntaxError {
    /// The error for a text that ends while something is open, which starts at a byte offset of `text`.
    pub fn unfinished(text: &str, offset: usize, part: Part) -> SyntaxError {
        let (missing, what) = match part {
            Part::Text => ("'", "string that starts here"),
            Part::RawText => ("$$", "string that starts here"),
            Part::QuotedName => ("\"", "name that starts here"),
            Part::Comment => ("*/", "comment that starts here"),
            Part::Batch => ("APPLY BATCH;", "batch that starts here"),
            Part::Statement => (";", "statement"),
        };
        let hint = if part == Part::Text { backslash_hint(text) } else { "" };
        let message = format!("expected {missing} to end the {what}, found the end of the input{hint}");
        SyntaxError::at(text, offset, message)
    }
}

/// What to say where a text has `\'`, which other languages have for a quote in a string.
pub(crate) fn backslash_hint(text: &str) -> &'static str {
    if text.contains("\\'") {
        "; a quote in a string is doubled, as in 'it''s': a backslash escapes nothing"
    } else {
        ""
    }
}

/// Something that may come at a place of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// A keyword, upper case.
    Word(&'static str),
    /// Punctuation.
    Symbol(&'static str),
    /// The first word of a statement.
    Statement,
    /// The first word of a statement of a batch.
    BatchStatement,
    /// The name of a keyspace.
    Keyspace,
    /// The name of a table.
    Table,
    /// The name of a column.
    Column,
    /// The type of a column.
    Type,
    /// The name of an option of `WITH`.
    Option,
    /// An option of `USING`.
    UsingOption,
    /// A consistency level.
    Consistency,
    /// A constant of any type.
    Constant,
    /// A string.
    Text,
    /// An integer.
    Integer,
    /// A duration with its unit.
    Duration,
    /// A uuid, in quotes or not.
    Uuid,
    /// A help topic.
    Topic,
    /// The name of a file, as a string.
    File,
    /// The name of an option of the shell's `COPY`.
    CopyOption,
    /// The `;` or the end of the text.
    End,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expected::Word(text) | Expected::Symbol(text) => text,
            Expected::Statement => "a statement",
            Expected::BatchStatement => "INSERT, UPDATE, DELETE or APPLY BATCH",
            Expected::Keyspace => "the name of a keyspace",
            Expected::Table => "the name of a table",
            Expected::Column => "the name of a column",
            Expected::Type => "a type",
            Expected::Option => "the name of an option",
            Expected::UsingOption => {
                "CONSISTENCY, TTL, CONTEXT, AFTER, TIMESTAMP, TIMEOUT, DURABILITY, REQUEST or PAGE"
            }
            Expected::Consistency => {
                "a consistency level (ANY, ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM or EACH_QUORUM)"
            }
            Expected::Constant => "a constant",
            Expected::Text => "a string in single quotes",
            Expected::Integer => "an integer",
            Expected::Duration => "a duration such as 500ms",
            Expected::Uuid => "a uuid",
            Expected::Topic => "a topic",
            Expected::File => "the name of a file in single quotes",
            Expected::CopyOption => "the name of an option of COPY",
            Expected::End => "the end of the statement",
        })
    }
}

/// `A, B or C`.
pub(crate) fn join(expected: &[Expected]) -> String {
    let mut out = String::new();
    for (i, one) in expected.iter().enumerate() {
        if i > 0 {
            out.push_str(if i + 1 == expected.len() { " or " } else { ", " });
        }
        out.push_str(&one.to_string());
    }
    out
}
