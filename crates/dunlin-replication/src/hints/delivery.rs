//! Sends hints to their targets once these are up.

use super::segment::Hint;
use super::{Hints, target};
use crate::core::{CallError, Core};
use crate::message::{Envelope, MergeReason, MergeRequest, Refusal, Request, Response};
use crate::store::Durability;
use crate::view::{TableView, View};
use bytes::Bytes;
use dunlin_transport::Lane;
use dunlin_types::{HostId, Mono};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Looks after the hints of a node for as long as it runs: writes pending ones to files and delivers
/// those whose targets are up. Never ends; to stop, drop it (hints then stay for the next run).
pub async fn run(core: Arc<Core>) {
    let hints = Arc::clone(&core.hints);
    let mut active = FuturesUnordered::new();
    let mut pauses: BTreeMap<HostId, (Mono, Duration)> = BTreeMap::new();
    let mut busy: Vec<HostId> = Vec::new();
    loop {
        hints.flush(false);
        let now = core.runtime.mono();
        for host in hints.deliverable(&core.views.load()) {
            let rests = pauses.get(&host).is_some_and(|(until, _)| now < *until);
            if !rests && !busy.contains(&host) {
                busy.push(host);
                active.push(deliver(Arc::clone(&core), host));
            }
        }
        let idle = active.is_empty() && hints.is_idle();
        let tick = core.runtime.sleep(hints.config.tick);
        tokio::select! {
            biased;
            Some((host, done)) = active.next() => {
                busy.retain(|b| *b != host);
                if done {
                    pauses.remove(&host);
                } else {
                    let before = pauses.get(&host).map_or(hints.config.tick, |p| p.1);
                    let pause = (before * 2).min(hints.config.backoff_max);
                    pauses.insert(host, (core.runtime.mono().after(pause), pause));
                }
            }
            () = hints.wake.notified(), if idle => {}
            () = tick, if !idle => {}
        }
    }
}

/// Delivers everything kept for a host; `false` if it has to be tried again later.
async fn deliver(core: Arc<Core>, host: HostId) -> (HostId, bool) {
    let hints = &core.hints;
    while let Some((number, mut done, batch)) = hints.first_segment(host) {
        let mut expired = 0;
        let first = usize::try_from(done).unwrap_or(usize::MAX).min(batch.len());
        for chunk in batch[first..].chunks(hints.config.in_flight_max.max(1)) {
            if hints.is_paused() {
                return (host, false);
            }
            let mut bytes = 0;
            let mut sends = Vec::with_capacity(chunk.len());
            for hint in chunk {
                bytes += 64 + hint.key.as_bytes().len() as u64 + size(hint);
                sends.push(send(&core, host, hint));
            }
            for fate in futures::future::join_all(sends).await {
                match fate {
                    Fate::Delivered => {}
                    Fate::Expired => expired += 1,
                    Fate::Retry => return (host, false),
                }
            }
            done += chunk.len() as u64;
            hints.note_done(host, number, done);
            core.runtime.event("hints_delivered", host.short(), chunk.len() as u64);
            let pause =
                Duration::from_micros(bytes.saturating_mul(1_000_000) / hints.config.rate_bytes.max(1));
            core.runtime.sleep(pause).await;
        }
        hints.remove_segment(host, number, batch.len() as u64, expired);
    }
    (host, true)
}

fn size(hint: &Hint) -> u64 {
    match &hint.record {
        dunlin_types::Record::Siblings(set) => {
            set.values().iter().map(|(_, v)| 32 + v.data.as_ref().map_or(0, |d| d.len() as u64)).sum()
        }
        dunlin_types::Record::Latest(latest) => latest.value.data.as_ref().map_or(0, |d| d.len() as u64),
    }
}

enum Fate {
    Delivered,
    /// Too old, or its table is gone.
    Expired,
    Retry,
}

