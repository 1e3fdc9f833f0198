//! What a node knows of its cluster, and what it does when that changes. No I/O but the files of
//! `system/`; always under the lock of [`super::Membership`].

use super::persist;
use bytes::Bytes;
use dunlin_gossip::{Event, Gossip, key};
use dunlin_replication::view::{View, ViewParts};
use dunlin_ring::{Layout, LayoutChain, LayoutDigest, Member, StageError, StagedChange};
use dunlin_storage::fs::Fs;
use dunlin_types::runtime::{Runtime, TaskHandle};
use dunlin_types::schema::Schema;
use dunlin_types::{HostId, Micros, Mono};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything under the lock.
pub(super) struct State {
    pub(super) gossip: Gossip,
    pub(super) chain: Option<LayoutChain>,
    pub(super) schema: Arc<Schema>,
    pub(super) schema_digest: [u8; 16],
    /// This node as it wants to be a member.
    pub(super) member: Member,
    /// The transfer that is running, and for which layout.
    pub(super) syncing: Option<(LayoutDigest, TaskHandle)>,
    /// Since when nodes are down.
    pub(super) down_since: BTreeMap<HostId, Mono>,
    /// Why this node cannot join, as it was logged.
    pub(super) join_error: Option<StageError>,
    /// Whether it was said that this node is out.
    pub(super) out: bool,
    /// Whether the chain on disk is the one in memory.
    pub(super) unsaved: bool,
    /// What each node last said its wall clock is, and by how many microseconds that was ahead of this node's.
    /// Unknown before it said so a second time: what is learned first may be old.
    pub(super) clocks: BTreeMap<HostId, (Bytes, Option<i64>)>,
    pub(super) stopping: bool,
}

/// What has to happen after the lock is released.
#[derive(Default)]
pub(super) struct Effects {
    /// A view to publish.
    pub(super) view: Option<View>,
    /// The chain changed: others have to know.
    pub(super) spread_chain: bool,
    /// Own values changed: gossip at once.
    pub(super) gossip_now: bool,
    /// The layout whose data has to be copied now; `None` inside: stop copying.
    pub(super) sync: Option<Option<Arc<Layout>>>,
    /// Why the node must not go on.
    pub(super) end: Option<&'static str>,
    /// The data is older than what this node has acknowledged.
    pub(super) put_back: bool,
}

impl State {
    /// Compares clocks that nodes told of since the last time with this node's. News travel for a moment, so
    /// others seem up to about a second behind.
    pub(super) fn note_clocks(&mut self, wall: Micros) {
        let peers: Vec<HostId> = self.gossip.peers().iter().map(|peer| peer.host).collect();
        self.clocks.retain(|host, _| peers.contains(host));
        for host in peers {
            let Some(said) = self.gossip.value(host, key::WALL_CLOCK) else { continue };
            let known = self.clocks.get(&host);
            if known.is_some_and(|(known, _)| *known == said) {
                continue;
            }
            let theirs = std::str::from_utf8(&said).ok().and_then(|text| text.parse::<i64>().ok());
            let ahead = known.and(theirs).zip(i64::try_from(wall.0).ok());
            self.clocks.insert(host, (said, ahead.map(|(theirs, mine)| theirs.saturating_sub(mine))));
        }
    }

    /// This node.
    pub(super) fn me(&self) -> HostId {
        self.member.host
    }

    /// Puts a schema into force.
    pub(super) fn set_schema(&mut self, schema: Schema) {
        self.schema_digest = persist::schema_digest(&schema);
        self.schema = Arc::new(schema);
    }

    /// Takes in what happened, moves the chain on as far as this node may, persists it before anybody can
    /// see it, and says what to do. `before` is the chain as it was persisted last.
    pub(super) fn settle(
        &mut self,
        before: Option<LayoutChain>,
        previous: &View,
        fs: &dyn Fs,
        runtime: &dyn Runtime,
    ) -> Effects {
        let mut effects = Effects::default();
        let mut changed = self.take_events(runtime, &mut effects);
        let old_digest = before.as_ref().map(LayoutChain::digest);
        if !self.stopping {
            self.step(runtime);
            self.forget_the_gone();
        }
        if self.chain.as_ref().map(LayoutChain::digest) != old_digest || self.unsaved {
            changed = true;
            self.save_chain(before, fs);
        }
        let digest = self.chain.as_ref().map(LayoutChain::digest);
        if let Some(digest) = digest
            && self.gossip.set(key::CHAIN_DIGEST, Bytes::copy_from_slice(&digest))
        {
            effects.spread_chain = true;
            effects.gossip_now = true;
        }
        if self.gossip.set(key::SCHEMA_DIGEST, Bytes::copy_from_slice(&self.schema_digest)) {
            effects.gossip_now = true;
            changed = true;
        }
        if changed {
            if !self.stopping {
                let status = self.status(self.me());
                effects.gossip_now |= self.gossip.set(key::STATUS, status);
            }
            effects.view = Some(self.view(previous));
        }
        effects.sync = self.sync_change();
        effects
    }

