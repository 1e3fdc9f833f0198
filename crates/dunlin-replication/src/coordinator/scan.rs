//! Scans: pages in (token, key) order, merged from as many replicas of each stretch of the ring as
//! the level needs. A scan merges what it sees but repairs nothing, and reads under one layout only.

use super::errors::{Outcomes, Shortfall, outcome_of};
use super::get::read_order;
use super::tracker::{Progress, Tally};
use super::{Coordinator, ScanPage, ScanRequest, any_is_for_writes};
use crate::core::count;
use crate::message::{Envelope, LayoutStamp, Refusal, Request, Response, ScanReplicaRequest};
use crate::replica::scan_local;
use crate::store::Entry;
use crate::view::{ReplicaSet, TableView, View};
use dunlin_transport::Lane;
use dunlin_types::runtime::BoxFuture;
use dunlin_types::{ClusterError, Consistency, HostId, Key, Mono, ReplicaOutcome, Token, TokenRange};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Stretches of the ring that are read at once.
const STRETCHES_MAX: usize = 16;

/// Neighbouring vnodes with the same replicas.
struct Stretch {
    range: TokenRange,
    replicas: ReplicaSet,
}

/// One replica's entries, and whether it may have more.
type Reply = (Vec<Entry>, bool);

/// What a replica said: its page, or why not and the layout it knows.
type Answer = Result<Reply, (ReplicaOutcome, Option<LayoutStamp>)>;

/// A stretch that could not be read, with the replica that knows a newer layout.
struct Failure {
    error: Box<ClusterError>,
    newer: Option<(HostId, LayoutStamp)>,
}

/// What all stretches of one scan share.
struct Scanning<'a> {
    coordinator: &'a Coordinator,
    view: Arc<View>,
    table: TableView,
    level: Consistency,
    deadline: Mono,
}

impl Coordinator {
    /// Reads a page of a range. Safe to drop.
    pub async fn scan(&self, request: ScanRequest) -> Result<ScanPage, Box<ClusterError>> {
        if request.consistency == Consistency::Any {
            return Err(any_is_for_writes());
        }
        let deadline = self.core.runtime.mono().after(request.timeout);
        let mut after = request.after;
        let mut page = ScanPage::default();
        let mut view = self.core.views.load();
        let mut start = after.as_ref().map_or(request.range.first, |a| a.0.max(request.range.first));
        let mut at_once = 1;
        let limit = request.limit.max(1);
        loop {
            let table = self.table_view(&view, &request.table)?;
            let scanning = Scanning {
                coordinator: self,
                view: Arc::clone(&view),
                table,
                level: request.consistency,
                deadline,
            };
            let stretches = scanning.stretches(start, request.range.last, at_once);
            let pages = stretches.iter().map(|s| scanning.page(s, after.clone(), limit - page.entries.len()));
            let mut failed = None;
            for (stretch, result) in stretches.iter().zip(futures::future::join_all(pages).await) {
                let (entries, truncated) = match result {
                    Ok(reply) => reply,
                    Err(failure) => {
                        failed = Some(failure);
                        break;
                    }
                };
                page.entries.extend(entries);
                let last = stretch.range.last;
                page.more = truncated || last < request.range.last;
                if truncated || page.entries.len() >= limit || !page.more {
                    if page.entries.len() > limit {
                        page.entries.truncate(limit);
                        page.more = true;
                    }
                    return Ok(page);
                }
                start = Token(last.0 + 1);
                after = None;
            }
            at_once = (at_once * 2).min(STRETCHES_MAX);
            if let Some(failure) = failed {
                view = self.newer_view(&view, failure, deadline).await?;
            }
        }
    }

    /// After a failure because of layouts: the next view; else, or when time is up, the error.
    async fn newer_view(
        &self,
        view: &View,
        failure: Failure,
        deadline: Mono,
    ) -> Result<Arc<View>, Box<ClusterError>> {
        let Some((peer, stamp)) = failure.newer else { return Err(failure.error) };
        count(&self.core.stats.stale_layouts);
        self.core.views.report(peer, stamp);
        let newer = std::pin::pin!(self.core.views.wait_until(|next| next.supersedes(view)));
        tokio::select! {
            biased;
            view = newer => Ok(view),
            () = self.core.runtime.sleep(self.core.left(deadline)) => Err(failure.error),
        }
    }
}

