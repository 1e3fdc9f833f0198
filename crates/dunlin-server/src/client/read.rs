//! `SELECT` of named keys.

use super::errors::{self, not_applied};
use super::execute::{Trace, bad_context};
use super::services::ClientServices;
use super::session::starting;
use dunlin_cql::operation::{Projection, Read, Show};
use dunlin_cql::{Body, Cell, Reply, value};
use dunlin_replication::coordinator::GetRequest;
use dunlin_types::{Context, ErrorCode, Key, Micros, Record, TableDef, Token, Value};
use futures::stream::StreamExt;
use std::sync::Arc;

/// Makes the cells of rows.
pub(super) struct Rows<'a> {
    pub services: &'a ClientServices,
    pub table: &'a TableDef,
    pub shown: &'a [(Show, String)],
    pub now: Micros,
}

impl Rows<'_> {
    /// Adds the rows of a key: one for each of its values. Returns how many.
    pub fn add(
        &self,
        key: &Key,
        token: impl FnOnce() -> Option<Token>,
        record: &Record,
        out: &mut Vec<Vec<Cell>>,
    ) -> usize {
        let values = record.visible(self.now);
        let Some((last, others)) = values.split_last() else { return 0 };
        let mut first = Vec::with_capacity(self.shown.len());
        // What the rows of a key have in common is made once, and shared.
        let mut token = Some(token);
        for (show, _) in self.shown {
            first.push(match show {
                Show::Key => value::key_cell(self.table.key_type, key.bytes()),
                Show::Token => {
                    let token = token.take().and_then(|token| token());
                    token.map_or(Cell::NULL, |token| Cell::text(token.0.to_string()))
                }
                Show::Context => self.context(key, record),
                Show::Value | Show::Ttl | Show::WriteTime => Cell::NULL,
            });
        }
        for value in others {
            out.push(self.row(first.clone(), value));
        }
        out.push(self.row(first, last));
        values.len()
    }

    fn row(&self, mut row: Vec<Cell>, value: &Value) -> Vec<Cell> {
        for (cell, (show, _)) in row.iter_mut().zip(self.shown) {
            match show {
                Show::Value => {
                    *cell = value
                        .data
                        .as_ref()
                        .map_or(Cell::NULL, |data| value::value_cell(self.table.value_type, data));
                }
                Show::Ttl => {
                    *cell = value.expires.map_or(Cell::NULL, |at| Cell::text(seconds_left(at, self.now)))
                }
                Show::WriteTime => *cell = timestamp(value.written),
                Show::Key | Show::Token | Show::Context => {}
            }
        }
        row
    }

    fn context(&self, key: &Key, record: &Record) -> Cell {
        self.services
            .tokens()
            .map_or(Cell::NULL, |tokens| Cell::text(tokens.seal(self.table.id, key, &record.context())))
    }
}

fn seconds_left(at: Micros, now: Micros) -> String {
    at.0.saturating_sub(now.0).div_ceil(1_000_000).to_string()
}

/// ISO 8601 in UTC with microseconds; null for a time beyond the calendar.
pub(super) fn timestamp(at: Micros) -> Cell {
    let time = i64::try_from(at.0).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    time.map_or(Cell::NULL, |time| Cell::text(format!("{time:.6}")))
}

/// How many rows the record has at `now`.
pub(super) fn count_rows(record: &Record, now: Micros) -> usize {
    record.visible(now).len()
}

/// Reads keys.
pub(super) async fn read(services: &Arc<ClientServices>, mut request: Read, trace: &mut Trace) -> Reply {
    if request.keys.len() != 1 {
        return read_many(services, request, trace).await;
    }
    let key = request.keys.remove(0);
    let after = match open_after(services, &request, &key) {
        Ok(after) => after,
        Err(reply) => return reply,
    };
    let record = match services.coordinator.get(get_request(services, &request, &key, after)).await {
        Ok(record) => record,
        Err(error) => return errors::reply(services, *error, Some((&request.table, &key))),
    };
    trace.add(services, || format!("read at {}", request.consistency));
    let mut answer = Answer::new(services, &request);
    let present = record.as_ref().is_some_and(|record| answer.add(&key, record));
    let mut reply = answer.finish();
    if !present
        && request.projection.shows_context()
        && let Some(tokens) = services.tokens()
    {
        let context = record.map(|record| record.context()).unwrap_or_default();
        reply = reply.with("context", tokens.seal(request.table.id, &key, &context));
    }
    reply
}

