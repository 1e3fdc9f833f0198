//! Where a hint goes: to its target if that owns the token in every active layout, and otherwise to owners of
//! each. A hint may be all there is of a write (level ANY), so it is delivered only when every active
//! layout has it; an owner that is about to lose the token alone would not do.

use super::segment::Hint;
use crate::view::{TableView, View};
use dunlin_types::HostId;
use smallvec::SmallVec;

/// See the module's comment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// To the target alone.
    Direct,
    /// For each of these lists, one at least of its hosts has to take it.
    Owners(Vec<SmallVec<[HostId; 6]>>),
}

/// The route of a hint for that target.
pub(super) fn route(view: &View, table: &TableView, hint: &Hint, target: HostId) -> Route {
    let placed = &table.keyspace.placed;
    let is_owner = |placed: &crate::view::Placed| placed.replicas(hint.token).contains(&target);
    if view.is_alive(target) && placed.iter().all(is_owner) {
        return Route::Direct;
    }
    let owners = placed.iter().map(|placed| {
        let alive = placed.replicas(hint.token).iter().filter(|host| view.is_alive(**host));
        alive.copied().collect()
    });
    Route::Owners(owners.collect())
}
