//! Completion of what is typed.

use super::command::first_word;
use dunlin_cql::complete::{self, Names};
use dunlin_cql::splitter::{self, Part};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};

/// Completes statements, and names of files where one belongs.
#[derive(Helper, Highlighter, Hinter, Validator)]
pub struct Input {
    /// Lines typed before, of the same statement.
    pub before: String,
    /// Keyspaces, tables and columns.
    pub names: Names,
    files: FilenameCompleter,
}

impl Input {
    /// With those names.
    pub fn new(names: Names) -> Input {
        Input { before: String::new(), names, files: FilenameCompleter::new() }
    }
}

/// Offset in the text of the file name that its end is in the middle of.
fn file_name_at_end(text: &str) -> Option<usize> {
    let last = splitter::statements(text).last()?;
    let open = last.unfinished.filter(|open| open.part == Part::Text)?;
    ["COPY", "SOURCE"].contains(&first_word(last.body).as_str()).then_some(open.place.offset + 1)
}

impl Completer for Input {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let whole = format!("{}{}", self.before, &line[..at]);
        let before = self.before.len();
        if let Some(start) = file_name_at_end(&whole).and_then(|start| start.checked_sub(before)) {
            // Its own quotes are none of the file's name.
            let name = line[start..at].replace("''", "'");
            let (from, mut pairs) = self.files.complete_path_unsorted(&format!("'{name}"), name.len() + 1)?;
            pairs.sort_by(|a, b| a.display.cmp(&b.display));
            let kept = &name[..from.saturating_sub(1).min(name.len())];
            for pair in &mut pairs {
                let found = pair.replacement.trim_end_matches('\'');
                pair.replacement = format!("{kept}{found}").replace('\'', "''");
            }
            return Ok((start, pairs));
        }
        let completion = complete::complete(&whole, &self.names);
        let Some(start) = completion.start.checked_sub(before) else { return Ok((at, Vec::new())) };
        let candidates = completion.candidates.into_iter();
        Ok((start, candidates.map(|text| Pair { display: text.clone(), replacement: text }).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_belong_into_the_quotes_of_copy_and_source() {
        for (text, offset) in [
            ("SOURCE '", Some(8)),
            ("USE x; copy kv FROM '/tm", Some(21)),
            ("/* a */ COPY kv TO 'a''b", Some(20)),
            ("SELECT * FROM kv WHERE key = '", None),
            ("COPY kv FROM 'x'", None),
            ("COPY kv ", None),
        ] {
            assert_eq!(file_name_at_end(text), offset, "{text}");
        }
    }
}
