//! Reading a whole table.

use super::time_for_node;
use crate::client::Client;
use crate::columns::Columns;
use crate::dispatch::Dispatch;
use crate::error::ClientError;
use crate::reply::Reply;
use crate::retry::Repetition;
use crate::tokens::{Context, PageToken};
use crate::value::Value;
use dunlin_cql::Statement;
use dunlin_cql::name::TableName;
use dunlin_cql::statement::{Comparison, Condition, SelectItem, SelectStatement, Using};
use dunlin_types::{ConflictMode, Consistency, Token};
use futures::Stream;
use futures::future::BoxFuture;
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

/// One value of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The key.
    pub key: Value,
    /// Its value; each sibling is a row.
    pub value: Value,
    /// As [`super::Found::context`], if it was asked for.
    pub context: Option<Context>,
}

/// A read of a table: [`Client::scan`]. Nothing is read before the first of its [`Scan::rows`] is asked for.
#[derive(Debug, Clone)]
#[must_use = "nothing is read before its rows are asked for"]
pub struct Scan {
    dispatch: Arc<Dispatch>,
    table: TableName,
    tokens: Option<RangeInclusive<Token>>,
    contexts: bool,
    limit: Option<u64>,
    using: Using,
    timeout: Option<Duration>,
}

impl Scan {
    pub(crate) fn new(client: &Client, table: &TableName) -> Scan {
        Scan {
            dispatch: client.dispatch.clone(),
            table: table.clone(),
            tokens: None,
            contexts: false,
            limit: None,
            using: Using::default(),
            timeout: None,
        }
    }

    /// Keys of these tokens only. Ranges that do not overlap can be read at the same time.
    pub fn tokens(mut self, range: RangeInclusive<Token>) -> Scan {
        self.tokens = Some(range);
        self
    }

    /// With the context of each key; there are none in a last_write_wins table.
    pub fn contexts(mut self) -> Scan {
        self.contexts = true;
        self
    }

    /// Ends after so many keys.
    pub fn limit(mut self, keys: u64) -> Scan {
        self.limit = Some(keys);
        self
    }

    /// Goes on where an earlier scan of the same table and tokens was: [`Rows::page`].
    pub fn page(mut self, token: impl Into<PageToken>) -> Scan {
        self.using.page = Some(token.into().as_str().to_owned());
        self
    }

    /// The level, instead of the client's.
    pub fn consistency(mut self, level: Consistency) -> Scan {
        self.using.consistency = Some(level);
        self
    }

    /// The longest wait for each page, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Scan {
        self.timeout = Some(timeout);
        self
    }

    /// The rows, in the order of their tokens.
    pub fn rows(mut self) -> Rows {
        self.using.timeout = time_for_node(self.timeout, Repetition::ReadsAgain);
        let page = self.using.page.clone().map(PageToken::new);
        let ended = self.limit == Some(0);
        Rows { scan: Arc::new(self), held: Vec::new().into_iter(), page, ended, fetching: None }
    }

    async fn fetch(self: Arc<Self>, page: Option<PageToken>) -> Result<Page, ClientError> {
        let deadline = self.dispatch.deadline(self.timeout);
        let statement = |columns: &Columns| Ok(self.statement(columns, page.as_ref()));
        let read = self.dispatch.with_columns(&self.table, Repetition::ReadsAgain, deadline, statement);
        let (reply, columns) = read.await?;
        Page::of(reply, &columns)
    }

    fn statement(&self, columns: &Columns, page: Option<&PageToken>) -> Statement {
        let mut items =
            vec![SelectItem::Column(columns.key.clone()), SelectItem::Column(columns.value.clone())];
        if self.contexts && columns.conflicts == ConflictMode::Siblings {
            items.push(SelectItem::Context(columns.value.clone()));
        }
        let condition = match &self.tokens {
            None => Condition::All,
            Some(range) => Condition::Tokens {
                column: columns.key.clone(),
                bounds: vec![
                    (Comparison::GreaterOrEqual, range.start().0.into()),
                    (Comparison::LessOrEqual, range.end().0.into()),
                ],
            },
        };
        Statement::Select(SelectStatement {
            items,
            table: self.table.clone(),
            condition,
            // A page's token keeps what is left of it.
            limit: self.limit,
            using: Using { page: page.map(|page| page.as_str().to_owned()), ..self.using.clone() },
        })
    }
}

#[derive(Debug)]
struct Page {
    rows: Vec<Row>,
    next: Option<PageToken>,
}

impl Page {
    fn of(reply: Reply, columns: &Columns) -> Result<Page, ClientError> {
        let next = reply.field("page").map(PageToken::new);
        let mut rows = Vec::with_capacity(reply.rows.len());
        for row in reply.rows {
            let mut cells = row.into_iter();
            let (Some(Some(key)), Some(Some(value))) = (cells.next(), cells.next()) else { continue };
            rows.push(Row {
                key: Value::from_cell(columns.key_as_value(), key)?,
                value: Value::from_cell(columns.value_type, value)?,
                context: cells.next().flatten().map(|context| Context::new(&*context)),
            });
        }
        Ok(Page { rows, next })
    }
}

/// The rows of a [`Scan`]: a [`Stream`], which holds one page at most and fetches the next when that is used up. It ends
/// behind an error. Dropping it gives up a page that is being fetched.
#[must_use = "nothing is read before a row is asked for"]
pub struct Rows {
    scan: Arc<Scan>,
    held: std::vec::IntoIter<Row>,
    /// Of the page behind the rows held.
    page: Option<PageToken>,
    /// There is no page behind the rows held.
    ended: bool,
    fetching: Option<BoxFuture<'static, Result<Page, ClientError>>>,
}

impl Rows {
    /// The next row; `None` at the end. Safe to drop.
    pub async fn next(&mut self) -> Option<Result<Row, ClientError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Where a later scan goes on behind the rows of the present page: right once that was read to its end. `None` at the
    /// table's end; after an error, where to try again.
    pub fn page(&self) -> Option<&PageToken> {
        self.page.as_ref()
    }
}

impl Stream for Rows {
    type Item = Result<Row, ClientError>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Row, ClientError>>> {
        let rows = self.get_mut();
        loop {
            if let Some(row) = rows.held.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            if rows.ended {
                return Poll::Ready(None);
            }
            let fetching =
                rows.fetching.get_or_insert_with(|| Box::pin(rows.scan.clone().fetch(rows.page.clone())));
            let fetched = ready!(fetching.as_mut().poll(context));
            rows.fetching = None;
            match fetched {
                Ok(page) => {
                    rows.ended = page.next.is_none();
                    (rows.held, rows.page) = (page.rows.into_iter(), page.next);
                }
                Err(error) => {
                    rows.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("scan", &self.scan)
            .field("held", &self.held.len())
            .field("page", &self.page)
            .finish_non_exhaustive()
    }
}
