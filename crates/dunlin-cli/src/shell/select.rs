//! SELECT, which comes in pages: all of them where nobody waits, one after the other at the prompt.

#![allow(clippy::disallowed_methods, reason = "an edge: the shell measures in real time")]

use super::Shell;
use super::answer::Answer;
use super::execute::{Status, Told};
use super::failure::Trouble;
use super::nature::Nature;
use super::session::Outcome;
use crate::args::RowFormat;
use crate::output::CellType;
use dunlin_cql::Statement;
use dunlin_cql::statement::{SelectItem, SelectStatement};
use dunlin_terminal::complain;
use std::time::Instant;

/// A SELECT that stopped at a page's end, at the prompt.
pub struct Rest {
    select: SelectStatement,
    page: String,
    rows: u64,
}

impl Shell {
    /// All pages of a SELECT, or at the prompt the first.
    pub(super) async fn select(
        &mut self,
        told: &Told<'_>,
        of_body: &Told<'_>,
        mut select: SelectStatement,
    ) -> anyhow::Result<Status> {
        let nature = Nature::default();
        // Who names a page wants that page.
        let by_hand = select.using.page.is_some();
        let types = match self.types(&select).await {
            Ok(types) => types,
            Err(ended) => return Ok(self.say_why(ended, &nature, told, of_body)),
        };
        let mut answer = Answer::new(self.style, &nature, types, 0);
        let mut text = told.text.to_owned();
        loop {
            let began = Instant::now();
            let reply = match self.exchange(&text, &nature).await {
                Ok(reply) => reply,
                Err(ended) => {
                    let status = self.say_why(ended, &nature, told, of_body);
                    if answer.rows() > 0 {
                        complain!("{} rows were shown before that, and there are more", answer.rows());
                    }
                    return Ok(status);
                }
            };
            answer.show(&reply)?;
            let next = reply.field("page").filter(|_| !by_hand).map(str::to_owned);
            if next.is_none() || told.origin.is_prompt() {
                answer.finish(&reply, next.is_some())?;
                self.rest = next.map(|page| Rest { select, page, rows: answer.rows() });
                self.say_time(told.origin, began)?;
                return Ok(Status::Done);
            }
            if next == select.using.page {
                let what = "the node goes round in circles: a page names itself as the next one";
                return Ok(of_body.complain(&Trouble::new(what)));
            }
            select.using.page = next;
            text = format!("{select};");
        }
    }

    /// The next page of the SELECT that stopped.
    pub(super) async fn more(&mut self, told: &Told<'_>) -> anyhow::Result<Status> {
        let Some(Rest { mut select, page, rows }) = self.rest.take() else {
            return Ok(told.complain(&Trouble::new("there is no SELECT that stopped at the end of a page")));
        };
        select.using.page = Some(page.clone());
        let text = format!("{select};");
        let nature = Nature::default();
        let began = Instant::now();
        let asked = match self.types(&select).await {
            Ok(types) => self.exchange(&text, &nature).await.map(|reply| (types, reply)),
            Err(ended) => Err(ended),
        };
        let (types, reply) = match asked {
            Ok(answered) => answered,
            Err(ended) => {
                let told = Told { text: &text, start: (1, 1), ..*told };
                let status = self.say_why(ended, &nature, &told, &told);
                complain!("that page can be asked for again: Enter or MORE;");
                self.rest = Some(Rest { select, page, rows });
                return Ok(status);
            }
        };
        let mut answer = Answer::new(self.style, &nature, types, rows);
        answer.show(&reply)?;
        let next = reply.field("page").map(str::to_owned);
        answer.finish(&reply, next.is_some())?;
        self.rest = next.map(|page| Rest { select, page, rows: answer.rows() });
        self.say_time(told.origin, began)?;
        Ok(Status::Done)
    }

    /// Types of what a SELECT shows, as many as are known, where the format has types.
    async fn types(&mut self, select: &SelectStatement) -> Result<Vec<CellType>, Outcome> {
        if self.style.format != RowFormat::Json {
            return Ok(Vec::new());
        }
        let describe = format!("DESCRIBE TABLE {};", select.table);
        let reply = match self.exchange(&describe, &Nature::default()).await {
            Ok(reply) => reply,
            // The SELECT will tell what is wrong, if anything is.
            Err(Outcome::Refused(_)) => return Ok(Vec::new()),
            Err(ended) => return Err(ended),
        };
        let text = reply.rows.first().and_then(|row| row.first()?.as_deref()).unwrap_or_default();
        let Ok(Statement::CreateTable { columns, .. }) = dunlin_cql::parse(text) else {
            return Ok(Vec::new());
        };
        let of = |name: &str| {
            let column = columns.iter().find(|column| column.name == name);
            column.map_or(CellType::Text, |column| CellType::of(&column.type_name))
        };
        if select.items.is_empty() {
            return Ok(columns.iter().map(|column| CellType::of(&column.type_name)).collect());
        }
        let items = select.items.iter().map(|item| match item {
            SelectItem::Column(name) => of(name),
            SelectItem::Ttl(_) | SelectItem::Count => CellType::Integer,
            // A token does not fit a number of JSON.
            SelectItem::Context(_) | SelectItem::WriteTime(_) | SelectItem::Token(_) => CellType::Text,
        });
        Ok(items.collect())
    }
}
