//! A text as one statement: each call sends exactly one, so that each gets exactly one reply.
//!
//! A text of several statements has several replies, of which a call would take the first and leave the others to
//! whoever uses the connection next; a text that does not end takes its successor's text for its own. Both are found
//! with the server's own splitter, before anything is sent.

use dunlin_cql::Splitter;
use dunlin_cql::splitter::{statements, without_comments};
use std::fmt;

/// Why a text was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotOneStatement {
    /// Nothing but blanks and comments.
    Empty,
    /// A second statement begins behind the first one's `;`.
    Several,
    /// A string, a quoted name, a comment or a batch is not closed.
    Unfinished,
    /// A statement that sets or shows a session, on connections that are shared; the word it begins with.
    OfASession(&'static str),
}

impl fmt::Display for NotOneStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self {
            NotOneStatement::Empty => return f.write_str("the text holds no statement"),
            NotOneStatement::Several => {
                return f.write_str(
                    "the text holds several statements: give each to a call of its own, or writes to a batch",
                );
            }
            NotOneStatement::Unfinished => {
                return f.write_str(
                    "the statement is not finished: a string, a quoted name, a comment or a BATCH is not closed",
                );
            }
            NotOneStatement::OfASession(word) => {
                write!(f, "{word} is for a session, and the connections of a client are shared: ")?;
                match *word {
                    "USE" => "name tables with their keyspace, as in shop.prices",
                    "CONSISTENCY" => "set the level of the client or of a call, or say USING CONSISTENCY",
                    "PAGING" => "set the page size of a scan, or say LIMIT",
                    "LOGIN" => "give user and password to the client when it is made",
                    "QUIT" | "EXIT" => "drop the client",
                    _ => "use a Connection of your own",
                }
            }
        };
        f.write_str(advice)
    }
}

impl std::error::Error for NotOneStatement {}

/// First words of statements that set what belongs to one session, or end it.
const OF_A_SESSION: [&str; 7] = ["USE", "CONSISTENCY", "TRACING", "PAGING", "LOGIN", "QUIT", "EXIT"];

/// Appends to `out` the bytes to send for a text of one statement. A missing `;` is added so that no comment at the
/// text's end can swallow it; what follows the `;` is left out. An error leaves `out` as it was.
pub(crate) fn append(out: &mut Vec<u8>, text: &str) -> Result<(), NotOneStatement> {
    let mut splitter = Splitter::new();
    let Some(end) = splitter.feed(text.as_bytes()) else {
        if splitter.is_at_start() {
            return Err(NotOneStatement::Empty);
        }
        // The text may end in a comment, which a line break ends.
        let closes = |end: &[u8]| splitter.clone().feed(end) == Some(end.len());
        let end: &[u8] = match () {
            () if closes(b";") => b";",
            () if closes(b"\n;") => b"\n;",
            () => return Err(NotOneStatement::Unfinished),
        };
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(end);
        out.push(b'\n');
        return Ok(());
    };
    let (statement, rest) = text.split_at(end);
    let mut after = Splitter::new();
    if after.feed(rest.as_bytes()).is_some() || !after.is_at_start() {
        return Err(NotOneStatement::Several);
    }
    let begins = statement.trim_start().starts_with(|c: char| c.is_ascii_alphabetic());
    if !begins && statements(statement).all(|piece| piece.is_blank()) {
        return Err(NotOneStatement::Empty);
    }
    out.extend_from_slice(statement.as_bytes());
    out.push(b'\n');
    Ok(())
}

/// The same for a connection that others use after it.
pub(crate) fn append_shared(out: &mut Vec<u8>, text: &str) -> Result<(), NotOneStatement> {
    if let Some(piece) = statements(text).next() {
        let mut words = words(piece.body);
        let first = words.next().unwrap_or_default();
        if let Some(word) = OF_A_SESSION.iter().find(|word| word.eq_ignore_ascii_case(first)) {
            return Err(NotOneStatement::OfASession(word));
        }
        if first.eq_ignore_ascii_case("SHOW") {
            let rest = without_comments(piece.body);
            if self::words(&rest).nth(1).is_some_and(|word| word.eq_ignore_ascii_case("SESSION")) {
                return Err(NotOneStatement::OfASession("SHOW SESSION"));
            }
        }
    }
    append(out, text)
}

/// First words of statements that change nothing.
const READS: [&str; 6] = ["SELECT", "EXPLAIN", "DESCRIBE", "DESC", "SHOW", "HELP"];

