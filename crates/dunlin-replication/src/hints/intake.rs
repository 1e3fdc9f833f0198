//! The receiving side: takes hints of other nodes, and says how fast they may come.

use super::message::{HINTS_MAX, HintFate, HintsAnswer, HintsPurpose, HintsRequest};
use super::segment::Hint;
use super::{Hints, Kept};
use crate::core::Core;
use crate::foreground::Foreground;
use crate::message::{Fence, Refusal};
use crate::store::{Durability, StoreError};
use crate::view::View;
use dunlin_types::{HostId, Mono};
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// A sender that was silent for so long no longer has a share.
const SENDER_FORGOTTEN: Duration = Duration::from_secs(2);
/// With each so many client requests at work the grant is halved, at most [`HALVINGS_MAX`] times.
const REQUESTS_A_HALVING: u64 = 32;
const HALVINGS_MAX: u64 = 5;
/// The least that is granted, bytes a second: delivery never stops altogether.
const RATE_MIN: u64 = 64 << 10;

/// Shares what this node takes in among those that deliver to it.
#[derive(Debug, Default)]
pub(super) struct Intake {
    senders: Mutex<BTreeMap<HostId, Mono>>,
}

impl Intake {
    /// What a sender may send, bytes a second: an equal share, less the busier clients keep this node.
    fn grant(&self, from: HostId, now: Mono, whole: u64, foreground: &Foreground) -> u64 {
        let mut senders = self.senders.lock();
        senders.retain(|_, last| now.since(*last) < SENDER_FORGOTTEN);
        senders.insert(from, now);
        let halvings = (foreground.at_work() / REQUESTS_A_HALVING).min(HALVINGS_MAX);
        ((whole / senders.len() as u64) >> halvings).max(RATE_MIN)
    }
}

impl Hints {
    /// Takes hints that another node sends.
    pub(crate) async fn take(
        &self,
        core: &Core,
        from: HostId,
        fence: Fence,
        request: HintsRequest,
    ) -> Result<HintsAnswer, Refusal> {
        if request.hints.len() > HINTS_MAX {
            return Err(Refusal::Malformed);
        }
        if request.purpose == HintsPurpose::Deliver && core.local.store.takes_client_writes().is_err() {
            // They were writes of clients; their sender keeps them until there is room.
            return Err(Refusal::DiskFull);
        }
        let fates = match request.purpose {
            HintsPurpose::Deliver => join_own(core, from, fence, request.hints).await?,
            HintsPurpose::StandIn(target) => self.keep_all(target, request.hints, true).await,
            HintsPurpose::Move(target) => self.keep_all(target, request.hints, false).await,
        };
        let now = core.runtime.mono();
        let rate_bytes = self.intake.grant(from, now, self.config.rate_bytes, &core.foreground);
        Ok(HintsAnswer { fates, rate_bytes })
    }

    async fn keep_all(&self, target: HostId, hints: Vec<Hint>, fresh: bool) -> Vec<HintFate> {
        let kept = self.keep_synced(target, hints, fresh).await;
        let fate = |kept| match kept {
            Kept::Durable => HintFate::Taken,
            Kept::Nowhere => HintFate::Refused,
            Kept::Unsure => HintFate::Failed,
        };
        kept.into_iter().map(fate).collect()
    }
}

/// Joins hints into the own copy. As for a write, nothing is acknowledged that a newer layout overtook:
/// its owners may have read this copy already (see `transfer`).
async fn join_own(
    core: &Core,
    from: HostId,
    fence: Fence,
    hints: Vec<Hint>,
) -> Result<Vec<HintFate>, Refusal> {
    let view = core.views.load();
    check_fence(core, &view, from, fence)?;
    let view_here = &view;
    let joins = hints.into_iter().map(|hint| async move {
        let Hint { table, token, key, record, .. } = hint;
        match view_here.table(table) {
            None => return HintFate::UnknownTable,
            Some(table) if !view_here.owns(table, token, core.me()) => return HintFate::NotOwner,
            Some(_) => {}
        }
        match core.local.merge(table, token, key, record, Durability::Synced).await {
            Ok(()) => HintFate::Taken,
            Err(StoreError::UnknownTable(_)) => HintFate::UnknownTable,
            Err(_) => HintFate::Failed,
        }
    });
    let fates = join_all(joins).await;
    let now = core.views.load();
    if now.fence.newest != view.fence.newest {
        check_fence(core, &now, from, fence)?;
    }
    Ok(fates)
}

/// Hints go to the owners of every layout that their sender knows; one that knows fewer has to learn first.
fn check_fence(core: &Core, view: &View, from: HostId, fence: Fence) -> Result<(), Refusal> {
    let mine = view.fence.newest;
    if fence.newest.version > mine.version {
        core.views.report(from, fence.newest);
    } else if fence.newest != mine {
        return Err(Refusal::StaleLayout(mine));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_share_and_clients_come_first() {
        let intake = Intake::default();
        let idle = Foreground::default();
        let (a, b) = (HostId([1; 16]), HostId([2; 16]));
        let at = |ms: u64| Mono(ms * 1_000_000);
        assert_eq!(intake.grant(a, at(0), 8 << 20, &idle), 8 << 20);
        assert_eq!(intake.grant(b, at(10), 8 << 20, &idle), 4 << 20);
        assert_eq!(intake.grant(a, at(20), 8 << 20, &idle), 4 << 20);
        assert_eq!(intake.grant(b, at(2500), 8 << 20, &idle), 8 << 20, "a was silent");
        assert_eq!(intake.grant(b, at(2600), 0, &idle), RATE_MIN);
    }
}
