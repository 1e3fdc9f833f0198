//! Sends hints to their targets once these are up.

use super::Hints;
use super::message::{HINTS_BYTES_MAX, HINTS_MAX, HintFate, HintsAnswer, HintsPurpose, HintsRequest};
use super::pending::{Place, weight};
use super::route::{Route, route};
use super::segment::Hint;
use super::target::{self, Progress};
use crate::core::{CallError, Core};
use crate::message::{Envelope, Refusal, Request, Response};
use crate::store::Durability;
use crate::view::View;
use dunlin_transport::Lane;
use dunlin_types::runtime::PlantedBug;
use dunlin_types::{HostId, Mono, Record};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
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
                hints.set_rate(host, None);
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

/// A key's hints of one segment, joined.
struct Joined {
    hint: Option<Hint>,
    count: u64,
    gc_grace: u64,
    table: u64,
}

/// Delivers everything kept for a host; `false` if it has to be tried again later.
async fn deliver(core: Arc<Core>, host: HostId) -> (HostId, bool) {
    let hints = &core.hints;
    loop {
        let (number, mut progress, read) = match hints.first_segment(host) {
            Ok(Some(first)) => first,
            Ok(None) => return (host, true),
            Err(error) => {
                tracing::warn!(target = %host, %error, "hints could not be read back, will be tried again");
                return (host, false);
            }
        };
        let mut joined = join(&core, read, progress.done.take());
        while !joined.is_empty() {
            if hints.is_paused_for(host) {
                return (host, false);
            }
            let mut batch = take_batch(&mut joined);
            drop_old(&core, &mut batch);
            let started = core.runtime.mono();
            let Some(sent) = send(&core, host, &batch).await else { return (host, false) };
            for ((_, joined), moved) in batch.iter().zip(sent.moved) {
                progress.gc_grace += joined.gc_grace;
                progress.table += joined.table;
                let done = joined.count - joined.gc_grace - joined.table;
                *(if moved { &mut progress.moved } else { &mut progress.delivered }) += done;
            }
            progress.done = batch.last().map(|(place, _)| place.clone());
            hints.set_progress(host, number, &progress);
            core.runtime.event("hints_delivered", host.short(), batch.len() as u64);
            hints.set_rate(host, sent.rate_bytes);
            if let Some(rate) = sent.rate_bytes {
                let whole = Duration::from_micros(sent.bytes.saturating_mul(1_000_000) / rate.max(1));
                core.runtime.sleep(whole.saturating_sub(core.runtime.mono().since(started))).await;
            }
        }
        hints.remove_segment(host, number, &progress);
    }
}

/// The hints after that place, one for each key. Those too old, or of no table any more, are counted only.
fn join(core: &Core, hints: Vec<Hint>, after: Option<Place>) -> BTreeMap<Place, Joined> {
    let view = core.views.load();
    let mut all: BTreeMap<Place, Joined> = BTreeMap::new();
    for hint in hints {
        let place = (hint.table, hint.token, hint.key.clone());
        if after.as_ref().is_some_and(|after| place <= *after) {
            continue;
        }
        let joined = all.entry(place).or_insert(Joined { hint: None, count: 0, gc_grace: 0, table: 0 });
        joined.count += 1;
        if view.table(hint.table).is_none() {
            joined.table += 1;
        } else if is_too_old(core, &view, &hint) {
            joined.gc_grace += 1;
        } else if let Some(whole) = &mut joined.hint {
            whole.created = whole.created.min(hint.created);
            whole.record.merge(&hint.record);
        } else {
            joined.hint = Some(hint);
        }
    }
    all
}

/// A value in it may have been deleted since it was written, and the deletion forgotten.
fn is_too_old(core: &Core, view: &View, hint: &Hint) -> bool {
    let grace_s = view.table(hint.table).map_or(0, |table| table.def.gc_grace_s);
    let oldest = match &hint.record {
        Record::Siblings(set) => set.values().iter().map(|(_, value)| value.written).min(),
        Record::Latest(_) => None,
    };
    let since = oldest.unwrap_or(hint.created).min(hint.created);
    core.runtime.wall().0.saturating_sub(since.0) > u64::from(grace_s).saturating_mul(1_000_000)
}

