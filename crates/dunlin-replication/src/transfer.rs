//! Range transfer: a node that gained ranges in a new layout gets their data.
//!
//! What must hold afterwards: a quorum read under the new layout sees every write that was acknowledged
//! at QUORUM under the old one (the layout that reads still use).
//!
//! - Writes under both layouts reach this node by themselves. What has to be fetched are writes under
//!   the old layout alone. Such a write was acknowledged by a majority of the old owners.
//! - This node pulls from a majority of the old owners of each range (from all that are up, and from a
//!   majority at least), so one of those it pulls from acknowledged the write.
//! - That owner answers only when it knows the new layout ([`RepairRequest`]'s `layout`). From then on
//!   it acknowledges no write made in ignorance of it: a replica checks the sender's layout both before
//!   it joins a record and again before it acknowledges it. So the write was in its copy before it read
//!   its copy for the answer.
//! - A read quorum of the new layout holds either a node that pulled the range, or only old owners, and
//!   a quorum of those meets the write's quorum.
//! - LOCAL_QUORUM needs the same within this node's data centre, so a majority of the old owners there
//!   is pulled from as well. A write at a lower level has the same guarantee as before: any one copy of
//!   it that is pulled, or the next repair, brings it.
//! - A table that this node does not know yet cannot be pulled. Each owner therefore names its tables
//!   first, after it knows the new layout; a later table is written under the new layout only.
//!
//! A node that loses ranges hands over what it holds of them before it is in sync ([`crate::handover`]).
//!
//! The exchange is that of repair, pulling only, so that a transfer that was interrupted finds most
//! ranges equal and resumes cheaply. Thin as yet: owners are pulled from one after the other.

use crate::handover::{Handover, losses};
use crate::message::LayoutStamp;
use crate::repair::exchange::{Peer, RepairError, RepairOutcome};
use crate::repair::message::{Purpose, RepairRequest, RepairResponse};
use crate::repair::{Done, Repairer, With};
use crate::store::StoreError;
use crate::view::{Placed, TableView, View, stamp};
use dunlin_types::consistency::majority;
use dunlin_types::{HostId, TableId, Token, TokenRange};
use std::collections::{BTreeMap, BTreeSet};

/// Failures after which an owner that is up, and not needed for a majority, is done without.
const SPARE_TRIES_MAX: u32 = 3;

/// Why a transfer ended without its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The layout is not active any more.
    #[error("layout {0} is not active any more")]
    Superseded(u64),
    /// The own store takes no writes.
    #[error(transparent)]
    Store(StoreError),
}

/// How far a transfer is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TransferProgress {
    /// The layout.
    pub version: u64,
    /// Ranges to get, each counted once a table.
    pub ranges: u64,
    /// Of these, with enough owners pulled from.
    pub ranges_done: u64,
    /// What was received.
    pub outcome: RepairOutcome,
    /// Owners without which it cannot end, and those of which one has yet to take what this node loses.
    pub waiting_for: BTreeSet<HostId>,
}

/// A range of a table that this node gained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gain {
    /// The table.
    pub table: TableId,
    /// The range.
    pub range: TokenRange,
    /// Its owners under the layout that reads use.
    pub owners: Vec<HostId>,
    /// Those of them in this node's data centre.
    pub nearby: Vec<HostId>,
}

/// A range of a table with its owners under two layouts.
pub(crate) struct Shift {
    pub(crate) table: TableId,
    pub(crate) range: TokenRange,
    /// Under the layout that reads use.
    pub(crate) before: Vec<HostId>,
    /// Under the other one.
    pub(crate) after: Vec<HostId>,
}

/// Every vnode of every table, with its owners under the layout that reads use and under that one.
pub(crate) fn shifts(view: &View, layout: LayoutStamp) -> impl Iterator<Item = Shift> + '_ {
    let of_table = move |table: &'_ TableView| {
        let placed = &table.keyspace.placed;
        let new = placed.iter().find(|p| stamp(&p.layout) == layout)?;
        Some((table.def.id, placed.get(view.read)?.clone(), new.clone()))
    };
    view.tables().filter_map(of_table).flat_map(|(table, old, new)| {
        let ranges: Vec<TokenRange> = new.layout.vnodes.iter().map(|v| new.layout.range_of(v)).collect();
        ranges.into_iter().map(move |range| {
            let owners = |placed: &Placed| placed.replicas(range.first).to_vec();
            Shift { table, range, before: owners(&old), after: owners(&new) }
        })
    })
}

