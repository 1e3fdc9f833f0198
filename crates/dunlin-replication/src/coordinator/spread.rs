//! Sends one record to every replica of every active layout and waits for as many acknowledgements
//! as the level needs. Joining a record is idempotent, so this part of a write may be repeated, and is
//! when the layout changes under it.

use super::errors::{Outcomes, Shortfall, outcome_of};
use super::get::CATCH_UP;
use super::stand_in::{self, StandIns};
use super::tracker::{Progress, Tally};
use crate::core::{Core, count, decode_answer};
use crate::hints::Kept;
use crate::hints::segment::Hint;
use crate::message::{
    Envelope, Identified, LayoutStamp, MergeReason, MergeRequest, Refusal, Request, Response,
};
use crate::store::{Durability, StoreError};
use crate::view::{ReplicaSet, TableView, View};
use bytes::Bytes;
use dunlin_transport::{Lane, TransportError};
use dunlin_types::error::Applied;
use dunlin_types::runtime::{BoxFuture, PlantedBug};
use dunlin_types::{
    ClusterError, Consistency, ErrorCode, HostId, Key, Mono, Record, ReplicaOutcome, TableId, Token,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use smallvec::SmallVec;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Ends when the coordinator's own copy is durable.
pub(crate) type Durable = BoxFuture<'static, Result<(), StoreError>>;

/// A record on its way to its replicas.
pub(crate) struct Spread {
    pub core: Arc<Core>,
    pub table: TableId,
    pub token: Token,
    pub key: Key,
    pub record: Record,
    pub durability: Durability,
    pub level: Consistency,
    pub deadline: Mono,
    /// The write's request id, for replicas to remember.
    pub identified: Option<Identified>,
    /// The write alone, where the record holds old values of others too. Hints hold no more then: how long they
    /// may be delivered depends on the oldest value in them.
    pub write_alone: Option<Record>,
}

/// One round: the record sent under one view.
struct Round {
    view: Arc<View>,
    replicas: ReplicaSet,
    tally: Tally,
    outcomes: Outcomes,
    calls: FuturesUnordered<Call>,
    newer: Option<(HostId, LayoutStamp)>,
    /// A replica refused that has yet to learn what this node knows.
    behind: bool,
}

impl Spread {
    /// Runs the write to its end. `durable` is the own copy, when it was written already.
    ///
    /// Once enough replicas acknowledged, the rest goes on in a task of its own, which keeps hints for
    /// those that fail. Not cancel-safe: dropped, replicas not yet reached are left to repair.
    pub async fn run(self, view: Arc<View>, durable: Option<Durable>) -> Result<(), Box<ClusterError>> {
        let mut acked: SmallVec<[HostId; 6]> = SmallVec::new();
        let mut durable = durable;
        let mut view = view;
        let mut timer = self.core.runtime.sleep(self.core.left(self.deadline));
        loop {
            let Some(table) = view.table(self.table).cloned() else {
                let mut error = ClusterError::new(ErrorCode::Invalid, "the table was dropped meanwhile");
                error.applied = Some(Applied::Maybe);
                return Err(Box::new(error));
            };
            let mut round = self.start_round(Arc::clone(&view), &table, durable.take(), &acked);
            let progress = self.wait(&mut round, &mut timer).await;
            let current = self.core.views.load().fence.newest;
            let mine = round.view.fence.newest;
            // An acknowledgement must not rest on layouts that were overtaken meanwhile; short of one, a
            // refusing replica may just know better which layouts are still active.
            let again = match progress {
                Progress::Enough => current != mine || round.newer.is_some_and(|(_, stamp)| stamp != mine),
                _ => (round.newer.is_some() || round.behind) && !self.core.left(self.deadline).is_zero(),
            };
            if !again {
                return self.finish(round, progress).await;
            }
            acked.extend(hosts(&round.replicas, round.tally.done()));
            let Some(newer) = self.await_newer(round.newer, Arc::clone(&round.view), current != mine).await
            else {
                return self.finish(round, Progress::Pending).await;
            };
            // Calls that are still under way go on by themselves; what they miss, the next round sends.
            drain(&self.core, round);
            view = newer;
        }
    }

    fn start_round(
        &self,
        view: Arc<View>,
        table: &TableView,
        durable: Option<Durable>,
        acked: &[HostId],
    ) -> Round {
        let replicas = view.replicas(table, self.token);
        let mut needs = view.needs(table, &replicas, &replicas.layouts, self.level);
        if self.core.planted(PlantedBug::WriteQuorumShort) {
            needs.iter_mut().filter(|need| need.required > 1).for_each(|need| need.required -= 1);
        }
        let mut tally = Tally::new(needs);
        let mut outcomes: Outcomes = SmallVec::from_elem(None, replicas.hosts.len());
        let calls = FuturesUnordered::new();
        let stand_ins = StandIns::choose(&view, table, &replicas, self.token);
        let mut body: Option<Bytes> = None;
        let timeout = self.core.left(self.deadline);
        let mut own = None;
        for (index, &host) in replicas.hosts.iter().enumerate() {
            if acked.contains(&host) {
                tally.add_success(index);
                outcomes[index] = Some(ReplicaOutcome::Ok);
            } else if host == self.core.me() {
                own = Some(index);
            } else if let Some(stand_in) = stand_ins.of(index) {
                let kept = stand_in::keep(&self.core, &view, stand_in, host, self.to_hint(), timeout);
                calls.push(Call::stand_in(index, kept));
            } else if replicas.alive & 1 << index == 0 {
                tally.add_failure(index);
                outcomes[index] = Some(ReplicaOutcome::Down);
            } else if let Some(peer) = view.peers.get(&host) {
                let body = body.get_or_insert_with(|| self.body(&view)).clone();
                let answer = self.core.transport.call(peer.address, Lane::Request, body, timeout);
                calls.push(Call::remote(index, answer));
            }
        }
        // The own copy last: the others are on their way while it syncs.
        if let Some(index) = own {
            let done = durable.unwrap_or_else(|| {
                self.core.local.merge_write(
                    self.table,
                    self.token,
                    self.key.clone(),
                    self.record.clone(),
                    self.durability,
                )
            });
            calls.push(Call::own(index, done));
        }
        Round { view, replicas, tally, outcomes, calls, newer: None, behind: false }
    }

    /// What a hint of this write holds.
    fn hinted(&self) -> &Record {
        self.write_alone.as_ref().unwrap_or(&self.record)
    }

    fn to_hint(&self) -> Hint {
        let (key, record) = (self.key.clone(), self.hinted().clone());
        Hint { created: self.core.runtime.wall(), table: self.table, token: self.token, key, record }
    }

    fn body(&self, view: &View) -> Bytes {
        let request = MergeRequest {
            table: self.table,
            token: self.token,
            key: self.key.clone(),
            record: self.record.clone(),
            durability: self.durability,
            reason: MergeReason::Write,
            identified: self.identified,
        };
        Envelope { from: self.core.me(), fence: view.fence, request: Request::Merge(request) }.encode()
    }

    async fn wait(&self, round: &mut Round, timer: &mut BoxFuture<'static, ()>) -> Progress {
        loop {
            match round.tally.progress() {
                Progress::Enough => return Progress::Enough,
                // Whatever is still under way may take it to a newer layout, or to a better error.
                Progress::Pending | Progress::Impossible => {}
            }
            // It has to be sent again under other layouts: no use in waiting for a slow replica first.
            if round.newer.is_some_and(|(_, stamp)| stamp != round.view.fence.newest) {
                return Progress::Pending;
            }
            tokio::select! {
                biased;
                answer = round.calls.next() => match answer {
                    Some((index, answer)) => round.take_answer(index, answer),
                    None => return round.tally.progress(),
                },
                () = &mut *timer => return Progress::Pending,
            }
        }
    }

    /// The view that knows what the refusing replica knows; `None` when time is up. Where nobody is known
    /// to know more, the replicas that are behind get a moment to learn.
    async fn await_newer(
        &self,
        known_by: Option<(HostId, LayoutStamp)>,
        old: Arc<View>,
        known_here: bool,
    ) -> Option<Arc<View>> {
        count(&self.core.stats.stale_layouts);
        self.core.runtime.event("write_overtaken_by_layout", old.fence.newest.version, self.token.0);
        let left = self.core.left(self.deadline);
        match known_by {
            Some((peer, stamp)) => self.core.views.report(peer, stamp),
            None if known_here => {}
            None => {
                self.core.runtime.sleep(left.min(CATCH_UP)).await;
                return Some(self.core.views.load());
            }
        }
        let newer = std::pin::pin!(self.core.views.wait_until(|view| view.supersedes(&old)));
        tokio::select! {
            biased;
            view = newer => Some(view),
            () = self.core.runtime.sleep(left) => None,
        }
    }

    async fn finish(self, round: Round, progress: Progress) -> Result<(), Box<ClusterError>> {
        if progress == Progress::Enough {
            self.keep_hints(&round);
            if !round.calls.is_empty() {
                self.linger(round);
            }
            return Ok(());
        }
        if self.level == Consistency::Any {
            return self.finish_any(round).await;
        }
        let facts = Shortfall {
            view: &round.view,
            replicas: &round.replicas,
            tally: &round.tally,
            outcomes: &round.outcomes,
            level: self.level,
        };
        let error = facts.failed(true);
        if error.code == ErrorCode::WriteTimeout {
            count(&self.core.stats.timeouts);
        }
        self.keep_hints(&round);
        if !round.calls.is_empty() {
            self.linger(round);
        }
        Err(error)
    }

    /// At level ANY a stored hint counts; it is synced before it does.
    async fn finish_any(self, round: Round) -> Result<(), Box<ClusterError>> {
        let missing = round.replicas.all() & !round.tally.done();
        let targets: SmallVec<[HostId; 6]> = hosts(&round.replicas, missing).collect();
        let kept =
            self.core.hints.add_synced(&targets, self.table, self.token, &self.key, self.hinted()).await;
        if kept == Kept::Durable {
            return Ok(());
        }
        let facts = Shortfall {
            view: &round.view,
            replicas: &round.replicas,
            tally: &round.tally,
            outcomes: &round.outcomes,
            level: self.level,
        };
        Err(facts.failed(true))
    }

    /// Keeps hints for those known to have failed so far.
    fn keep_hints(&self, round: &Round) {
        for (index, host) in round.replicas.hosts.iter().enumerate() {
            if round.outcomes[index].is_some_and(|outcome| !is_kept(outcome)) {
                self.hint(*host);
            }
        }
    }

    fn hint(&self, host: HostId) {
        if host != self.core.me() {
            self.core.hints.add(host, self.table, self.token, &self.key, self.hinted());
        }
    }

    /// Waits for the rest beside the answer; the transport's own timeouts bound it.
    fn linger(self, mut round: Round) {
        let core = Arc::clone(&self.core);
        let task = async move {
            if self.core.runtime.buggify("spread_linger_delay") {
                let pause = self.core.runtime.below(20_000);
                self.core.runtime.sleep(std::time::Duration::from_micros(pause)).await;
            }
            while let Some((index, answer)) = round.calls.next().await {
                round.take_answer(index, answer);
                if !round.outcomes[index].is_some_and(is_kept) {
                    self.hint(round.replicas.hosts[index]);
                }
            }
        };
        drop(core.runtime.spawn("write-rest", Box::pin(task)));
    }
}

/// Lets the calls of a given-up round run to their end.
fn drain(core: &Arc<Core>, round: Round) {
    let mut calls = round.calls;
    if !calls.is_empty() {
        drop(
            core.runtime.spawn("write-rest", Box::pin(async move { while calls.next().await.is_some() {} })),
        );
    }
}

fn hosts(replicas: &ReplicaSet, mask: super::level::Mask) -> impl Iterator<Item = HostId> + '_ {
    replicas.hosts.iter().enumerate().filter(move |(i, _)| mask & 1 << i != 0).map(|(_, host)| *host)
}

