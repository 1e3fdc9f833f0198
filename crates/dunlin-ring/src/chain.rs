//! How one layout follows another without a leader.
//!
//! Every member keeps a [`LayoutChain`], gossips it whole, and merges those of others. It holds the
//! last completed layout (the *base*), every *candidate* that somebody proposed to follow it, the
//! staged changes, and each member's [`Watermarks`]. A change runs like this:
//!
//! 1. Somebody stages a change ([`LayoutChain::stage`]).
//! 2. The live member with the lowest host id makes a candidate of everything staged
//!    ([`LayoutChain::propose`]).
//! 3. Each member that the candidate needs acknowledges it ([`LayoutChain::acknowledge`]): from then
//!    on its writes go to the candidate too.
//! 4. When all have, each copies what it will own ([`LayoutChain::pending_for`]) and says so
//!    ([`LayoutChain::set_synced`]).
//! 5. A member that knows that all have synced commits to the candidate and reads from it; one that
//!    knows that all committed, but for those that an operator removes, makes it the base
//!    ([`LayoutChain::advance`]).
//!
//! A split, or an abort, can make several candidates on one base. Members acknowledge the highest
//! (version, digest) they know and may move on to a higher one, until they commit. A commitment is
//! final for this base, and a candidate that needs a member committed elsewhere is *blocked*: nobody
//! acknowledges it any more and writes may ignore it. Any two candidates need a common member, because a
//! removal that leaves no majority is not folded (unless forced), so at most one can complete. A loser's changes stay
//! staged and go into the layout after the next. `tests/chain_model.rs` tries every order of events in a small cluster.
//!
//! Invariant: what one member reads from, every other member writes to. The exception is a live node
//! that is being removed: nobody whom the removing layout needs serves it any more
//! ([`LayoutChain::accepts`]).

mod bytes;

