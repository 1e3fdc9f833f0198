//! What the shell has to know of a statement before it is sent.

use dunlin_cql::Statement;
use dunlin_cql::statement::{DescribeStatement, SelectStatement};

/// What a statement is, as far as the shell treats it differently.
#[derive(Debug, Default, PartialEq)]
pub struct Nature {
    /// A repetition may do something that the first time did not: it is never sent twice, and where its answer is lost
    /// it may have been applied.
    pub changes: bool,
    /// It may make names, or remove them.
    pub of_schema: bool,
    /// It sets what a new connection has to be told again, under this name.
    pub setting: Option<&'static str>,
    /// It answers with text to be read or to be run again, not with rows of data.
    pub is_text: bool,
    /// It is a SELECT, which has pages.
    pub select: Option<SelectStatement>,
}

impl Nature {
    /// By this shell's knowledge of the language; what it does not know is taken for a change.
    pub fn of(text: &str) -> Nature {
        let Ok(statement) = dunlin_cql::parse(text) else {
            return Nature { changes: true, ..Nature::default() };
        };
        let setting = match statement {
            Statement::Use { .. } => Some("USE"),
            Statement::Consistency(Some(_)) => Some("CONSISTENCY"),
            Statement::Paging(_) => Some("PAGING"),
            Statement::Tracing(_) => Some("TRACING"),
            Statement::Login { .. } => Some("LOGIN"),
            _ => None,
        };
        let of_schema = matches!(
            statement,
            Statement::CreateKeyspace { .. }
                | Statement::AlterKeyspace { .. }
                | Statement::DropKeyspace { .. }
                | Statement::CreateTable { .. }
                | Statement::AlterTable { .. }
                | Statement::DropTable { .. }
        );
        let changes = of_schema
            || matches!(
                statement,
                Statement::Write(_) | Statement::Batch { .. } | Statement::Truncate { .. }
            );
        let is_text = match &statement {
            Statement::Help(_) => true,
            Statement::Describe(what) => matches!(
                what,
                DescribeStatement::Schema | DescribeStatement::Keyspace(_) | DescribeStatement::Table(_)
            ),
            _ => false,
        };
        let select = match statement {
            Statement::Select(select) => Some(select),
            _ => None,
        };
        Nature { changes, of_schema, setting, is_text, select }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_told_from_reads() {
        for (text, changes) in [
            ("SELECT * FROM kv", false),
            ("EXPLAIN SELECT * FROM kv WHERE key = 'a'", false),
            ("DESCRIBE TABLES", false),
            ("USE x", false),
            ("SHOW SESSION", false),
            ("INSERT INTO kv (key, value) VALUES ('a', 'b')", true),
            ("DELETE FROM kv WHERE key = 'a'", true),
            ("BEGIN BATCH DELETE FROM kv WHERE key = 'a'; APPLY BATCH", true),
            ("TRUNCATE kv", true),
            ("DROP TABLE kv", true),
            ("FROBNICATE", true),
        ] {
            assert_eq!(Nature::of(text).changes, changes, "{text}");
        }
        assert_eq!(Nature::of("CONSISTENCY ONE").setting, Some("CONSISTENCY"));
        assert_eq!(Nature::of("CONSISTENCY").setting, None);
        assert!(Nature::of("HELP").is_text && Nature::of("DESCRIBE SCHEMA").is_text);
        assert!(!Nature::of("DESCRIBE TABLES").is_text && !Nature::of("SELECT statement FROM t").is_text);
    }
}
