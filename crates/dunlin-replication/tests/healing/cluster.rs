//! Nodes with real views, layouts and messages over copies in memory; calls arrive at once.

use bytes::Bytes;
use dunlin_replication::coordinator::Coordinator;
use dunlin_replication::core::{Core, CoreParts, ReplicationConfig};
use dunlin_replication::hints::{HintConfig, Hints};
use dunlin_replication::repair::Repairer;
use dunlin_replication::replica::Replica;
use dunlin_replication::store::{
    Change, Durability, Entry, ReplicaStore, StoreError, Updated, WriteObserver,
};
use dunlin_replication::transfer::{self, TransferError, TransferProgress};
use dunlin_replication::view::{View, ViewParts, Views, stamp};
use dunlin_ring::{Layout, Member, VnodeCount};
use dunlin_storage::fs::memory::MemFs;
use dunlin_transport::{Handler, Incoming, Lane, Transport, TransportError};
use dunlin_types::host::{Actor, ClusterId, Generation};
use dunlin_types::record::Latest;
use dunlin_types::runtime::{BoxFuture, Clock, PlantedBug, Rng, Runtime, SharedRuntime, TaskHandle};
use dunlin_types::schema::{Compaction, Compression, KeyType, Replication, Schema, ValueType};
use dunlin_types::{
    ConflictMode, HlcClock, HostId, Key, KeyspaceDef, Micros, Mono, PartitionerKey, Record, TableDef,
    TableId, Token, TokenRange, Value,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub const TABLE: TableId = TableId(7);

/// Time that passes when somebody waits for it; what is to happen at some wait, happens then.
#[derive(Default)]
pub struct Instantly {
    pub sleeps: AtomicU64,
    pub at: Mutex<BTreeMap<u64, Box<dyn FnOnce() + Send>>>,
    pub healing_off: AtomicBool,
    /// After so many waits, if any, no further one ends.
    pub stops_after: AtomicU64,
}

impl Clock for Instantly {
    fn mono(&self) -> Mono {
        Mono(0)
    }
    fn wall(&self) -> Micros {
        Micros(1)
    }
}

impl Rng for Instantly {
    fn random(&self) -> u64 {
        0
    }
}

impl Runtime for Instantly {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if duration >= Duration::from_millis(100) {
            let count = self.sleeps.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(count < 1000, "waits for ever");
            let stops = self.stops_after.load(Ordering::Relaxed);
            if stops > 0 && count > stops {
                return Box::pin(std::future::pending());
            }
            let due = self.at.lock().remove(&count);
            if let Some(event) = due {
                event();
            }
        }
        Box::pin(async {})
    }
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> TaskHandle {
        unreachable!("nothing is spawned here")
    }
    fn die(&self, reason: &str) {
        panic!("{reason}")
    }
    fn planted(&self, bug: PlantedBug) -> bool {
        bug == PlantedBug::HealingOff && self.healing_off.load(Ordering::Relaxed)
    }
}

/// Runs a future that never has to wait.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}

pub type Place = (Token, Key);

#[derive(Default)]
pub struct MemoryStore {
    pub records: Mutex<BTreeMap<Place, Record>>,
    /// Happens while the next merge is under way.
    pub during_merge: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    observer: OnceLock<Arc<dyn WriteObserver>>,
    /// As after the loss of data.
    pub doubtful: AtomicBool,
}

impl ReplicaStore for MemoryStore {
    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        let _ = self.observer.set(observer);
    }

    fn serves(&self, _: TableId, _: TokenRange) -> Result<(), StoreError> {
        match self.doubtful.load(Ordering::Relaxed) {
            true => Err(StoreError::Damaged("data was lost".into())),
            false => Ok(()),
        }
    }

    fn get(
        &self,
        _: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        let found = self.records.lock().get(&(token, key)).cloned();
        Box::pin(async { Ok(found) })
    }

    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        _: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let observer = self.observer.get();
        observer.inspect(|observer| observer.taking(table, token, &record));
        let taken = record.clone();
        self.records.lock().entry((token, key)).and_modify(|r| r.merge(&record)).or_insert(record);
        observer.inspect(|observer| observer.taken(table, token, &taken));
        let event = self.during_merge.lock().take();
        Box::pin(async {
            if let Some(event) = event {
                event();
            }
            Ok(())
        })
    }

    fn update(
        &self,
        _: TableId,
        _: Token,
        _: Key,
        _: Change,
        _: Durability,
    ) -> BoxFuture<'static, Result<Updated, StoreError>> {
        unreachable!("healing only merges")
    }

    fn scan(
        &self,
        _: TableId,
        range: TokenRange,
        after: Option<Place>,
        limit: usize,
        _: usize,
    ) -> BoxFuture<'static, Result<Vec<Entry>, StoreError>> {
        let lowest = (range.first, Key::new(vec![0]).unwrap());
        let from = match after {
            Some(place) if place >= lowest => Bound::Excluded(place),
            _ => Bound::Included(lowest),
        };
        let records = self.records.lock();
        let inside =
            records.range((from, Bound::Unbounded)).take_while(|((token, _), _)| *token <= range.last);
        let page: Vec<Entry> = inside
            .take(limit)
            .map(|((token, key), record)| Entry { token: *token, key: key.clone(), record: record.clone() })
            .collect();
        Box::pin(async { Ok(page) })
    }
}

