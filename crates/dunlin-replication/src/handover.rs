//! Handing over: what a node holds of ranges that it loses in a new layout goes to an owner under it.
//!
//! A write at ONE may be on one copy alone. A new owner pulls from a majority of the old ones
//! ([`crate::transfer`]), which need not have that copy; and once the old layout retires, nobody compares it any more. So
//! a node that loses a range compares it, while it still owns it, with one owner of the new layout and sends
//! what that one lacks. An owner that stays is taken first: its copy is mostly equal. The layout could not
//! have become complete without this node's word in any case.
//!
//! Nothing that only this copy holds can be added to it afterwards: since it knows the layout it refuses
//! writes and hints made in ignorance of it, and others go to the owners of both.

use crate::message::LayoutStamp;
use crate::repair::exchange::RepairError;
use crate::repair::message::Purpose;
use crate::repair::{Done, Repairer, With};
use crate::transfer::{Shift, shifts};
use crate::view::View;
use dunlin_types::{HostId, TableId, Token, TokenRange};
use std::collections::{BTreeMap, BTreeSet};

/// A range of a table that this node loses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// The table.
    pub table: TableId,
    /// The range.
    pub range: TokenRange,
    /// Its owners under the new layout, those that own it already first.
    pub heirs: Vec<HostId>,
}

/// What this node loses between the layout that reads use and that one.
pub fn losses(view: &View, layout: LayoutStamp) -> Vec<Loss> {
    shifts(view, layout)
        .filter(|shift| shift.before.contains(&view.me) && !shift.after.contains(&view.me))
        .map(|Shift { table, range, before, after: mut heirs }| {
            heirs.sort_by_key(|heir| !before.contains(heir));
            Loss { table, range, heirs }
        })
        .collect()
}

/// How far the handing over for one layout is.
#[derive(Default)]
pub(crate) struct Handover {
    done: BTreeSet<(TableId, Token)>,
    failures: BTreeMap<HostId, u32>,
}

impl Handover {
    /// Hands over what is left to hand over, as far as owners are up. The first failure with an owner
    /// ends its part; the next call asks whichever owner failed least.
    pub(crate) async fn advance(&mut self, repairer: &Repairer, view: &View, losses: &[Loss], version: u64) {
        let mut work: BTreeMap<(HostId, TableId), Vec<TokenRange>> = BTreeMap::new();
        for loss in losses.iter().filter(|loss| !self.is_done(repairer, loss)) {
            let alive = loss.heirs.iter().filter(|heir| view.is_alive(**heir));
            if let Some(heir) = alive.min_by_key(|heir| self.failures.get(heir)) {
                work.entry((*heir, loss.table)).or_default().push(loss.range);
            }
        }
        for ((heir, table), ranges) in work {
            if let Err(error) = self.send(repairer, table, &ranges, heir, version).await {
                tracing::debug!(peer = %heir, version, %error, "handing over did not end, will be tried again");
                *self.failures.entry(heir).or_default() += 1;
            }
        }
    }

    async fn send(
        &mut self,
        repairer: &Repairer,
        table: TableId,
        ranges: &[TokenRange],
        heir: HostId,
        version: u64,
    ) -> Result<(), RepairError> {
        let mut finished = |done: Done| {
            self.done.insert((table, done.range.first));
        };
        let with = With { table, host: heir, layout: version, purpose: Purpose::Handover };
        let outcome = repairer.compare(with, ranges, &mut finished).await?.outcome;
        if outcome.records_sent > 0 {
            repairer.core().runtime.event("handed_over", version, outcome.records_sent);
        }
        Ok(())
    }

    /// A copy that lost data is given to nobody: it may lack the deletion of what it still has.
    fn is_done(&self, repairer: &Repairer, loss: &Loss) -> bool {
        self.done.contains(&(loss.table, loss.range.first))
            || repairer.core().local.store.serves(loss.table, loss.range).is_err()
    }

    /// Owners of which one is still waited for.
    pub(crate) fn waiting_for(&self, repairer: &Repairer, losses: &[Loss]) -> BTreeSet<HostId> {
        let left = losses.iter().filter(|loss| !self.is_done(repairer, loss));
        left.flat_map(|loss| loss.heirs.iter().copied()).collect()
    }
}
