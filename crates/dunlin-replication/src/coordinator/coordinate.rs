//! What the coordinating replica of a siblings write does: reads, merges and writes its own record in
//! one step, which gives the write its dot, and spreads the merged record.

use super::Coordinator;
use super::errors::{Outcomes, Shortfall, not_applied, refusal_of};
use super::mint::Mint;
use super::own_copy::OwnCopy;
use super::spread::Spread;
use super::stand_in::StandIns;
use super::tracker::Tally;
use crate::core::count;
use crate::hints::Kept;
use crate::message::{CoordinateRequest, Fence, Identified, Refusal, WriteMark};
use crate::store::StoreError;
use crate::view::View;
use dunlin_types::error::Applied;
use dunlin_types::record::SiblingSet;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::{ClusterError, Consistency, Context, Dot, ErrorCode, HostId, Micros, Mono, Record, Value};
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// How a coordinating replica fails.
#[derive(Debug)]
pub(crate) enum CoordinateError {
    /// Nothing was applied, and another replica may be asked.
    Refused(Refusal),
    /// The write's end, for the client.
    Failed(Box<ClusterError>),
}

impl Coordinator {
    /// Coordinates a write of a siblings table as one of its replicas. `fence` and `sender` are those
    /// of the node that passed it on; `None` when the client spoke to this one.
    pub(crate) async fn coordinate(
        &self,
        request: CoordinateRequest,
        from: Option<(HostId, Fence)>,
        deadline: Mono,
    ) -> Result<Context, CoordinateError> {
        let core = &self.core;
        if core.left(deadline).is_zero() {
            let late = not_applied(
                ErrorCode::WriteTimeout,
                "no time was left to begin with it",
                request.consistency,
            );
            return Err(CoordinateError::Failed(late));
        }
        let view = core.views.load();
        if let Some((sender, fence)) = from {
            let mine = view.fence.newest;
            if fence.newest.version > mine.version {
                core.views.report(sender, fence.newest);
                return Err(CoordinateError::Refused(Refusal::Behind(mine)));
            }
            if fence.newest != mine {
                return Err(CoordinateError::Refused(Refusal::StaleLayout(mine)));
            }
        }
        let Some(table) = view.table(request.table).cloned() else {
            return Err(CoordinateError::Refused(Refusal::UnknownTable));
        };
        let Some(token) = view.newest_layout().map(|layout| layout.token(&request.key)) else {
            return Err(CoordinateError::Refused(Refusal::NotReady));
        };
        let replicas = view.replicas(&table, token);
        if replicas.index_of(core.me()).is_none() {
            return Err(CoordinateError::Refused(Refusal::NotOwner(view.fence.newest)));
        }
        let level = request.consistency;
        let tally = Tally::new(view.needs(&table, &replicas, &replicas.layouts, level));
        let stand_ins = StandIns::choose(&view, &table, &replicas, token);
        if level != Consistency::Any && !tally.possible_with(replicas.alive | stand_ins.mask()) {
            count(&core.stats.unavailable);
            let facts = Shortfall {
                view: &view,
                replicas: &replicas,
                tally: &tally,
                outcomes: &Outcomes::new(),
                level,
            };
            return Err(CoordinateError::Failed(facts.unavailable(Some(Applied::No))));
        }
        count(&core.stats.writes);
        let CoordinateRequest {
            table: table_id, key, value, expires, context, request_id, durability, ..
        } = request;
        let written = core.clock.tick(core.runtime.wall());
        let value = Value { written, expires, data: value };
        let made = Arc::new(OnceLock::new());
        let known = match request_id {
            Some(id) => self.recall(&view, &replicas, table_id, token, &key, id, deadline).await,
            None => None,
        };
        let mint = Mint {
            actor: core.actor,
            dots: Arc::clone(&core.dots),
            table: table_id,
            key: key.clone(),
            value,
            context: match core.planted(PlantedBug::ContextIgnored) {
                true => Some(Context::new()),
                false => context.clone(),
            },
            request: request_id.map(|id| (id, Arc::clone(&self.requests))),
            known,
            copy: OwnCopy { core: Arc::clone(core), table: table_id, token },
            made: Arc::clone(&made),
        };
        let change = move |old| mint.run(old);
        let updated = core.local.update(table_id, token, key.clone(), change, durability).await;
        let updated = updated.map_err(|error| {
            if let (Some(id), true) = (request_id, made.get().is_some()) {
                self.requests.forget(id);
            }
            self.update_error(error, level)
        })?;
        let identified = request_id.and_then(|id| self.requests.recall(id, table_id, &key));
        let repeated = identified.filter(|_| made.get().is_none());
        let is_alone = context.is_none() || repeated.is_some();
        let answer = match repeated {
            Some(write) => context_of_repeated(context, write),
            None => self.context_of(made.get().copied(), &updated.record, context.as_ref()),
        };
        let write_alone = match is_alone {
            true => None,
            false => {
                made.get().and_then(|dot| write_alone(*dot, &updated.record, &answer, table.def.gc_grace_s))
            }
        };
        let spread = Spread {
            core: Arc::clone(core),
            table: table_id,
            token,
            key,
            record: updated.record,
            durability,
            level,
            deadline,
            identified,
            write_alone,
        };
        // The layouts may have changed while the store worked: what counts is how they are now.
        let view = if core.views.peek().fence.newest == view.fence.newest { view } else { core.views.load() };
        spread.run(view, Some(updated.durable)).await.map_err(CoordinateError::Failed)?;
        Ok(answer)
    }