    /// Moves the chain on by everything that is for this node to do.
    fn step(&mut self, runtime: &dyn Runtime) {
        let me = self.me();
        let live = self.gossip.live();
        let Some(chain) = &mut self.chain else { return };
        if !chain.completed().contains(me) || chain.completed().member(me) != Some(&self.member) {
            // Whoever left or was removed stays out until it is started as another node.
            let out = matches!(
                chain.staging().change(me),
                Some(StagedChange::Leave | StagedChange::Remove | StagedChange::ForceRemove)
            );
            if !out {
                let staged = chain.stage(me, me, StagedChange::Join(self.member.clone()));
                note_join(&mut self.join_error, staged);
            } else if !chain.newest().contains(me) && !chain.completed().contains(me) && !self.out {
                self.out = true;
                tracing::warn!("this node is no member: {}", super::operate::LEFT);
            }
        }
        if !runtime.buggify("propose_late") && chain.propose(me, &live) {
            let newest = chain.newest();
            tracing::info!(
                version = newest.version,
                members = newest.members.len(),
                "a new layout is proposed"
            );
            runtime.event("layout_proposed", newest.version, me.short());
        }
        if !runtime.buggify("acknowledge_late") && chain.acknowledge(me) {
            let ack = chain.watermarks(me).ack;
            tracing::info!(version = ack, "layout acknowledged");
            runtime.event("layout_acknowledged", ack, me.short());
        }
        let completed = chain.completed().version;
        while chain.advance(me) {
            runtime.event("layout_advanced", chain.completed().version, me.short());
        }
        let layout = chain.completed();
        if layout.version != completed {
            tracing::info!(version = layout.version, members = layout.members.len(), "layout is complete");
        }
    }

    /// Drops nodes from gossip that left the cluster and are down.
    fn forget_the_gone(&mut self) {
        let gone = self.gossip.peers().into_iter().filter(|p| !p.up && self.status(p.host) == "left");
        let gone: Vec<HostId> = gone.map(|p| p.host).collect();
        for host in gone {
            self.gossip.forget(host);
            self.down_since.remove(&host);
        }
    }

    /// Writes the chain. If that fails, nothing happened: the old one stays, and the next tick tries again.
    fn save_chain(&mut self, before: Option<LayoutChain>, fs: &dyn Fs) {
        let Some(chain) = &self.chain else { return };
        match persist::save_chain(fs, chain) {
            Ok(()) => self.unsaved = false,
            Err(error) => {
                tracing::error!(%error, "system/layouts cannot be written: this node follows no change of layouts until it can");
                // Without an older chain the node has only just heard of a cluster; it will again.
                self.chain = before;
                self.unsaved = self.chain.is_some();
            }
        }
    }

    fn take_events(&mut self, runtime: &dyn Runtime, effects: &mut Effects) -> bool {
        let mut changed = false;
        for event in self.gossip.take_events() {
            match event {
                Event::Up(host) => {
                    changed = true;
                    self.down_since.remove(&host);
                    runtime.event("peer_up", host.short(), 0);
                    tracing::info!(peer = %host, name = self.name(host), "peer is up");
                }
                Event::Down(host) => {
                    changed = true;
                    self.down_since.insert(host, runtime.mono());
                    runtime.event("peer_down", host.short(), 0);
                    tracing::info!(peer = %host, name = self.name(host), "peer is down");
                }
                Event::Restarted(host) => {
                    tracing::info!(peer = %host, name = self.name(host), "peer was started anew");
                }
                Event::Superseded(generation) => {
                    tracing::error!(
                        generation = generation.0,
                        "another process runs with this node's host id: was the data directory copied?"
                    );
                    effects.end = Some("another process runs with this node's host id");
                }
                Event::PutBack(generation) => {
                    // Dots of the runs that the copy does not know must not be given again. The start that
                    // follows opens a new incarnation, because this one does not end in order.
                    tracing::error!(
                        generation = generation.0,
                        "the data directory was put back from an older copy: this node ends; start it once more"
                    );
                    effects.put_back = true;
                    effects.end = Some("the data directory was put back from an older copy");
                }
                _ => {}
            }
        }
        changed
    }

