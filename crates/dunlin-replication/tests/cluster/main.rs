//! A few nodes of coordinator and replica on virtual time, over stores in memory.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests speak for themselves")]

mod get;
mod handoff;
mod hints;
mod layouts;
mod net;
mod put;
mod requests;
mod scan;
mod sim;
mod sloppy;
mod store;

use bytes::Bytes;
use dunlin_replication::coordinator::{Coordinator, GetRequest, PutOutcome, PutRequest};
use dunlin_replication::core::{Core, CoreParts, ReplicationConfig};
use dunlin_replication::hints::{HintConfig, Hints};
use dunlin_replication::message::LayoutStamp;
use dunlin_replication::replica::Replica;
use dunlin_replication::store::Durability;
use dunlin_replication::view::{LayoutNews, View, ViewParts, Views};
use dunlin_ring::{Layout, Member, VnodeCount};
use dunlin_storage::fs::MemFs;
use dunlin_transport::{Handler, Incoming, Transport};
use dunlin_types::runtime::{BoxFuture, Clock, SharedRuntime};
use dunlin_types::schema::ConflictMode;
use dunlin_types::schema::{Compaction, Compression, KeyType, Replication, Schema, ValueType};
use dunlin_types::{
    Actor, ClusterError, ClusterId, Consistency, Context, Generation, HlcClock, HostId, Key, KeyspaceDef,
    Micros, PartitionerKey, Record, TableDef, TableId,
};
use net::{Link, Net, Port};
use sim::{NodeRuntime, Sim};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::MemStore;

pub struct Node {
    pub host: HostId,
    pub address: SocketAddr,
    pub store: Arc<MemStore>,
    pub coordinator: Coordinator,
    pub views: Arc<Views>,
    pub hints: Arc<Hints>,
    pub core: Arc<Core>,
    /// What peers were found to know.
    pub news: Arc<News>,
}

#[derive(Default)]
pub struct News(pub Mutex<Vec<(HostId, LayoutStamp)>>);

impl LayoutNews for News {
    fn peer_knows(&self, peer: HostId, stamp: LayoutStamp) {
        self.0.lock().unwrap().push((peer, stamp));
    }
}

pub struct Cluster {
    pub sim: Arc<Sim>,
    pub net: Arc<Net>,
    pub nodes: Vec<Node>,
    pub layout: Arc<Layout>,
    pub schema: Arc<Schema>,
    pub siblings: Arc<TableDef>,
    pub latest: Arc<TableDef>,
}

struct Server(Replica);

impl Handler for Server {
    fn handle(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Bytes> {
        Box::pin(async move { self.0.serve(incoming).await })
    }
}

pub fn host(index: usize) -> HostId {
    HostId([index as u8 + 1; 16])
}

pub fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

pub fn member(index: usize) -> Member {
    member_in("dc", index)
}

pub fn member_in(data_center: &str, index: usize) -> Member {
    let address = SocketAddr::from(([127, 0, 0, 1], 1000 + index as u16));
    Member {
        host: host(index),
        name: format!("n{index}"),
        rack: "r".into(),
        data_center: data_center.into(),
        weight: 1,
        internode: address,
        client: address,
        admin: address,
    }
}

pub fn table(id: u64, conflicts: ConflictMode) -> TableDef {
    TableDef {
        id: TableId(id),
        keyspace: "ks".into(),
        name: format!("t{id}"),
        key_column: "k".into(),
        key_type: KeyType::Text,
        value_column: "v".into(),
        value_type: ValueType::Text,
        conflicts,
        default_time_to_live_s: 0,
        gc_grace_s: 864_000,
        compression: Compression::Lz4,
        compaction: Compaction::default(),
        speculative_retry: "99p".into(),
        comment: String::new(),
    }
}

impl Cluster {
    /// `nodes` nodes that are members of one layout, all up.
    pub fn new(nodes: usize, factor: u32) -> Cluster {
        Cluster::with_joiners(nodes, nodes, factor)
    }

    /// As [`new`](Self::new), with further nodes that are not members yet.
    pub fn with_joiners(members: usize, nodes: usize, factor: u32) -> Cluster {
        Cluster::build((0..members).map(member).collect(), nodes, Replication::Simple(factor), false)
    }