/// What this node gained between the layout that reads use and that one.
pub fn gains(view: &View, layout: LayoutStamp) -> Vec<Gain> {
    let near = |h: &HostId| view.peers.get(h).is_some_and(|p| p.data_center == view.data_center);
    shifts(view, layout)
        .filter(|shift| shift.after.contains(&view.me) && !shift.before.contains(&view.me))
        .map(|Shift { table, range, before: owners, .. }| {
            let nearby = owners.iter().copied().filter(near).collect();
            Gain { table, range, owners, nearby }
        })
        .collect()
}

/// Owners of which pulls are complete.
#[derive(Default)]
struct Pulled(BTreeSet<(TableId, Token, HostId)>);

impl Pulled {
    fn from(&self, gain: &Gain, owner: HostId) -> bool {
        self.0.contains(&(gain.table, gain.range.first, owner))
    }

    /// Owners of `among` that are still needed: none once a majority was pulled from. Owners that are
    /// lost for good, by an operator's word, cannot be asked; then all others have to do.
    fn needed(&self, gain: &Gain, among: &[HostId], lost: &BTreeSet<HostId>) -> Vec<HostId> {
        let there = among.iter().filter(|h| !lost.contains(*h));
        let (done, missing): (Vec<HostId>, Vec<HostId>) = there.copied().partition(|h| self.from(gain, *h));
        let required = majority(among.len()).min(done.len() + missing.len());
        if done.len() >= required { Vec::new() } else { missing }
    }

    fn missing(&self, gain: &Gain, lost: &BTreeSet<HostId>) -> BTreeSet<HostId> {
        let mut missing = self.needed(gain, &gain.owners, lost);
        if !gain.nearby.is_empty() {
            missing.extend(self.needed(gain, &gain.nearby, lost));
        }
        missing.into_iter().collect()
    }
}

/// Gets the data of every range that this node gained in that layout, from every old owner that is
/// up and from a majority of them at least, and hands over what it loses; waits for owners that are down
/// as long as it takes. `lost` are members being removed, whose data an operator has given up. Safe to
/// drop and to repeat.
///
/// When it ends well, the node may announce `sync` of that very layout. (There may be several of one version.)
pub async fn sync_layout(
    repairer: &Repairer,
    layout: LayoutStamp,
    lost: &BTreeSet<HostId>,
    progress: &(dyn Fn(&TransferProgress) + Send + Sync),
) -> Result<TransferProgress, TransferError> {
    let core = repairer.core();
    let version = layout.version;
    let mut pulled = Pulled::default();
    let mut handover = Handover::default();
    let mut failures: BTreeMap<HostId, u32> = BTreeMap::new();
    let mut state = TransferProgress { version, ..TransferProgress::default() };
    loop {
        let view = core.views.load();
        if !view.layouts.iter().any(|l| stamp(l) == layout) {
            return Err(TransferError::Superseded(version));
        }
        let gains = gains(&view, layout);
        let sources = sources(&gains, &view, lost);
        failures.retain(|host, _| sources.contains(host));
        for source in sources {
            let result =
                pull(repairer, &view, &gains, source, version, &mut pulled, &mut state, lost, progress).await;
            match result {
                Ok(()) => drop(failures.remove(&source)),
                Err(RepairError::Store(error @ (StoreError::ReadOnly(_) | StoreError::DiskFull(_)))) => {
                    return Err(TransferError::Store(error));
                }
                Err(error) => {
                    tracing::debug!(peer = %source, version, %error, "transfer did not end, will be tried again");
                    *failures.entry(source).or_default() += 1;
                }
            }
        }
        let losses = losses(&view, layout);
        handover.advance(repairer, &view, &losses, version).await;
        measure(&mut state, &gains, &pulled, lost);
        state.waiting_for.extend(handover.waiting_for(repairer, &losses));
        progress(&state);
        let spared = failures.values().all(|count| *count >= SPARE_TRIES_MAX);
        let unchanged = core.views.peek().fence.newest == view.fence.newest;
        if state.waiting_for.is_empty() && spared && unchanged {
            core.runtime.event("transfer_done", version, state.outcome.records_received);
            return Ok(state);
        }
        core.runtime.sleep(core.config.repair.retry_pause).await;
    }
}

/// Old owners that are up, in the order of their ids.
fn sources(gains: &[Gain], view: &View, lost: &BTreeSet<HostId>) -> BTreeSet<HostId> {
    let owners = gains.iter().flat_map(|g| &g.owners).copied();
    owners.filter(|h| view.is_alive(*h) && !lost.contains(h)).collect()
}