async fn read_many(services: &Arc<ClientServices>, mut request: Read, trace: &mut Trace) -> Reply {
    let keys = std::mem::take(&mut request.keys);
    let mut answer = Answer::new(services, &request);
    let mut left = request.limit.unwrap_or(u64::MAX);
    let bytes_max = services.settings.unpaged_bytes;
    let mut bytes = 0;
    let mut records = futures::stream::iter(keys.into_iter().map(|key| {
        let get = get_request(services, &request, &key, None);
        async move { (key, services.coordinator.get(get).await) }
    }))
    .buffered(services.settings.keys_in_parallel);
    while left > 0
        && let Some((key, result)) = records.next().await
    {
        match result {
            Ok(Some(record)) => {
                let shown = record.visible(answer.now);
                bytes += shown
                    .iter()
                    .filter_map(|value| value.data.as_ref())
                    .map(|data| data.len())
                    .sum::<usize>();
                if bytes > bytes_max {
                    let message = format!(
                        "the keys have more than {bytes_max} bytes of values: ask for fewer at a time"
                    );
                    return not_applied(ErrorCode::TooLarge, message);
                }
                left -= u64::from(answer.add(&key, &record));
            }
            Ok(None) => {}
            Err(error) => return errors::reply(services, *error, Some((&request.table, &key))),
        }
    }
    trace.add(services, || format!("read at {}", request.consistency));
    answer.finish()
}

fn open_after(services: &ClientServices, request: &Read, key: &Key) -> Result<Option<Context>, Reply> {
    let Some(text) = &request.after else { return Ok(None) };
    let tokens = services.tokens().ok_or_else(|| starting(services))?;
    tokens.open(request.table.id, key, text).map(Some).map_err(bad_context)
}

fn get_request(services: &ClientServices, request: &Read, key: &Key, after: Option<Context>) -> GetRequest {
    GetRequest {
        table: Arc::clone(&request.table),
        key: key.clone(),
        consistency: request.consistency,
        timeout: request.timeout.unwrap_or(services.settings.read_timeout),
        after,
    }
}

/// Rows, or their number, as they come together.
pub(super) struct Answer<'a> {
    services: &'a ClientServices,
    table: &'a TableDef,
    projection: &'a Projection,
    now: Micros,
    rows: Vec<Vec<Cell>>,
    count: u64,
}

impl<'a> Answer<'a> {
    fn new(services: &'a ClientServices, request: &'a Read) -> Answer<'a> {
        Answer::of(services, &request.table, &request.projection)
    }

    pub fn of(services: &'a ClientServices, table: &'a TableDef, projection: &'a Projection) -> Answer<'a> {
        let now = services.runtime().wall();
        Answer { services, table, projection, now, rows: Vec::new(), count: 0 }
    }

    /// Adds a key's rows; false if it has none.
    pub fn add(&mut self, key: &Key, record: &Record) -> bool {
        self.add_at(key, None, record)
    }

    /// The same for a key whose token is known.
    pub fn add_at(&mut self, key: &Key, token: Option<Token>, record: &Record) -> bool {
        let added = match self.projection {
            Projection::Count => count_rows(record, self.now),
            Projection::Rows(shown) => {
                let rows = Rows { services: self.services, table: self.table, shown, now: self.now };
                let services = self.services;
                let token =
                    || token.or_else(|| services.view().read_layout().map(|layout| layout.token(key)));
                rows.add(key, token, record, &mut self.rows)
            }
        };
        self.count += added as u64;
        added > 0
    }

    /// The reply.
    pub fn finish(self) -> Reply {
        match self.projection {
            Projection::Count => {
                Reply::rows(vec!["count".to_owned()], vec![vec![Cell::text(self.count.to_string())]])
            }
            Projection::Rows(shown) => {
                let columns = shown.iter().map(|(_, name)| name.clone()).collect();
                Body::Rows { columns, rows: self.rows, end: Vec::new() }.into()
            }
        }
    }
}