    /// As [`new`](Self::new), in a keyspace where others stand in for dead replicas.
    pub fn sloppy(nodes: usize, factor: u32) -> Cluster {
        Cluster::build((0..nodes).map(member).collect(), nodes, Replication::Simple(factor), true)
    }

    /// A member in each of the data centres named, with so many replicas in each of them.
    pub fn in_centers(centers: &[&str], factor: u32) -> Cluster {
        Cluster::over_centers(centers, factor, false)
    }

    /// The same, in a keyspace where others may stand in for dead replicas.
    pub fn over_centers(centers: &[&str], factor: u32, sloppy: bool) -> Cluster {
        let members: Vec<Member> =
            centers.iter().enumerate().map(|(index, center)| member_in(center, index)).collect();
        let factors = centers.iter().map(|center| ((*center).to_owned(), factor)).collect();
        Cluster::build(members, centers.len(), Replication::NetworkTopology(factors), sloppy)
    }

    fn build(members: Vec<Member>, nodes: usize, replication: Replication, sloppy_quorum: bool) -> Cluster {
        let sim = Arc::new(Sim::default());
        let net = Arc::new(Net::default());
        let founded = Layout::found(
            ClusterId([7; 16]),
            "test",
            PartitionerKey([3; 16]),
            VnodeCount::try_from(16).unwrap(),
            members[0].clone(),
        );
        let layout = Arc::new(founded.next(2, members, Vec::new()));
        let mut schema = Schema::default();
        let keyspace = KeyspaceDef { name: "ks".into(), replication, sloppy_quorum, durable_writes: true };
        let stamp = (Micros(1), host(0));
        schema.set_keyspace("ks", stamp, Some(keyspace));
        schema.set_table("ks", "t1", stamp, Some(table(1, ConflictMode::Siblings)));
        schema.set_table("ks", "t2", stamp, Some(table(2, ConflictMode::LastWriteWins)));
        let schema = Arc::new(schema);
        let siblings = Arc::clone(schema.shared_table("ks", "t1").unwrap());
        let latest = Arc::clone(schema.shared_table("ks", "t2").unwrap());
        let mut cluster = Cluster { sim, net, nodes: Vec::new(), layout, schema, siblings, latest };
        for index in 0..nodes {
            let fs = Arc::new(MemFs::new());
            let node = cluster.make_node(index, fs);
            cluster.nodes.push(node);
        }
        cluster
    }

    /// Node `index` after a crash that took its disk.
    pub fn make_incarnation(&self, index: usize, generation: Generation) -> Node {
        self.make(index, Arc::new(MemFs::new()), generation)
    }

    fn make_node(&self, index: usize, fs: Arc<MemFs>) -> Node {
        self.make(index, fs, Generation(1))
    }

    fn make(&self, index: usize, fs: Arc<MemFs>, generation: Generation) -> Node {
        let runtime: SharedRuntime = Arc::new(NodeRuntime(Arc::clone(&self.sim)));
        let address = member(index).internode;
        let port = Arc::new(Port { net: Arc::clone(&self.net), runtime: Arc::clone(&runtime), address });
        let store = Arc::new(MemStore::new(Arc::clone(&runtime)));
        let hints = Hints::open(fs, Arc::clone(&runtime), HintConfig::default()).unwrap();
        let views = Arc::new(Views::new(View::build(self.parts(index, &[]), None)));
        let news = Arc::new(News::default());
        views.set_news(news.clone());
        let core = Core::new(CoreParts {
            runtime,
            views: Arc::clone(&views),
            transport: port.clone(),
            store: store.clone(),
            hints: Arc::clone(&hints),
            clock: Arc::new(HlcClock::default()),
            actor: Actor { host: host(index), generation },
            dots: Arc::new(AtomicU64::new(0)),
            config: ReplicationConfig::default(),
        });
        let coordinator = Coordinator::new(Arc::clone(&core));
        port.listen(Arc::new(Server(Replica::new(coordinator.clone()))));
        Node { host: host(index), address, store, coordinator, views, hints, core, news }
    }

    fn parts(&self, index: usize, down: &[usize]) -> ViewParts {
        ViewParts {
            me: host(index),
            data_center: self
                .layout
                .member(host(index))
                .map_or_else(|| "dc".to_owned(), |m| m.data_center.clone()),
            layouts: vec![Arc::clone(&self.layout)],
            read_version: self.layout.version,
            schema: Arc::clone(&self.schema),
            alive: (0..16).filter(|i| !down.contains(i)).map(host).collect::<BTreeSet<_>>(),
        }
    }

