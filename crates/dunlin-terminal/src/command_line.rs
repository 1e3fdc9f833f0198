//! The command line, read so that what the parser has to say goes through the same door as everything else.

use crate::{Format, complain, finish_as, say};
use clap::Parser;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::process::ExitCode;

/// The arguments of this process. Error: the exit status of a command that ends here, which has been said: 0 after
/// `--help` and `--version` (1 if they could not be written), 2 after wrong usage.
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    C::try_parse().map_err(|said| {
        let command = C::command();
        answer(command.get_name(), &said, asked_for_json(std::env::args_os()))
    })
}

fn answer(command: &str, said: &clap::Error, json: bool) -> ExitCode {
    let text = said.render();
    if !said.use_stderr() {
        let text = if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
        let done = say!("{}", text.trim_end()).map(|()| ExitCode::SUCCESS);
        return finish_as(command, Format::Text, done.map_err(Into::into));
    }
    let status = ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2));
    if json {
        complain!("{}", crate::status::object(text.to_string().trim_end()));
    } else if std::io::stderr().is_terminal() {
        complain!("{}", text.ansi().to_string().trim_end());
    } else {
        complain!("{}", text.to_string().trim_end());
    }
    status
}

/// Whether `--format json` stands there: what cannot be parsed is answered in the form that was asked for.
fn asked_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    for argument in arguments {
        if argument == "--format=json" || (before == OsStr::new("--format") && argument == "json") {
            return true;
        }
        before = argument;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_seen_in_any_place() {
        let asked = |line: &str| asked_for_json(line.split(' ').map(OsString::from));
        assert!(asked("nodetool --format json frobnicate") && asked("nodetool x --format=json"));
        assert!(!asked("nodetool json --format") && !asked("nodetool --format text json"));
    }
}