    /// A node's name, as far as it is known.
    pub(super) fn name(&self, host: HostId) -> String {
        let layouts = self.chain.iter().flat_map(LayoutChain::write_layouts);
        let member = layouts.filter_map(|l| l.member(host)).next();
        member.map(|m| m.name.clone()).or_else(|| self.gossip.text(host, key::NAME)).unwrap_or_default()
    }

    /// `waiting`, `joining`, `normal`, `leaving` or `left`.
    pub(super) fn status(&self, host: HostId) -> &'static str {
        let Some(chain) = &self.chain else { return "waiting" };
        let change = chain.pending_changes().find(|(h, _)| *h == host).map(|(_, change)| change);
        let member = chain.completed().contains(host);
        match (member, change) {
            (true, Some(StagedChange::Leave | StagedChange::Remove | StagedChange::ForceRemove)) => "leaving",
            (true, _) => "normal",
            (false, _) => match chain.staging().change(host) {
                Some(StagedChange::Leave | StagedChange::Remove | StagedChange::ForceRemove) => "left",
                _ => "joining",
            },
        }
    }

    /// The view of this moment.
    pub(super) fn view(&self, previous: &View) -> View {
        let me = self.me();
        let (mut layouts, mut read_version) = (Vec::new(), 0);
        if let Some(chain) = &self.chain {
            let read = chain.read_layout(me);
            read_version = read.version;
            layouts = chain.write_layouts().to_vec();
            // Of two layouts of one version, the one that is read from comes first.
            layouts.sort_by_key(|l| (l.version, l.digest() != read.digest(), l.digest()));
        }
        let parts = ViewParts {
            me,
            data_center: self.member.data_center.clone(),
            layouts,
            read_version,
            schema: Arc::clone(&self.schema),
            alive: self.gossip.live(),
        };
        View::build(parts, Some(previous))
    }

    /// Whether the copying of data has to be started, changed or stopped.
    fn sync_change(&mut self) -> Option<Option<Arc<Layout>>> {
        let me = self.me();
        let wanted = self.chain.as_ref().and_then(|chain| chain.to_sync(me)).filter(|_| !self.stopping);
        let running = self.syncing.as_ref().map(|(digest, _)| *digest);
        if wanted.map(|layout| layout.digest()) == running { None } else { Some(wanted.cloned()) }
    }

    /// Hosts that are up and know another chain than this node.
    pub(super) fn behind(&self) -> Vec<(HostId, std::net::SocketAddr)> {
        let mine = self.gossip.value(self.me(), key::CHAIN_DIGEST);
        let peers = self.gossip.peers().into_iter().filter(|p| p.up);
        let others = peers.filter(|p| self.gossip.value(p.host, key::CHAIN_DIGEST) != mine);
        others.filter_map(|p| Some((p.host, p.address?))).collect()
    }

    /// Members that are up, without this node.
    pub(super) fn live_members(&self) -> Vec<(HostId, std::net::SocketAddr)> {
        let peers = self.gossip.peers().into_iter().filter(|p| p.up);
        peers.filter_map(|p| Some((p.host, p.address?))).collect()
    }

    /// Error: the host is known under another node name.
    pub(super) fn check_name(&self, host: HostId, name: &str) -> Result<(), String> {
        let layouts = self.chain.iter().flat_map(LayoutChain::write_layouts);
        let member = layouts.filter_map(|l| l.member(host)).map(|m| m.name.clone()).next();
        match member.or_else(|| self.gossip.text(host, key::NAME)) {
            Some(known) if known != name => {
                Err(format!("host id {host} belongs to node {known:?}, the certificate names {name:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Members that an operator took out as dead and whose data is given up.
    pub(super) fn lost(&self, layout: &Layout) -> BTreeSet<HostId> {
        layout.removed.iter().copied().collect()
    }
}

/// Logs why this node cannot join, once for each reason.
fn note_join(last: &mut Option<StageError>, staged: Result<bool, StageError>) {
    let error = staged.err();
    if let Some(StageError::NameTaken { name, host }) = &error
        && *last != error
    {
        tracing::error!(
            %name, %host,
            "cannot join: a member with this node name exists; if that node is gone for good, take it out first: nodetool removenode {host}"
        );
    }
    *last = error;
}
