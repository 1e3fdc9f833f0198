//! What could be typed next: for a shell's tab key.

use crate::help;
use crate::name::Quoted;
use crate::parser::expected_at_end;
use crate::splitter::{Part, Splitter};
use crate::syntax::Expected;
use crate::system::{self, SystemTable};
use dunlin_types::Consistency;

/// First words of statements.
pub const STATEMENTS: [&str; 25] = [
    "ALTER",
    "BEGIN",
    "CONSISTENCY",
    "COPY",
    "CREATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DROP",
    "EXIT",
    "EXPAND",
    "EXPLAIN",
    "HELP",
    "INSERT",
    "LOGIN",
    "MORE",
    "PAGING",
    "QUIT",
    "SELECT",
    "SHOW",
    "SOURCE",
    "TRACING",
    "TRUNCATE",
    "UPDATE",
    "USE",
];
const USING_OPTIONS: [&str; 9] =
    ["AFTER", "CONSISTENCY", "CONTEXT", "DURABILITY", "PAGE", "REQUEST", "TIMEOUT", "TIMESTAMP", "TTL"];
const TYPES: [&str; 6] = ["bigint", "blob", "boolean", "double", "text", "uuid"];
const COPY_OPTIONS: [&str; 8] =
    ["context", "delimiter", "encoding", "escape", "header", "null", "quote", "rejects"];
const WITH_OPTIONS: [&str; 10] = [
    "comment",
    "compaction",
    "compression",
    "conflicts",
    "default_time_to_live",
    "durable_writes",
    "gc_grace_seconds",
    "replication",
    "sloppy_quorum",
    "speculative_retry",
];

/// Names a shell knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Keyspaces.
    pub keyspaces: Vec<String>,
    /// Tables of the keyspace in use.
    pub tables: Vec<String>,
    /// Columns of those tables.
    pub columns: Vec<String>,
}

/// Where the word under the cursor begins, and the words that could stand there, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Byte offset in the text.
    pub start: usize,
    /// Each is a whole word, with what has to follow it if only one thing can.
    pub candidates: Vec<String>,
    /// The name of a file may stand there, which only the shell can complete: in single quotes, and `start` is behind
    /// the first of them if that is typed already.
    pub is_file: bool,
}

/// Completes the last word of `text`, everything before the cursor. Keywords follow the grammar.
pub fn complete(text: &str, names: &Names) -> Completion {
    if let Some(completion) = in_string(text) {
        return completion;
    }
    let word = text.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    let start = text.len() - word.len();
    let before = last_statement(&text[..start]);
    let mut candidates = Vec::new();
    let expected = expected_at_end(before);
    let is_file = expected.contains(&Expected::File);
    for expected in expected {
        match before.strip_suffix('.') {
            Some(keyspace) if expected == Expected::Table => add_tables_of(&mut candidates, keyspace, names),
            _ => add(&mut candidates, expected, names),
        }
    }
    let typed = word.to_ascii_lowercase();
    candidates.retain(|candidate| candidate.to_ascii_lowercase().starts_with(&typed));
    candidates.sort();
    candidates.dedup();
    Completion { start, candidates, is_file }
}

/// What completes an open string: the name of a file, or nothing.
fn in_string(text: &str) -> Option<Completion> {
    let statement = last_statement(text);
    let mut splitter = Splitter::new();
    splitter.feed(statement.as_bytes());
    let open = splitter.open().filter(|open| open.part == Part::Text)?;
    let is_file = expected_at_end(&statement[..open.offset]).contains(&Expected::File);
    let start = text.len() - statement.len() + open.offset + 1;
    Some(Completion { start, candidates: Vec::new(), is_file })
}

/// The text after the last statement's end.
fn last_statement(text: &str) -> &str {
    let mut splitter = Splitter::new();
    let mut rest = text;
    while let Some(end) = splitter.feed(rest.as_bytes()) {
        rest = rest.get(end..).unwrap_or_default();
    }
    rest
}

/// What can follow `keyspace.`, the end of this text.
fn add_tables_of(candidates: &mut Vec<String>, text: &str, names: &Names) {
    if text.to_ascii_lowercase().ends_with(system::KEYSPACE) {
        candidates.extend(SystemTable::ALL.map(|table| table.name().to_owned()));
    } else {
        add_names(candidates, &names.tables);
    }
}

