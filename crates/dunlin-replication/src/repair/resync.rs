//! Getting back what a copy lost, without bringing back what was deleted.
//!
//! A copy that lost synced data (damage, a snapshot that was put back, an old copy of a range that is owned again) may
//! lack deletions and still have what they deleted, and the other replicas may have forgotten those deletions. So it
//! gives nothing away (see [`super::respond`]) before it has
//!
//! 1. taken everything that every other owner has, and
//! 2. deleted what *all* of them lack, if it was written before the purge horizon of one of them: that one was compared
//!    with this copy since it was written, so it held it or its deletion, and what it has not now was deleted.
//!
//! Owners that lost data themselves give what they have to such a copy, but what they lack says nothing. In a
//! last_write_wins table, where `USING TIMESTAMP` may write into the past, nothing that such an owner has is deleted.
//!
//! What was found to be deleted is covered by a deletion as old as itself: it travels nowhere, a write that came
//! meanwhile stands, and it is forgotten like any other.

use super::exchange::{LACKING_MAX, RepairError, RepairOutcome};
use super::message::Purpose;
use super::read::Place;
use super::schedule::co_replicas;
use super::{Done, Repairer, With};
use crate::store::Durability;
use dunlin_types::record::{Latest, SiblingSet};
use dunlin_types::{Dot, HostId, Micros, Record, TableId, Token, TokenRange, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// What a resync did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ResyncOutcome {
    /// Other owners that it was compared with.
    pub peers: u64,
    /// What was received.
    pub outcome: RepairOutcome,
    /// Records that had been deleted elsewhere and are deleted again here.
    pub deleted: u64,
    /// More than could be kept in mind may have to be deleted again: the same once more finds the rest.
    pub cut: bool,
}

/// Times that all owners are asked at most, so that the last time nothing new comes from any of them.
const PASSES_MAX: usize = 4;

/// What the other owners say of a range.
#[derive(Default)]
struct Verdict {
    /// What all that are sure of their data lack; `None`: none of them was asked yet.
    lacking: Option<BTreeSet<Place>>,
    /// What owners that lost data themselves lack, all of them; `None`: there is none.
    lacking_in_doubt: Option<BTreeSet<Place>>,
    /// The latest purge horizon of those that are sure.
    purged: Micros,
}

impl Verdict {
    fn add(&mut self, done: Done) {
        let lacking: BTreeSet<Place> = done.lacking.into_iter().collect();
        let all = if done.doubtful { &mut self.lacking_in_doubt } else { &mut self.lacking };
        *all = Some(match all.take() {
            None => lacking,
            Some(before) => before.intersection(&lacking).cloned().collect(),
        });
        if !done.doubtful {
            self.purged = self.purged.max(done.purged);
        }
    }

    /// What was deleted elsewhere, if its age says so too, and whether no copy at all has it.
    fn deleted(self) -> impl Iterator<Item = (Place, bool)> {
        let nowhere =
            move |place: &Place| self.lacking_in_doubt.as_ref().is_none_or(|all| all.contains(place));
        self.lacking.into_iter().flatten().map(move |place| {
            let nowhere = nowhere(&place);
            (place, nowhere)
        })
    }
}

impl Repairer {
    /// Gets back the vnodes of a table that meet these ranges, from all their other owners: see the module's comment.
    /// Afterwards the copy is as good as any. Error: an owner is down, or something failed; nothing is settled
    /// then, and the whole may be repeated.
    pub async fn resync(&self, table: TableId, lost: &[TokenRange]) -> Result<ResyncOutcome, RepairError> {
        let _turn = self.exchanges.acquire().await.expect("the semaphore is never closed");
        let view = self.core.views.load();
        let mut shared = view.table(table).map(|t| co_replicas(&view, t)).unwrap_or_default();
        let meets = |range: &TokenRange| lost.iter().any(|l| l.first <= range.last && range.first <= l.last);
        shared.values_mut().for_each(|ranges| ranges.retain(meets));
        // What only a node had that an operator takes out is given up; the layout without it may wait for this copy.
        let removed = |host: &HostId| view.layouts.iter().any(|layout| layout.removed.contains(host));
        shared.retain(|host, ranges| !ranges.is_empty() && !removed(host));
        let mut result = ResyncOutcome { peers: shared.len() as u64, ..ResyncOutcome::default() };
        let mut verdicts: BTreeMap<Token, Verdict> = BTreeMap::new();
        // What the last owner gave, the first one was not asked about.
        for _ in 0..PASSES_MAX {
            verdicts.clear();
            let before = result.outcome.records_received;
            for (host, ranges) in &shared {
                self.take_from(table, *host, ranges, &mut verdicts, &mut result).await?;
            }
            if result.outcome.records_received == before {
                break;
            }
        }
        for verdict in verdicts.into_values() {
            let purged = verdict.purged;
            for (place, nowhere) in verdict.deleted() {
                result.deleted += u64::from(self.delete_again(table, place, purged, nowhere).await?);
            }
        }
        if result.deleted > 0 {
            self.core.runtime.event("resync_deleted", table.0, result.deleted);
        }
        Ok(result)
    }

    async fn take_from(
        &self,
        table: TableId,
        host: HostId,
        ranges: &[TokenRange],
        verdicts: &mut BTreeMap<Token, Verdict>,
        result: &mut ResyncOutcome,
    ) -> Result<(), RepairError> {
        let with = With { table, host, layout: 0, purpose: Purpose::Resync };
        let mut finished = |done: Done| {
            result.outcome.add(done.outcome);
            result.cut |= done.lacking.len() >= LACKING_MAX;
            verdicts.entry(done.range.first).or_default().add(done);
        };
        self.compare(with, ranges, &mut finished).await.map(drop)
    }

    /// Covers a record by a deletion as old as itself, if all of it was written before the horizon. Whether it was.
    /// The time of a last_write_wins record is its client's to say: one that any copy has (not `nowhere`) stays.
    async fn delete_again(
        &self,
        table: TableId,
        (token, key): Place,
        purged: Micros,
        nowhere: bool,
    ) -> Result<bool, RepairError> {
        let local = &self.core.local;
        let Some(mut record) = local.store.get(table, token, key.clone()).await? else { return Ok(false) };
        let written = record.written_max();
        let dated_by_client = matches!(record, Record::Latest(_));
        if written >= purged || written == Micros(0) || record.is_tombstone() || (dated_by_client && !nowhere)
        {
            return Ok(false);
        }
        let deletion = Value { written, expires: None, data: None };
        match &mut record {
            Record::Latest(latest) => *latest = Latest { host: latest.host, value: deletion },
            // This copy may lack writes that its own incarnation has coordinated: the deletion has seen what is here
            // and nothing more.
            Record::Siblings(set) => {
                let counter = self.core.dots.fetch_add(1, Ordering::Relaxed) + 1;
                *set = SiblingSet::detached(set.seen(), Dot { actor: self.core.actor, counter }, deletion);
            }
        }
        local.merge(table, token, key, record, Durability::Synced).await?;
        Ok(true)
    }
}
