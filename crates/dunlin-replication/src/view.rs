//! What a node knows of its cluster at one moment: layouts, placements, schema, who is up and where.
//!
//! A [`View`] is immutable. The server builds a new one whenever something changed and puts it into
//! [`Views`]; a request takes one at its start and keeps it.

use crate::coordinator::level::{Candidates, Mask, Needs, REPLICAS_MAX};
use crate::message::{Fence, LayoutStamp};
use crate::patience::Patience;
use arc_swap::{ArcSwap, Guard};
use dunlin_ring::{Layout, Placement};
use dunlin_types::schema::Schema;
use dunlin_types::{Consistency, HostId, KeyspaceDef, TableDef, TableId, Token};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// Another node, or this one.
#[derive(Debug)]
pub struct Peer {
    /// Its id.
    pub host: HostId,
    /// Its node name, as in error replies.
    pub name: String,
    /// Where it hears other nodes.
    pub address: SocketAddr,
    /// Its data centre.
    pub data_center: String,
    /// Its rack.
    pub rack: String,
    /// Smoothed time of its answers, nanoseconds; survives from view to view.
    pub latency: Arc<Latency>,
}

/// Exponentially smoothed latency of a peer's answers.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// Takes in one answer's time. Concurrent calls may lose one another's; it is a hint for ordering.
    pub fn observe(&self, took: Duration) {
        let new = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let old = self.0.load(Ordering::Relaxed);
        let next = if old == 0 { new } else { old - old / 8 + new / 8 };
        self.0.store(next, Ordering::Relaxed);
    }

    /// The smoothed value; 0 before the first answer.
    pub fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One active layout with the placement of a keyspace on it.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The layout.
    pub layout: Arc<Layout>,
    /// Its replicas for the keyspace, per vnode.
    pub placement: Arc<Placement>,
}

/// A keyspace with its placements.
#[derive(Debug)]
pub struct KeyspaceView {
    /// Its definition.
    pub def: KeyspaceDef,
    /// On every active layout, oldest first.
    pub placed: Vec<Placed>,
    /// Which of them reads use.
    pub read: usize,
}

/// A table with its keyspace.
#[derive(Clone, Debug)]
pub struct TableView {
    /// Its definition.
    pub def: Arc<TableDef>,
    /// Its keyspace.
    pub keyspace: Arc<KeyspaceView>,
    /// When a slow replica is stood in for.
    pub patience: Patience,
}

/// See the module's comment.
#[derive(Debug)]
pub struct View {
    /// This node.
    pub me: HostId,
    /// This node's data centre.
    pub data_center: String,
    /// Active layouts, oldest first. Empty before the node is part of a cluster.
    pub layouts: Vec<Arc<Layout>>,
    /// The one of them that reads use.
    pub read: usize,
    /// The stamp of the two, for requests.
    pub fence: Fence,
    /// The schema.
    pub schema: Arc<Schema>,
    /// Nodes believed to be up, this one included.
    pub alive: BTreeSet<HostId>,
    /// Every node that is a member of an active layout.
    pub peers: BTreeMap<HostId, Arc<Peer>>,
    keyspaces: BTreeMap<String, Arc<KeyspaceView>>,
    tables: BTreeMap<TableId, TableView>,
}

/// What a view is built from.
#[derive(Clone, Debug)]
pub struct ViewParts {
    /// This node.
    pub me: HostId,
    /// This node's data centre.
    pub data_center: String,
    /// Active layouts, oldest first.
    pub layouts: Vec<Arc<Layout>>,
    /// Version of the layout that reads use; must be one of them.
    pub read_version: u64,
    /// The schema.
    pub schema: Arc<Schema>,
    /// Nodes believed to be up.
    pub alive: BTreeSet<HostId>,
}

impl View {
    /// Builds a view; placements and latencies are taken over from `previous` where they still hold.
    pub fn build(parts: ViewParts, previous: Option<&View>) -> View {
        let ViewParts { me, data_center, layouts, read_version, schema, mut alive } = parts;
        alive.insert(me);
        let read = layouts.iter().position(|l| l.version == read_version).unwrap_or(0);
        let fence = Fence {
            newest: layouts.last().map(|l| stamp(l)).unwrap_or_default(),
            read: layouts.get(read).map_or(0, |l| l.version),
        };
        let mut peers = BTreeMap::new();
        for member in layouts.iter().flat_map(|l| l.members.iter()) {
            let latency = previous
                .and_then(|p| p.peers.get(&member.host))
                .map(|p| p.latency.clone())
                .unwrap_or_default();
            let peer = Peer {
                host: member.host,
                name: member.name.clone(),
                address: member.internode,
                data_center: member.data_center.clone(),
                rack: member.rack.clone(),
                latency,
            };
            peers.insert(member.host, Arc::new(peer));
        }
        let mut keyspaces = BTreeMap::new();
        for def in schema.keyspaces() {
            let old = previous
                .and_then(|p| p.keyspaces.get(&def.name))
                .filter(|k| k.def.replication == def.replication);
            keyspaces.insert(def.name.clone(), Arc::new(KeyspaceView::build(def, &layouts, read, old)));
        }
        let mut tables = BTreeMap::new();
        for def in schema.tables() {
            let (Some(keyspace), Some(def)) =
                (keyspaces.get(&def.keyspace), schema.shared_table(&def.keyspace, &def.name))
            else {
                continue;
            };
            let known = previous.and_then(|p| p.tables.get(&def.id)).map(|table| &table.patience);
            let patience = Patience::parse(&def.speculative_retry, known);
            let (def, keyspace) = (Arc::clone(def), Arc::clone(keyspace));
            tables.insert(def.id, TableView { def, keyspace, patience });
        }
        View { me, data_center, layouts, read, fence, schema, alive, peers, keyspaces, tables }
    }

