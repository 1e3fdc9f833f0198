//! A node: its parts in their order of start and stop. Everything here runs in the simulator too.

use crate::client::{ClientBackend, ClientServices, Readiness, Session};
use crate::config::{Config, ConfigError};
use crate::handler::NodeHandler;
use crate::identity::{self, Identity, IdentityError};
use crate::leftovers::Leftovers;
use crate::membership::{Membership, MembershipError, MembershipParts, MembershipSettings};
use crate::metrics::Metrics;
use crate::purge::Purge;
use crate::resync::Resync;
use crate::schema::EngineTables;
use crate::settings;
use crate::store::{InlineStore, LocalStore, LostRanges, ThreadedStore};
use dunlin_cql::operation::SchemaChange;
use dunlin_replication::coordinator::Coordinator;
use dunlin_replication::core::{Core, CoreParts};
use dunlin_replication::hints::{Hints, delivery};
use dunlin_replication::repair::Repairer;
use dunlin_replication::replica::Replica;
use dunlin_replication::store::{ReplicaStore, StoreError};
use dunlin_replication::view::View;
use dunlin_storage::fs::{Fs, create_dirs};
use dunlin_storage::snapshot::RESTORED;
use dunlin_storage::{Engine, OpenError};
use dunlin_transport::Transport;
use dunlin_types::runtime::{BoxFuture, PlantedBug, SharedRuntime, TaskHandle};
use dunlin_types::{ClusterError, Consistency, ErrorCode, HlcClock, HostId, Mono, TableId, TokenRange};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Version of the software.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How often a node tells the others how much it holds.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// A member that starts serves clients when it has met another one, or after this time.
const ALONE_FOR: Duration = Duration::from_secs(3);
/// Dots that are left out at a clean stop: more than a write under way at the last moment can use.
const DOTS_SKIPPED: u64 = 1 << 20;

/// Where the store's blocking work runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreMode {
    /// On threads, with group commit.
    Threads,
    /// Inline, on virtual time, with small buffers.
    Inline,
}

