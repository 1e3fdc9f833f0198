//! Membership: keeps gossip, the chain of layouts and the schema of a node in step with its cluster, and
//! publishes the [`View`] that requests use.
//!
//! All of it is one [`State`] under one lock. Whatever happens (a message, a tick, an
//! operator's word) changes the state in [`Membership::act`], which then settles it: moves the chain on,
//! makes it durable, builds the view. What has to be sent afterwards is sent by the tasks in [`rounds`].
//! [`founding`] is how the first layout comes about, [`sync`] copies data for a new one.
//!
//! Files of `system/` are small and change with layouts and schema only, so they are written on the
//! node's own thread.

mod ddl;
mod founding;
pub mod message;
mod operate;
pub(crate) mod persist;
mod rounds;
mod state;
mod sync;

use crate::identity::Identity;
use dunlin_gossip::{Config as GossipConfig, Gossip, key};
use dunlin_replication::message::LayoutStamp;
use dunlin_replication::repair::Repairer;
use dunlin_replication::view::{LayoutNews, View, ViewParts, Views};
use dunlin_ring::{LayoutChain, Member};
use dunlin_storage::fs::{Fs, replace_file};
use dunlin_storage::snapshot::RESTORED;
use dunlin_transport::{Incoming, Transport};
use dunlin_types::runtime::{SharedRuntime, TaskHandle};
use dunlin_types::schema::Schema;
use dunlin_types::{ClusterId, HlcClock, HostId};
use message::{ChainMessage, MembershipMessage, SchemaMessage};
use parking_lot::Mutex;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

pub use ddl::SchemaOutcome;
pub use operate::{NodeSeen, OperateError};
pub use sync::SyncProgress;

/// Longest wait for an answer about the cluster.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// What membership stands on.
pub struct MembershipParts {
    /// Clock, timers, tasks, chance.
    pub runtime: SharedRuntime,
    /// Other nodes.
    pub transport: Arc<dyn Transport>,
    /// The data directory.
    pub fs: Arc<dyn Fs>,
    /// Who this node is.
    pub identity: Arc<Identity>,
    /// The node's hybrid clock.
    pub clock: Arc<HlcClock>,
    /// This node as it wants to be a member.
    pub member: Member,
    /// Where to look for the cluster.
    pub seeds: Vec<SocketAddr>,
    /// Settings.
    pub settings: MembershipSettings,
    /// Makes the tables of a schema exist, and others not, before anybody sees it.
    pub tables: Arc<dyn SchemaSink>,
}

/// Settings of membership.
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    /// The cluster's name.
    pub cluster_name: String,
    /// Vnodes of a cluster that this node founds.
    pub vnodes: u32,
    /// Replication factor of its keyspace `dunlin`.
    pub default_replication_factor: u32,
    /// Time between rounds of gossip.
    pub gossip_interval: Duration,
    /// Suspicion at which a node is down.
    pub phi_threshold: f64,
    /// Version of the software, for others to see.
    pub version: &'static str,
}

/// Where a schema takes effect on this node.
pub trait SchemaSink: Send + Sync {
    /// Creates what the schema names and drops what it does not. Called under the membership lock.
    fn apply(&self, schema: &Schema) -> Result<(), String>;
}

/// See the module's comment.
pub struct Membership {
    runtime: SharedRuntime,
    transport: Arc<dyn Transport>,
    fs: Arc<dyn Fs>,
    identity: Arc<Identity>,
    clock: Arc<HlcClock>,
    settings: MembershipSettings,
    tables: Arc<dyn SchemaSink>,
    seeds: Vec<SocketAddr>,
    views: Arc<Views>,
    repairer: OnceLock<Arc<Repairer>>,
    state: Mutex<State>,
    progress: Mutex<Option<SyncProgress>>,
    tasks: Mutex<Vec<TaskHandle>>,
    /// Exchanges under way, so that there is one a peer.
    exchanging: Mutex<BTreeSet<SocketAddr>>,
    /// What was refused last, by peer, so that it is logged once.
    refusals: Mutex<BTreeMap<SocketAddr, String>>,
    gossip_now: Notify,
    spread_now: Notify,
}