/// Whether a repetition of the statement, where it is one, does no harm.
pub(crate) fn only_reads(text: &str) -> bool {
    let first = statements(text).next().and_then(|piece| words(piece.body).next());
    first.is_some_and(|first| READS.iter().any(|word| word.eq_ignore_ascii_case(first)))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use NotOneStatement::*;

    fn sent(text: &str) -> Result<String, NotOneStatement> {
        let mut out = Vec::new();
        append_shared(&mut out, text).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_statement_is_sent_with_an_end_that_nothing_swallows() {
        for (text, out) in [
            ("SELECT 1", "SELECT 1;\n"),
            ("SELECT 1;", "SELECT 1;\n"),
            ("SELECT 1 -- all; of it", "SELECT 1 -- all; of it\n;\n"),
            ("SELECT 1 -- all;", "SELECT 1 -- all;\n;\n"),
            ("SELECT 1; -- and that was it", "SELECT 1;\n"),
            ("/* first; */ SELECT ';'; \n", "/* first; */ SELECT ';';\n"),
            ("SHOW VERSION", "SHOW VERSION;\n"),
            ("SELECT used FROM t", "SELECT used FROM t;\n"),
            (
                "BEGIN BATCH DELETE FROM t WHERE k = 'a'; APPLY BATCH",
                "BEGIN BATCH DELETE FROM t WHERE k = 'a'; APPLY BATCH;\n",
            ),
            ("(SELECT 1)", "(SELECT 1);\n"),
        ] {
            assert_eq!(sent(text).as_deref(), Ok(out), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_statement_is_not_sent() {
        for (text, error) in [
            ("", Empty),
            (" \n\t", Empty),
            (";", Empty),
            ("-- nothing", Empty),
            ("-- nothing\n;", Empty),
            ("/* nothing */", Empty),
            ("\u{feff}", Empty),
            ("SELECT 1; SELECT 2", Several),
            ("SELECT 1; SELECT 2;", Several),
            ("SELECT 1;;", Several),
            ("SELECT 1; 'open", Several),
            ("SELECT 1; /* open", Several),
            ("SELECT 'open", Unfinished),
            ("SELECT \"open", Unfinished),
            ("SELECT $$open;", Unfinished),
            ("SELECT 1 /* open", Unfinished),
            ("BEGIN BATCH DELETE FROM t WHERE k = 'a';", Unfinished),
            ("use app", OfASession("USE")),
            ("/* c */ -- d\n Consistency ONE;", OfASession("CONSISTENCY")),
            ("PAGING 5", OfASession("PAGING")),
            ("TRACING ON", OfASession("TRACING")),
            ("LOGIN 'a' 'b'", OfASession("LOGIN")),
            ("SHOW /* the */ SESSION", OfASession("SHOW SESSION")),
            ("QUIT", OfASession("QUIT")),
            ("\u{feff}EXIT;", OfASession("EXIT")),
        ] {
            assert_eq!(sent(text), Err(error.clone()), "{text}");
            assert!(error.to_string().len() > 20);
        }
    }

    #[test]
    fn an_error_adds_nothing() {
        let mut out = b"before".to_vec();
        append(&mut out, "SELECT 'open").unwrap_err();
        append(&mut out, "SELECT 1; SELECT 2;").unwrap_err();
        assert_eq!(out, b"before");
    }

    #[test]
    fn reads_are_told_from_what_changes_something() {
        for (text, reads) in [
            ("SELECT * FROM t", true),
            ("/* INSERT */ explain SELECT * FROM t", true),
            ("SHOW VERSION", true),
            ("INSERT INTO t (k, v) VALUES ('SELECT', 'x')", false),
            ("-- SELECT\nDROP TABLE t", false),
            ("BEGIN BATCH DELETE FROM t WHERE k = 'a'; APPLY BATCH", false),
            ("FROBNICATE", false),
            ("", false),
        ] {
            assert_eq!(only_reads(text), reads, "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever is sent is one statement for the server, and leaves nothing open for the next.
        #[test]
        fn the_server_sees_one_statement(text in "[a-z ;'\"$/*\n-]{0,40}") {
            let mut out = Vec::new();
            if append(&mut out, &text).is_ok() {
                let mut server = Splitter::new();
                let end = server.feed(&out);
                proptest::prop_assert!(end.is_some());
                proptest::prop_assert!(server.feed(&out[end.unwrap()..]).is_none() && server.is_at_start());
            }
        }
    }
}
