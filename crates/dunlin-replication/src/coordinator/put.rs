//! Writes, at the node the client asked.

use super::coordinate::{CoordinateError, expiry};
use super::errors::{Outcomes, Shortfall, not_applied, refused};
use super::get::CATCH_UP;
use super::level::is_local;
use super::spread::Spread;
use super::stand_in::StandIns;
use super::tracker::Tally;
use super::{Coordinator, PutOutcome, PutRequest};
use crate::core::{CallError, count};
use crate::message::{
    CoordinateRequest, Envelope, Identified, LayoutStamp, Refusal, Request, Response, WriteMark,
};
use crate::view::{ReplicaSet, TableView, View};
use dunlin_transport::Lane;
use dunlin_types::error::Applied;
use dunlin_types::limits::{TIMESTAMP_AHEAD_MAX_US, VALUE_BYTES_MAX};
use dunlin_types::record::Latest;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::schema::ConflictMode;
use dunlin_types::{
    ClusterError, Consistency, Context, ErrorCode, HostId, Mono, Record, ReplicaOutcome, Token, Value,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// How one attempt to have a write coordinated ended.
enum Attempt {
    Done(Result<Context, Box<ClusterError>>),
    /// Nothing was applied; a newer layout is known to that host.
    Newer(HostId, LayoutStamp),
    /// Nothing was applied; every live replica has yet to learn of this node's newest layout.
    Behind,
}

impl Coordinator {
    /// Writes a key. An error says whether it may have been applied. Not cancel-safe: a dropped write
    /// may still happen.
    pub async fn put(&self, mut request: PutRequest) -> Result<PutOutcome, Box<ClusterError>> {
        let _at_work = self.core.foreground.enter(&self.core.runtime);
        let deadline = self.core.runtime.mono().after(request.timeout);
        let level = request.consistency;
        let bytes = request.value.as_ref().map_or(0, |v| v.len());
        if bytes > VALUE_BYTES_MAX {
            let message = format!("a value is at most {VALUE_BYTES_MAX} bytes long, this one has {bytes}");
            return Err(not_applied(ErrorCode::TooLarge, message, level));
        }
        let now = self.core.runtime.wall();
        let ttl_s = request.ttl_s.unwrap_or(request.table.default_time_to_live_s);
        let expires = if request.value.is_some() { expiry(now, ttl_s) } else { None };
        if request.table.conflicts == ConflictMode::LastWriteWins {
            self.put_latest(request, expires, deadline).await?;
            return Ok(PutOutcome { context: None });
        }
        let write = CoordinateRequest {
            table: request.table.id,
            key: request.key,
            value: request.value.take(),
            expires,
            context: request.context.take(),
            request_id: request.request_id,
            consistency: level,
            durability: request.durability,
        };
        if self.core.planted(PlantedBug::WriteDuplicated) && self.core.runtime.below(4) == 0 {
            let _ = self.put_siblings(write.clone(), &request.table, deadline).await;
        }
        let context = self.put_siblings(write, &request.table, deadline).await?;
        Ok(PutOutcome { context: Some(context) })
    }

    /// last_write_wins: this node coordinates, with no read.
    async fn put_latest(
        &self,
        request: PutRequest,
        expires: Option<dunlin_types::Micros>,
        deadline: Mono,
    ) -> Result<(), Box<ClusterError>> {
        let core = &self.core;
        let level = request.consistency;
        if core.left(deadline).is_zero() {
            return Err(not_applied(ErrorCode::WriteTimeout, "no time was left to begin with it", level));
        }
        let wall = core.runtime.wall();
        let heeded = !self.core.planted(PlantedBug::TimestampIgnored);
        let written = match request.timestamp.filter(|_| heeded) {
            Some(at) if at.0 > wall.0.saturating_add(TIMESTAMP_AHEAD_MAX_US) => {
                let message = format!("timestamp {} is more than 60 s ahead of this node's clock", at.0);
                return Err(not_applied(ErrorCode::Invalid, message, level));
            }
            Some(at) => at,
            None => core.clock.tick(wall),
        };
        let view = core.views.load();
        let table = self.table_view(&view, &request.table).map_err(never_applied)?;
        let Some(layout) = view.newest_layout() else {
            return Err(not_applied(ErrorCode::NotReady, "no layout is known", level));
        };
        let token = layout.token(&request.key);
        let replicas = view.replicas(&table, token);
        let tally = Tally::new(view.needs(&table, &replicas, &replicas.layouts, level));
        self.check_alive(&view, &table, token, &replicas, &tally, level)?;
        count(&core.stats.writes);
        let (table_id, key) = (table.def.id, request.key);
        let known = match request.request_id {
            // A hint that this node has kept is in no record of its own.
            Some(id) if level == Consistency::Any && self.requests.recall(id, table_id, &key).is_some() => {
                return Ok(());
            }
            Some(id) => self.recall(&view, &replicas, table_id, token, &key, id, deadline).await,
            None => None,
        };
        let value = Value { written, expires, data: request.value };
        // A write that was made already is not made again, with a later time: what came after it stays.
        let (mark, record) = match known {
            Some(recalled) => (recalled.mark, recalled.record),
            None => (WriteMark::Time(written), Record::Latest(Latest { host: core.me(), value })),
        };
        let identified = request.request_id.map(|id| Identified { id, mark });
        let spread = Spread {
            core: Arc::clone(core),
            table: table_id,
            token,
            key: key.clone(),
            record,
            durability: request.durability,
            level,
            deadline,
            identified,
            write_alone: None,
        };
        let result = spread.run(view, None).await;
        // A replica knows it by its record, whatever became of the write; others only what was acknowledged.
        if let Some(write) = identified.filter(|_| result.is_ok() || replicas.index_of(core.me()).is_some()) {
            self.requests.remember(write, table_id, &key);
        }
        result
    }

    /// siblings: a live replica coordinates. Tries another only when the first certainly did nothing.
    async fn put_siblings(
        &self,
        request: CoordinateRequest,
        def: &dunlin_types::TableDef,
        deadline: Mono,
    ) -> Result<Context, Box<ClusterError>> {
        let mut view = self.core.views.load();
        loop {
            let table = self.table_view(&view, def).map_err(never_applied)?;
            let attempt = self.attempt(&view, &table, &request, deadline).await;
            if !matches!(attempt, Attempt::Done(_)) {
                count(&self.core.stats.stale_layouts);
                self.core.runtime.event("write_refused_for_layout", view.fence.newest.version, 0);
            }
            let (peer, stamp) = match attempt {
                Attempt::Done(result) => return result,
                Attempt::Newer(peer, stamp) => (peer, stamp),
                Attempt::Behind => {
                    let left = self.core.left(deadline);
                    if left.is_zero() {
                        let refusal = Refusal::Behind(view.fence.newest);
                        return Err(refused(&refusal, request.consistency, self.retry_after_ms()));
                    }
                    self.core.runtime.sleep(left.min(CATCH_UP)).await;
                    view = self.core.views.load();
                    continue;
                }
            };
            self.core.views.report(peer, stamp);
            let old = Arc::clone(&view);
            let newer = std::pin::pin!(self.core.views.wait_until(|view| view.supersedes(&old)));
            view = tokio::select! {
                biased;
                view = newer => view,
                () = self.core.runtime.sleep(self.core.left(deadline)) => {
                    return Err(refused(&Refusal::StaleLayout(stamp), request.consistency, self.retry_after_ms()));
                }
            };
        }
    }

    async fn attempt(
        &self,
        view: &Arc<View>,
        table: &TableView,
        request: &CoordinateRequest,
        deadline: Mono,
    ) -> Attempt {
        let level = request.consistency;
        let Some(layout) = view.newest_layout() else {
            return Attempt::Done(Err(not_applied(ErrorCode::NotReady, "no layout is known", level)));
        };
        let token: Token = layout.token(&request.key);
        let replicas = view.replicas(table, token);
        let tally = Tally::new(view.needs(table, &replicas, &replicas.layouts, level));
        if let Err(error) = self.check_alive(view, table, token, &replicas, &tally, level) {
            return Attempt::Done(Err(error));
        }
        let mut outcomes: Outcomes = SmallVec::from_elem(None, replicas.hosts.len());
        let mut last: Option<Refusal> = None;
        for index in self.coordinators(view, &replicas, level) {
            let host = replicas.hosts[index];
            let result = if host == self.core.me() {
                self.coordinate(request.clone(), None, deadline).await
            } else {
                match self.forward(view, host, request, deadline).await {
                    Ok(result) => result,
                    Err(CallError::NotSent(outcome)) => {
                        outcomes[index] = Some(outcome);
                        continue;
                    }
                    Err(CallError::Unknown(_)) if self.core.planted(PlantedBug::WriteDuplicated) => continue,
                    Err(CallError::Unknown(outcome)) => {
                        outcomes[index] = Some(outcome);
                        let facts = Shortfall {
                            view,
                            replicas: &replicas,
                            tally: &tally,
                            outcomes: &outcomes,
                            level,
                        };
                        count(&self.core.stats.timeouts);
                        return Attempt::Done(Err(facts.unknown(host)));
                    }
                }
            };
            match result {
                Ok(context) => return Attempt::Done(Ok(context)),
                Err(CoordinateError::Failed(error)) => return Attempt::Done(Err(error)),
                Err(CoordinateError::Refused(Refusal::StaleLayout(stamp) | Refusal::NotOwner(stamp)))
                    if stamp.version >= view.fence.newest.version =>
                {
                    if !view.is_ahead_of(stamp) {
                        return Attempt::Newer(host, stamp);
                    }
                    outcomes[index] = Some(ReplicaOutcome::StaleLayout);
                    last = Some(Refusal::Behind(stamp));
                }
                Err(CoordinateError::Refused(refusal)) => {
                    outcomes[index] = Some(super::errors::outcome_of(&refusal));
                    last = Some(refusal);
                }
            }
        }
        if matches!(last, Some(Refusal::Behind(_))) {
            return Attempt::Behind;
        }
        // Past the check of who is alive, with no replica up: stand-ins can make up the level.
        if level == Consistency::Any || replicas.alive == 0 {
            return Attempt::Done(self.put_hinted(request.clone(), view, deadline).await);
        }
        Attempt::Done(Err(match last {
            Some(refusal) => refused(&refusal, level, self.retry_after_ms()),
            None => {
                count(&self.core.stats.unavailable);
                let reached = outcomes.contains(&Some(ReplicaOutcome::Overloaded));
                let facts =
                    Shortfall { view, replicas: &replicas, tally: &tally, outcomes: &outcomes, level };
                let mut error = facts.unavailable(Some(Applied::No));
                if reached {
                    error.code = ErrorCode::Overloaded;
                    error.retry_after_ms = Some(self.retry_after_ms());
                }
                error
            }
        }))
    }

    async fn forward(
        &self,
        view: &View,
        host: HostId,
        request: &CoordinateRequest,
        deadline: Mono,
    ) -> Result<Result<Context, CoordinateError>, CallError> {
        let Some(peer) = view.peers.get(&host) else {
            return Err(CallError::NotSent(ReplicaOutcome::Unreachable));
        };
        count(&self.core.stats.forwarded_writes);
        self.core.runtime.event("write_forwarded", host.short(), 0);
        let body = Envelope {
            from: self.core.me(),
            fence: view.fence,
            request: Request::Coordinate(request.clone()),
        }
        .encode();
        match self.core.call(peer, Lane::Request, body, self.core.left(deadline)).await? {
            Response::Coordinated(Ok(context)) => Ok(Ok(context)),
            Response::Coordinated(Err(error)) => Ok(Err(CoordinateError::Failed(error))),
            Response::Refused(refusal) => Ok(Err(CoordinateError::Refused(refusal))),
            _ => Err(CallError::Unknown(ReplicaOutcome::Failed)),
        }
    }

    /// Live replicas in the order they are asked to coordinate: this node, then those that reads use
    /// (they hold everything), nearest first. Of a local level only those of this node's data centre: another
    /// one would take its own for the local one.
    fn coordinators(&self, view: &View, replicas: &ReplicaSet, level: Consistency) -> SmallVec<[usize; 6]> {
        let me = self.core.me();
        let far = |host: &HostId| view.peers.get(host).is_none_or(|p| p.data_center != view.data_center);
        let elsewhere = self.core.runtime.buggify("forward_although_replica");
        let mut order: SmallVec<[usize; 6]> =
            (0..replicas.hosts.len()).filter(|i| replicas.alive & 1 << i != 0).collect();
        if is_local(level) {
            order.retain(|index| !far(&replicas.hosts[*index]));
        }
        order.sort_by_key(|&index| {
            let host = replicas.hosts[index];
            let whole = replicas.read_mask() & 1 << index != 0;
            let peer = view.peers.get(&host);
            (!whole, (host != me) != elsewhere, far(&host), peer.map_or(u64::MAX, |p| p.latency.nanos()))
        });
        order
    }

    fn check_alive(
        &self,
        view: &View,
        table: &TableView,
        token: Token,
        replicas: &ReplicaSet,
        tally: &Tally,
        level: Consistency,
    ) -> Result<(), Box<ClusterError>> {
        let stand_ins = StandIns::choose(view, table, replicas, token);
        if level == Consistency::Any || tally.possible_with(replicas.alive | stand_ins.mask()) {
            return Ok(());
        }
        count(&self.core.stats.unavailable);
        let facts = Shortfall { view, replicas, tally, outcomes: &Outcomes::new(), level };
        Err(facts.unavailable(Some(Applied::No)))
    }
}

fn never_applied(mut error: Box<ClusterError>) -> Box<ClusterError> {
    error.applied = Some(Applied::No);
    error
}
