//! The COPY statement's own small grammar.

/// What it looks like.
pub const USAGE: &str =
    "COPY table [(key, value)] FROM|TO 'file.csv' [WITH header = true|false [AND delimiter = ',']]";

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    From,
    To,
}

/// A parsed COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub table: String,
    pub columns: Option<[String; 2]>,
    pub direction: Direction,
    pub file: String,
    pub header: bool,
    pub delimiter: u8,
}

/// Parses, or says what was expected.
pub fn parse(text: &str) -> Result<Copy, String> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let mut next = |what: &str| tokens.next().ok_or(format!("expected {what}, found the end"));
    let word = next("COPY")?;
    if !word.eq_ignore_ascii_case("copy") {
        return Err(format!("expected COPY, found {word}"));
    }
    let table = next("a table")?;
    let mut token = next("FROM or TO")?;
    let mut columns = None;
    if token == "(" {
        let key = next("the key column")?;
        let comma = next("a comma")?;
        let value = next("the value column")?;
        let close = next(")")?;
        if comma != "," || close != ")" {
            return Err("expected (key, value)".to_owned());
        }
        columns = Some([unquote(&key), unquote(&value)]);
        token = next("FROM or TO")?;
    }
    let direction = match token.to_ascii_uppercase().as_str() {
        "FROM" => Direction::From,
        "TO" => Direction::To,
        _ => return Err(format!("expected FROM or TO, found {token}")),
    };
    let file = next("a file name in quotes")?;
    let file = file
        .strip_prefix('\'')
        .and_then(|f| f.strip_suffix('\''))
        .map(|f| f.replace("''", "'"))
        .ok_or(format!("expected a file name in single quotes, found {file}"))?;
    let mut copy = Copy { table, columns, direction, file, header: false, delimiter: b',' };
    while let Some(word) = tokens.next() {
        if word == ";" {
            continue;
        }
        if !["with", "and"].contains(&word.to_ascii_lowercase().as_str()) {
            return Err(format!("expected WITH or AND, found {word}"));
        }
        let (Some(name), Some(equals), Some(value)) = (tokens.next(), tokens.next(), tokens.next()) else {
            return Err("expected option = value".to_owned());
        };
        let value = value.trim_matches('\'').to_owned();
        match (name.to_ascii_lowercase().as_str(), equals.as_str(), value.to_ascii_lowercase().as_str()) {
            ("header", "=", "true") => copy.header = true,
            ("header", "=", "false") => copy.header = false,
            ("delimiter", "=", _) => match *value.as_bytes() {
                [byte] => copy.delimiter = byte,
                _ if value == "\\t" => copy.delimiter = b'\t',
                _ => return Err(format!("a delimiter is one byte, not {value:?}")),
            },
            _ => {
                return Err(format!(
                    "no option {name} {equals} {value}; the options are header and delimiter"
                ));
            }
        }
    }
    Ok(copy)
}

fn unquote(name: &str) -> String {
    match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_ascii_lowercase(),
    }
}

/// Words, quoted pieces with their quotes, and single signs.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => {
                let mut end = None;
                let mut chars = rest.char_indices().skip(1).peekable();
                while let Some((i, c)) = chars.next() {
                    if c == first {
                        if chars.peek().is_some_and(|(_, c)| *c == first) {
                            chars.next();
                        } else {
                            end = Some(i + 1);
                            break;
                        }
                    }
                }
                end.ok_or("a quote is not closed".to_owned())?
            }
            '(' | ')' | ',' | '=' | ';' => 1,
            _ => rest.find(|c: char| c.is_whitespace() || "(),=;'".contains(c)).unwrap_or(rest.len()),
        };
        out.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_copy() {
        let copy =
            parse("COPY words (lemma, gloss) FROM '/tmp/it''s.csv' WITH HEADER = TRUE AND delimiter = '\t';")
                .unwrap();
        assert_eq!(copy.table, "words");
        assert_eq!(copy.columns, Some(["lemma".into(), "gloss".into()]));
        assert_eq!(
            (copy.direction, copy.file.as_str(), copy.header, copy.delimiter),
            (Direction::From, "/tmp/it's.csv", true, b'\t')
        );
        assert_eq!(parse("copy ks.t to 'x'").unwrap().direction, Direction::To);
    }

    #[test]
    fn errors_say_what_was_expected() {
        for (text, part) in [
            ("COPY", "a table"),
            ("COPY t", "FROM or TO"),
            ("COPY t INTO 'x'", "FROM or TO"),
            ("COPY t FROM x", "single quotes"),
            ("COPY t FROM 'x", "not closed"),
            ("COPY t FROM 'x' WITH head = 1", "header and delimiter"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