/// Some became too old while others were sent.
fn drop_old(core: &Core, batch: &mut [(Place, Joined)]) {
    let view = core.views.load();
    for (_, joined) in batch {
        if joined.hint.take_if(|hint| is_too_old(core, &view, hint)).is_some() {
            joined.gc_grace = joined.count - joined.table;
        }
    }
}

fn take_batch(joined: &mut BTreeMap<Place, Joined>) -> Vec<(Place, Joined)> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(entry) = joined.first_entry() {
        bytes += entry.get().hint.as_ref().map_or(0, |hint| weight(&hint.key, &hint.record));
        if batch.len() == HINTS_MAX || (bytes > HINTS_BYTES_MAX && !batch.is_empty()) {
            break;
        }
        batch.push(entry.remove_entry());
    }
    batch
}

/// What became of a batch, all of which is done.
struct Sent {
    /// For each, whether another node keeps it now.
    moved: Vec<bool>,
    bytes: u64,
    rate_bytes: Option<u64>,
}

/// Sends a batch wherever its hints have to go; `None` if a part of it has to be tried again.
async fn send(core: &Core, host: HostId, batch: &[(Place, Joined)]) -> Option<Sent> {
    let view = core.views.load();
    let mut sent = Sent { moved: vec![false; batch.len()], bytes: 0, rate_bytes: None };
    let is_up = view.is_alive(host) || !view.peers.contains_key(&host);
    let (mut direct, mut apart) = (Vec::new(), Vec::new());
    for (index, (_, joined)) in batch.iter().enumerate() {
        let (Some(hint), Some(table)) =
            (&joined.hint, joined.hint.as_ref().and_then(|h| view.table(h.table)))
        else {
            continue;
        };
        match route(&view, table, hint, host) {
            Route::Direct => direct.push(hint.clone()),
            Route::Owners(_) if !is_up => apart.push((index, hint)),
            Route::Owners(owners) => {
                sent.bytes += weight(&hint.key, &hint.record);
                give_to_owners(core, &view, hint, &owners).await?;
            }
        }
    }
    if !direct.is_empty() && !core.planted(PlantedBug::HintsForgotten) {
        sent.bytes += direct.iter().map(|hint| weight(&hint.key, &hint.record)).sum::<u64>();
        let answer = call(core, &view, host, HintsPurpose::Deliver, direct).await?;
        if answer.fates.iter().any(|fate| *fate != HintFate::Taken) {
            return None;
        }
        sent.rate_bytes = Some(answer.rate_bytes);
    }
    if !apart.is_empty() {
        if !leaves(&view) {
            return None;
        }
        let hints: Vec<Hint> = apart.iter().map(|(_, hint)| (*hint).clone()).collect();
        sent.bytes += hints.iter().map(|hint| weight(&hint.key, &hint.record)).sum::<u64>();
        sent.rate_bytes = Some(move_elsewhere(core, &view, host, hints).await?);
        apart.iter().for_each(|(index, _)| sent.moved[*index] = true);
    }
    Some(sent)
}

/// Gives a hint to the owners of every active layout, to one of each at least.
async fn give_to_owners(
    core: &Core,
    view: &View,
    hint: &Hint,
    owners: &[smallvec::SmallVec<[HostId; 6]>],
) -> Option<()> {
    let hosts: BTreeSet<HostId> = owners.iter().flatten().copied().collect();
    let mut taken: BTreeSet<HostId> = BTreeSet::new();
    for host in hosts {
        let fates = call(core, view, host, HintsPurpose::Deliver, vec![hint.clone()]).await;
        if fates.is_some_and(|answer| answer.fates == [HintFate::Taken]) {
            taken.insert(host);
        }
    }
    let enough = |owners: &smallvec::SmallVec<[HostId; 6]>| owners.iter().any(|host| taken.contains(host));
    owners.iter().all(enough).then_some(())
}