fn measure(state: &mut TransferProgress, gains: &[Gain], pulled: &Pulled, lost: &BTreeSet<HostId>) {
    let missing: Vec<BTreeSet<HostId>> = gains.iter().map(|g| pulled.missing(g, lost)).collect();
    state.ranges = gains.len() as u64;
    state.ranges_done = missing.iter().filter(|m| m.is_empty()).count() as u64;
    state.waiting_for = missing.into_iter().flatten().collect();
}

/// Pulls everything that one owner has and this node gained.
async fn pull(
    repairer: &Repairer,
    view: &View,
    gains: &[Gain],
    source: HostId,
    version: u64,
    pulled: &mut Pulled,
    state: &mut TransferProgress,
    lost: &BTreeSet<HostId>,
    progress: &(dyn Fn(&TransferProgress) + Send + Sync),
) -> Result<(), RepairError> {
    let todo = |g: &&Gain| g.owners.contains(&source) && !pulled.from(g, source);
    let todo: Vec<Gain> = gains.iter().filter(todo).cloned().collect();
    if todo.is_empty() {
        return Ok(());
    }
    let request = RepairRequest::Tables { layout: version };
    let RepairResponse::Tables(tables) = repairer.peer(source).ask(request).await? else {
        return Err(RepairError::Protocol("to Tables"));
    };
    if let Some(unknown) = tables.into_iter().find(|t| view.table(*t).is_none()) {
        return Err(RepairError::Store(StoreError::UnknownTable(unknown)));
    }
    let mut by_table: BTreeMap<TableId, Vec<TokenRange>> = BTreeMap::new();
    for gain in &todo {
        by_table.entry(gain.table).or_default().push(gain.range);
    }
    for (table, ranges) in by_table {
        let mut finished = |done: Done| {
            pulled.0.insert((table, done.range.first, source));
            state.outcome.add(done.outcome);
        };
        let with = With { table, host: source, layout: version, purpose: Purpose::Transfer };
        repairer.compare(with, &ranges, &mut finished).await?;
        measure(state, gains, pulled, lost);
        progress(state);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(i: u64) -> HostId {
        HostId::from_words(i, 0)
    }

    fn gain(owners: &[u64], nearby: &[u64]) -> Gain {
        let hosts = |ids: &[u64]| ids.iter().map(|i| host(*i)).collect();
        Gain { table: TableId(1), range: TokenRange::ALL, owners: hosts(owners), nearby: hosts(nearby) }
    }

    /// After pulls from `done`, with `lost` given up: who is waited for.
    fn check(gain: &Gain, done: &[u64], lost: &[u64], expected: &[u64]) {
        let pulled = Pulled(done.iter().map(|i| (gain.table, gain.range.first, host(*i))).collect());
        let lost: BTreeSet<HostId> = lost.iter().map(|i| host(*i)).collect();
        let expected: BTreeSet<HostId> = expected.iter().map(|i| host(*i)).collect();
        assert_eq!(pulled.missing(gain, &lost), expected, "done {done:?}, lost {lost:?}");
    }

    #[test]
    fn a_majority_of_the_old_owners_is_needed() {
        let three = gain(&[1, 2, 3], &[1, 2, 3]);
        check(&three, &[], &[], &[1, 2, 3]);
        check(&three, &[2], &[], &[1, 3]);
        check(&three, &[2, 3], &[], &[]);
        check(&gain(&[1], &[1]), &[], &[], &[1]);
        check(&gain(&[1, 2], &[1, 2]), &[1], &[], &[2]);
        check(&gain(&[], &[]), &[], &[], &[]);
    }

    #[test]
    fn and_one_of_those_nearby() {
        let two_centres = gain(&[1, 2, 3, 4, 5, 6], &[4, 5, 6]);
        check(&two_centres, &[1, 2, 3, 4], &[], &[5, 6]);
        check(&two_centres, &[1, 2, 4, 5], &[], &[]);
        check(&two_centres, &[4, 5], &[], &[1, 2, 3, 6]);
        check(&gain(&[1, 2, 3], &[]), &[1, 2], &[], &[]);
    }

    #[test]
    fn what_is_lost_is_not_waited_for() {
        let three = gain(&[1, 2, 3], &[1, 2, 3]);
        check(&three, &[], &[1], &[2, 3]);
        check(&three, &[2], &[1], &[3]);
        check(&three, &[3], &[1, 2], &[]);
        check(&three, &[], &[1, 2, 3], &[]);
    }
}