impl Scanning<'_> {
    /// The next stretches from a token on.
    fn stretches(&self, start: Token, last: Token, max: usize) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        let Some(layout) = self.view.read_layout() else { return stretches };
        let mut at = start;
        loop {
            let end = layout.range_of(layout.vnode_of(at)).last.min(last);
            let replicas = self.view.read_replicas(&self.table, at);
            let full = stretches.len() == max;
            match stretches.last_mut().filter(|s| same_hosts(&s.replicas, &replicas)) {
                Some(stretch) => stretch.range.last = end,
                None if full => return stretches,
                None => stretches.push(Stretch { range: TokenRange { first: at, last: end }, replicas }),
            }
            if end >= last {
                return stretches;
            }
            at = Token(end.0 + 1);
        }
    }

    /// A page of one stretch.
    async fn page(
        &self,
        stretch: &Stretch,
        after: Option<(Token, Key)>,
        limit: usize,
    ) -> Result<Reply, Failure> {
        let core = self.coordinator.core();
        let replicas = &stretch.replicas;
        let mut tally = Tally::new(self.view.needs(&self.table, replicas, &replicas.layouts, self.level));
        let mut outcomes: Outcomes = SmallVec::from_elem(None, replicas.hosts.len());
        if !tally.possible_with(replicas.alive) {
            count(&core.stats.unavailable);
            let facts = Shortfall {
                view: &self.view,
                replicas,
                tally: &tally,
                outcomes: &outcomes,
                level: self.level,
            };
            return Err(Failure { error: facts.unavailable(None), newer: None });
        }
        let order = read_order(core, &self.view, replicas);
        let chosen = tally.choose(order.iter().copied());
        let (mut spare, first): (Vec<usize>, Vec<usize>) =
            order.iter().copied().partition(|i| chosen & 1 << i == 0);
        spare.reverse();
        let mut calls: FuturesUnordered<BoxFuture<'_, (usize, Answer)>> = FuturesUnordered::new();
        let request = ScanReplicaRequest {
            table: self.table.def.id,
            range: stretch.range,
            after,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            bytes: core.config.scan_page_bytes,
        };
        first.iter().for_each(|index| calls.push(self.ask(replicas.hosts[*index], *index, request.clone())));
        let mut timer = core.runtime.sleep(
            self.table.patience.wait_for_page(core.config.speculative_after).min(core.left(self.deadline)),
        );
        let mut replies: Vec<Reply> = Vec::new();
        let mut newer = None;
        while tally.progress() == Progress::Pending {
            let mut another = false;
            tokio::select! {
                biased;
                answer = calls.next() => match answer {
                    Some((index, Ok(reply))) => {
                        tally.add_success(index);
                        replies.push(reply);
                    }
                    Some((index, Err((outcome, stamp)))) => {
                        tally.add_failure(index);
                        outcomes[index] = Some(outcome);
                        newer = stamp.map(|stamp| (replicas.hosts[index], stamp)).or(newer);
                        another = true;
                    }
                    None => break,
                },
                () = &mut timer => {
                    let left = core.left(self.deadline);
                    if left.is_zero() {
                        break;
                    }
                    timer = core.runtime.sleep(left);
                    another = true;
                }
            }
            if let (true, Some(index)) = (another, spare.last().copied()) {
                spare.pop();
                calls.push(self.ask(replicas.hosts[index], index, request.clone()));
            }
        }
        if tally.progress() != Progress::Enough {
            let facts = Shortfall {
                view: &self.view,
                replicas,
                tally: &tally,
                outcomes: &outcomes,
                level: self.level,
            };
            return Err(Failure { error: facts.failed(false), newer });
        }
        Ok(merge_pages(replies, limit))
    }

    fn ask(&self, host: HostId, index: usize, request: ScanReplicaRequest) -> BoxFuture<'_, (usize, Answer)> {
        let core = self.coordinator.core();
        Box::pin(async move {
            if host == core.me() {
                return (index, scan_local(core, request).await.map_err(|_| (ReplicaOutcome::Failed, None)));
            }
            let Some(peer) = self.view.peers.get(&host) else {
                return (index, Err((ReplicaOutcome::Unreachable, None)));
            };
            let body = Envelope { from: core.me(), fence: self.view.fence, request: Request::Scan(request) }
                .encode();
            let answer = match core.call(peer, Lane::Request, body, core.left(self.deadline)).await {
                Ok(Response::Entries { entries, truncated }) => Ok((entries, truncated)),
                Ok(Response::Refused(refusal)) => {
                    let mine = self.view.fence.newest.version;
                    let stamp = match &refusal {
                        Refusal::StaleLayout(stamp) | Refusal::NotOwner(stamp) if stamp.version >= mine => {
                            Some(*stamp)
                        }
                        _ => None,
                    };
                    Err((outcome_of(&refusal), stamp))
                }
                Ok(_) => Err((ReplicaOutcome::Failed, None)),
                Err(error) => Err((error.outcome(), None)),
            };
            (index, answer)
        })
    }
}