impl Round {
    fn take_answer(&mut self, index: usize, answer: Answer) {
        let (outcome, stamp) = answer.read();
        let mine = self.view.fence.newest;
        if let Some(stamp) = stamp.filter(|stamp| stamp.version >= mine.version) {
            match self.view.is_ahead_of(stamp) {
                true => self.behind = true,
                false => self.newer = Some((self.replicas.hosts[index], stamp)),
            }
        }
        self.outcomes[index] = Some(outcome);
        match outcome {
            outcome if is_kept(outcome) => self.tally.add_success(index),
            _ => self.tally.add_failure(index),
        }
    }
}

/// Whether the replica has the write, or will be given it by a stand-in.
fn is_kept(outcome: ReplicaOutcome) -> bool {
    matches!(outcome, ReplicaOutcome::Ok | ReplicaOutcome::Hinted)
}

/// What a replica said to a record sent to it.
pub(super) enum Answer {
    Own(Result<(), StoreError>),
    Remote(Result<Bytes, TransportError>),
    /// Its stand-in.
    StandIn(ReplicaOutcome),
}

impl Answer {
    /// The outcome, and the replica's newest layout if it refused because of layouts.
    pub(super) fn read(self) -> (ReplicaOutcome, Option<LayoutStamp>) {
        match self {
            Answer::StandIn(outcome) => (outcome, None),
            Answer::Own(Ok(())) => (ReplicaOutcome::Ok, None),
            Answer::Own(Err(StoreError::Overloaded)) => (ReplicaOutcome::Overloaded, None),
            Answer::Own(Err(_)) => (ReplicaOutcome::Failed, None),
            Answer::Remote(answer) => match decode_answer(answer) {
                Ok(Response::Merged) => (ReplicaOutcome::Ok, None),
                Ok(Response::Refused(refusal)) => match &refusal {
                    Refusal::StaleLayout(stamp) | Refusal::NotOwner(stamp) => {
                        (outcome_of(&refusal), Some(*stamp))
                    }
                    _ => (outcome_of(&refusal), None),
                },
                Ok(_) => (ReplicaOutcome::Failed, None),
                Err(error) => (error.outcome(), None),
            },
        }
    }
}

