//! `INSERT`, `UPDATE`, `DELETE`, `BEGIN BATCH`.

use super::{Parsed, Parser};
use crate::limits::COLUMNS_MAX;
use crate::statement::{Statement, WriteStatement};
use crate::syntax::Expected;
use dunlin_types::limits::KEYS_PER_STATEMENT_MAX;

impl Parser<'_> {
    /// One of the three; the present token is its keyword.
    pub(super) fn write(&mut self) -> Parsed<WriteStatement> {
        if self.accept_word("INSERT")? {
            self.insert()
        } else if self.accept_word("UPDATE")? {
            self.update()
        } else if self.accept_word("DELETE")? {
            self.delete()
        } else {
            self.fail_as(Expected::BatchStatement)
        }
    }

    fn insert(&mut self) -> Parsed<WriteStatement> {
        self.expect_word("INTO")?;
        let table = self.table()?;
        self.expect_symbol("(")?;
        let columns = self.list(COLUMNS_MAX, "columns", |parser| parser.name(Expected::Column))?;
        self.expect_word("VALUES")?;
        self.expect_symbol("(")?;
        let values = self.list(COLUMNS_MAX, "values", |parser| parser.literal())?;
        let using = self.using()?;
        Ok(WriteStatement::Insert { table, columns, values, using })
    }

    fn update(&mut self) -> Parsed<WriteStatement> {
        let table = self.table()?;
        let using = self.using()?;
        self.expect_word("SET")?;
        let (column, value) = self.equals()?;
        self.expect_word("WHERE")?;
        let (key_column, key) = self.equals()?;
        Ok(WriteStatement::Update { table, using, column, value, key_column, key })
    }

    fn delete(&mut self) -> Parsed<WriteStatement> {
        self.expect_word("FROM")?;
        let table = self.table()?;
        let using = self.using()?;
        self.expect_word("WHERE")?;
        let (key_column, key) = self.equals()?;
        Ok(WriteStatement::Delete { table, using, key_column, key })
    }

    pub(super) fn batch(&mut self) -> Parsed<Statement> {
        self.advance()?;
        self.expect_word("BATCH")?;
        let using = self.using()?;
        // One `;` after the head does no harm to somebody who types line by line.
        self.accept_symbol(";")?;
        let mut writes = Vec::new();
        while !self.accept_word("APPLY")? {
            if writes.len() == KEYS_PER_STATEMENT_MAX {
                return Err(self.error(format!("more than {KEYS_PER_STATEMENT_MAX} statements in a batch")));
            }
            writes.push(self.write()?);
            if !self.accept_symbol(";")? && !self.is_word("APPLY") {
                return self.fail(Expected::Symbol(";"));
            }
        }
        self.expect_word("BATCH")?;
        Ok(Statement::Batch { using, writes })
    }
}