fn add(candidates: &mut Vec<String>, expected: Expected, names: &Names) {
    let mut keywords = |words: &[&str]| candidates.extend(words.iter().map(|word| (*word).to_owned()));
    match expected {
        Expected::Word(word) => keywords(&[word]),
        Expected::Statement => keywords(&STATEMENTS),
        Expected::BatchStatement => keywords(&["APPLY", "DELETE", "INSERT", "UPDATE"]),
        Expected::UsingOption => keywords(&USING_OPTIONS),
        Expected::Consistency => keywords(&Consistency::ALL.map(Consistency::name)),
        Expected::Type => keywords(&TYPES),
        Expected::Option => keywords(&WITH_OPTIONS),
        Expected::CopyOption => keywords(&COPY_OPTIONS),
        Expected::Topic => candidates.extend(help::topics().map(str::to_uppercase)),
        Expected::Keyspace => add_names(candidates, &names.keyspaces),
        Expected::Column => {
            add_names(candidates, &names.columns);
        }
        Expected::Table => {
            add_names(candidates, &names.tables);
            add_names(candidates, &names.keyspaces);
            let system = SystemTable::ALL.map(|table| format!("{}.{}", system::KEYSPACE, table.name()));
            candidates.extend(system);
        }
        Expected::Symbol(_)
        | Expected::Constant
        | Expected::Text
        | Expected::Integer
        | Expected::Duration
        | Expected::Uuid
        | Expected::File
        | Expected::End => {}
    }
}

fn add_names(candidates: &mut Vec<String>, names: &[String]) {
    candidates.extend(names.iter().map(|name| Quoted(name).to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let names = Names {
            keyspaces: vec!["dunlin".into()],
            tables: vec!["kv".into()],
            columns: vec!["key".into(), "value".into()],
        };
        let completion = complete(text, &names);
        assert_eq!(completion.candidates, expected, "{text}");
    }

    #[test]
    fn keywords_by_place_and_names() {
        check("SEL", &["SELECT"]);
        check("USE d; sel", &["SELECT"]);
        check("SELECT * ", &["FROM"]);
        check("SELECT * FROM k", &["kv"]);
        check("SELECT * FROM kv ", &["LIMIT", "USING", "WHERE"]);
        check("SELECT * FROM kv WHERE k", &["key"]);
        check("INSERT INTO kv (key, value) VALUES ('a', 'b') USING T", &["TIMEOUT", "TIMESTAMP", "TTL"]);
        check("CREATE ", &["KEYSPACE", "TABLE"]);
        check("CREATE TABLE t (k uu", &["uuid"]);
        check("CONSISTENCY lo", &["LOCAL_ONE", "LOCAL_QUORUM"]);
        check("SELECT 'a", &[]);
        check("no such thing", &[]);
        check("SELECT * FROM kv;", &STATEMENTS);
        check("-- x\n/* y */ SEL", &["SELECT"]);
        check("DESC", &["DESC", "DESCRIBE"]);
        check("DESC T", &["TABLE", "TABLES"]);
        check("TRACING ", &["OFF", "ON"]);
        check("PAGING o", &["OFF"]);
    }

    #[test]
    fn commands_of_the_shell() {
        check("COPY k", &["kv"]);
        check("COPY kv ", &["FROM", "TO"]);
        check("COPY kv (", &["key", "value"]);
        check("COPY kv (key, value) FROM ", &["STDIN"]);
        check("COPY kv TO ST", &["STDOUT"]);
        check("COPY kv FROM 'x' W", &["WITH"]);
        check("COPY kv FROM STDIN WITH he", &["header"]);
        check("COPY kv FROM 'x' WITH header = T", &["TRUE"]);
        check("COPY kv FROM 'x' WITH header = true AND r", &["rejects"]);
        check("SOURCE ", &[]);
        check("EXPAND ", &["OFF", "ON"]);
    }

    #[test]
    fn places_of_files() {
        let check = |text: &str, expected: Option<&str>| {
            let completion = complete(text, &Names::default());
            let found = completion.is_file.then(|| &text[completion.start..]);
            assert_eq!(found, expected, "{text}");
        };
        check("SOURCE ", Some(""));
        check("SOURCE '/tmp/a;b", Some("/tmp/a;b"));
        check("USE x; -- 'y\nCOPY kv FROM '", Some(""));
        check("COPY \"K\".kv TO 'it''s", Some("it''s"));
        check("COPY kv FROM 'a' WITH rejects = 'b", Some("b"));
        check("COPY kv FROM 'a' WITH null = 'b", None);
        check("SELECT * FROM kv WHERE key = 'a", None);
        check("COPY kv FROM 'a'", None);
    }

    #[test]
    fn a_dot_is_followed_by_tables_only() {
        let names = Names { keyspaces: vec!["ks".into()], tables: vec!["kv".into()], columns: Vec::new() };
        assert_eq!(complete("SELECT * FROM ks.", &names).candidates, ["kv"]);
        assert!(complete("SELECT * FROM system.p", &names).candidates.contains(&"peers".to_owned()));
    }

    #[test]
    fn the_word_is_replaced_from_its_start() {
        assert_eq!(complete("USE x; SEL", &Names::default()).start, 7);
    }
}
