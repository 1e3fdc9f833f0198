//! What is known of this node's copy of a token when a write is made on it.

use crate::core::Core;
use crate::view::{TableView, View};
use dunlin_types::{TableId, Token};
use std::sync::Arc;

/// Asked under the key's lock: the layouts may have changed since the request was let in.
pub(super) trait CopyFacts: Send + 'static {
    /// Whether the copy holds all that this incarnation wrote. (The store itself refuses a copy in doubt.)
    fn is_whole(&self) -> bool;

    /// Whether it is proved that nothing of this host's earlier incarnations is on its way any more.
    fn earlier_have_ended(&self) -> bool;
}

/// The node's own copy.
pub(super) struct OwnCopy {
    pub core: Arc<Core>,
    pub table: TableId,
    pub token: Token,
}

impl OwnCopy {
    /// Whether this incarnation has compared the vnode with every other owner: a start after a crash, and a loss,
    /// forget what was compared before.
    fn is_compared(&self, view: &View, table: &TableView) -> bool {
        let Some(layout) = view.newest_layout() else { return false };
        let owners = view.replicas(table, self.token).hosts;
        let peers = owners.into_iter().filter(|host| *host != self.core.me()).collect();
        let range = layout.range_of(layout.vnode_of(self.token));
        self.core.compared.repaired_at(self.table, range, &peers).is_ok()
    }
}

impl CopyFacts for OwnCopy {
    /// It owns the token in the layout that reads use, and has not given it away or lost anything of it in this
    /// incarnation, or was compared since.
    fn is_whole(&self) -> bool {
        let view = self.core.views.load();
        view.is_read_from(self.table, self.token, self.core.me())
            && (!self.core.gaps.meet(self.table, self.token)
                || view.table(self.table).is_some_and(|table| self.is_compared(&view, table)))
    }

    /// It was compared, and this incarnation is so old that no hint of earlier ones is delivered any more.
    fn earlier_have_ended(&self) -> bool {
        let view = self.core.views.load();
        let Some(table) = view.table(self.table) else { return false };
        let began_us = self.core.actor.generation.0.saturating_mul(1_000_000);
        let margin_us = self.core.config.repair.purge_margin.as_micros() as u64;
        let kept_us = u64::from(table.def.gc_grace_s) * 1_000_000 + margin_us;
        self.core.runtime.wall().0 > began_us.saturating_add(kept_us) && self.is_compared(&view, table)
    }
}
