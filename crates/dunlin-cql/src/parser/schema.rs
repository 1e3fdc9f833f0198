//! `CREATE`, `ALTER`, `DROP`, `TRUNCATE`.

use super::{Parsed, Parser};
use crate::limits;
use crate::name::TableName;
use crate::statement::{ColumnSpec, Statement};
use crate::syntax::Expected;

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Parsed<Statement> {
        self.advance()?;
        if self.accept_word("KEYSPACE")? {
            let if_not_exists = self.if_not_exists()?;
            let name = self.name(Expected::Keyspace)?;
            self.expect_word("WITH")?;
            let options = self.with_options()?;
            return Ok(Statement::CreateKeyspace { if_not_exists, name, options });
        }
        self.expect_word("TABLE")?;
        let if_not_exists = self.if_not_exists()?;
        let table = self.table()?;
        self.create_table(if_not_exists, table)
    }

    fn create_table(&mut self, if_not_exists: bool, table: TableName) -> Parsed<Statement> {
        self.expect_symbol("(")?;
        let mut primary_key = Vec::new();
        let items = self.list(limits::COLUMNS_MAX, "columns", |parser| {
            if parser.accept_word("PRIMARY")? {
                parser.expect_word("KEY")?;
                primary_key.append(&mut parser.primary_key()?);
                return Ok(None);
            }
            parser.column().map(Some)
        })?;
        let columns = items.into_iter().flatten().collect();
        let options = if self.accept_word("WITH")? { self.with_options()? } else { Vec::new() };
        Ok(Statement::CreateTable { if_not_exists, table, columns, primary_key, options })
    }

    fn column(&mut self) -> Parsed<ColumnSpec> {
        let name = self.name(Expected::Column)?;
        let mut type_name = String::new();
        self.column_type(&mut type_name, 0)?;
        let primary_key = self.accept_word("PRIMARY")?;
        if primary_key {
            self.expect_word("KEY")?;
        }
        Ok(ColumnSpec { name, type_name, primary_key })
    }

    /// `name` or `name<type, ...>`: read whole, so that the planner can say that it does not exist.
    fn column_type(&mut self, out: &mut String, depth: usize) -> Parsed<()> {
        if depth > limits::TYPE_NESTING_MAX {
            return Err(self.error("the type is nested too deep"));
        }
        out.push_str(&self.name(Expected::Type)?);
        if self.current.kind != crate::lexer::TokenKind::Symbol("<") {
            return Ok(());
        }
        self.advance()?;
        out.push('<');
        loop {
            self.column_type(out, depth + 1)?;
            if self.accept_symbol(",")? {
                out.push(',');
            } else {
                self.expect_symbol(">")?;
                out.push('>');
                return Ok(());
            }
        }
    }

    /// `(a, b)` or `((a, b), c)`, flat.
    fn primary_key(&mut self) -> Parsed<Vec<String>> {
        self.expect_symbol("(")?;
        let names = self.list(limits::COLUMNS_MAX, "columns", |parser| {
            if parser.accept_symbol("(")? {
                return parser.list(limits::COLUMNS_MAX, "columns", |parser| parser.name(Expected::Column));
            }
            Ok(vec![parser.name(Expected::Column)?])
        })?;
        Ok(names.concat())
    }

    pub(super) fn alter(&mut self) -> Parsed<Statement> {
        self.advance()?;
        if self.accept_word("KEYSPACE")? {
            let name = self.name(Expected::Keyspace)?;
            self.expect_word("WITH")?;
            return Ok(Statement::AlterKeyspace { name, options: self.with_options()? });
        }
        self.expect_word("TABLE")?;
        let table = self.table()?;
        self.expect_word("WITH")?;
        Ok(Statement::AlterTable { table, options: self.with_options()? })
    }

    pub(super) fn drop(&mut self) -> Parsed<Statement> {
        self.advance()?;
        if self.accept_word("KEYSPACE")? {
            let if_exists = self.if_exists()?;
            return Ok(Statement::DropKeyspace { if_exists, name: self.name(Expected::Keyspace)? });
        }
        self.expect_word("TABLE")?;
        let if_exists = self.if_exists()?;
        Ok(Statement::DropTable { if_exists, table: self.table()? })
    }

    pub(super) fn truncate(&mut self) -> Parsed<Statement> {
        self.advance()?;
        self.accept_word("TABLE")?;
        Ok(Statement::Truncate { table: self.table()? })
    }
}