enum CallKind {
    Own(Durable),
    Remote(BoxFuture<'static, Result<Bytes, TransportError>>),
    StandIn(BoxFuture<'static, Answer>),
}

/// One replica's answer to come. The seams box their futures already, so this adds no allocation.
pub(super) struct Call {
    index: usize,
    kind: CallKind,
}

impl Call {
    /// The own copy's answer.
    pub(super) fn own(index: usize, durable: Durable) -> Call {
        Call { index, kind: CallKind::Own(durable) }
    }

    /// A peer's answer.
    pub(super) fn remote(index: usize, answer: BoxFuture<'static, Result<Bytes, TransportError>>) -> Call {
        Call { index, kind: CallKind::Remote(answer) }
    }
}

impl Call {
    /// The answer of the one that stands in for the replica.
    pub(super) fn stand_in(index: usize, answer: BoxFuture<'static, Answer>) -> Call {
        Call { index, kind: CallKind::StandIn(answer) }
    }
}

impl Future for Call {
    type Output = (usize, Answer);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        match &mut self.kind {
            CallKind::Own(durable) => durable.as_mut().poll(context).map(|r| (index, Answer::Own(r))),
            CallKind::StandIn(answer) => answer.as_mut().poll(context).map(|answer| (index, answer)),
            CallKind::Remote(answer) => answer.as_mut().poll(context).map(|r| (index, Answer::Remote(r))),
        }
    }
}