/// Why membership cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The files of `system/` cannot be used.
    #[error("cannot read the folder system/: {0}")]
    Files(#[from] std::io::Error),
    /// They are of another cluster than `node.toml`.
    #[error(
        "system/layouts and node.toml do not belong together ({0}): was part of the data directory replaced?"
    )]
    Mismatch(&'static str),
    /// `node.toml` cannot be written.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// The tables of the schema cannot be made.
    #[error("cannot make the tables of the schema: {0}")]
    Tables(String),
}

impl Membership {
    /// Loads what an earlier run knew and publishes the first view. Nothing is sent before
    /// [`Membership::start`].
    pub fn new(parts: MembershipParts) -> Result<Arc<Membership>, MembershipError> {
        let MembershipParts { runtime, transport, fs, identity, clock, member, seeds, settings, tables } =
            parts;
        let saved = persist::load(&*fs)?;
        let known = saved.chain.as_ref().map(LayoutChain::cluster);
        match (identity.cluster(), known) {
            (Some(_), None) => {
                return Err(MembershipError::Mismatch("the node has joined, but no layouts are there"));
            }
            (Some(a), Some(b)) if a != b => {
                return Err(MembershipError::Mismatch("they name different clusters"));
            }
            (None, Some(cluster)) => identity.set_cluster(cluster)?,
            _ => {}
        }
        // Without any schema nothing is dropped: its file may be lost, and the others have another copy.
        if saved.schema != Schema::default() {
            tables.apply(&saved.schema).map_err(MembershipError::Tables)?;
        }
        clock.observe(saved.schema.stamp_max(), runtime.wall());
        let mut config =
            GossipConfig::new(settings.cluster_name.clone(), transport.local_addr(), seeds.clone());
        config.interval = settings.gossip_interval;
        config.phi_threshold = settings.phi_threshold;
        config.cluster = known;
        let mut gossip = Gossip::new(config, member.host, identity.generation(), runtime.mono());
        if let Some(previous) = identity.continues() {
            gossip.continues(previous);
        }
        for (name, value) in [
            (key::NAME, member.name.clone()),
            (key::CLIENT, member.client.to_string()),
            (key::ADMIN, member.admin.to_string()),
            (key::DATA_CENTER, member.data_center.clone()),
            (key::RACK, member.rack.clone()),
            (key::WEIGHT, member.weight.to_string()),
            (key::VERSION, settings.version.to_owned()),
        ] {
            gossip.set(name, value);
        }
        let empty = View::build(
            ViewParts {
                me: member.host,
                data_center: member.data_center.clone(),
                layouts: Vec::new(),
                read_version: 0,
                schema: Arc::default(),
                alive: BTreeSet::new(),
            },
            None,
        );
        let state = State {
            gossip,
            chain: saved.chain,
            schema_digest: persist::schema_digest(&saved.schema),
            schema: Arc::new(saved.schema),
            member,
            syncing: None,
            down_since: BTreeMap::new(),
            join_error: None,
            out: false,
            unsaved: false,
            clocks: BTreeMap::new(),
            stopping: false,
        };
        let first = state.view(&empty);
        Ok(Arc::new(Membership {
            runtime,
            transport,
            fs,
            identity,
            clock,
            settings,
            tables,
            seeds,
            views: Arc::new(Views::new(first)),
            repairer: OnceLock::new(),
            state: Mutex::new(state),
            progress: Mutex::new(None),
            tasks: Mutex::new(Vec::new()),
            exchanging: Mutex::new(BTreeSet::new()),
            refusals: Mutex::new(BTreeMap::new()),
            gossip_now: Notify::new(),
            spread_now: Notify::new(),
        }))
    }

    /// The views that it publishes.
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// This node.
    pub fn me(&self) -> HostId {
        self.identity.host()
    }

