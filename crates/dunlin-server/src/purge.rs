//! Lets compactions forget deletions and expired values, once it is proved that nothing they delete can come back.
//!
//! A deletion of a vnode may go when it is older than the table's `gc_grace` and a margin (so that no hint and no
//! message with what it deleted is on its way any more), and when every other owner was compared with since (see
//! `dunlin_replication::repair::compared`). The horizons are in `system/repaired`, durable before anything is
//! forgotten by them. The times of comparisons are there too, for the start after a stop in order; after a crash they
//! may claim more than still holds, and everything is compared anew.

use crate::membership::{Membership, persist};
use crate::store::{LocalStore, LostRanges, overlaps};
use dunlin_replication::repair::Repairer;
use dunlin_replication::repair::compared::{Compared, Proofs, VnodeProof};
use dunlin_replication::view::{TableView, View};
use dunlin_storage::PurgeRule;
use dunlin_storage::fs::Fs;
use dunlin_types::runtime::{PlantedBug, SharedRuntime};
use dunlin_types::{HostId, Micros, TableId, TokenRange};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = "system/repaired";
const HEAD: &str = "dunlin repaired 1\n";
/// Longest time between two looks at what may be forgotten by now,
const EVERY_MAX: Duration = Duration::from_secs(5);
/// and the shortest.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// Rest after each table.
const BETWEEN_TABLES: Duration = Duration::from_millis(1);
/// A vnode's horizon moves on in steps of this part of the time that a deletion is kept at least: each step is a
/// file to be synced. Part of the margin that passes between two looks.
const STEPS: u32 = 16;

/// See the module's comment.
pub(crate) struct Purge {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) runtime: SharedRuntime,
    pub(crate) membership: Arc<Membership>,
    pub(crate) store: Arc<dyn LocalStore>,
    pub(crate) lost: Arc<LostRanges>,
    pub(crate) repairer: Arc<Repairer>,
    /// Longest life of a message and largest error of clocks together.
    pub(crate) margin: Duration,
    /// Held while the engine is told, so that it hears of changes in their order.
    pub(crate) telling: Mutex<()>,
}

/// A vnode of a table that this node owns, and the other owners.
pub(crate) struct Owned {
    pub(crate) range: TokenRange,
    pub(crate) peers: BTreeSet<HostId>,
}

/// The vnodes of a table that this node owns under any active layout.
pub(crate) fn owned(view: &View, table: &TableView) -> Vec<Owned> {
    let Some(layout) = view.newest_layout() else { return Vec::new() };
    let ranges = layout.vnodes.iter().map(|vnode| layout.range_of(vnode));
    let mine = ranges.filter(|range| view.owns(table, range.first, view.me));
    mine.map(|range| {
        let owners = view.replicas(table, range.first).hosts;
        Owned { range, peers: owners.into_iter().filter(|host| *host != view.me).collect() }
    })
    .collect()
}