/// Delivers calls at once, unless the target is down.
#[derive(Default)]
pub struct Net {
    pub replicas: Mutex<BTreeMap<SocketAddr, Replica>>,
    pub down: Mutex<BTreeSet<SocketAddr>>,
    pub calls: AtomicU64,
    pub bytes: AtomicU64,
}

impl Transport for NetOf {
    fn call(
        &self,
        to: SocketAddr,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        assert_eq!(lane, Lane::Bulk);
        let net = Arc::clone(&self.net);
        let from = self.from;
        Box::pin(async move {
            if net.down.lock().contains(&to) {
                return Err(TransportError::Unreachable("down".to_owned()));
            }
            net.calls.fetch_add(1, Ordering::Relaxed);
            net.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
            let replica = net.replicas.lock()[&to].clone();
            let incoming = Incoming { peer_name: "peer".into(), peer_addr: from, lane, timeout, body };
            Ok(replica.serve(incoming).await)
        })
    }
    fn listen(&self, _: Arc<dyn Handler>) {}
    fn local_addr(&self) -> SocketAddr {
        self.from
    }
    fn close(&self) {}
}

pub struct NetOf {
    net: Arc<Net>,
    from: SocketAddr,
}

pub struct Node {
    pub store: Arc<MemoryStore>,
    pub views: Arc<Views>,
    pub repairer: Arc<Repairer>,
}

pub struct Cluster {
    pub net: Arc<Net>,
    pub runtime: Arc<Instantly>,
    pub nodes: Vec<Node>,
    pub layouts: Vec<Arc<Layout>>,
    pub schema: Arc<Schema>,
}

pub fn host(i: usize) -> HostId {
    HostId::from_words(i as u64 + 1, 0)
}

pub fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + i as u16))
}

pub fn member(i: usize) -> Member {
    Member {
        host: host(i),
        name: format!("n{i}"),
        rack: format!("r{i}"),
        data_center: "dc1".to_owned(),
        weight: 1,
        internode: address(i),
        client: address(i),
        admin: address(i),
    }
}

pub fn schema(tables: &[TableId]) -> Arc<Schema> {
    let stamp = (Micros(1), host(0));
    let mut schema = Schema::default();
    let keyspace = KeyspaceDef {
        name: "ks".to_owned(),
        replication: Replication::Simple(3),
        sloppy_quorum: false,
        durable_writes: true,
    };
    schema.set_keyspace("ks", stamp, Some(keyspace));
    for id in tables {
        let name = format!("t{id}");
        let table = TableDef {
            id: *id,
            keyspace: "ks".to_owned(),
            name: name.clone(),
            key_column: "k".to_owned(),
            key_type: KeyType::Text,
            value_column: "v".to_owned(),
            value_type: ValueType::Text,
            conflicts: ConflictMode::LastWriteWins,
            default_time_to_live_s: 0,
            gc_grace_s: 0,
            compression: Compression::None,
            compaction: Compaction::default(),
            speculative_retry: String::new(),
            comment: String::new(),
        };
        schema.set_table("ks", &name, stamp, Some(table));
    }
    Arc::new(schema)
}

impl Cluster {
    /// Nodes that all have a place in memory; the first `members` of them are in the first layout.
    pub fn new(count: usize, members: usize) -> Cluster {
        let runtime = Arc::new(Instantly::default());
        let vnodes = VnodeCount::try_from(16).unwrap();
        let founded = Layout::found(ClusterId([9; 16]), "test", PartitionerKey([3; 16]), vnodes, member(0));
        let layouts = vec![Arc::new(founded.next(2, (0..members).map(member).collect(), vec![]))];
        let net = Arc::new(Net::default());
        let schema = schema(&[TABLE]);
        let nodes = (0..count).map(|i| node(i, &net, &runtime, view(i, &layouts, &schema, count))).collect();
        Cluster { net, runtime, nodes, layouts, schema }
    }