fn same_hosts(left: &ReplicaSet, right: &ReplicaSet) -> bool {
    left.hosts.len() == right.hosts.len() && left.hosts.iter().all(|host| right.hosts.contains(host))
}

/// Joins replicas' pages of one range. A page that may go on says nothing of what lies past its end,
/// so the joint page ends at the first such end.
fn merge_pages(replies: Vec<Reply>, limit: usize) -> Reply {
    let ends = replies.iter().filter(|(entries, truncated)| *truncated && !entries.is_empty());
    let boundary = ends.filter_map(|(entries, _)| entries.last().map(|e| (e.token, e.key.clone()))).min();
    let mut truncated = boundary.is_some();
    let mut merged: BTreeMap<(Token, Key), dunlin_types::Record> = BTreeMap::new();
    for entry in replies.into_iter().flat_map(|(entries, _)| entries) {
        let place = (entry.token, entry.key);
        if boundary.as_ref().is_some_and(|end| place > *end) {
            continue;
        }
        match merged.entry(place) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(entry.record);
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => slot.get_mut().merge(&entry.record),
        }
    }
    truncated |= merged.len() > limit;
    let entries = merged.into_iter().take(limit).map(|((token, key), record)| Entry { token, key, record });
    (entries.collect(), truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::record::Latest;
    use dunlin_types::{Micros, Record, Value};

    fn entry(token: u64) -> Entry {
        let value = Value { written: Micros(token), expires: None, data: None };
        Entry {
            token: Token(token),
            key: Key::new("k").unwrap(),
            record: Record::Latest(Latest { host: HostId([0; 16]), value }),
        }
    }

    fn check(replies: &[(&[u64], bool)], limit: usize, expected: &[u64], more: bool) {
        let replies = replies
            .iter()
            .map(|(tokens, truncated)| (tokens.iter().map(|t| entry(*t)).collect(), *truncated))
            .collect();
        let (entries, truncated) = merge_pages(replies, limit);
        assert_eq!(entries.iter().map(|e| e.token.0).collect::<Vec<_>>(), expected);
        assert_eq!(truncated, more);
    }

    #[test]
    fn a_page_ends_where_the_first_truncated_reply_ends() {
        check(&[(&[1, 2, 3], false), (&[1, 3], false)], 10, &[1, 2, 3], false);
        check(&[(&[1, 2], true), (&[3, 4], true)], 2, &[1, 2], true);
        check(&[(&[1, 5], true), (&[2, 3, 4, 9], false)], 9, &[1, 2, 3, 4, 5], true);
        check(&[(&[], false), (&[7], false)], 1, &[7], false);
        check(&[(&[1, 2], false), (&[3, 4], false)], 3, &[1, 2, 3], true);
    }
}
