//! Sessions and connections over one node that stands alone: a real coordinator, a map for a store.
#![allow(clippy::disallowed_methods)] // this file is the test's seam: clock, timers, tasks

mod admission;
mod limits;
mod session;
mod tls;
mod wire;

use super::{ClientBackend, ClientServices, ClientSettings, Readiness};
use bytes::Bytes;
use dunlin_cql::operation::SchemaChange;
use dunlin_replication::coordinator::Coordinator;
use dunlin_replication::core::{Core, CoreParts, ReplicationConfig};
use dunlin_replication::hints::{HintConfig, Hints};
use dunlin_replication::store::{Change, Durability, Entry, ReplicaStore, StoreError, Updated};
use dunlin_replication::view::{View, ViewParts, Views};
use dunlin_ring::{Layout, Member, VnodeCount};
use dunlin_storage::fs::MemFs;
use dunlin_transport::{Handler, Lane, Transport, TransportError};
use dunlin_types::runtime::{BoxFuture, Clock, Rng, Runtime, SharedRuntime, TaskControl, TaskHandle};
use dunlin_types::schema::Schema;
use dunlin_types::{
    Actor, ClusterError, ClusterId, ErrorCode, Generation, HlcClock, HostId, Key, Micros, Mono,
    PartitionerKey, Record, TableId, Token, TokenRange,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const ME: HostId = HostId([1; 16]);
/// Wall time at the start of a test: 2026-01-01.
const EPOCH_US: u64 = 1_767_225_600_000_000;

/// Runs a test's future.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

struct TestRuntime {
    start: Instant,
    random: AtomicU64,
    /// Added to the wall clock.
    pub ahead_us: AtomicU64,
}

impl Clock for TestRuntime {
    fn mono(&self) -> Mono {
        Mono(self.start.elapsed().as_nanos() as u64)
    }
    fn wall(&self) -> Micros {
        Micros(EPOCH_US + self.ahead_us.load(Ordering::Relaxed) + self.start.elapsed().as_micros() as u64)
    }
}

impl Rng for TestRuntime {
    fn random(&self) -> u64 {
        self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

struct Task(tokio::task::JoinHandle<()>);

impl TaskControl for Task {
    fn abort(&self) {
        self.0.abort();
    }
    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Runtime for TestRuntime {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        Box::new(Task(tokio::spawn(future)))
    }
    fn die(&self, reason: &str) {
        panic!("{reason}");
    }
}

struct NoPeers;

impl Transport for NoPeers {
    fn call(
        &self,
        _: SocketAddr,
        _: Lane,
        _: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(async { Err(TransportError::Unreachable("there is nobody else".into())) })
    }

    fn listen(&self, _: Arc<dyn Handler>) {}

    fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 7000))
    }

    fn close(&self) {}
}

type Records = Arc<Mutex<BTreeMap<(TableId, Token, Key), Record>>>;

/// A map, with a gate that holds up reads of keys that start with `slow`.
#[derive(Clone)]
pub struct MapStore {
    records: Records,
    pub gate: tokio::sync::watch::Sender<bool>,
}

impl ReplicaStore for MapStore {
    fn get(
        &self,
        table: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        let records = Arc::clone(&self.records);
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            if key.as_bytes().starts_with(b"slow") {
                let _ = gate.wait_for(|open| *open).await;
            }
            let found = records.lock().unwrap().get(&(table, token, key)).cloned();
            Ok(found)
        })
    }

    fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        _: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut records = self.records.lock().unwrap();
        records.entry((table, token, key)).and_modify(|old| old.merge(&record)).or_insert(record);
        Box::pin(async { Ok(()) })
    }

    fn update(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        change: Change,
        _: Durability,
    ) -> BoxFuture<'static, Result<Updated, StoreError>> {
        let mut records = self.records.lock().unwrap();
        let place = (table, token, key);
        let result = change(records.get(&place).cloned()).map_err(StoreError::Refused).map(|record| {
            records.insert(place, record.clone());
            Updated { record, durable: Box::pin(async { Ok(()) }) }
        });
        Box::pin(async { result })
    }

    fn scan(
        &self,
        table: TableId,
        range: TokenRange,
        after: Option<(Token, Key)>,
        limit: usize,
        bytes: usize,
    ) -> BoxFuture<'static, Result<Vec<Entry>, StoreError>> {
        let mut found = Vec::new();
        let mut size = 0;
        for ((_, token, key), record) in
            self.records.lock().unwrap().iter().filter(|((t, ..), _)| *t == table)
        {
            let place = (*token, key.clone());
            if !range.contains(*token) || after.as_ref().is_some_and(|after| place <= *after) {
                continue;
            }
            if found.len() == limit || (size >= bytes && !found.is_empty()) {
                break;
            }
            size += record.to_bytes().len();
            found.push(Entry { token: *token, key: place.1, record: record.clone() });
        }
        Box::pin(async { Ok(found) })
    }
}

/// The node around the sessions.
struct Backend {
    views: Arc<Views>,
    layout: Arc<Layout>,
    readiness: AtomicU8,
}

impl Backend {
    fn set_schema(&self, schema: Schema) {
        let parts = ViewParts {
            me: ME,
            data_center: "dc1".into(),
            layouts: vec![Arc::clone(&self.layout)],
            read_version: 1,
            schema: Arc::new(schema),
            alive: BTreeSet::new(),
        };
        let previous = self.views.load();
        self.views.set(View::build(parts, Some(&previous)));
    }
}