use crate::layout::{Layout, LayoutDigest};
use crate::moves::{Move, moves};
use crate::staging::{StageError, StagedChange, Staging, leaves_majority};
use crate::watermarks::Watermarks;
use dunlin_types::schema::Replication;
use dunlin_types::{ClusterId, HostId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use bytes::ChainError;

/// Candidates on one base that a proposer knows before it stops adding others.
pub const CANDIDATES_MAX: usize = 8;

/// See the module's comment.
///
/// A node persists its chain after [`Self::acknowledge`], [`Self::set_synced`] and [`Self::advance`]
/// changed it, before anybody else sees it: its own watermarks are promises.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "::bytes::Bytes", into = "::bytes::Bytes")]
pub struct LayoutChain {
    base: Arc<Layout>,
    /// Sorted by (version, digest), all made from the base.
    candidates: Vec<Arc<Layout>>,
    staging: Staging,
    /// Of members that are beyond the base, all counted from it.
    watermarks: BTreeMap<HostId, Watermarks>,
    /// Derived: the base, then the candidates that are not blocked.
    active: Vec<Arc<Layout>>,
}

impl LayoutChain {
    /// The chain of a new cluster: its founding layout is complete at once.
    pub fn found(layout: Layout) -> LayoutChain {
        let base = Arc::new(layout);
        let active = vec![Arc::clone(&base)];
        LayoutChain {
            base,
            candidates: Vec::new(),
            staging: Staging::default(),
            watermarks: BTreeMap::new(),
            active,
        }
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.base.cluster
    }

    /// The last completed layout.
    pub fn completed(&self) -> &Arc<Layout> {
        &self.base
    }

    /// Layouts that writes must go to, oldest first; the completed one is the first.
    pub fn write_layouts(&self) -> &[Arc<Layout>] {
        &self.active
    }

    /// The layout that this node reads from: the newest that, as it knows, every member has synced.
    pub fn read_layout(&self, me: HostId) -> &Arc<Layout> {
        let committed = self.watermarks.get(&me).and_then(Watermarks::commitment);
        self.candidates.iter().find(|c| Some(&c.digest()) == committed).unwrap_or(&self.base)
    }

    /// The newest active layout.
    pub fn newest(&self) -> &Arc<Layout> {
        self.active.last().unwrap_or(&self.base)
    }

    /// Whether a change of layouts is under way.
    pub fn in_transition(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// The staged changes, done and not.
    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Changes that wait for a layout to complete, by host.
    pub fn pending_changes(&self) -> impl Iterator<Item = (HostId, &StagedChange)> {
        self.staging.pending(&self.base)
    }

    /// How far a host has followed.
    pub fn watermarks(&self, host: HostId) -> Watermarks {
        let base = &self.base;
        self.watermarks.get(&host).copied().unwrap_or_else(|| Watermarks::at(base.version, base.digest()))
    }

    /// Those whose acknowledgement, data and commitment a layout waits for: members of it and of the
    /// completed one, but for those being removed.
    pub fn required<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = HostId> + 'a {
        let old = self
            .base
            .members
            .iter()
            .filter(|m| !layout.contains(m.host) && !layout.removed.contains(&m.host));
        layout.members.iter().chain(old).map(|m| m.host)
    }

    /// Whether a node may serve requests that `from` coordinates: not once it knows an active layout
    /// that removes `from`, which may be alive after all and write past that layout.
    pub fn accepts(&self, from: HostId) -> bool {
        self.active.iter().any(|l| l.contains(from)) && !self.active.iter().any(|l| l.removed.contains(&from))
    }

    /// Whether some member that the layout needs has committed to another one.
    fn blocked(&self, layout: &Layout) -> bool {
        let digest = layout.digest();
        self.required(layout)
            .any(|h| self.watermarks.get(&h).and_then(Watermarks::commitment).is_some_and(|d| *d != digest))
    }

    fn all_required(&self, layout: &Layout, reached: impl Fn(&Watermarks) -> bool) -> bool {
        self.required(layout).all(|host| self.watermarks.get(&host).is_some_and(&reached))
    }

    /// Whether everybody whom the layout needs has committed to it. Somebody whom an operator removes may have
    /// died before: that others committed tells that it had synced, and they serve no reads under the base
    /// any more, should it be alive after all. As with other removals, a majority of the base must be left.
    fn is_complete(&self, layout: &Layout) -> bool {
        let digest = layout.digest();
        let committed = |host: &HostId| self.watermarks.get(host).is_some_and(|m| m.committed(&digest));
        let missing: Vec<HostId> = self.required(layout).filter(|host| !committed(host)).collect();
        if missing.is_empty() {
            return true;
        }
        let gone: Vec<HostId> = missing.iter().chain(&layout.removed).copied().collect();
        missing.iter().all(|host| self.is_removal_staged(*host))
            && self.required(layout).any(|host| committed(&host))
            && leaves_majority(&self.base, &gone)
    }

    fn is_removal_staged(&self, host: HostId) -> bool {
        matches!(self.staging.change(host), Some(StagedChange::Remove | StagedChange::ForceRemove))
    }

    /// The candidate that a host has acknowledged.
    fn acknowledged(&self, host: HostId) -> Option<&Arc<Layout>> {
        let marks = self.watermarks.get(&host)?;
        self.candidates.iter().find(|c| marks.acked(&c.digest()))
    }

    fn refresh(&mut self) {
        let open = self.candidates.iter().filter(|c| !self.blocked(c));
        self.active = std::iter::once(&self.base).chain(open).cloned().collect();
    }

    /// Changes this host's own watermarks.
    fn mark(&mut self, me: HostId, change: impl FnOnce(&mut Watermarks)) {
        let mut marks = self.watermarks(me);
        change(&mut marks);
        marks.revision += 1;
        self.watermarks.insert(me, marks);
        self.refresh();
    }

    /// Joins another copy: commutative, associative, idempotent. A chain of another cluster is
    /// ignored. Whether anything changed.
    pub fn merge(&mut self, other: &LayoutChain) -> bool {
        if other.base.cluster != self.base.cluster {
            return false;
        }
        let mut changed = self.staging.merge(&other.staging);
        let order = |layout: &Layout| (layout.version, layout.digest());
        match order(&other.base).cmp(&order(&self.base)) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Greater => {
                self.base = Arc::clone(&other.base);
                self.candidates.clone_from(&other.candidates);
                self.watermarks.clone_from(&other.watermarks);
                changed = true;
            }
            std::cmp::Ordering::Equal => {
                for theirs in &other.candidates {
                    if let Err(at) = self.candidates.binary_search_by_key(&order(theirs), |c| order(c)) {
                        self.candidates.insert(at, Arc::clone(theirs));
                        changed = true;
                    }
                }
                for (host, theirs) in &other.watermarks {
                    if self.watermarks.get(host).is_none_or(|mine| mine < theirs) {
                        self.watermarks.insert(*host, *theirs);
                        changed = true;
                    }
                }
            }
        }
        if changed {
            self.refresh();
        }
        changed
    }

    /// Stages a change of `host`, in the name of `by`. `Ok(false)` if the same waits already. A chain
    /// that another one turns out to be ahead of may make the change void; that is no error.
    pub fn stage(&mut self, by: HostId, host: HostId, change: StagedChange) -> Result<bool, StageError> {
        if self.staging.pending(&self.base).any(|(h, c)| h == host && *c == change) {
            return Ok(false);
        }
        match &change {
            StagedChange::Cancelled => return self.abort(by, host),
            StagedChange::Join(member) => {
                let taken = self
                    .active
                    .iter()
                    .flat_map(|l| &l.members)
                    .find(|m| m.host != host && m.name == member.name);
                if let Some(other) = taken {
                    return Err(StageError::NameTaken { name: member.name.clone(), host: other.host });
                }
                if !self.in_transition() && self.base.member(host) == Some(member) {
                    return Ok(false);
                }
            }
            StagedChange::Leave | StagedChange::Remove | StagedChange::ForceRemove => {
                if !self.active.iter().any(|l| l.contains(host)) {
                    return Err(StageError::NotMember(host));
                }
                let going: BTreeSet<HostId> = self
                    .staging
                    .pending(&self.base)
                    .filter(|(_, c)| !matches!(c, StagedChange::Join(_)))
                    .map(|(h, _)| h)
                    .chain([host])
                    .collect();
                if self.base.members.iter().all(|m| going.contains(&m.host)) {
                    return Err(StageError::LastMember(host));
                }
            }
        }
        if change == StagedChange::Remove {
            let mut removed: Vec<HostId> = self
                .staging
                .pending(&self.base)
                .filter(|(_, c)| matches!(c, StagedChange::Remove | StagedChange::ForceRemove))
                .map(|(h, _)| h)
                .collect();
            removed.push(host);
            if !leaves_majority(&self.base, &removed) {
                return Err(StageError::NoMajority {
                    removed: removed.len(),
                    members: self.base.members.len(),
                });
            }
        }
        self.staging.set(by, host, change);
        Ok(true)
    }

    /// Takes back whatever is staged for `host`, also when a candidate carries it already: the next
    /// proposal replaces that candidate, unless it completes first.
    pub fn abort(&mut self, by: HostId, host: HostId) -> Result<bool, StageError> {
        if !self.staging.pending(&self.base).any(|(h, _)| h == host) {
            return Err(StageError::NothingStaged(host));
        }
        self.staging.set(by, host, StagedChange::Cancelled);
        Ok(true)
    }

    /// Makes a candidate of what is staged, if it is for this node to do so: it is the lowest live
    /// member, and no change is under way (or the one that is was overtaken by an abort or a removal).
    /// `live` names every host known to be up: members, joining hosts, and this one. Whether it did.
    pub fn propose(&mut self, me: HostId, live: &BTreeSet<HostId>) -> bool {
        let removing = |host: &HostId| self.is_removal_staged(*host);
        let proposer =
            self.base.members.iter().map(|m| m.host).find(|host| live.contains(host) && !removing(host));
        if proposer != Some(me) || self.candidates.len() >= CANDIDATES_MAX {
            return false;
        }
        let top = if self.in_transition() { Some(self.newest()) } else { None };
        if top.is_some_and(|top| !self.overtaken(top)) {
            return false;
        }
        let folded = self.staging.fold(&self.base, live);
        let unchanged = top.is_some_and(|top| top.members == folded.members && top.removed == folded.removed);
        if unchanged || (top.is_none() && !folded.differs) {
            return false;
        }
        let version = 1 + self.candidates.last().map_or(self.base.version, |c| c.version);
        let candidate = Arc::new(self.base.next(version, folded.members, folded.removed));
        if self.blocked(&candidate) {
            return false;
        }
        self.candidates.push(candidate);
        self.refresh();
        true
    }

    /// Whether staging contradicts a candidate: it carries a change that was aborted, or waits for a
    /// host that an operator removes.
    fn overtaken(&self, candidate: &Layout) -> bool {
        let joined = candidate.members.iter().filter(|m| !self.base.contains(m.host));
        let aborted_join =
            joined.into_iter().any(|m| !matches!(self.staging.change(m.host), Some(StagedChange::Join(_))));
        let going = self.base.members.iter().filter(|m| !candidate.contains(m.host));
        let aborted_leave = going.into_iter().any(|m| {
            matches!(
                self.staging.change(m.host),
                None | Some(StagedChange::Cancelled | StagedChange::Join(_))
            )
        });
        let removed =
            self.required(candidate).any(|host| self.is_removal_staged(host) && self.base.contains(host));
        aborted_join || aborted_leave || removed
    }

    /// Acknowledges the highest open candidate that needs this node. To be called when no write that
    /// started under the former layouts is still under way here. Whether anything changed.
    pub fn acknowledge(&mut self, me: HostId) -> bool {
        let marks = self.watermarks(me);
        if marks.commitment().is_some() {
            return false;
        }
        let needs_me = |layout: &Layout| self.required(layout).any(|host| host == me);
        let mut open = self.active.iter().skip(1).filter(|layout| needs_me(layout));
        let Some(best) = open.next_back().cloned() else { return false };
        if marks.acked(&best.digest()) {
            return false;
        }
        let base_version = self.base.version;
        self.mark(me, |marks| {
            marks.ack = best.version;
            marks.ack_digest = best.digest();
            marks.sync = base_version;
        });
        true
    }

    /// Whether a candidate waits for this node's acknowledgement.
    pub fn must_acknowledge(&self, me: HostId) -> bool {
        let mut copy = self.clone();
        copy.acknowledge(me)
    }

    /// The acknowledged candidate whose data this node should now copy: every member it needs has
    /// acknowledged it, so no write misses it any more, and this node has not said that it synced.
    pub fn to_sync(&self, me: HostId) -> Option<&Arc<Layout>> {
        let candidate = self.acknowledged(me)?;
        let digest = candidate.digest();
        let ready = self.all_required(candidate, |marks| marks.acked(&digest));
        (ready && !self.watermarks(me).synced(&digest)).then_some(candidate)
    }

    /// What this node has to copy under one replication strategy before it may call
    /// [`Self::set_synced`]; `None` when there is nothing to sync now, empty when it owns nothing new.
    pub fn pending_for(&self, me: HostId, replication: &Replication) -> Option<Vec<Move>> {
        let candidate = self.to_sync(me)?;
        let mut found = moves(&self.base, candidate, replication);
        found.retain(|m| m.to == me);
        Some(found)
    }

    /// Says that this node holds everything it owns in the candidate with that digest, of every
    /// keyspace. Ignored unless [`Self::to_sync`] names that candidate. Whether anything changed.
    pub fn set_synced(&mut self, me: HostId, digest: &LayoutDigest) -> bool {
        if self.to_sync(me).is_none_or(|candidate| candidate.digest() != *digest) {
            return false;
        }
        self.mark(me, |marks| marks.sync = marks.ack);
        true
    }

    /// Commits to the candidate that everybody synced; makes it the completed layout when everybody
    /// has committed. Whether anything changed.
    pub fn advance(&mut self, me: HostId) -> bool {
        let mut changed = false;
        if let Some(candidate) = self.acknowledged(me).cloned() {
            let digest = candidate.digest();
            let all_synced = self.all_required(&candidate, |marks| marks.synced(&digest));
            if all_synced && !self.blocked(&candidate) && !self.watermarks(me).committed(&digest) {
                self.mark(me, |marks| marks.sync_ack = marks.ack);
                changed = true;
            }
        }
        let complete = self.candidates.iter().find(|candidate| self.is_complete(candidate));
        if let Some(complete) = complete.cloned() {
            self.base = complete;
            self.candidates.clear();
            self.watermarks.clear();
            self.refresh();
            changed = true;
        }
        changed
    }
}
