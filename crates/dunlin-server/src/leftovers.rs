//! Data of ranges that this node does not own any more: removed in the background, and never taken for good when it owns
//! such a range again.
//!
//! An old copy may have what was deleted elsewhere since. So ranges that no active layout gives to this node are emptied as soon
//! as layouts are settled; a range that is gained before it was found empty, and is not, counts as lost: it is compared
//! with every other owner before it is used (see [`crate::resync`]). What the node has owned all along is in
//! `system/held`, so that this holds over restarts. A transfer of a layout that was given up leaves such data too.
//!
//! One task follows the layouts, at once; another one removes, which may wait behind other long work.

use crate::identity::Identity;
use crate::membership::{Membership, persist};
use crate::purge::owned;
use crate::store::{LocalStore, LostRanges};
use dunlin_replication::repair::Repairer;
use dunlin_replication::view::{View, Views};
use dunlin_storage::fs::Fs;
use dunlin_storage::{Engine, EngineError};
use dunlin_types::runtime::SharedRuntime;
use dunlin_types::{TableId, Token, TokenRange};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = "system/held";
const HEAD: &str = "dunlin held 1\n";
/// How often it is looked whether there is anything to remove, or what failed is tried again.
const EVERY: Duration = Duration::from_secs(1);

/// By table, ranges in order, none of which touch.
type Held = BTreeMap<TableId, Vec<TokenRange>>;

/// The task; see the module's comment.
pub(crate) struct Leftovers {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) runtime: SharedRuntime,
    pub(crate) membership: Arc<Membership>,
    pub(crate) store: Arc<dyn LocalStore>,
    pub(crate) lost: Arc<LostRanges>,
    pub(crate) repairer: Arc<Repairer>,
    pub(crate) identity: Arc<Identity>,
}

/// What both tasks know.
#[derive(Default)]
struct Known {
    /// Tables that hold nothing but what is owned.
    empty: BTreeSet<TableId>,
    /// The view taken in last.
    followed: Option<Arc<View>>,
}

impl Leftovers {
    pub(crate) async fn run(self) {
        let known = Mutex::new(Known::default());
        futures::future::join(self.follow_layouts(&known), self.remove(&known)).await;
    }

    async fn follow_layouts(&self, known: &Mutex<Known>) {
        // Without the file everything that the node owns now counts as owned all along: it is new, or older than
        // the file.
        let mut held = self.load();
        let mut failed = false;
        loop {
            let followed = known.lock().followed.clone();
            let changed = |view: &View| {
                let old = followed.as_ref();
                failed
                    || old.is_none_or(|old| view.supersedes(old) || !Arc::ptr_eq(&view.schema, &old.schema))
            };
            if failed {
                self.runtime.sleep(EVERY).await;
            }
            let view = self.membership.views().wait_until(changed).await;
            failed = false;
            // Before the cluster and its schema are known nothing is known to be owned or not. A node that is out of the
            // cluster, for now or for good, owns nothing; it keeps its data, which is an old copy should it come back.
            if view.newest_layout().is_some()
                && view.tables().next().is_some()
                && let Err(error) = self.follow(&view, &mut held, &mut known.lock().empty)
            {
                tracing::warn!(%error, "{FILE} cannot be written, will be tried again");
                failed = true;
                continue;
            }
            known.lock().followed = Some(view);
        }
    }

    async fn remove(&self, known: &Mutex<Known>) {
        loop {
            self.runtime.sleep(EVERY).await;
            let followed = known.lock().followed.clone();
            let member = |view: &Arc<View>| view.layouts.iter().any(|layout| layout.contains(view.me));
            if let Some(view) = followed.filter(member) {
                self.clean(&view, known).await;
            }
        }
    }