/// This node leaves, and the target is down: another member keeps the hints. The rate it grants.
async fn move_elsewhere(core: &Core, view: &View, target: HostId, hints: Vec<Hint>) -> Option<u64> {
    let members = view.newest_layout()?.members.iter().map(|member| member.host);
    for keeper in members.filter(|host| *host != target && *host != core.me() && view.is_alive(*host)) {
        let answer = call(core, view, keeper, HintsPurpose::Move(target), hints.clone()).await;
        if let Some(answer) = answer.filter(|a| a.fates.iter().all(|fate| *fate == HintFate::Taken)) {
            core.runtime.event("hints_moved", target.short(), hints.len() as u64);
            return Some(answer.rate_bytes);
        }
    }
    None
}

/// Sends one message. What comes for this node itself is taken without one.
async fn call(
    core: &Core,
    view: &View,
    host: HostId,
    purpose: HintsPurpose,
    hints: Vec<Hint>,
) -> Option<HintsAnswer> {
    let count = hints.len();
    if host == core.me() {
        let mut fates = Vec::with_capacity(count);
        for Hint { table, token, key, record, .. } in hints {
            let merged = core.local.merge(table, token, key, record, Durability::Synced).await;
            fates.push(if merged.is_ok() { HintFate::Taken } else { HintFate::Failed });
        }
        return Some(HintsAnswer { fates, rate_bytes: core.hints.config.rate_bytes });
    }
    let peer = view.peers.get(&host)?;
    let request = Request::Hints(HintsRequest { purpose, hints });
    let body = Envelope { from: core.me(), fence: view.fence, request }.encode();
    match core.call(peer, Lane::Bulk, body, core.hints.config.timeout).await {
        Ok(Response::Hints(answer)) if answer.fates.len() == count => Some(answer),
        Ok(Response::Refused(Refusal::StaleLayout(stamp))) => {
            if stamp != view.fence.newest {
                core.views.report(host, stamp);
            }
            None
        }
        Ok(other) => {
            tracing::debug!(target = %host, ?other, "hints were not taken");
            None
        }
        Err(CallError::NotSent(outcome) | CallError::Unknown(outcome)) => {
            tracing::debug!(target = %host, outcome = outcome.name(), "hints were not delivered");
            None
        }
    }
}

/// Whether this node leaves the cluster, or has left it.
fn leaves(view: &View) -> bool {
    view.newest_layout().is_some_and(|newest| !newest.contains(view.me))
}

impl Hints {
    /// Targets with hints in files that are up, or no members any more (their hints go to the owners); all
    /// targets once this node leaves.
    fn deliverable(&self, view: &View) -> Vec<HostId> {
        if self.is_paused() || view.layouts.is_empty() {
            return Vec::new();
        }
        let leaves = leaves(view);
        let targets = self.targets.lock();
        let waiting = targets.iter().filter(|(_, target)| target.has_segments() && !target.paused);
        let hosts = waiting.map(|(host, _)| *host);
        hosts.filter(|host| leaves || view.is_alive(*host) || !view.peers.contains_key(host)).collect()
    }

    /// The oldest segment's number, how far its delivery is, and its hints. What is damaged is left out.
    fn first_segment(&self, host: HostId) -> std::io::Result<Option<(u64, Progress, Vec<Hint>)>> {
        let first = {
            // No write may be under way: it could go to this segment after it was read.
            let _writing = self.writing.lock();
            self.targets.lock().get_mut(&host).and_then(target::Target::first_segment)
        };
        let Some((number, progress)) = first else { return Ok(None) };
        Ok(Some((number, progress, target::read(&*self.fs, host, number)?)))
    }

    fn set_progress(&self, host: HostId, number: u64, progress: &Progress) {
        if let Some(target) = self.targets.lock().get_mut(&host) {
            target.set_progress(number, progress);
        }
    }

    fn set_rate(&self, host: HostId, rate_bytes: Option<u64>) {
        if let Some(target) = self.targets.lock().get_mut(&host) {
            target.rate_bytes = rate_bytes;
        }
    }

    fn remove_segment(&self, host: HostId, number: u64, progress: &Progress) {
        let _writing = self.writing.lock();
        if let Some(target) = self.targets.lock().get_mut(&host) {
            target.remove_first(&*self.fs, host, number, progress);
        }
    }
}
