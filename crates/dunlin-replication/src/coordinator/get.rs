//! Reads of one key: one whole record and digests from as many replicas as the level needs, the rest
//! of the work only when they differ, are slow, or do not reach far enough.

use super::errors::{Outcomes, Shortfall, outcome_of};
use super::level::{Mask, Needs, is_strong};
use super::tracker::{ReadStep, ReadTracker, Reply, Tally};
use super::{Coordinator, GetRequest, any_is_for_writes};
use crate::core::{Core, count, decode_answer};
use crate::message::{Envelope, LayoutStamp, ReadRequest, Refusal, Request, Response};
use crate::patience::Patience;
use crate::store::StoreError;
use crate::view::{Peer, ReplicaSet, TableView, View};
use bytes::Bytes;
use dunlin_transport::{Lane, TransportError};
use dunlin_types::runtime::{BoxFuture, PlantedBug};
use dunlin_types::{
    ClusterError, Consistency, Context as Seen, ErrorCode, HostId, Key, Mono, Record, ReplicaOutcome,
    TableId, Token,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use smallvec::SmallVec;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// A read under way, under one view.
pub(super) struct Reading {
    pub core: Arc<Core>,
    pub view: Arc<View>,
    pub table: TableId,
    pub token: Token,
    pub key: Key,
    pub level: Consistency,
    pub replicas: ReplicaSet,
    pub tracker: ReadTracker,
    pub outcomes: Outcomes,
    pub deadline: Mono,
    /// When a slow replica is stood in for.
    pub patience: Duration,
    /// Where that comes from, and what it learns from.
    speculation: Patience,
    /// Replicas in the order they are asked.
    order: SmallVec<[usize; 6]>,
    asked: Mask,
    calls: FuturesUnordered<Call>,
    newer: Option<(HostId, LayoutStamp)>,
    behind: bool,
}

/// Pause before a request is tried again whose replicas have yet to learn of a layout.
pub(super) const CATCH_UP: Duration = Duration::from_millis(50);

/// A read that hears nothing for this share of its time asks another replica, whatever the budget.
const SILENCE_SHARE: u32 = 4;
/// Shortest silence after which it does.
const SILENCE_MIN: Duration = Duration::from_millis(200);

impl Coordinator {
    /// Reads a key: the record with tombstones and expired values in it, or `None` if no replica asked
    /// has one. Safe to drop.
    pub async fn get(&self, request: GetRequest) -> Result<Option<Record>, Box<ClusterError>> {
        if request.consistency == Consistency::Any {
            return Err(any_is_for_writes());
        }
        let _at_work = self.core.foreground.enter(&self.core.runtime);
        let deadline = self.core.runtime.mono().after(request.timeout);
        count(&self.core.stats.reads);
        let mut view = self.core.views.load();
        loop {
            let table = self.table_view(&view, &request.table)?;
            let mut reading = self.start(Arc::clone(&view), &table, &request, deadline)?;
            let result = reading.run(request.after.as_ref()).await;
            let overtaken = self.core.views.peek().fence.newest != view.fence.newest;
            if result.is_ok() && is_strong(request.consistency) && overtaken {
                // The answer may rest on layouts that this node has acknowledged to be incomplete since.
                self.core.runtime.event("read_overtaken", view.fence.newest.version, reading.token.0);
                if self.core.left(deadline).is_zero() {
                    let mut error = reading.shortfall();
                    error.code = ErrorCode::ReadTimeout;
                    error.message =
                        "the layout changed under the read, and no time was left to read again".into();
                    return Err(error);
                }
                view = self.core.views.load();
                continue;
            }
            let failed = matches!(&result, Err(error) if error.code != ErrorCode::Stale);
            let left = self.core.left(deadline);
            if !failed || left.is_zero() || !(reading.behind || reading.newer.is_some()) {
                return result;
            }
            count(&self.core.stats.stale_layouts);
            self.core.runtime.event(
                "read_refused_for_layout",
                view.fence.newest.version,
                u64::from(reading.behind),
            );
            let Some((peer, stamp)) = reading.newer else {
                self.core.runtime.sleep(left.min(CATCH_UP)).await;
                view = self.core.views.load();
                continue;
            };
            self.core.views.report(peer, stamp);
            let old = Arc::clone(&view);
            let newer = std::pin::pin!(self.core.views.wait_until(|view| view.supersedes(&old)));
            view = tokio::select! {
                biased;
                view = newer => view,
                () = self.core.runtime.sleep(left) => return result,
            };
        }
    }

    fn start(
        &self,
        view: Arc<View>,
        table: &TableView,
        request: &GetRequest,
        deadline: Mono,
    ) -> Result<Reading, Box<ClusterError>> {
        let core = Arc::clone(&self.core);
        let Some(layout) = view.newest_layout() else {
            return Err(Box::new(ClusterError::new(ErrorCode::NotReady, "no layout is known")));
        };
        let token = layout.token(&request.key);
        let replicas = view.replicas(table, token);
        let level = request.consistency;
        let needs = read_needs(&core, &view, table, &replicas, level);
        let tracker = ReadTracker::new(needs);
        if !tracker.tally().possible_with(replicas.alive) {
            count(&core.stats.unavailable);
            let facts = Shortfall {
                view: &view,
                replicas: &replicas,
                tally: tracker.tally(),
                outcomes: &Outcomes::new(),
                level,
            };
            return Err(facts.unavailable(None));
        }
        let order = read_order(&core, &view, &replicas);
        let outcomes: Outcomes = SmallVec::from_elem(None, replicas.hosts.len());
        let speculation = table.patience.clone();
        let patience = speculation.wait(core.config.speculative_after);
        let table = table.def.id;
        let key = request.key.clone();
        Ok(Reading {
            core,
            view,
            table,
            token,
            key,
            level,
            replicas,
            tracker,
            outcomes,
            deadline,
            patience,
            speculation,
            order,
            asked: 0,
            calls: FuturesUnordered::new(),
            newer: None,
            behind: false,
        })
    }
}

/// What a read needs: at strong levels of every active layout (so that what was read once stays
/// readable after the layout changes), else of the layout that reads use.
fn read_needs(
    core: &Core,
    view: &View,
    table: &TableView,
    replicas: &ReplicaSet,
    level: Consistency,
) -> Needs {
    if core.planted(PlantedBug::ReadOneOnly) {
        return view.needs(table, replicas, &[replicas.read_mask()], Consistency::One);
    }
    match is_strong(level) {
        true => view.needs(table, replicas, &replicas.layouts, level),
        false => view.needs(table, replicas, &[replicas.read_mask()], level),
    }
}

/// Live replicas, those of the layout that reads use first, this node first among them, then nearest.
pub(super) fn read_order(core: &Core, view: &View, replicas: &ReplicaSet) -> SmallVec<[usize; 6]> {
    let me = core.me();
    let mut order: SmallVec<[usize; 6]> =
        (0..replicas.hosts.len()).filter(|i| replicas.alive & 1 << i != 0).collect();
    order.sort_by_key(|&index| {
        let host = replicas.hosts[index];
        let peer = view.peers.get(&host);
        let far = peer.is_none_or(|p| p.data_center != view.data_center);
        (
            replicas.read_mask() & 1 << index == 0,
            host != me,
            far,
            peer.map_or(u64::MAX, |p| p.latency.nanos()),
        )
    });
    if core.runtime.buggify("read_order_reversed") {
        order.reverse();
    }
    order
}

impl Reading {
    async fn run(&mut self, after: Option<&Seen>) -> Result<Option<Record>, Box<ClusterError>> {
        let chosen = self.tracker.tally().choose(self.order.iter().copied());
        let mut whole = true;
        for index in self.order.clone() {
            if chosen & 1 << index != 0 {
                self.ask(index, !whole);
                whole = false;
            }
        }
        if self.core.runtime.buggify("read_early_speculation") {
            self.ask_another();
        }
        let heeded = !self.core.planted(PlantedBug::AfterIgnored);
        let after = after.filter(|seen| heeded && !seen.is_empty());
        let mut record = self.gather(after.is_some()).await?;
        if let Some(after) = after {
            record = self.reach(record, after).await?;
        }
        if let Some(record) = &record {
            // So that what this node writes next in a last_write_wins table is not older than what it showed.
            self.core.clock.observe(record.written_max(), self.core.runtime.wall());
        }
        Ok(record)
    }

    /// Waits until the level is met and settles what differs.
    /// `keep` leaves the replies in the tracker.
    async fn gather(&mut self, keep: bool) -> Result<Option<Record>, Box<ClusterError>> {
        let patience = self.patience.min(self.core.left(self.deadline) / SILENCE_SHARE);
        let mut timer = self.core.runtime.sleep(patience);
        let mut waits = 0;
        loop {
            match self.tracker.step() {
                ReadStep::Agreed if keep => return Ok(self.tracker.merged()),
                ReadStep::Agreed => return Ok(self.tracker.take_agreed()),
                ReadStep::Fetch(replicas) => self.fetch(replicas),
                ReadStep::Differ => return self.settle().await,
                ReadStep::Impossible => return Err(self.shortfall()),
                ReadStep::Wait => {}
            }
            tokio::select! {
                biased;
                answer = self.calls.next() => match answer {
                    Some(answer) => self.take_answer(answer),
                    None => return Err(self.shortfall()),
                },
                () = &mut timer => {
                    let left = self.core.left(self.deadline);
                    if left.is_zero() {
                        return Err(self.shortfall());
                    }
                    waits += 1;
                    self.note_silence();
                    // Early, another replica is asked within the budget; after a longer silence in any case.
                    let early = waits == 1 && patience == self.patience;
                    let asked = (!early || self.may_speculate()) && self.ask_another();
                    if asked && early {
                        count(&self.core.stats.speculative_reads);
                        self.core.runtime.event("speculative_read", self.token.0, 0);
                    }
                    let more = self.order.iter().any(|i| self.asked & 1 << i == 0);
                    let wait = if more { (patience * 4).clamp(SILENCE_MIN, left.max(SILENCE_MIN)).min(left) } else { left };
                    timer = self.core.runtime.sleep(wait);
                }
            }
        }
    }

    /// Replicas that have not answered so far count as slow, so that the next reads ask others first.
    fn note_silence(&self) {
        for (index, host) in self.replicas.hosts.iter().enumerate() {
            if self.asked & 1 << index != 0
                && self.outcomes[index].is_none()
                && let Some(peer) = self.view.peers.get(host)
            {
                peer.latency.observe(self.patience.min(SILENCE_MIN));
            }
        }
    }

    fn may_speculate(&self) -> bool {
        let stats = &self.core.stats;
        let reads = stats.reads.load(Ordering::Relaxed);
        let extra = stats.speculative_reads.load(Ordering::Relaxed);
        extra * 100 <= reads * self.core.config.speculative_budget_percent + 1000
    }

    /// Session guarantee: other replicas are asked until the answer covers `after`.
    async fn reach(
        &mut self,
        record: Option<Record>,
        after: &Seen,
    ) -> Result<Option<Record>, Box<ClusterError>> {
        let covers = |record: &Option<Record>| {
            record.as_ref().is_some_and(|r| matches!(r, Record::Latest(_)) || r.context().covers_all(after))
        };
        if covers(&record) {
            return Ok(record);
        }
        for index in self.order.clone() {
            if self.asked & 1 << index == 0 {
                self.ask(index, false);
            }
        }
        self.fetch(self.tracker.digest_only());
        let mut timer = self.core.runtime.sleep(self.core.left(self.deadline));
        loop {
            let merged = self.tracker.merged();
            if covers(&merged) && self.tracker.digest_only() == 0 {
                return if is_strong(self.level) { self.settle().await } else { Ok(merged) };
            }
            tokio::select! {
                biased;
                answer = self.calls.next() => match answer {
                    Some(answer) => self.take_answer(answer),
                    None => break,
                },
                () = &mut timer => break,
            }
        }
        let mut error = self.shortfall();
        error.code = ErrorCode::Stale;
        error.message = "no replica that answered holds the history of the AFTER token yet".into();
        Err(error)
    }

    fn fetch(&mut self, replicas: Mask) {
        for index in 0..self.replicas.hosts.len() {
            if replicas & 1 << index != 0 {
                self.tracker.refetch(index);
                self.ask(index, false);
            }
        }
    }

    /// Asks the next replica that was not asked yet, whole.
    fn ask_another(&mut self) -> bool {
        let next = self.order.iter().copied().find(|i| self.asked & 1 << i == 0);
        if let Some(index) = next {
            self.ask(index, false);
        }
        next.is_some()
    }

    fn ask(&mut self, index: usize, digest: bool) {
        self.asked |= 1 << index;
        let host = self.replicas.hosts[index];
        let started = self.core.runtime.mono();
        let kind = if host == self.core.me() {
            CallKind::Own { digest, answer: self.core.local.read(self.table, self.token, self.key.clone()) }
        } else if let Some(peer) = self.view.peers.get(&host) {
            let request = ReadRequest { table: self.table, token: self.token, key: self.key.clone(), digest };
            let body =
                Envelope { from: self.core.me(), fence: self.view.fence, request: Request::Read(request) }
                    .encode();
            let answer =
                self.core.transport.call(peer.address, Lane::Request, body, self.core.left(self.deadline));
            CallKind::Remote { peer: Arc::clone(peer), answer }
        } else {
            self.tracker.add_failure(index);
            return;
        };
        self.calls.push(Call { index, started, kind });
    }

    fn take_answer(&mut self, (index, started, answer): (usize, Mono, Answer)) {
        let outcome = match answer {
            Answer::Own { digest, record: Ok(record) } => {
                let reply = if digest {
                    Reply::Digest(record.as_ref().map(Record::digest))
                } else {
                    Reply::Record(record)
                };
                self.tracker.add_reply(index, reply);
                ReplicaOutcome::Ok
            }
            Answer::Own { record: Err(_), .. } => ReplicaOutcome::Failed,
            Answer::Remote { peer, answer } => {
                let took = self.core.runtime.mono().since(started);
                peer.latency.observe(took);
                let outcome = self.take_remote(index, answer);
                if outcome == ReplicaOutcome::Ok {
                    self.speculation.observe(took);
                }
                outcome
            }
        };
        self.outcomes[index] = Some(outcome);
        if outcome != ReplicaOutcome::Ok {
            self.tracker.add_failure(index);
            if self.tracker.step() != ReadStep::Agreed {
                self.ask_another();
            }
        }
    }

    fn take_remote(&mut self, index: usize, answer: Result<Bytes, TransportError>) -> ReplicaOutcome {
        match decode_answer(answer) {
            Ok(Response::Record(record)) => self.tracker.add_reply(index, Reply::Record(record)),
            Ok(Response::Digest(digest)) => self.tracker.add_reply(index, Reply::Digest(digest)),
            Ok(Response::Refused(refusal)) => {
                if let Refusal::StaleLayout(stamp) | Refusal::NotOwner(stamp) = &refusal {
                    self.note_newer(index, Some(*stamp));
                }
                self.behind |= matches!(refusal, Refusal::Behind(_));
                return outcome_of(&refusal);
            }
            Ok(_) => return ReplicaOutcome::Failed,
            Err(error) => return error.outcome(),
        }
        ReplicaOutcome::Ok
    }

    /// Remembers that a replica refused for layouts, unless it is the one that is behind.
    pub(super) fn note_newer(&mut self, index: usize, stamp: Option<LayoutStamp>) {
        if let Some(stamp) = stamp.filter(|stamp| stamp.version >= self.view.fence.newest.version) {
            match self.view.is_ahead_of(stamp) {
                true => self.behind = true,
                false => self.newer = Some((self.replicas.hosts[index], stamp)),
            }
        }
    }

    /// Replicas differ: merges, writes back, and answers when the level's readers will see it again.
    async fn settle(&mut self) -> Result<Option<Record>, Box<ClusterError>> {
        count(&self.core.stats.read_repairs);
        self.core.runtime.event("read_repair", self.token.0, self.tracker.tally().done().count_ones().into());
        let mut merged = self.tracker.merged();
        if self.core.planted(PlantedBug::RepairDropsValue)
            && let (Some(merged), Some(first)) = (&mut merged, self.tracker.first())
        {
            crate::local::drop_unknown_to(first, merged);
        }
        let Some(record) = merged else { return Ok(None) };
        let wait = is_strong(self.level) && !self.core.planted(PlantedBug::RepairNotAwaited);
        match self.repair(&record, wait).await {
            true => Ok(Some(record)),
            false => {
                count(&self.core.stats.timeouts);
                let mut error = self.shortfall();
                error.message = "replicas differ and too few could be repaired in time".into();
                Err(error)
            }
        }
    }

    pub(super) fn shortfall(&self) -> Box<ClusterError> {
        let facts = Shortfall {
            view: &self.view,
            replicas: &self.replicas,
            tally: self.tracker.tally(),
            outcomes: &self.outcomes,
            level: self.level,
        };
        facts.failed(false)
    }

    /// Live replicas in the order of reading.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// A tally of the read's needs with nothing in it.
    pub(super) fn fresh_tally(&self) -> Tally {
        self.tracker.tally().emptied()
    }
}

enum Answer {
    Own { digest: bool, record: Result<Option<Record>, StoreError> },
    Remote { peer: Arc<Peer>, answer: Result<Bytes, TransportError> },
}

enum CallKind {
    Own { digest: bool, answer: BoxFuture<'static, Result<Option<Record>, StoreError>> },
    Remote { peer: Arc<Peer>, answer: BoxFuture<'static, Result<Bytes, TransportError>> },
}

/// One replica's answer to come.
struct Call {
    index: usize,
    started: Mono,
    kind: CallKind,
}

impl Future for Call {
    type Output = (usize, Mono, Answer);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (index, started) = (self.index, self.started);
        let answer = match &mut self.kind {
            CallKind::Own { digest, answer } => {
                let digest = *digest;
                answer.as_mut().poll(context).map(|record| Answer::Own { digest, record })
            }
            CallKind::Remote { peer, answer } => {
                let peer = Arc::clone(peer);
                answer.as_mut().poll(context).map(|answer| Answer::Remote { peer, answer })
            }
        };
        answer.map(|answer| (index, started, answer))
    }
}