    /// The cluster, once known.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.state.lock().gossip.cluster()
    }

    /// Begins to speak. `repairer` copies data when layouts change.
    pub fn start(self: &Arc<Self>, repairer: Arc<Repairer>) {
        let _ = self.repairer.set(repairer);
        self.views.set_news(Arc::new(News(Arc::downgrade(self))));
        let mut tasks = self.tasks.lock();
        let gossip = Arc::clone(self);
        tasks.push(self.runtime.spawn("gossip", Box::pin(async move { gossip.gossip_loop().await })));
        let spread = Arc::clone(self);
        tasks.push(self.runtime.spawn("layouts", Box::pin(async move { spread.spread_loop().await })));
        if self.may_found() {
            let found = Arc::clone(self);
            tasks.push(self.runtime.spawn("founding", Box::pin(async move { found.found_if_alone().await })));
        }
        drop(tasks);
        self.act(|_| ());
    }

    /// Says farewell to everybody and stops; later messages are refused.
    pub async fn stop(&self) {
        let (farewell, peers) = {
            let mut state = self.state.lock();
            state.stopping = true;
            if let Some((_, task)) = state.syncing.take() {
                task.abort();
            }
            (state.gossip.farewell(), state.live_members())
        };
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        let body = MembershipMessage::Ack(farewell).encode();
        let lane = dunlin_transport::Lane::Gossip;
        let timeout = Duration::from_millis(500);
        let calls =
            peers.into_iter().map(|(_, address)| self.transport.call(address, lane, body.clone(), timeout));
        futures::future::join_all(calls).await;
    }

    /// Stops at once, without a word: what a crash does.
    pub fn abort(&self) {
        self.state.lock().stopping = true;
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// Changes the state and settles it; see the module's comment.
    fn act<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, effects) = {
            let mut state = self.state.lock();
            let before = state.chain.clone();
            let result = change(&mut state);
            state.note_clocks(self.runtime.wall());
            let previous = self.views.load();
            let mut effects = state.settle(before, &previous, &*self.fs, &*self.runtime);
            // Under the lock, so that views are published in order.
            if let Some(view) = effects.view.take() {
                self.views.set(view);
            }
            if let Some(sync) = effects.sync.take() {
                self.change_sync(&mut state, sync);
            }
            (result, effects)
        };
        // The next start then knows that data was lost here.
        if effects.put_back
            && let Err(error) = replace_file(&*self.fs, RESTORED, b"")
        {
            tracing::error!(%error, "{RESTORED} cannot be written: make an empty file of that name before the next start");
        }
        if let Some(reason) = effects.end {
            self.runtime.die(reason);
        }
        if effects.spread_chain {
            self.spread_now.notify_one();
        }
        if effects.gossip_now {
            self.gossip_now.notify_one();
        }
        result
    }

    /// Answers a call of lane `Gossip`. Never panics on its bytes.
    pub fn handle(self: &Arc<Self>, incoming: &Incoming) -> bytes::Bytes {
        let answer = match MembershipMessage::decode(&incoming.body) {
            Ok(message) => self.answer(message, incoming),
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.unwrap_or_else(|reason| {
            self.note_refusal(incoming.peer_addr, &reason);
            MembershipMessage::Refused(reason)
        });
        answer.encode()
    }

    fn answer(
        self: &Arc<Self>,
        message: MembershipMessage,
        incoming: &Incoming,
    ) -> Result<MembershipMessage, String> {
        let name = &incoming.peer_name;
        let now = self.runtime.mono();
        match message {
            MembershipMessage::Syn(syn) => self.act(|state| {
                state.check_name(syn.header.from, name)?;
                let answer = state.gossip.handle_syn(syn, now).map_err(|e| e.to_string())?;
                Ok(MembershipMessage::SynAck(answer))
            }),
            MembershipMessage::Ack(ack) => {
                let from = ack.header.from;
                self.act(|state| {
                    state.check_name(from, name)?;
                    state.gossip.handle_ack(ack, now).map_err(|e| e.to_string())
                })?;
                self.compare_with(from);
                Ok(MembershipMessage::Done)
            }
            MembershipMessage::Chain(message) => {
                self.state.lock().check_name(message.from, name)?;
                self.take_chain(message)?;
                Ok(MembershipMessage::Chain(self.chain_message()))
            }
            MembershipMessage::Schema(message) => {
                self.state.lock().check_name(message.from, name)?;
                self.take_schema(message)?;
                Ok(MembershipMessage::Schema(self.schema_message()))
            }
            MembershipMessage::SynAck(_) | MembershipMessage::Done | MembershipMessage::Refused(_) => {
                Err("an answer came as a question".to_owned())
            }
        }
    }

    fn chain_message(&self) -> ChainMessage {
        let state = self.state.lock();
        ChainMessage {
            from: state.me(),
            cluster_name: self.settings.cluster_name.clone(),
            chain: state.chain.clone(),
        }
    }

    fn schema_message(&self) -> SchemaMessage {
        let state = self.state.lock();
        SchemaMessage { from: state.me(), cluster: state.gossip.cluster(), schema: (*state.schema).clone() }
    }

    /// Merges a peer's chain, or adopts its cluster.
    fn take_chain(self: &Arc<Self>, message: ChainMessage) -> Result<(), String> {
        if message.cluster_name != self.settings.cluster_name {
            return Err(format!("cluster {:?}, not {:?}", message.cluster_name, self.settings.cluster_name));
        }
        let Some(theirs) = message.chain else { return Ok(()) };
        self.act(|state| {
            match &mut state.chain {
                Some(mine) if mine.cluster() != theirs.cluster() => {
                    return Err(format!(
                        "the peer is of cluster {}, this node of {}",
                        theirs.cluster(),
                        mine.cluster()
                    ));
                }
                Some(mine) => drop(mine.merge(&theirs)),
                None => {
                    let cluster = theirs.cluster();
                    persist::save_chain(&*self.fs, &theirs).map_err(|e| e.to_string())?;
                    self.identity.set_cluster(cluster).map_err(|e| e.to_string())?;
                    state.gossip.set_cluster(cluster);
                    state.chain = Some(theirs);
                    self.runtime.event("cluster_found", cluster.short(), 0);
                    tracing::info!(%cluster, "found the cluster");
                }
            }
            Ok(())
        })
    }

    /// Merges a peer's schema.
    fn take_schema(self: &Arc<Self>, message: SchemaMessage) -> Result<(), String> {
        self.act(|state| {
            if message.cluster.is_none() || message.cluster != state.gossip.cluster() {
                return Err("the schema of another cluster".to_owned());
            }
            let mut merged = (*state.schema).clone();
            merged.merge(&message.schema);
            if merged == *state.schema {
                return Ok(());
            }
            self.clock.observe(merged.stamp_max(), self.runtime.wall());
            self.adopt_schema(state, merged)
        })
    }

    /// Makes a schema durable, has its tables made, and puts it into force.
    fn adopt_schema(&self, state: &mut State, schema: Schema) -> Result<(), String> {
        persist::save_schema(&*self.fs, &schema)
            .map_err(|e| format!("system/schema cannot be written: {e}"))?;
        self.tables.apply(&schema)?;
        state.set_schema(schema);
        self.runtime.event("schema_changed", state.schema.stamp_max().0, 0);
        Ok(())
    }

    fn note_refusal(&self, peer: SocketAddr, reason: &str) {
        let mut refusals = self.refusals.lock();
        if refusals.len() > 1024 {
            refusals.clear();
        }
        if refusals.get(&peer).is_none_or(|last| last != reason) {
            tracing::warn!(%peer, reason, "a message about the cluster was refused");
            refusals.insert(peer, reason.to_owned());
        }
    }
}

/// Coordinators report peers that know newer layouts.
struct News(std::sync::Weak<Membership>);

impl LayoutNews for News {
    fn peer_knows(&self, peer: HostId, _stamp: LayoutStamp) {
        if let Some(membership) = self.0.upgrade() {
            membership.fetch_from(peer);
        }
    }
}