    /// Node `index` believes that these nodes are down.
    pub fn believe_down(&self, index: usize, down: &[usize]) {
        let views = &self.nodes[index].views;
        let view = View::build(self.parts(index, down), Some(&views.load()));
        views.set(view);
    }

    /// Node `index` acts under these layouts.
    pub fn set_layouts(&self, index: usize, layouts: &[&Arc<Layout>], read_version: u64) {
        let views = &self.nodes[index].views;
        let mut parts = self.parts(index, &[]);
        parts.layouts = layouts.iter().map(|l| Arc::clone(l)).collect();
        parts.read_version = read_version;
        views.set(View::build(parts, Some(&views.load())));
    }

    pub fn link(&self, to: usize, link: Link) {
        self.net.set(self.nodes[to].address, link);
    }

    /// A key whose replicas, in preference order, are these nodes (as many as are given).
    pub fn key_at(&self, layout: &Layout, factor: u32, wanted: &[usize]) -> Key {
        let wanted: Vec<HostId> = wanted.iter().map(|i| host(*i)).collect();
        let found = (0..100_000).map(|i| key(&format!("k{i}"))).find(|key| {
            let replicas = layout.replicas(layout.token(key), &Replication::Simple(factor));
            replicas.len() >= wanted.len() && wanted.iter().all(|h| replicas.contains(h))
        });
        found.expect("some key has these replicas")
    }

    /// A key of which this node is a replica.
    pub fn key_owned_by(&self, node: usize) -> Key {
        let view = self.nodes[0].views.load();
        let table = view.table(self.siblings.id).unwrap();
        let mut keys = (0..100_000).map(|i| key(&format!("k{i}")));
        keys.find(|key| view.owns(table, self.layout.token(key), host(node))).expect("some key is there")
    }

    /// (That the futures can move between threads is checked by their type here.)
    pub fn put(
        &self,
        node: usize,
        request: PutRequest,
    ) -> BoxFuture<'_, Result<PutOutcome, Box<ClusterError>>> {
        Box::pin(self.nodes[node].coordinator.put(request))
    }

    pub fn write(&self, key: &Key, value: &str, level: Consistency) -> PutRequest {
        PutRequest {
            table: Arc::clone(&self.siblings),
            key: key.clone(),
            value: Some(value.to_owned().into()),
            ttl_s: None,
            context: None,
            timestamp: None,
            request_id: None,
            consistency: level,
            timeout: Duration::from_millis(500),
            durability: Durability::Synced,
        }
    }

    pub fn read(&self, key: &Key, level: Consistency) -> GetRequest {
        GetRequest {
            table: Arc::clone(&self.siblings),
            key: key.clone(),
            consistency: level,
            timeout: Duration::from_millis(500),
            after: None,
        }
    }

    pub fn get(
        &self,
        node: usize,
        request: GetRequest,
    ) -> BoxFuture<'_, Result<Option<Record>, Box<ClusterError>>> {
        Box::pin(self.nodes[node].coordinator.get(request))
    }

    /// The values a client is shown, sorted.
    pub async fn values(&self, node: usize, key: &Key, level: Consistency) -> Vec<String> {
        shown(self.get(node, self.read(key, level)).await.unwrap())
    }

    /// The values in one node's own copy, sorted.
    pub fn held(&self, node: usize, key: &Key) -> Vec<String> {
        shown(self.nodes[node].store.peek(key))
    }

    pub async fn pause(&self, ms: u64) {
        self.nodes[0].core.runtime.sleep(Duration::from_millis(ms)).await;
    }

    pub fn wall(&self) -> Micros {
        NodeRuntime(Arc::clone(&self.sim)).wall()
    }
}

pub fn shown(record: Option<Record>) -> Vec<String> {
    let Some(record) = record else { return Vec::new() };
    let visible = record.visible(Micros(1_700_000_000_000_000));
    let mut values: Vec<String> =
        visible.iter().map(|v| String::from_utf8(v.data.clone().unwrap().to_vec()).unwrap()).collect();
    values.sort();
    values
}

/// The context a write returned.
pub fn context(outcome: PutOutcome) -> Context {
    outcome.context.expect("a write of a siblings table returns a context")
}