impl ClientBackend for Backend {
    fn readiness(&self) -> Readiness {
        [Readiness::Starting, Readiness::Ready, Readiness::Draining]
            [usize::from(self.readiness.load(Ordering::Relaxed))]
    }

    fn change_schema(
        &self,
        change: SchemaChange,
        _: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, Box<ClusterError>>> {
        let mut schema = Schema::clone(&self.views.load().schema);
        let stamp = (Micros(schema.stamp_max().0 + 1), ME);
        match change {
            SchemaChange::CreateKeyspace(def) | SchemaChange::AlterKeyspace(def) => {
                schema.set_keyspace(&def.name.clone(), stamp, Some(def));
            }
            SchemaChange::DropKeyspace(name) => schema.set_keyspace(&name, stamp, None),
            SchemaChange::CreateTable(mut def) => {
                def.id = TableId(stamp.0.0);
                schema.set_table(&def.keyspace.clone(), &def.name.clone(), stamp, Some(def));
            }
            SchemaChange::AlterTable(def) => {
                schema.set_table(&def.keyspace.clone(), &def.name.clone(), stamp, Some(def))
            }
            SchemaChange::DropTable(def) => schema.set_table(&def.keyspace, &def.name, stamp, None),
            SchemaChange::Truncate(def) => {
                let mut def = dunlin_types::TableDef::clone(&def);
                def.id = TableId(stamp.0.0);
                schema.set_table(&def.keyspace.clone(), &def.name.clone(), stamp, Some(def));
            }
        }
        self.set_schema(schema);
        Box::pin(async { Ok(Vec::new()) })
    }

    fn generation(&self) -> u64 {
        7
    }

    fn login(&self, user: &str, password: &str) -> Result<bool, Box<ClusterError>> {
        match (user, password) {
            ("ann", "secret") => Ok(true),
            ("ann", _) => {
                Err(Box::new(ClusterError::new(ErrorCode::Unauthenticated, "wrong user or password")))
            }
            _ => Ok(false),
        }
    }
}

/// One node and all that a test wants to reach of it.
pub struct TestNode {
    pub services: Arc<ClientServices>,
    pub store: MapStore,
    backend: Arc<Backend>,
    runtime: Arc<TestRuntime>,
}

impl TestNode {
    pub async fn start() -> TestNode {
        TestNode::with(ClientSettings::default()).await
    }

    pub async fn with(settings: ClientSettings) -> TestNode {
        let runtime = Arc::new(TestRuntime {
            start: Instant::now(),
            random: AtomicU64::new(1),
            ahead_us: AtomicU64::new(0),
        });
        let shared: SharedRuntime = runtime.clone();
        let member = Member {
            host: ME,
            name: "n1".into(),
            rack: "r1".into(),
            data_center: "dc1".into(),
            weight: 1,
            internode: "127.0.0.1:7000".parse().unwrap(),
            client: "127.0.0.1:9041".parse().unwrap(),
            admin: "127.0.0.1:7199".parse().unwrap(),
        };
        let vnodes = VnodeCount::try_from(16).unwrap();
        let layout =
            Arc::new(Layout::found(ClusterId([9; 16]), "test", PartitionerKey([3; 16]), vnodes, member));
        let empty = ViewParts {
            me: ME,
            data_center: "dc1".into(),
            layouts: Vec::new(),
            read_version: 1,
            schema: Arc::default(),
            alive: BTreeSet::new(),
        };
        let views = Arc::new(Views::new(View::build(empty, None)));
        let store = MapStore { records: Records::default(), gate: tokio::sync::watch::Sender::new(false) };
        let hints = Hints::open(Arc::new(MemFs::new()), Arc::clone(&shared), HintConfig::default()).unwrap();
        let core = Core::new(CoreParts {
            runtime: shared,
            views: Arc::clone(&views),
            transport: Arc::new(NoPeers),
            store: Arc::new(store.clone()),
            hints,
            clock: Arc::new(HlcClock::default()),
            actor: Actor { host: ME, generation: Generation(7) },
            dots: Arc::new(AtomicU64::new(0)),
            config: ReplicationConfig::default(),
        });
        let backend = Arc::new(Backend { views, layout, readiness: AtomicU8::new(1) });
        backend.set_schema(Schema::default());
        let services = ClientServices::new(Coordinator::new(core), backend.clone(), settings);
        let node = TestNode { services, store, backend, runtime };
        let mut session = super::Session::new(Arc::clone(&node.services));
        for statement in [
            "CREATE KEYSPACE dunlin WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1};",
            "CREATE TABLE kv (key text PRIMARY KEY, value text);",
            "CREATE TABLE lww (k bigint PRIMARY KEY, v double) WITH conflicts = 'last_write_wins';",
        ] {
            assert_eq!(session.execute(statement).await.to_bytes(), b"OK\n", "{statement}");
        }
        node
    }

    pub fn set_readiness(&self, readiness: Readiness) {
        self.backend.readiness.store(readiness as u8, Ordering::Relaxed);
    }

    pub fn pass_time(&self, by: Duration) {
        self.runtime.ahead_us.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
    }
}