    fn context_of(&self, made: Option<Dot>, record: &Record, given: Option<&Context>) -> Context {
        if self.core.planted(PlantedBug::ContextTooWide) {
            return record.context();
        }
        own_context(made, record, given)
    }

    fn update_error(&self, error: StoreError, level: Consistency) -> CoordinateError {
        match error {
            StoreError::Refused(mut error) => {
                self.core.runtime.event("too_many_siblings", 0, 0);
                error.consistency = Some(level);
                CoordinateError::Failed(error)
            }
            other => CoordinateError::Refused(refusal_of(other, self.retry_after_ms())),
        }
    }

    /// A write that no replica can coordinate: the entry node mints it, under an actor of its own that
    /// stands for no copy, and has hints of it kept and synced: at level ANY by itself, in a keyspace with sloppy
    /// quorums by as many stand-ins as the level needs.
    pub(super) async fn put_hinted(
        &self,
        request: CoordinateRequest,
        view: &Arc<View>,
        deadline: Mono,
    ) -> Result<Context, Box<ClusterError>> {
        let core = &self.core;
        let level = request.consistency;
        let (Some(table), Some(layout)) = (view.table(request.table), view.newest_layout()) else {
            return Err(not_applied(ErrorCode::NotReady, "the table or the layout is not known", level));
        };
        if core.left(deadline).is_zero() {
            return Err(not_applied(ErrorCode::WriteTimeout, "no time left to keep a hint", level));
        }
        let token = layout.token(&request.key);
        // No replica can be asked: what this node has kept hints of it remembers itself.
        let known = request.request_id.and_then(|id| self.requests.recall(id, request.table, &request.key));
        if let Some(write) = known {
            return Ok(context_of_repeated(request.context, write));
        }
        let value = Value {
            written: core.clock.tick(core.runtime.wall()),
            expires: request.expires,
            data: request.value,
        };
        let counter = core.dots.fetch_add(1, Ordering::Relaxed) + 1;
        let dot = Dot { actor: core.actor.without_copy(), counter };
        let given = request.context.unwrap_or_default();
        let record = Record::Siblings(SiblingSet::detached(&given, dot, value));
        let identified = request.request_id.map(|id| Identified { id, mark: WriteMark::Dot(dot) });
        let (table_id, key) = (request.table, request.key.clone());
        if level == Consistency::Any {
            let targets: SmallVec<[HostId; 6]> =
                view.replicas(table, token).hosts.iter().copied().filter(|h| *h != core.me()).collect();
            let kept = core.hints.add_synced(&targets, request.table, token, &request.key, &record).await;
            hint_counts(kept, level)?;
        } else {
            count(&core.stats.writes);
            let spread = Spread {
                core: Arc::clone(core),
                table: request.table,
                token,
                key: request.key,
                record,
                durability: request.durability,
                level,
                deadline,
                identified,
                write_alone: None,
            };
            spread.run(Arc::clone(view), None).await?;
        }
        if let Some(write) = identified {
            self.requests.remember(write, table_id, &key);
        }
        let mut context = given;
        context.add_dot(dot);
        Ok(context)
    }
}

/// Whether a hint that was kept counts as the acknowledgement.
fn hint_counts(kept: Kept, level: Consistency) -> Result<(), Box<ClusterError>> {
    if kept == Kept::Durable {
        return Ok(());
    }
    let mut error = not_applied(ErrorCode::Unavailable, "no replica is up and no hint could be kept", level);
    if kept == Kept::Unsure {
        error.code = ErrorCode::WriteFailure;
        error.applied = Some(Applied::Maybe);
    }
    Err(error)
}

/// What a repeated write answers: what it was given and its dot. (Of an upsert nobody knows any more what it
/// superseded; to claim less than the first answer did is safe.)
fn context_of_repeated(given: Option<Context>, write: Identified) -> Context {
    let mut context = given.unwrap_or_default();
    if let WriteMark::Dot(dot) = write.mark {
        context.add_dot(dot);
    }
    context
}

/// The context given (for an upsert: all that the replica held) and the write's own dot.
fn own_context(made: Option<Dot>, record: &Record, given: Option<&Context>) -> Context {
    let Record::Siblings(set) = record else { return Context::new() };
    match given {
        None => set.seen().clone(),
        Some(given) => {
            let mut context = given.clone();
            if let Some(dot) = made {
                context.add_dot(dot);
            }
            context
        }
    }
}

/// The write that was just made, with what it has seen, if the record holds another value that is so
/// old that a hint with it could soon not be delivered any more: half of the table's `gc_grace`.
fn write_alone(dot: Dot, record: &Record, answer: &Context, gc_grace_s: u32) -> Option<Record> {
    let Record::Siblings(set) = record else { return None };
    let (_, value) = set.values().iter().find(|(other, _)| *other == dot)?;
    let old = value.written.0.saturating_sub(u64::from(gc_grace_s) * 1_000_000 / 2);
    let is_old = |(other, value): &(Dot, Value)| *other != dot && value.written.0 <= old;
    let alone = || Record::Siblings(SiblingSet::detached(answer, dot, value.clone()));
    set.values().iter().any(is_old).then(alone)
}

/// The expiry of a value written now with that time to live.
pub(super) fn expiry(now: Micros, ttl_s: u32) -> Option<Micros> {
    (ttl_s > 0).then(|| Micros(now.0.saturating_add(u64::from(ttl_s) * 1_000_000)))
}