/// What a node stands on. Addresses in the configuration are literal here; [`crate::run`] resolves names.
pub struct NodeParts {
    /// Its configuration.
    pub config: Config,
    /// Clock, timers, tasks, chance.
    pub runtime: SharedRuntime,
    /// Its data directory.
    pub fs: Arc<dyn Fs>,
    /// Other nodes.
    pub transport: Arc<dyn Transport>,
    /// Where the store works.
    pub store_mode: StoreMode,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The engine.
    #[error("cannot open the store in {dir}: {source}")]
    Store {
        /// The data directory.
        dir: String,
        /// Why.
        source: OpenError,
    },
    /// What is known of data that was lost.
    #[error("cannot use system/lost in {dir}, which says what data was lost: {source}")]
    Lost {
        /// The data directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// Layouts and schema.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// Hints.
    #[error("cannot open the hints: {0}")]
    Hints(io::Error),
    /// Threads.
    #[error("cannot start the threads of the store: {0}")]
    Threads(io::Error),
}

/// A running node.
pub struct Node {
    /// Its configuration.
    pub config: Config,
    /// Clock, timers, tasks, chance.
    pub runtime: SharedRuntime,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Its cluster.
    pub membership: Arc<Membership>,
    /// Its own copy.
    pub store: Arc<dyn LocalStore>,
    /// What this node lost and has to get back.
    pub lost: Arc<LostRanges>,
    /// As of the last look.
    snapshot_bytes: Arc<AtomicU64>,
    /// Hints for others.
    pub hints: Arc<Hints>,
    /// Anti-entropy.
    pub repairer: Arc<Repairer>,
    /// What sessions share.
    pub clients: Arc<ClientServices>,
    /// Counters and histograms of clients' requests.
    pub metrics: Arc<Metrics>,
    /// Calls of other nodes.
    pub handler: Arc<NodeHandler>,
    /// When it started.
    pub started: Mono,
    door: Arc<ClientDoor>,
    coordinator: Coordinator,
    transport: Arc<dyn Transport>,
    dots: Arc<AtomicU64>,
    purge: Arc<Purge>,
    fs: Arc<dyn Fs>,
    tasks: Mutex<Vec<TaskHandle>>,
    stopped: AtomicBool,
}

impl Node {
    /// Starts a node. It serves clients when [`Node::readiness`] says so; joining goes on by itself.
    /// Reads the log on the caller's thread.
    pub fn start(parts: NodeParts) -> Result<Arc<Node>, StartError> {
        let NodeParts { config, runtime, fs, transport, store_mode } = parts;
        config.validate()?;
        let dir = config.node.data_dir.clone();
        let identity = Arc::new(Identity::open(fs.clone(), &dir, &config.cluster.name, &*runtime)?);
        identity::probe(&*fs, &dir)?;
        let started = runtime.mono();
        let options = settings::engine(&config, store_mode, &*runtime);
        let engine = Engine::open(fs.clone(), options)
            .map_err(|source| StartError::Store { dir: dir.display().to_string(), source })?;
        let failed = |error: io::Error| StartError::Lost { dir: dir.display().to_string(), source: error };
        create_dirs(&*fs, "system").map_err(failed)?;
        let lost = Arc::new(LostRanges::open(fs.clone()).map_err(failed)?);
        let store: Arc<dyn LocalStore> = match store_mode {
            StoreMode::Threads => {
                ThreadedStore::start(engine, fs.clone(), lost.clone(), &runtime, settings::threads(&config))
                    .map_err(StartError::Threads)?
            }
            StoreMode::Inline => InlineStore::start(engine, lost.clone(), runtime.clone()),
        };
        let hints =
            Hints::open(fs.clone(), runtime.clone(), settings::hints(&config)).map_err(StartError::Hints)?;
        let clock = Arc::new(HlcClock::default());
        let membership = Membership::new(MembershipParts {
            runtime: runtime.clone(),
            transport: transport.clone(),
            fs: fs.clone(),
            identity: identity.clone(),
            clock: clock.clone(),
            member: settings::member(&config, identity.host(), transport.local_addr())?,
            seeds: settings::seeds(&config)?,
            settings: MembershipSettings {
                cluster_name: config.cluster.name.clone(),
                vnodes: config.cluster.vnodes,
                default_replication_factor: config.cluster.default_replication_factor,
                gossip_interval: Duration::from_millis(config.gossip.interval_ms),
                phi_threshold: config.gossip.phi_threshold,
                version: VERSION,
            },
            tables: Arc::new(EngineTables(store.clone())),
        })?;
        // The tables are those of the schema now, which is not restored: one that was made or truncated since the
        // snapshot is empty here, and had data.
        if !runtime.planted(PlantedBug::LostVotes) {
            note_restored(&*fs, store.engine(), &identity, &lost).map_err(failed)?;
        }
        let dots = Arc::new(AtomicU64::new(identity.dots()));
        let replica_store: Arc<dyn ReplicaStore> = store.clone();
        let core = Core::new(CoreParts {
            runtime: runtime.clone(),
            views: membership.views().clone(),
            transport: transport.clone(),
            store: replica_store,
            hints: hints.clone(),
            clock,
            actor: identity.actor(),
            dots: dots.clone(),
            config: settings::replication(&config),
        });
        let coordinator = Coordinator::new(core.clone());
        let repairer = Repairer::new(core.clone());
        Purge::load(&*fs, repairer.compared(), identity.continues().is_some());
        for (table, ranges) in lost.all() {
            ranges.into_iter().for_each(|range| repairer.forget(table, range));
        }
        let purge = Arc::new(Purge {
            fs: fs.clone(),
            runtime: runtime.clone(),
            membership: membership.clone(),
            store: store.clone(),
            lost: lost.clone(),
            repairer: repairer.clone(),
            margin: core.config.repair.purge_margin,
            telling: Mutex::default(),
        });
        let replica = Replica::new(coordinator.clone());
        let handler =
            Arc::new(NodeHandler::new(membership.clone(), replica, config.limits.internode_requests));
        let metrics = Arc::new(Metrics::new(store.meters()));
        let door = Arc::new(ClientDoor {
            membership: membership.clone(),
            runtime: runtime.clone(),
            metrics: metrics.clone(),
            generation: identity.generation().0,
            draining: AtomicBool::new(false),
            met: AtomicBool::new(false),
            started,
        });
        let clients = ClientServices::new(coordinator.clone(), door.clone(), settings::clients(&config));
        let node = Arc::new(Node {
            config,
            runtime,
            identity,
            membership,
            store,
            lost,
            snapshot_bytes: Arc::default(),
            hints,
            repairer,
            clients,
            metrics,
            handler,
            started,
            door,
            coordinator,
            transport,
            dots,
            purge,
            fs,
            tasks: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
        });
        node.begin(core);
        Ok(node)
    }

