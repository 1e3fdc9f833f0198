//! What people used to other languages may have meant, behind an error's "expected ..., found ...".

use crate::lexer::{Token, TokenKind, shorten};
use crate::literal::write_string;
use crate::syntax::{Expected, backslash_hint};

/// The hint for a token that is none of what was looked for; empty if there is none.
pub(super) fn after(text: &str, found: &Token<'_>, tried: &[Expected]) -> String {
    let wants = |expected: &[Expected]| tried.iter().any(|one| expected.contains(one));
    let before = text[..found.start].trim_end();
    if before.len() == found.start && before.ends_with("\\'") {
        return backslash_hint(before).to_owned();
    }
    if wants(&[Expected::Constant, Expected::Text, Expected::Uuid]) {
        return match &found.kind {
            TokenKind::QuotedName(name) => {
                let mut string = String::new();
                let _ = write_string(&mut string, &shorten(name));
                format!("; a string is in single quotes: {string}")
            }
            TokenKind::Word(_) => "; a string is in single quotes".to_owned(),
            TokenKind::Symbol("?") => "; there are no bound values: write the value itself".to_owned(),
            TokenKind::Symbol("=") if before.ends_with('=') => "; one = is enough".to_owned(),
            _ => String::new(),
        };
    }
    if wants(&[Expected::Keyspace, Expected::Table, Expected::Column, Expected::Option]) {
        return match found.kind {
            TokenKind::Text(_) => "; a name is without quotes, or in double quotes".to_owned(),
            _ => String::new(),
        };
    }
    match found.kind {
        TokenKind::Word(word) if tried == [Expected::Word("BATCH")] && is_kind_of_batch(word) => {
            "; write BEGIN BATCH: each statement of a batch is applied on its own".to_owned()
        }
        _ => String::new(),
    }
}

fn is_kind_of_batch(word: &str) -> bool {
    ["UNLOGGED", "LOGGED", "COUNTER"].iter().any(|kind| kind.eq_ignore_ascii_case(word))
}
