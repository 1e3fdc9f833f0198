//! Changes of membership that wait for the next layout: a mergeable map, one change per host.

use crate::layout::Layout;
use crate::member::Member;
use dunlin_types::HostId;
use dunlin_types::codec::{DecodeError, Reader, put_varint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What is to become of a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum StagedChange {
    /// Nothing: an earlier change was aborted.
    Cancelled,
    /// It becomes a member (or, if it is one, its addresses, rack or weight change).
    Join(Member),
    /// It leaves by its own will; it hands its data over and is waited for.
    Leave,
    /// An operator takes it out as dead; it is not waited for.
    Remove,
    /// The same, even where so few members remain that the other side of a split could do the same
    /// with this one: the operator vouches that those removed are gone for good.
    ForceRemove,
}

impl StagedChange {
    /// One word, as operators see it.
    pub fn name(&self) -> &'static str {
        match self {
            StagedChange::Cancelled => "cancelled",
            StagedChange::Join(_) => "join",
            StagedChange::Leave => "leave",
            StagedChange::Remove | StagedChange::ForceRemove => "remove",
        }
    }
}

/// Why a change cannot be staged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The host is no member.
    #[error("{0} is not a member of the cluster")]
    NotMember(HostId),
    /// Another member carries that node name.
    #[error("the node name {name:?} belongs to {host}; remove that node first, or choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        host: HostId,
    },
    /// Nobody would be left.
    #[error("{0} is the last member; a cluster cannot be empty")]
    LastMember(HostId),
    /// Too few would remain to exclude that the other side of a split does the same.
    #[error(
        "without {removed} of {members} members no majority remains; if they are gone for good, remove them with force"
    )]
    NoMajority {
        /// Members that would be removed.
        removed: usize,
        /// Members there are.
        members: usize,
    },
    /// No change of this host waits.
    #[error("no change of {0} is staged or under way")]
    NothingStaged(HostId),
}

/// A change with the stamp that decides between two of one host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Staged {
    /// A Lamport clock over all changes.
    stamp: u64,
    /// Who staged it.
    by: HostId,
    change: StagedChange,
}

/// The last change staged for every host that ever had one. Entries stay after their layout was
/// completed, so that an old copy of an earlier change cannot come back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Staging {
    changes: BTreeMap<HostId, Staged>,
}

/// The members of the next layout.
pub(crate) struct Folded {
    pub(crate) members: Vec<Member>,
    pub(crate) removed: Vec<HostId>,
    /// Whether anything differs from the layout folded onto.
    pub(crate) differs: bool,
}

impl Staging {
    /// The last change staged for a host, whether or not it has happened since.
    pub fn change(&self, host: HostId) -> Option<&StagedChange> {
        self.changes.get(&host).map(|staged| &staged.change)
    }

    /// Changes that the layout does not reflect yet, by host.
    pub fn pending<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = (HostId, &'a StagedChange)> {
        self.changes.iter().map(|(&host, staged)| (host, &staged.change)).filter(
            |(host, change)| match change {
                StagedChange::Cancelled => false,
                StagedChange::Join(member) => layout.member(*host) != Some(member),
                StagedChange::Leave | StagedChange::Remove | StagedChange::ForceRemove => {
                    layout.contains(*host)
                }
            },
        )
    }

    /// Stages a change over whatever was staged for the host.
    pub(crate) fn set(&mut self, by: HostId, host: HostId, change: StagedChange) {
        let stamp = 1 + self.changes.values().map(|staged| staged.stamp).max().unwrap_or(0);
        self.changes.insert(host, Staged { stamp, by, change });
    }

    /// Joins another copy: commutative, associative, idempotent. Whether anything changed.
    pub fn merge(&mut self, other: &Staging) -> bool {
        let mut changed = false;
        for (host, theirs) in &other.changes {
            if self.changes.get(host).is_none_or(|mine| mine < theirs) {
                self.changes.insert(*host, theirs.clone());
                changed = true;
            }
        }
        changed
    }

    /// Applies everything that can happen now: joins and leaves of live hosts; removals, if a majority
    /// remains or they are forced.
    pub(crate) fn fold(&self, layout: &Layout, live: &BTreeSet<HostId>) -> Folded {
        let removals: Vec<HostId> = self
            .pending(layout)
            .filter(|(_, change)| matches!(change, StagedChange::Remove | StagedChange::ForceRemove))
            .map(|(host, _)| host)
            .collect();
        let majority = leaves_majority(layout, &removals);
        let mut members: BTreeMap<HostId, Member> =
            layout.members.iter().map(|m| (m.host, m.clone())).collect();
        let mut removed = Vec::new();
        for (host, change) in self.pending(layout) {
            match change {
                StagedChange::Join(member) if live.contains(&host) => {
                    members.insert(host, member.clone());
                }
                StagedChange::Leave if live.contains(&host) => {
                    members.remove(&host);
                }
                StagedChange::Remove if majority => {
                    members.remove(&host);
                    removed.push(host);
                }
                StagedChange::ForceRemove => {
                    members.remove(&host);
                    removed.push(host);
                }
                StagedChange::Join(_)
                | StagedChange::Leave
                | StagedChange::Remove
                | StagedChange::Cancelled => {}
            }
        }
        if members.is_empty() {
            return Folded { members: layout.members.clone(), removed: Vec::new(), differs: false };
        }
        let members: Vec<Member> = members.into_values().collect();
        let differs = members != layout.members;
        Folded { members, removed, differs }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.changes.len() as u64);
        for (host, staged) in &self.changes {
            out.extend_from_slice(&host.0);
            put_varint(out, staged.stamp);
            out.extend_from_slice(&staged.by.0);
            match &staged.change {
                StagedChange::Cancelled => out.push(0),
                StagedChange::Join(member) => {
                    out.push(1);
                    member.encode(out);
                }
                StagedChange::Leave => out.push(2),
                StagedChange::Remove => out.push(3),
                StagedChange::ForceRemove => out.push(4),
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Staging, DecodeError> {
        let mut staging = Staging::default();
        for _ in 0..reader.count(34, "staging")? {
            let host = HostId(reader.array("staging: host")?);
            let error = reader.error("staging: stamp");
            let stamp = reader.varint("staging: stamp")?;
            if stamp == u64::MAX {
                return Err(error);
            }
            let by = HostId(reader.array("staging: by")?);
            let error = reader.error("staging: change");
            let change = match reader.u8("staging: change")? {
                0 => StagedChange::Cancelled,
                1 => StagedChange::Join(Member::decode(reader)?),
                2 => StagedChange::Leave,
                3 => StagedChange::Remove,
                4 => StagedChange::ForceRemove,
                _ => return Err(error),
            };
            let misnamed = matches!(&change, StagedChange::Join(member) if member.host != host);
            let ordered = staging.changes.last_key_value().is_none_or(|(last, _)| *last < host);
            if misnamed || !ordered {
                return Err(error);
            }
            staging.changes.insert(host, Staged { stamp, by, change });
        }
        Ok(staging)
    }
}

/// Whether any two sets of members that may complete a layout share one: more than half remain, or
/// exactly half with the lowest host among them.
pub(crate) fn leaves_majority(layout: &Layout, removed: &[HostId]) -> bool {
    let members = layout.members.len();
    let remaining = layout.members.iter().filter(|m| !removed.contains(&m.host)).count();
    match (remaining * 2).cmp(&members) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => {
            layout.members.first().is_some_and(|lowest| !removed.contains(&lowest.host))
        }
        std::cmp::Ordering::Less => false,
    }
}