    fn begin(self: &Arc<Self>, core: Arc<Core>) {
        tracing::info!(
            name = self.config.node.name, host = %self.identity.host(), generation = self.identity.generation().0,
            incarnation = self.identity.actor().generation.0, version = VERSION, "node starts"
        );
        self.transport.listen(self.handler.clone());
        self.membership.start(self.repairer.clone());
        let mut tasks = self.tasks.lock();
        tasks.push(self.runtime.spawn("hints", Box::pin(delivery::run(core))));
        tasks.push(self.runtime.spawn("repair", Box::pin(self.repairer.clone().run())));
        tasks.push(self.runtime.spawn("purge", Box::pin(self.purge.clone().run())));
        let leftovers = Leftovers {
            fs: self.fs.clone(),
            runtime: self.runtime.clone(),
            membership: self.membership.clone(),
            store: self.store.clone(),
            lost: self.lost.clone(),
            repairer: self.repairer.clone(),
            identity: self.identity.clone(),
        };
        tasks.push(self.runtime.spawn("leftovers", Box::pin(leftovers.run())));
        let resync = Resync {
            lost: self.lost.clone(),
            membership: self.membership.clone(),
            repairer: self.repairer.clone(),
            runtime: self.runtime.clone(),
        };
        tasks.push(self.runtime.spawn("resync", Box::pin(resync.run())));
        let tell = Tell {
            membership: self.membership.clone(),
            store: self.store.clone(),
            snapshot_bytes: self.snapshot_bytes.clone(),
            hints: self.hints.clone(),
            runtime: self.runtime.clone(),
        };
        tasks.push(self.runtime.spawn("tell", Box::pin(tell.run())));
    }

    /// This node.
    pub fn host(&self) -> HostId {
        self.identity.host()
    }

    /// The cluster as known now.
    pub fn view(&self) -> Arc<View> {
        self.membership.views().load()
    }

    /// Reads and writes.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// A new client session.
    pub fn session(&self) -> Session {
        Session::new(self.clients.clone())
    }

    /// Whether clients are served.
    pub fn readiness(&self) -> Readiness {
        self.door.readiness()
    }

    /// Why clients are not served, if so.
    pub fn not_ready(&self) -> Option<String> {
        match self.readiness() {
            Readiness::Ready => None,
            Readiness::Draining => Some("draining".to_owned()),
            Readiness::Starting => Some(self.membership.obstacle()),
        }
    }

    /// Takes no more clients' statements; those under way go on.
    pub fn drain(&self) {
        self.door.draining.store(true, Ordering::Release);
    }

