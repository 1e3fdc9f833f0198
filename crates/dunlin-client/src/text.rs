//! Text of the protocol: quoting of literals, escapes of fields.

/// A string literal: `'it''s'`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends a string literal.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('\'');
    for part in text.split_inclusive('\'') {
        out.push_str(part);
        if part.ends_with('\'') {
            out.push('\'');
        }
    }
    out.push('\'');
}

/// The cell of a field: `None` for `\N`; an unknown escape stands for itself.
pub fn unescape(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    if !field.contains('\\') {
        return Some(field.to_owned());
    }
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('t') => out.push('\t'),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quote("it's"), "'it''s'");
        assert_eq!(quote("''"), "''''''");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn escapes_are_undone() {
        for (field, cell) in
            [("a", "a"), ("a\\tb", "a\tb"), ("\\\\N", "\\N"), ("x\\n\\r", "x\n\r"), ("\\", "\\")]
        {
            assert_eq!(unescape(field).as_deref(), Some(cell), "{field}");
        }
        assert_eq!(unescape("\\N"), None);
    }
}
