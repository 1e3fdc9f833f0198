//! Statements that the shell itself carries out.

use super::help;
use dunlin_cql::splitter::without_comments;

/// A statement that the shell itself carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `QUIT`, `EXIT`.
    Quit,
    /// `COPY`: its own grammar.
    Copy,
    /// `SOURCE 'file'`.
    Source(String),
    /// `EXPAND [ON|OFF]`.
    Expand(Option<bool>),
    /// `MORE`.
    More,
    /// `CLEAR`.
    Clear,
    /// `SHOW HOST`.
    ShowHost,
    /// `HELP` of what only the shell knows.
    Help(&'static str),
    /// `HELP` alone: the node's overview, and this behind it.
    HelpOverview(&'static str),
}

/// The command in a statement without its `;`; `None` if a node has to answer it. An error says what is wrong with it.
pub fn parse(body: &str) -> Option<Result<Command, String>> {
    let first = first_word(body);
    let plain = || without_comments(body).trim().to_owned();
    let rest = || plain().get(first.len()..).unwrap_or_default().trim().to_owned();
    let alone = |command: Command| match rest() {
        rest if rest.is_empty() => Ok(command),
        rest => Err(format!("{first} stands alone, found {rest}")),
    };
    Some(match first.as_str() {
        "QUIT" | "EXIT" => alone(Command::Quit),
        "MORE" => alone(Command::More),
        "CLEAR" => alone(Command::Clear),
        "COPY" => Ok(Command::Copy),
        "SOURCE" => file(&rest()).map(Command::Source),
        "EXPAND" => match rest().to_ascii_uppercase().as_str() {
            "" => Ok(Command::Expand(None)),
            "ON" => Ok(Command::Expand(Some(true))),
            "OFF" => Ok(Command::Expand(Some(false))),
            other => Err(format!("expected EXPAND ON or EXPAND OFF, found {other}")),
        },
        "SHOW" if rest().eq_ignore_ascii_case("host") => Ok(Command::ShowHost),
        "HELP" => match rest() {
            topic if topic.is_empty() => Ok(Command::HelpOverview(help::OVERVIEW)),
            topic => Ok(Command::Help(help::topic(&topic)?)),
        },
        _ => return None,
    })
}

/// The first word in upper case; empty if there is something else first. Comments are not looked behind.
pub fn first_word(text: &str) -> String {
    text.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
}

/// What a person means who types it alone and without a `;`, as a statement.
pub fn typed_alone(line: &str) -> Option<String> {
    let line = line.trim();
    let bare = line.trim_end_matches(';').trim_end();
    let mut words = bare.split_whitespace();
    let first = words.next()?.to_ascii_lowercase();
    let alone = words.next().is_none();
    match first.as_str() {
        "\\q" if alone => Some("QUIT;".to_owned()),
        "?" | "\\?" | "\\h" => Some(format!("HELP{};", &bare[first.len()..])),
        "quit" | "exit" | "clear" | "more" if alone => Some(format!("{bare};")),
        "help" | "expand" if !line.contains(';') => Some(format!("{bare};")),
        _ => None,
    }
}

fn file(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    match inner.map(|inner| inner.replace("''", "\0")) {
        Some(name) if !name.is_empty() && !name.contains('\'') => Ok(name.replace('\0', "'")),
        _ if text.is_empty() => Err("expected SOURCE 'file', found the end".to_owned()),
        _ => Err(format!("expected SOURCE 'file', with the name in single quotes, found {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_statements() {
        for (body, command) in [
            ("quit", Some(Ok(Command::Quit))),
            ("EXIT /* now */", Some(Ok(Command::Quit))),
            ("SOURCE 'it''s.cql'", Some(Ok(Command::Source("it's.cql".into())))),
            ("source -- x\n 'a'", Some(Ok(Command::Source("a".into())))),
            ("EXPAND", Some(Ok(Command::Expand(None)))),
            ("expand on", Some(Ok(Command::Expand(Some(true))))),
            ("show host", Some(Ok(Command::ShowHost))),
            ("SHOW SESSION", None),
            ("SELECT * FROM more", None),
            ("HELP SELECT", None),
            ("(quit)", None),
            ("?", None),
        ] {
            assert_eq!(parse(body), command, "{body}");
        }
        for (body, part) in [
            ("QUIT now", "stands alone"),
            ("SOURCE x", "single quotes"),
            ("SOURCE", "found the end"),
            ("EXPAND 3", "EXPAND OFF"),
        ] {
            let error = parse(body).unwrap().unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        }
    }

    #[test]
    fn words_that_need_no_semicolon_at_the_prompt() {
        for (line, statement) in [
            ("exit", Some("exit;")),
            (" \\q ", Some("QUIT;")),
            ("?", Some("HELP;")),
            ("? select", Some("HELP select;")),
            ("help copy", Some("help copy;")),
            ("expand on", Some("expand on;")),
            ("more;", Some("more;")),
            ("exit now", None),
            ("select", None),
            ("help select; quit", None),
        ] {
            assert_eq!(typed_alone(line).as_deref(), statement, "{line}");
        }
    }
}