    /// The table of that id, with its placements.
    pub fn table(&self, id: TableId) -> Option<&TableView> {
        self.tables.get(&id)
    }

    /// Every table, by id.
    pub fn tables(&self) -> impl Iterator<Item = &TableView> {
        self.tables.values()
    }

    /// The keyspace of that name, with its placements.
    pub fn keyspace(&self, name: &str) -> Option<&Arc<KeyspaceView>> {
        self.keyspaces.get(name)
    }

    /// Whether requests are to be made otherwise than under `old`: other layouts are active, or reads
    /// use another one.
    pub fn supersedes(&self, old: &View) -> bool {
        self.fence != old.fence || self.layouts.len() != old.layouts.len()
    }

    /// Whether whoever has that newest layout is behind this view: it is one of the active layouts, and
    /// not the newest. (Of two layouts of one version, the one with the higher digest is the newer.)
    pub fn is_ahead_of(&self, newest: LayoutStamp) -> bool {
        newest != self.fence.newest && self.layouts.iter().any(|layout| stamp(layout) == newest)
    }

    /// The layout that reads use; none before the node is part of a cluster.
    pub fn read_layout(&self) -> Option<&Arc<Layout>> {
        self.layouts.get(self.read)
    }

    /// The newest layout.
    pub fn newest_layout(&self) -> Option<&Arc<Layout>> {
        self.layouts.last()
    }

    /// Whether that node is believed to be up.
    pub fn is_alive(&self, host: HostId) -> bool {
        host == self.me || self.alive.contains(&host)
    }

    /// The node's name, or its id when it is no member.
    pub fn name_of(&self, host: HostId) -> String {
        self.peers.get(&host).map_or_else(|| host.to_string(), |p| p.name.clone())
    }

    /// The replicas of a token in every active layout.
    pub fn replicas(&self, table: &TableView, token: Token) -> ReplicaSet {
        let mut set = ReplicaSet {
            hosts: SmallVec::new(),
            layouts: SmallVec::new(),
            read: table.keyspace.read,
            alive: 0,
        };
        for placed in &table.keyspace.placed {
            let mut mask: Mask = 0;
            for &host in placed.replicas(token) {
                let index = set.hosts.iter().position(|h| *h == host).unwrap_or_else(|| {
                    set.hosts.push(host);
                    set.hosts.len() - 1
                });
                assert!(index < REPLICAS_MAX, "a key has more replicas than the limits allow");
                mask |= 1 << index;
            }
            set.layouts.push(mask);
        }
        for (index, host) in set.hosts.iter().enumerate() {
            if self.is_alive(*host) {
                set.alive |= 1 << index;
            }
        }
        set
    }

    /// The replicas of a token in the layout that reads use.
    pub fn read_replicas(&self, table: &TableView, token: Token) -> ReplicaSet {
        let mut set = ReplicaSet { hosts: SmallVec::new(), layouts: SmallVec::new(), read: 0, alive: 0 };
        if let Some(placed) = table.keyspace.placed.get(table.keyspace.read) {
            set.hosts.extend(placed.replicas(token).iter().copied());
        }
        set.layouts.push(set.hosts.iter().enumerate().fold(0, |mask, (i, _)| mask | 1 << i));
        let alive = set.hosts.iter().enumerate().filter(|(_, host)| self.is_alive(**host));
        set.alive = alive.fold(0, |mask, (i, _)| mask | 1 << i);
        set
    }

    /// Whether a node owns the token in any active layout.
    pub fn owns(&self, table: &TableView, token: Token, host: HostId) -> bool {
        table.keyspace.placed.iter().any(|placed| placed.replicas(token).contains(&host))
    }

    /// Whether reads ask that node for the token now: it owns it in the layout that reads use, and has synced it.
    pub fn is_read_from(&self, table: TableId, token: Token, host: HostId) -> bool {
        self.table(table).is_some_and(|table| self.read_replicas(table, token).hosts.contains(&host))
    }