async fn send(core: &Core, host: HostId, hint: &Hint) -> Fate {
    let view = core.views.load();
    let Some(table) = view.table(hint.table) else { return Fate::Expired };
    let age = core.runtime.wall().0.saturating_sub(hint.created.0);
    if age > u64::from(table.def.gc_grace_s).saturating_mul(1_000_000) {
        return Fate::Expired;
    }
    if view.owns(table, hint.token, host) {
        match send_to(core, &view, host, hint, body(core, &view, hint)).await {
            Some(Response::Merged) => return Fate::Delivered,
            Some(Response::Refused(Refusal::NotOwner(stamp))) => {
                if stamp != view.fence.newest {
                    core.views.report(host, stamp);
                }
            }
            _ => return Fate::Retry,
        }
    }
    redistribute(core, &view, table, hint).await
}

/// The target no longer owns the token: the record goes to those who do.
async fn redistribute(core: &Core, view: &View, table: &TableView, hint: &Hint) -> Fate {
    let replicas = view.replicas(table, hint.token);
    let body = body(core, view, hint);
    let mut delivered = false;
    for &host in &replicas.hosts {
        if host == core.me() {
            let merge = core.local.merge(
                hint.table,
                hint.token,
                hint.key.clone(),
                hint.record.clone(),
                Durability::Synced,
            );
            delivered |= merge.await.is_ok();
        } else if view.is_alive(host) {
            delivered |=
                matches!(send_to(core, view, host, hint, body.clone()).await, Some(Response::Merged));
        }
    }
    if delivered { Fate::Delivered } else { Fate::Retry }
}

async fn send_to(core: &Core, view: &View, host: HostId, hint: &Hint, body: Bytes) -> Option<Response> {
    let peer = view.peers.get(&host)?;
    match core.call(peer, Lane::Bulk, body, core.hints.config.timeout).await {
        Ok(response) => Some(response),
        Err(CallError::NotSent(outcome) | CallError::Unknown(outcome)) => {
            tracing::debug!(target = %host, token = hint.token.0, outcome = outcome.name(), "a hint was not delivered");
            None
        }
    }
}

fn body(core: &Core, view: &View, hint: &Hint) -> Bytes {
    let request = MergeRequest {
        table: hint.table,
        token: hint.token,
        key: hint.key.clone(),
        record: hint.record.clone(),
        durability: Durability::Synced,
        reason: MergeReason::Hint,
        identified: None,
    };
    Envelope { from: core.me(), fence: view.fence, request: Request::Merge(request) }.encode()
}

impl Hints {
    /// Targets with hints in files that are up, or no members any more (their hints go to the owners).
    fn deliverable(&self, view: &View) -> Vec<HostId> {
        if self.is_paused() || view.layouts.is_empty() {
            return Vec::new();
        }
        let targets = self.targets.lock();
        let waiting = targets.iter().filter(|(_, target)| target.has_segments()).map(|(host, _)| *host);
        waiting.filter(|host| view.is_alive(*host) || !view.peers.contains_key(host)).collect()
    }

    /// The oldest segment's number, how many of its hints were delivered, and all of them.
    fn first_segment(&self, host: HostId) -> Option<(u64, u64, Vec<Hint>)> {
        let (number, done) = {
            // No write may be under way: it could go to this segment after it was read.
            let _writing = self.writing.lock();
            self.targets.lock().get_mut(&host)?.first_segment()?
        };
        let hints = target::read(&*self.fs, host, number).unwrap_or_else(|error| {
            tracing::warn!(target = %host, %error, "hints could not be read back");
            Vec::new()
        });
        Some((number, done, hints))
    }

    fn note_done(&self, host: HostId, number: u64, done: u64) {
        if let Some(target) = self.targets.lock().get_mut(&host) {
            target.set_done(number, done);
        }
    }

    fn remove_segment(&self, host: HostId, number: u64, read: u64, expired: u64) {
        let _writing = self.writing.lock();
        if let Some(target) = self.targets.lock().get_mut(&host) {
            target.remove_first(&*self.fs, host, number, read, expired);
        }
    }
}