    /// The second layout: all nodes. Only `knowing` learn of it.
    pub fn grow(&mut self, knowing: &[usize]) {
        let all = (0..self.nodes.len()).map(member).collect();
        self.layouts.push(Arc::new(self.layouts[0].next(3, all, vec![])));
        for &i in knowing {
            self.learn(i);
        }
    }

    /// Beside the second layout there is another one of its version: without the last node.
    pub fn propose_again(&mut self) {
        let others = (0..self.nodes.len() - 1).map(member).collect();
        let other = Arc::new(self.layouts[0].next(self.layouts[1].version, others, vec![]));
        self.layouts.push(other);
        let mut seen = self.layouts.clone();
        seen[1..].sort_by_key(|layout| layout.digest());
        for i in 0..self.nodes.len() {
            self.nodes[i].views.set(view(i, &seen, &self.schema, self.nodes.len()));
        }
    }

    pub fn learn(&self, i: usize) {
        self.nodes[i].views.set(view(i, &self.layouts, &self.schema, self.nodes.len()));
    }

    pub fn put(&self, i: usize, key: u32, written: u64) {
        let value =
            Value { written: Micros(written), expires: None, data: Some(Bytes::from_static(b"value")) };
        let record = Record::Latest(Latest { host: host(0), value });
        let key = Key::new(key.to_be_bytes().to_vec()).unwrap();
        let token = self.layouts[0].token(&key);
        run(self.nodes[i].store.merge(TABLE, token, key, record, Durability::Synced)).unwrap();
    }

    pub fn contents(&self, i: usize) -> BTreeMap<Place, Record> {
        self.nodes[i].store.records.lock().clone()
    }

    pub fn set_down(&self, i: usize) {
        self.net.down.lock().insert(address(i));
    }

    pub fn owners(&self, layout: usize, token: Token) -> Vec<HostId> {
        self.layouts[layout].replicas(token, &Replication::Simple(3))
    }

    /// Writes that each are at two of their three owners, not always the same.
    pub fn write_at_majorities(&self, keys: u32) {
        for k in 0..keys {
            let key = Key::new(k.to_be_bytes().to_vec()).unwrap();
            let owners = self.owners(0, self.layouts[0].token(&key));
            for (n, owner) in owners.iter().enumerate() {
                if n != k as usize % 3 {
                    let i = (0..self.nodes.len()).find(|&i| host(i) == *owner).unwrap();
                    self.put(i, k, 1);
                }
            }
        }
    }

    /// Copies what a node gained in the second layout.
    pub fn sync(&self, i: usize) -> Result<TransferProgress, TransferError> {
        let wanted = stamp(&self.layouts[1]);
        run(transfer::sync_layout(&self.nodes[i].repairer, wanted, &BTreeSet::new(), &|_| {}))
    }

    /// Whether a node that gained ranges holds every write to them.
    pub fn assert_whole(&self, i: usize, keys: u32) {
        let held = self.contents(i);
        let mut gained = 0;
        for k in 0..keys {
            let key = Key::new(k.to_be_bytes().to_vec()).unwrap();
            let token = self.layouts[0].token(&key);
            if self.owners(1, token).contains(&host(i)) {
                assert!(held.contains_key(&(token, key)), "key {k} is missing");
                gained += 1;
            }
        }
        assert!(gained > 0);
        assert_eq!(held.len(), gained, "nothing else was fetched");
    }
}

pub fn view(i: usize, layouts: &[Arc<Layout>], schema: &Arc<Schema>, count: usize) -> View {
    let parts = ViewParts {
        me: host(i),
        data_center: "dc1".to_owned(),
        layouts: layouts.to_vec(),
        read_version: 2,
        schema: Arc::clone(schema),
        alive: (0..count).map(host).collect(),
    };
    View::build(parts, None)
}

pub fn node(i: usize, net: &Arc<Net>, runtime: &Arc<Instantly>, view: View) -> Node {
    let runtime: SharedRuntime = runtime.clone();
    let store = Arc::new(MemoryStore::default());
    let views = Arc::new(Views::new(view));
    let transport = Arc::new(NetOf { net: Arc::clone(net), from: address(i) });
    let core = Core::new(CoreParts {
        hints: Hints::open(Arc::new(MemFs::new()), runtime.clone(), HintConfig::default()).unwrap(),
        runtime,
        views: Arc::clone(&views),
        transport,
        store: store.clone(),
        clock: Arc::new(HlcClock::default()),
        actor: Actor { host: host(i), generation: Generation(1) },
        dots: Arc::new(AtomicU64::new(0)),
        config: ReplicationConfig::default(),
    });
    net.replicas.lock().insert(address(i), Replica::new(Coordinator::new(Arc::clone(&core))));
    Node { store, views, repairer: Repairer::new(core) }
}
