//! Text of others on a terminal.

use std::fmt::Write as _;

/// The text with control characters shown instead of obeyed: on one line, and unable to steer a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push('⇥'),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(printable("\x1b[31mred\u{9b}1m"), "\\x1b[31mred\\x9b1m");
        assert_eq!(printable("a\tb\nc\r"), "a⇥b⏎c\\x0d");
    }
}