    fn load(&self) -> Held {
        let held = persist::read(&*self.fs, FILE, HEAD).and_then(|bytes| match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            None => Ok(Held::new()),
        });
        held.unwrap_or_else(|error| {
            tracing::warn!(%error, "{FILE} cannot be read: it is not known which ranges are old copies");
            Held::new()
        })
    }

    /// Takes in which ranges are owned now. Of those gained, what may be an old copy counts as lost first.
    fn follow(&self, view: &View, held: &mut Held, empty: &mut BTreeSet<TableId>) -> io::Result<()> {
        let mut next = Held::new();
        for table in view.tables() {
            let id = table.def.id;
            let owned = owned_runs(view, id).unwrap_or_default();
            if let Some(before) = held.get(&id) {
                let gained = if empty.contains(&id) { Vec::new() } else { without(&owned, before) };
                let old: Vec<TokenRange> =
                    gained.into_iter().filter(|run| holds_any(self.store.engine(), id, *run)).collect();
                if !old.is_empty() {
                    tracing::info!(table = %id, ranges = old.len(), "old copies of ranges that are owned again are compared first");
                    old.iter().for_each(|range| self.repairer.forget(id, *range));
                    self.lost.add(id, &old)?;
                    self.runtime.event("old_copy_doubted", id.0, old.len() as u64);
                }
                if !without(before, &owned).is_empty() {
                    empty.remove(&id);
                }
            }
            // A node that owns nothing, and holds nothing, has no old copies of what it may gain.
            if owned.is_empty() && !holds_any(self.store.engine(), id, TokenRange::ALL) {
                empty.insert(id);
            }
            next.insert(id, owned);
        }
        if next != *held {
            let bytes = serde_json::to_vec(&next).expect("plain values are always JSON");
            persist::write(&*self.fs, FILE, HEAD, &bytes)?;
            *held = next;
        }
        Ok(())
    }

    /// Empties what is not owned, one table at a time, while layouts are settled.
    async fn clean(&self, view: &Arc<View>, known: &Mutex<Known>) {
        let views = self.membership.views();
        if view.layouts.len() != 1 || views.is_behind() {
            return;
        }
        for table in view.tables().map(|t| t.def.id) {
            if known.lock().empty.contains(&table) || views.load().supersedes(view) {
                continue;
            }
            // Before anything goes: from now on this incarnation's counter does not stand for what it wrote there.
            let Some(owned) = owned_runs(view, table) else { continue };
            let apart = without(&[TokenRange::ALL], &owned);
            if apart.iter().any(|run| holds_any(self.store.engine(), table, *run)) {
                self.identity.forgo();
                self.repairer.note_gap(table, &apart);
            }
            let (owners, found) = (Arc::clone(views), Arc::new(std::sync::OnceLock::new()));
            let cleaned = Arc::clone(&found);
            let job = move |engine: &Engine| -> Result<(), EngineError> {
                let keep = || keep(&owners, table);
                let Some(kept) = keep() else { return Ok(()) };
                let any =
                    without(&[TokenRange::ALL], &kept).into_iter().any(|run| holds_any(engine, table, run));
                if !any || engine.cleanup(table, &keep)? {
                    let _ = cleaned.set(any);
                }
                Ok(())
            };
            let done = self.store.run_long(Box::new(job)).await;
            let Some(&any) = found.get() else {
                if let Err(error) = done {
                    tracing::debug!(%table, %error, "data that is not owned was not removed, will be tried again");
                }
                continue;
            };
            if any {
                self.repairer.retain_trees(|t, range| {
                    t != table || view.table(t).is_some_and(|t| view.owns(t, range.first, view.me))
                });
                self.runtime.event("leftovers_removed", table.0, 0);
                tracing::info!(%table, "data of ranges that this node does not own any more is removed");
            }
            // What came meanwhile may be of a layout that this node heard of since.
            let mut known = known.lock();
            let current = known.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, view));
            if current && !views.load().supersedes(view) && !views.is_behind() {
                known.empty.insert(table);
            }
        }
    }
}

/// What to keep of a table; `None` if it is not known for sure now.
fn keep(views: &Views, table: TableId) -> Option<Vec<TokenRange>> {
    let view = views.load();
    if views.is_behind() { None } else { owned_runs(&view, table) }
}

/// The ranges of a table that this node owns under any active layout; `None` if it is not known.
fn owned_runs(view: &View, table: TableId) -> Option<Vec<TokenRange>> {
    view.newest_layout()?;
    let mut runs: Vec<TokenRange> = Vec::new();
    for range in owned(view, view.table(table)?).into_iter().map(|vnode| vnode.range) {
        match runs.last_mut() {
            Some(last) if last.last.0.checked_add(1) == Some(range.first.0) => last.last = range.last,
            _ => runs.push(range),
        }
    }
    Some(runs)
}

/// The parts of `ranges` that are in none of `others`; both in order and disjoint.
fn without(ranges: &[TokenRange], others: &[TokenRange]) -> Vec<TokenRange> {
    let mut rest = Vec::new();
    for range in ranges {
        let mut from = Some(range.first);
        for other in others.iter().filter(|o| o.first <= range.last && range.first <= o.last) {
            let Some(start) = from else { break };
            if start < other.first {
                rest.push(TokenRange { first: start, last: Token(other.first.0 - 1) });
            }
            from = other.last.0.checked_add(1).map(Token).filter(|next| *next <= range.last);
        }
        if let Some(start) = from {
            rest.push(TokenRange { first: start, last: range.last });
        }
    }
    rest
}

/// Whether there is any record of the range. What cannot be read may be one.
fn holds_any(engine: &Engine, table: TableId, range: TokenRange) -> bool {
    engine.scan(table, range, None, 1, 1).map_or(true, |scanned| !scanned.entries.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_ranges_that_others_leave() {
        let ranges = |list: &[(u64, u64)]| -> Vec<TokenRange> {
            list.iter().map(|&(first, last)| TokenRange { first: Token(first), last: Token(last) }).collect()
        };
        let check = |of: &[(u64, u64)], others: &[(u64, u64)], expected: &[(u64, u64)]| {
            assert_eq!(without(&ranges(of), &ranges(others)), ranges(expected), "{of:?} without {others:?}");
        };
        check(&[], &[(1, 2)], &[]);
        check(&[(0, 9)], &[], &[(0, 9)]);
        check(&[(0, 9)], &[(0, 9)], &[]);
        check(&[(0, 9), (20, 29)], &[(3, 4), (8, 22), (25, 25)], &[(0, 2), (5, 7), (23, 24), (26, 29)]);
        check(&[(5, u64::MAX)], &[(0, 6), (u64::MAX, u64::MAX)], &[(7, u64::MAX - 1)]);
        check(&[(0, u64::MAX)], &[(0, u64::MAX)], &[]);
    }
}
