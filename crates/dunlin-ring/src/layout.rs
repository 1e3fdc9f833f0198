//! A layout: one immutable value that says who the members are and who owns which virtual node.

use crate::assignment::assign;
use crate::member::{Member, read_text, read_u32};
use crate::vnode::{BadVnodeCount, Vnode, VnodeCount};
use crate::walk::Walker;
use bytes::Bytes;
use dunlin_types::codec::{DecodeError, Reader, put_bytes, put_varint};
use dunlin_types::schema::Replication;
use dunlin_types::{ClusterId, HostId, Key, PartitionerKey, Token, TokenRange};
use serde::{Deserialize, Serialize};
use std::fmt;

/// BLAKE3 over a layout's canonical bytes: two layouts are the same exactly if their digests are.
pub type LayoutDigest = [u8; 32];

/// Most members of a cluster: owners are kept as 16-bit places in the member list.
pub const MEMBERS_MAX: usize = u16::MAX as usize;

/// See the module's comment. Built by [`Layout::found`], [`Layout::next`] or decoding; the fields are
/// public to be read, and a changed copy no longer matches its digest.
///
/// Invariant: members are sorted by host and not empty, `removed` is sorted and none of them is a
/// member, every virtual node is owned by a member.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct Layout {
    /// Grows along the chain; 1 is the founding layout.
    pub version: u64,
    /// The layout it was made from; zeros for the founding one.
    pub parent: LayoutDigest,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub cluster_name: String,
    /// Makes tokens of keys.
    pub partitioner: PartitionerKey,
    /// How many virtual nodes there are.
    pub vnodes: VnodeCount,
    /// Members, sorted by host.
    pub members: Vec<Member>,
    /// Members of the parent that an operator removed: they are not waited for.
    pub removed: Vec<HostId>,
    owners: Vec<u16>,
    digest: LayoutDigest,
}

