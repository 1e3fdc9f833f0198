//! How a command ends.

use crate::complain;
use crate::output::{self, Unwritten};
use std::process::ExitCode;

/// Exit status of a command whose verb ended so. What was said is flushed first: that it could not be written is the
/// verb's failure too, unless whoever read has seen enough.
pub fn finish(command: &str, done: anyhow::Result<ExitCode>) -> ExitCode {
    match done.and_then(|status| Ok(output::flush().map(|()| status)?)) {
        Ok(status) => status,
        Err(error) if error.downcast_ref().is_some_and(Unwritten::reader_is_gone) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("{command}: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
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
}