impl Purge {
    /// Takes in what the last run saved; `clean` if it ended in order. A file that cannot be used is as none.
    pub(crate) fn load(fs: &dyn Fs, compared: &Compared, clean: bool) {
        let proofs = persist::read(fs, FILE, HEAD).and_then(|bytes| match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            None => Ok(Proofs::new()),
        });
        match proofs {
            Ok(mut proofs) => {
                // The times go back in memory only: what the file says of them must not be met by a later start.
                if !clean || save(fs, without_times(proofs.clone())).is_err() {
                    proofs = without_times(proofs);
                }
                compared.restore(proofs);
            }
            Err(error) => {
                tracing::warn!(%error, "{FILE} cannot be read: deletions are kept until all is compared anew")
            }
        }
    }

    fn compared(&self) -> &Arc<Compared> {
        self.repairer.compared()
    }

    pub(crate) async fn run(self: Arc<Self>) {
        let told = Arc::downgrade(&self);
        self.compared().on_lowered(Box::new(move |table| {
            if let Some(purge) = told.upgrade() {
                purge.tell(table);
            }
        }));
        loop {
            self.runtime.sleep((self.margin / STEPS).clamp(EVERY_MIN, EVERY_MAX)).await;
            let view = self.membership.views().load();
            // Before the cluster is known nothing is owned, and nothing to be dropped for it.
            if view.newest_layout().is_some() && view.tables().next().is_some() {
                self.drop_unowned(&view);
                self.look(&view).await;
            }
        }
    }

    fn drop_unowned(&self, view: &View) {
        let wanted = |table: TableId, range: TokenRange| {
            view.table(table).is_some_and(|t| view.owns(t, range.first, view.me))
        };
        self.compared().retain(wanted);
        self.repairer.retain_trees(wanted);
    }

    /// Moves on what may be forgotten.
    async fn look(&self, view: &View) {
        let now = self.runtime.wall();
        if self.runtime.planted(PlantedBug::PurgedEarly) {
            return self.forget_early(view, now);
        }
        let lost = self.lost.all();
        let mut steps: Vec<(TableId, Owned, Micros)> = Vec::new();
        for table in view.tables() {
            let id = table.def.id;
            let kept_us = u64::from(table.def.gc_grace_s) * 1_000_000 + self.margin.as_micros() as u64;
            let of_age = Micros(now.0.saturating_sub(kept_us));
            for vnode in owned(view, table) {
                let doubtful = lost.get(&id).is_some_and(|ranges| overlaps(ranges, vnode.range));
                let Ok(proved) = self.compared().repaired_at(id, vnode.range, &vnode.peers) else { continue };
                let before = of_age.min(proved);
                let step = self.compared().allowed_before(id, vnode.range).0 + kept_us / u64::from(STEPS);
                if !doubtful && before.0 >= step.max(1) {
                    steps.push((id, vnode, before));
                }
            }
            // A ring may have many vnodes, and clients wait for this thread.
            self.runtime.sleep(BETWEEN_TABLES).await;
        }
        let tables: BTreeSet<TableId> = steps.iter().map(|(table, ..)| *table).collect();
        let farther = |(table, vnode, before): &(TableId, Owned, Micros)| {
            *before > self.compared().horizon(*table, vnode.range)
        };
        if steps.iter().any(farther)
            && let Err(error) = self.save_with(&steps)
        {
            tracing::warn!(%error, "{FILE} cannot be written: deletions are kept");
            return;
        }
        for (table, vnode, before) in steps {
            self.compared().allow(table, vnode.range, &vnode.peers, before);
            self.runtime.event("purge_allowed", vnode.range.first.0, before.0);
        }
        tables.into_iter().for_each(|table| self.tell(table));
    }

    /// What [`PlantedBug::PurgedEarly`] does.
    fn forget_early(&self, view: &View, now: Micros) {
        for table in view.tables() {
            let before = Micros(now.0.saturating_sub(u64::from(table.def.gc_grace_s) * 1_000_000));
            if let Some(rule) = PurgeRule::new(now, [(TokenRange::ALL, before)]) {
                let _ = self.store.engine().set_purge(table.def.id, rule);
            }
        }
    }

    /// Tells the engine what may be forgotten of a table.
    fn tell(&self, table: TableId) {
        let _telling = self.telling.lock();
        let allowed = self.compared().allowed(table);
        let Some(rule) = PurgeRule::new(self.runtime.wall(), allowed) else {
            tracing::error!(%table, "vnodes overlap: nothing is forgotten");
            return;
        };
        // A table that was dropped meanwhile needs no rule.
        let _ = self.store.engine().set_purge(table, rule);
    }

    /// Saves what is noted, with the horizons that are about to be.
    fn save_with(&self, steps: &[(TableId, Owned, Micros)]) -> io::Result<()> {
        let mut proofs = without_times(self.compared().proofs());
        for (table, vnode, before) in steps {
            let of_table = proofs.entry(*table).or_default();
            match of_table.iter_mut().find(|proof| proof.range == vnode.range) {
                Some(proof) => proof.horizon = proof.horizon.max(*before),
                None => of_table.push(VnodeProof { range: vnode.range, with: Vec::new(), horizon: *before }),
            }
        }
        save(&*self.fs, proofs)
    }

    /// Saves all that is noted, at a stop in order: no write may come after.
    pub(crate) fn save(&self) -> io::Result<()> {
        save(&*self.fs, self.compared().proofs())
    }
}

fn save(fs: &dyn Fs, proofs: Proofs) -> io::Result<()> {
    let bytes = serde_json::to_vec(&proofs).expect("plain values are always JSON");
    persist::write(fs, FILE, HEAD, &bytes)
}

/// Horizons alone.
fn without_times(mut proofs: Proofs) -> Proofs {
    proofs.values_mut().flatten().for_each(|proof| proof.with.clear());
    proofs
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_replication::repair::compared::{ExchangeId, Side};
    use dunlin_storage::fs::{MemFs, create_dirs};
    use dunlin_types::Token;

    #[test]
    fn times_of_comparisons_are_good_for_one_start_after_a_stop_in_order() {
        let fs = MemFs::new();
        create_dirs(&fs, "system").unwrap();
        let (table, range) = (TableId(1), TokenRange { first: Token(0), last: Token(9) });
        let peers: BTreeSet<HostId> = [HostId([2; 16])].into();
        let before = Compared::default();
        let exchange = ExchangeId { peer: HostId([2; 16]), side: Side::Asker, number: 1 };
        before.begin(table, range, exchange, Micros(100));
        before.ended(table, range, exchange);
        before.allow(table, range, &peers, Micros(50));
        save(&fs, before.proofs()).unwrap();
        for (clean, proved) in [(true, true), (true, false), (false, false)] {
            let compared = Compared::default();
            Purge::load(&fs, &compared, clean);
            assert_eq!(compared.repaired_at(table, range, &peers).is_ok(), proved);
            assert_eq!(compared.horizon(table, range), Micros(50));
        }
        save(&fs, before.proofs()).unwrap();
        let compared = Compared::default();
        Purge::load(&fs, &compared, false);
        assert!(compared.repaired_at(table, range, &peers).is_err(), "after a crash");
    }
}
