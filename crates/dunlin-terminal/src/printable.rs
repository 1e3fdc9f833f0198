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
            c if turns(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether the character turns the direction of writing: what stands around it would be shown as other text than it is.
/// So would be what comes behind the two separators of lines.
pub fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(printable("\x1b[31mred\u{9b}1m"), "\\x1b[31mred\\x9b1m");
        assert_eq!(printable("a\tb\nc\r"), "a⇥b⏎c\\x0d");
        assert_eq!(printable("\u{202e}abc\u{2069}\u{7f}"), "\\u202eabc\\u2069\\x7f");
    }
}