    /// What a level needs of these replicas: of those of the given layouts.
    pub fn needs(
        &self,
        table: &TableView,
        replicas: &ReplicaSet,
        layouts: &[Mask],
        level: Consistency,
    ) -> Needs {
        let plain =
            !matches!(level, Consistency::LocalOne | Consistency::LocalQuorum | Consistency::EachQuorum);
        let data_centers: SmallVec<[&str; 8]> = if plain {
            SmallVec::new()
        } else {
            replicas.hosts.iter().map(|h| self.peers.get(h).map_or("", |p| p.data_center.as_str())).collect()
        };
        let replication = &table.keyspace.def.replication;
        Candidates { layouts, data_centers: &data_centers, local: &self.data_center, replication }
            .needs(level)
    }
}

impl KeyspaceView {
    fn build(
        def: &KeyspaceDef,
        layouts: &[Arc<Layout>],
        read: usize,
        old: Option<&Arc<KeyspaceView>>,
    ) -> KeyspaceView {
        let mut placed = Vec::with_capacity(layouts.len());
        for layout in layouts {
            let kept = old.and_then(|k| {
                k.placed.iter().find(|p| Arc::ptr_eq(&p.layout, layout) || stamp(&p.layout) == stamp(layout))
            });
            placed.push(match kept {
                Some(kept) => Placed { layout: Arc::clone(layout), placement: Arc::clone(&kept.placement) },
                None => Placed {
                    layout: Arc::clone(layout),
                    placement: Arc::new(Placement::new(layout, &def.replication)),
                },
            });
        }
        KeyspaceView { def: def.clone(), placed, read }
    }
}

impl Placed {
    /// Replicas of a token, in preference order.
    pub fn replicas(&self, token: Token) -> &[HostId] {
        self.placement.replicas(self.layout.vnode_of(token))
    }
}

/// A layout's stamp.
pub fn stamp(layout: &Layout) -> LayoutStamp {
    let digest = layout.digest();
    let first: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
    LayoutStamp { version: layout.version, digest: u64::from_be_bytes(first) }
}

/// The replicas of one token over all active layouts, each once, those of the oldest layout first.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    /// Their ids; masks speak of their places here.
    pub hosts: SmallVec<[HostId; 6]>,
    /// Owners under each active layout, oldest first.
    pub layouts: SmallVec<[Mask; 2]>,
    /// Which of the layouts reads use.
    pub read: usize,
    /// Those believed to be up.
    pub alive: Mask,
}

impl ReplicaSet {
    /// A node's place in the list.
    pub fn index_of(&self, host: HostId) -> Option<usize> {
        self.hosts.iter().position(|h| *h == host)
    }

    /// Owners under the layout that reads use.
    pub fn read_mask(&self) -> Mask {
        self.layouts.get(self.read).copied().unwrap_or(0)
    }

    /// All of them.
    pub fn all(&self) -> Mask {
        self.layouts.iter().fold(0, |all, mask| all | mask)
    }
}

/// Told when a peer turns out to know a newer layout than this node (or another of the same version).
pub trait LayoutNews: Send + Sync {
    /// The server fetches the peer's layout chain and schema and sets a new view. Must return at once.
    fn peer_knows(&self, peer: HostId, stamp: LayoutStamp);
}

/// Where the present view is found and changes of it are awaited.
pub struct Views {
    current: ArcSwap<View>,
    changed: Notify,
    news: OnceLock<Arc<dyn LayoutNews>>,
    /// The highest version that a peer was found to know.
    heard: AtomicU64,
}

impl Views {
    /// Starts with that view.
    pub fn new(view: View) -> Views {
        Views {
            current: ArcSwap::from_pointee(view),
            changed: Notify::new(),
            news: OnceLock::new(),
            heard: AtomicU64::new(0),
        }
    }

    /// Names who is told of newer layouts. Only the first call counts.
    pub fn set_news(&self, news: Arc<dyn LayoutNews>) {
        let _ = self.news.set(news);
    }

    /// Replaces the view and wakes those who wait.
    pub fn set(&self, view: View) {
        self.current.store(Arc::new(view));
        self.changed.notify_waiters();
    }

    /// The present view, for a short look.
    pub fn peek(&self) -> Guard<Arc<View>> {
        self.current.load()
    }

    /// The present view, to keep.
    pub fn load(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// Passes on that a peer knows a layout this node does not.
    pub fn report(&self, peer: HostId, stamp: LayoutStamp) {
        self.heard.fetch_max(stamp.version, Ordering::AcqRel);
        if let Some(news) = self.news.get() {
            news.peer_knows(peer, stamp);
        }
    }

    /// Whether some peer acts under a newer layout than the present view's newest: writes made under it may be here
    /// already.
    pub fn is_behind(&self) -> bool {
        self.heard.load(Ordering::Acquire) > self.peek().fence.newest.version
    }

    /// Waits until the view satisfies the condition. Unbounded: bound it from outside. Safe to drop.
    pub async fn wait_until(&self, condition: impl Fn(&View) -> bool) -> Arc<View> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let view = self.load();
            if condition(&view) {
                return view;
            }
            changed.await;
        }
    }
}