/// Why a layout cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The bytes end early or a field has an impossible value.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Not a ring size.
    #[error(transparent)]
    Vnodes(#[from] BadVnodeCount),
    /// The fields contradict each other.
    #[error("not a layout: {0}")]
    Inconsistent(&'static str),
}

impl Layout {
    /// The first layout of a new cluster: one member owns everything.
    pub fn found(
        cluster: ClusterId,
        cluster_name: impl Into<String>,
        partitioner: PartitionerKey,
        vnodes: VnodeCount,
        founder: Member,
    ) -> Layout {
        Layout {
            version: 1,
            parent: LayoutDigest::default(),
            cluster,
            cluster_name: cluster_name.into(),
            partitioner,
            vnodes,
            members: vec![founder],
            removed: Vec::new(),
            owners: vec![0; vnodes.get() as usize],
            digest: LayoutDigest::default(),
        }
        .sealed()
    }

    /// The layout that follows this one as `version` with these members. `removed` names the members
    /// of this layout that an operator took out as dead. Panics without members or with too many.
    pub fn next(&self, version: u64, mut members: Vec<Member>, mut removed: Vec<HostId>) -> Layout {
        members.sort_by_key(|m| m.host);
        members.dedup_by_key(|m| m.host);
        removed.sort_unstable();
        removed.dedup();
        assert!(
            !members.is_empty() && members.len() <= MEMBERS_MAX,
            "a layout has 1 to {MEMBERS_MAX} members"
        );
        let previous: Vec<HostId> = self.owners.iter().map(|&o| self.members[usize::from(o)].host).collect();
        let owners = assign(&previous, &members, self.vnodes);
        Layout {
            version,
            parent: self.digest,
            cluster: self.cluster,
            cluster_name: self.cluster_name.clone(),
            partitioner: self.partitioner,
            vnodes: self.vnodes,
            members,
            removed,
            owners,
            digest: LayoutDigest::default(),
        }
        .sealed()
    }

    fn sealed(mut self) -> Layout {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        self.digest = *blake3::hash(&bytes).as_bytes();
        self
    }

    /// Its identity: BLAKE3 over the canonical bytes.
    pub fn digest(&self) -> LayoutDigest {
        self.digest
    }

    /// For each virtual node, its owner's place in `members`.
    pub fn owners(&self) -> &[u16] {
        &self.owners
    }

    /// The owner of a virtual node, which is the first of its replicas. Panics if the ring has no such one.
    pub fn owner(&self, vnode: Vnode) -> HostId {
        self.members[usize::from(self.owners[vnode.0 as usize])].host
    }

    /// The member with that id.
    pub fn member(&self, host: HostId) -> Option<&Member> {
        self.members.binary_search_by_key(&host, |m| m.host).ok().map(|at| &self.members[at])
    }

    /// Whether that node is a member.
    pub fn contains(&self, host: HostId) -> bool {
        self.member(host).is_some()
    }

    /// The token of a key.
    pub fn token(&self, key: &Key) -> Token {
        self.partitioner.token(key)
    }

    /// The virtual node that holds a token.
    pub fn vnode_of(&self, token: Token) -> Vnode {
        self.vnodes.vnode_of(token)
    }

    /// The tokens of a virtual node.
    pub fn range_of(&self, vnode: Vnode) -> TokenRange {
        self.vnodes.range_of(vnode)
    }

    /// How many virtual nodes a member owns.
    pub fn vnodes_owned(&self, host: HostId) -> u32 {
        let Ok(at) = self.members.binary_search_by_key(&host, |m| m.host) else { return 0 };
        let owned = self.owners.iter().filter(|&&o| usize::from(o) == at).count();
        u32::try_from(owned).expect("a ring has at most 65536 vnodes")
    }

    /// The replicas of a token in preference order; fewer than asked for when there are fewer nodes.
    /// For many tokens make a [`crate::Placement`] once.
    pub fn replicas(&self, token: Token, replication: &Replication) -> Vec<HostId> {
        self.hosts(&Walker::new(self, replication).replicas(self.vnode_of(token)))
    }

    /// Nodes that may stand in for dead replicas of a token (sloppy quorums), best first: every other
    /// member that owns anything, in ring order.
    pub fn fallbacks(&self, token: Token, replication: &Replication) -> Vec<HostId> {
        let replicas = self.replicas(token, replication);
        self.walk(token).filter(|host| !replicas.contains(host)).collect()
    }

    /// Every member that owns anything, in ring order from a token on. Goes round the ring only as far as it
    /// is asked to, and no further once every member was met.
    pub fn walk(&self, token: Token) -> impl Iterator<Item = HostId> + '_ {
        let start = self.vnode_of(token).0 as usize;
        let mut met = vec![false; self.members.len()];
        let mut left = self.members.len();
        let mut steps = 0..self.owners.len();
        std::iter::from_fn(move || {
            while left > 0 {
                let owner = usize::from(self.owners[(start + steps.next()?) % self.owners.len()]);
                if !std::mem::replace(&mut met[owner], true) {
                    left -= 1;
                    return Some(self.members[owner].host);
                }
            }
            None
        })
    }

    pub(crate) fn hosts(&self, places: &[u16]) -> Vec<HostId> {
        places.iter().map(|&place| self.members[usize::from(place)].host).collect()
    }

    /// Appends the canonical bytes: what the digest is taken of, and what goes to disk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        put_varint(out, self.version);
        out.extend_from_slice(&self.parent);
        out.extend_from_slice(&self.cluster.0);
        put_bytes(out, self.cluster_name.as_bytes());
        out.extend_from_slice(&self.partitioner.0);
        put_varint(out, self.members.len() as u64);
        for member in &self.members {
            member.encode(out);
        }
        put_varint(out, self.removed.len() as u64);
        for host in &self.removed {
            out.extend_from_slice(&host.0);
        }
        put_varint(out, u64::from(self.vnodes.get()));
        for &owner in &self.owners {
            put_varint(out, u64::from(owner));
        }
    }

    /// Reads canonical bytes and checks the invariants; never panics.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Layout, LayoutError> {
        if reader.u8("layout: format")? != FORMAT {
            return Err(LayoutError::Inconsistent("unknown format"));
        }
        let version = reader.varint("layout: version")?;
        let parent = reader.array("layout: parent")?;
        let cluster = ClusterId(reader.array("layout: cluster")?);
        let cluster_name = read_text(reader, "layout: cluster name")?;
        let partitioner = PartitionerKey(reader.array("layout: partitioner key")?);
        let mut members = Vec::new();
        for _ in 0..reader.count(16, "layout: members")? {
            members.push(Member::decode(reader)?);
        }
        let mut removed = Vec::new();
        for _ in 0..reader.count(16, "layout: removed")? {
            removed.push(HostId(reader.array("layout: removed")?));
        }
        let vnodes = VnodeCount::try_from(read_u32(reader, "layout: vnodes")?)?;
        let mut owners = Vec::with_capacity(vnodes.get() as usize);
        for _ in vnodes.iter() {
            let error = reader.error("layout: owner");
            let owner = u16::try_from(reader.varint("layout: owner")?).map_err(|_| error.clone())?;
            if usize::from(owner) >= members.len() {
                return Err(error.into());
            }
            owners.push(owner);
        }
        let layout = Layout {
            version,
            parent,
            cluster,
            cluster_name,
            partitioner,
            vnodes,
            members,
            removed,
            owners,
            digest: LayoutDigest::default(),
        };
        layout.check()?;
        Ok(layout.sealed())
    }

    fn check(&self) -> Result<(), LayoutError> {
        let wrong = |what| Err(LayoutError::Inconsistent(what));
        if self.version == 0 {
            return wrong("version 0");
        }
        if self.members.is_empty() || self.members.len() > MEMBERS_MAX {
            return wrong("no members, or too many");
        }
        if !self.members.is_sorted_by(|a, b| a.host < b.host) || !self.removed.is_sorted_by(|a, b| a < b) {
            return wrong("hosts out of order");
        }
        if self.removed.iter().any(|&host| self.contains(host)) {
            return wrong("a removed host is a member");
        }
        Ok(())
    }
}

const FORMAT: u8 = 1;

impl From<Layout> for Bytes {
    fn from(layout: Layout) -> Bytes {
        let mut bytes = Vec::new();
        layout.encode(&mut bytes);
        Bytes::from(bytes)
    }
}

impl TryFrom<Bytes> for Layout {
    type Error = LayoutError;
    fn try_from(bytes: Bytes) -> Result<Layout, LayoutError> {
        let mut reader = Reader::new(&bytes);
        let layout = Layout::decode(&mut reader)?;
        reader.finish("layout: end")?;
        Ok(layout)
    }
}

impl PartialEq for Layout {
    fn eq(&self, other: &Layout) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Layout {}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layout {} ({} members, {:02x?})", self.version, self.members.len(), &self.digest[..4])
    }
}
