//! How a command ends.

use crate::output::{self, Unwritten};
use crate::{complain, printable};
use std::process::ExitCode;

/// What a command prints.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Exit status of a command whose verb ended so, a failure told as a line; see [`finish_as`].
pub fn finish(command: &str, done: anyhow::Result<ExitCode>) -> ExitCode {
    finish_as(command, Format::Text, done)
}

/// Exit status of a command whose verb ended so. What was said is flushed first: that it could not be written is the
/// verb's failure too, unless whoever read has seen enough. A failure is told on standard error: as a line, or as an
/// object `{"error": "..."}`.
pub fn finish_as(command: &str, format: Format, done: anyhow::Result<ExitCode>) -> ExitCode {
    match done.and_then(|status| Ok(output::flush().map(|()| status)?)) {
        Ok(status) => status,
        Err(error) if error.downcast_ref().is_some_and(Unwritten::reader_is_gone) => ExitCode::SUCCESS,
        Err(error) => {
            match format {
                Format::Text => complain!("{command}: {}", lines(&explain(&error))),
                Format::Json => complain!("{}", object(&explain(&error))),
            }
            ExitCode::FAILURE
        }
    }
}

/// `{"error": "..."}`.
pub(crate) fn object(error: &str) -> String {
    serde_json::json!({ "error": error }).to_string()
}

/// Text of several lines, none of which can steer a terminal.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// An error with its causes on one line; a cause that its effect names already is not repeated.
pub fn explain(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_named_once() {
        let error = anyhow!("no room").context("writing x: no room").context("saving");
        assert_eq!(explain(&error), "saving: writing x: no room");
        assert_eq!(explain(&Err::<(), _>(anyhow!("b")).context("a").unwrap_err()), "a: b");
    }

    #[test]
    fn an_error_is_one_object() {
        assert_eq!(object("no \"x\"\n\u{1b}"), r#"{"error":"no \"x\"\n\u001b"}"#);
    }

    #[test]
    fn an_error_steers_no_terminal() {
        assert_eq!(lines("at 1:\n\u{1b}[2Jx"), "at 1:\n\\x1b[2Jx");
    }
}