    /// Stops in order: says farewell, makes everything durable, marks the stop as clean. Clients should
    /// have been drained before. Calls after the first do nothing.
    pub async fn stop(&self) {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        self.drain();
        self.membership.stop().await;
        let kept = usize::from(self.planted(PlantedBug::TaskLeaked));
        for task in self.tasks.lock().drain(kept..) {
            task.abort();
        }
        self.handler.stop();
        self.hints.flush(true);
        match self.store.close().await {
            Ok(()) => {
                if let Err(error) = self.purge.save() {
                    tracing::warn!(%error, "the times of comparisons were not saved");
                }
                let dots = self.dots.load(Ordering::Acquire) + DOTS_SKIPPED;
                match self.identity.stopped_cleanly(dots) {
                    Ok(()) => tracing::info!("node stopped"),
                    Err(error) => {
                        tracing::warn!(%error, "the clean stop could not be noted: the next start opens a new incarnation")
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the last writes could not be made durable"),
        }
        self.transport.close();
        self.identity.release();
    }

    /// Notes that ranges of a table were lost here: they are not read for clients before they are back, and the
    /// next start opens a new incarnation, however this run ends.
    pub fn lose(&self, table: TableId, ranges: &[TokenRange]) -> io::Result<()> {
        self.identity.forgo();
        self.repairer.note_gap(table, ranges);
        self.lost.add(table, ranges)
    }

    /// Writes every memtable to an SSTable.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.store.run(Box::new(|engine| engine.flush(None))).await
    }

    /// Bytes of SSTables that snapshots hold, as of the last look, a few seconds ago.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes.load(Ordering::Relaxed)
    }

    /// Uptime.
    pub fn uptime(&self) -> Duration {
        self.runtime.mono().since(self.started)
    }

    /// What other nodes are reached by.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Whether the bug is planted in this run.
    pub fn planted(&self, bug: PlantedBug) -> bool {
        self.runtime.planted(bug)
    }
}

/// After a restore, all that the tables had since the snapshot is lost here.
fn note_restored(fs: &dyn Fs, engine: &Engine, identity: &Identity, lost: &LostRanges) -> io::Result<()> {
    if !identity.went_back() {
        return Ok(());
    }
    for table in engine.tables() {
        lost.add(table, &[TokenRange::ALL])?;
    }
    // The new incarnation and what was lost are durable.
    fs.remove(RESTORED)?;
    fs.sync_dir("")?;
    tracing::warn!(
        "this node's data was restored: it serves no reads before it has been compared with the others"
    );
    Ok(())
}

impl Drop for Node {
    fn drop(&mut self) {
        self.membership.abort();
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        self.handler.stop();
    }
}

/// Tells the other nodes now and then how much this one holds.
struct Tell {
    membership: Arc<Membership>,
    store: Arc<dyn LocalStore>,
    snapshot_bytes: Arc<AtomicU64>,
    hints: Arc<Hints>,
    runtime: SharedRuntime,
}

impl Tell {
    async fn run(self) {
        loop {
            // Statistics wait for a running sync of the log: not on this thread.
            let load = Arc::new(AtomicU64::new(0));
            let (found, snapshots) = (load.clone(), self.snapshot_bytes.clone());
            let job = Box::new(move |engine: &Engine| {
                found.store(load_bytes(engine), Ordering::Relaxed);
                let all = engine.snapshots().unwrap_or_default();
                let bytes = all.iter().flat_map(|s| &s.tables).map(|t| t.bytes()).sum();
                snapshots.store(bytes, Ordering::Relaxed);
                Ok(())
            });
            if self.store.run(job).await.is_ok() {
                self.membership.tell(load.load(Ordering::Relaxed), self.hints.count());
            }
            self.runtime.sleep(TELL_EVERY).await;
        }
    }
}

/// Bytes of data in SSTables and memtables.
pub fn load_bytes(engine: &Engine) -> u64 {
    let stats = engine.stats();
    stats.memtable_bytes + stats.tables.iter().map(|t| t.sstable_bytes).sum::<u64>()
}

/// What sessions see of the node; apart from it, so that nothing keeps itself alive.
struct ClientDoor {
    membership: Arc<Membership>,
    runtime: SharedRuntime,
    metrics: Arc<Metrics>,
    generation: u64,
    draining: AtomicBool,
    /// Whether another member was up since the start.
    met: AtomicBool,
    started: Mono,
}

impl ClientBackend for ClientDoor {
    fn readiness(&self) -> Readiness {
        if self.draining.load(Ordering::Acquire) {
            return Readiness::Draining;
        }
        let view = self.membership.views().peek();
        let Some(layout) = view.read_layout().filter(|layout| layout.contains(view.me)) else {
            return Readiness::Starting;
        };
        if self.met.load(Ordering::Relaxed) {
            return Readiness::Ready;
        }
        let others = layout.members.iter().filter(|m| m.host != view.me);
        let met = layout.members.len() == 1 || others.into_iter().any(|m| view.is_alive(m.host));
        if met || self.runtime.mono().since(self.started) >= ALONE_FOR {
            self.met.store(true, Ordering::Relaxed);
            return Readiness::Ready;
        }
        Readiness::Starting
    }

    fn obstacle(&self) -> String {
        format!("this node does not serve: {}", self.membership.obstacle())
    }

    fn change_schema(
        &self,
        change: SchemaChange,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, Box<ClusterError>>> {
        let membership = self.membership.clone();
        Box::pin(async move { membership.change_schema(change, timeout).await.map(|done| done.missing) })
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn observe(
        &self,
        operation: &'static str,
        consistency: Option<Consistency>,
        took: Duration,
        code: Option<ErrorCode>,
    ) {
        self.metrics.client_request(operation, consistency, took, code);
    }
}
