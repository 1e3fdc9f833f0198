//! `SELECT` of a range of tokens, in pages.

use super::errors::{self, not_applied};
use super::execute::Trace;
use super::page::Page;
use super::read::Answer;
use super::services::ClientServices;
use dunlin_cql::Reply;
use dunlin_cql::operation::{Projection, Scan};
use dunlin_replication::coordinator::ScanRequest;
use dunlin_types::{ErrorCode, Key, Mono, Record, Token, TokenRange};

/// Entries that one step asks the replicas for at most, whatever the page's size.
const STEP_ENTRIES_MAX: u64 = 1000;

/// Reads one page.
pub(super) async fn scan(services: &ClientServices, request: Scan, trace: &mut Trace) -> Reply {
    let Some(range) = request.range else {
        return Answer::of(services, &request.table, &request.projection).finish();
    };
    let page = match &request.page {
        None => None,
        Some(text) => match Page::open(request.table.id, text) {
            Some(page) if range.contains(page.after.0) => Some(page),
            _ => return not_applied(ErrorCode::Invalid, "the page token is damaged or of another statement"),
        },
    };
    let answer = Answer::of(services, &request.table, &request.projection);
    // The token holds what the LIMIT left; a smaller LIMIT said now holds too.
    let left = page.as_ref().and_then(|page| page.left);
    let limit = left.into_iter().chain(request.limit).min();
    let counts = request.projection == Projection::Count;
    let bounds = Bounds {
        keys: if counts { u64::MAX } else { request.page_rows.map_or(u64::MAX, u64::from) },
        bytes: match request.page_rows {
            _ if counts => usize::MAX,
            Some(_) => services.settings.page_bytes,
            None => services.settings.unpaged_bytes,
        },
        limit: limit.unwrap_or(u64::MAX),
    };
    let scanned = fill(services, &request, range, page.map(|page| page.after), bounds, answer).await;
    let (answer, end) = match scanned {
        Ok(done) => done,
        Err(reply) => return reply,
    };
    trace.add(services, || format!("{} keys found at {}", end.keys, request.consistency));
    let mut reply = answer.finish();
    if let Some(after) = end.more {
        let left = limit.map(|limit| limit - end.keys);
        reply = reply.with("page", Page { after, left }.seal(request.table.id));
        if request.page_rows.is_none() {
            reply.warnings.push("too much for one answer: go on with USING PAGE".to_owned());
        }
    }
    reply
}

struct Bounds {
    /// Keys of the page.
    keys: u64,
    /// Bytes of the page, about.
    bytes: usize,
    /// Keys that LIMIT leaves.
    limit: u64,
}

struct End {
    keys: u64,
    /// Where to go on, if the page ended before the range did.
    more: Option<(Token, Key)>,
}

/// Goes from page to page of the coordinator until the answer's page is full. Each step has its own
/// time, unless the statement names one for the whole.
async fn fill<'a>(
    services: &ClientServices,
    request: &Scan,
    range: TokenRange,
    mut after: Option<(Token, Key)>,
    bounds: Bounds,
    mut answer: Answer<'a>,
) -> Result<(Answer<'a>, End), Reply> {
    let deadline = request.timeout.map(|timeout| services.runtime().mono().after(timeout));
    let wanted = bounds.keys.min(bounds.limit);
    let (mut keys, mut bytes) = (0u64, 0usize);
    loop {
        let step = ScanRequest {
            table: request.table.clone(),
            range,
            after: after.clone(),
            limit: (wanted - keys).min(STEP_ENTRIES_MAX) as usize,
            consistency: request.consistency,
            timeout: step_timeout(services, deadline),
        };
        let asked = step.limit;
        let page =
            services.coordinator.scan(step).await.map_err(|error| errors::reply(services, *error, None))?;
        let taken = page.entries.len().min(asked);
        let mut more = taken > 0 && (page.more || page.entries.len() > taken);
        for (i, entry) in page.entries.into_iter().take(asked).enumerate() {
            if answer.add_at(&entry.key, Some(entry.token), &entry.record) {
                keys += 1;
                bytes += size(&entry.key, &entry.record);
            }
            after = Some((entry.token, entry.key));
            if keys == wanted || bytes >= bounds.bytes {
                more |= i + 1 < taken;
                break;
            }
        }
        if !more || keys == bounds.limit {
            return Ok((answer, End { keys, more: None }));
        }
        if keys == wanted || bytes >= bounds.bytes {
            return Ok((answer, End { keys, more: after }));
        }
    }
}

fn step_timeout(services: &ClientServices, deadline: Option<Mono>) -> std::time::Duration {
    match deadline {
        Some(deadline) => deadline.since(services.runtime().mono()),
        None => services.settings.scan_timeout,
    }
}

fn size(key: &Key, record: &Record) -> usize {
    let values = match record {
        Record::Siblings(set) => {
            set.values().iter().map(|(_, v)| v.data.as_ref().map_or(0, |d| d.len())).sum()
        }
        Record::Latest(latest) => latest.value.data.as_ref().map_or(0, |d| d.len()),
    };
    key.as_bytes().len() + values
}
