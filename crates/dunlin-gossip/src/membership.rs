//! The state machine: exchanges in, liveness and news out.

use crate::config::Config;
use crate::delta::{Delta, NodeDelta};
use crate::digest::Digest;
use crate::key;
use crate::message::{Ack, Header, Refusal, Syn, SynAck};
use crate::peers;
use crate::phi::{Detector, PhiSettings};
use crate::state::NodeState;
use bytes::Bytes;
use dunlin_types::runtime::Rng;
use dunlin_types::{ClusterId, Generation, HostId, Mono};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Heartbeats in a row, heard through others, after which a node counts as up. One could be the last
/// breath of a dead node that arrives late; a message of the node itself counts at once.
const INDIRECT_HEARTBEATS_MIN: u32 = 2;

/// What became known. Events come in the order in which they happened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The node is heard of regularly.
    Up(HostId),
    /// The node was convicted, or said that it stops.
    Down(HostId),
    /// The node set this value.
    Changed(HostId, String),
    /// The node was started anew; what it told before is forgotten, its new values follow as `Changed`.
    Restarted(HostId),
    /// Others know a later start of this very host: its data directory was copied or put back. The
    /// node must not go on.
    Superseded(Generation),
    /// Others know a start of this host that its data directory does not: it was put back from an older
    /// copy. See [`Gossip::continues`].
    PutBack(Generation),
}

/// One other node as seen from here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerView {
    /// Which node.
    pub host: HostId,
    /// Its latest known start.
    pub generation: Generation,
    /// Its ticks in that start.
    pub heartbeat: u64,
    /// Whether it is believed to be up.
    pub up: bool,
    /// Whether it said that it stops.
    pub shut_down: bool,
    /// Where peers reach it, if it said so.
    pub address: Option<SocketAddr>,
}

#[derive(Debug)]
struct Peer {
    state: NodeState,
    detector: Detector,
    up: bool,
    /// Heartbeats in a row while not up.
    advances: u32,
    last_advance: Mono,
    /// Cluster of the node that told of it first.
    told_by: Option<ClusterId>,
}

/// Membership as one node sees it. Every method that takes `now` takes the node's monotonic time;
/// the caller collects [`Gossip::take_events`] after each call.
#[derive(Debug)]
pub struct Gossip {
    config: Config,
    me: HostId,
    own: NodeState,
    peers: BTreeMap<HostId, Peer>,
    forgotten: BTreeMap<HostId, Generation>,
    events: Vec<Event>,
    last_tick: Mono,
    superseded: bool,
    continues: Option<Generation>,
}

impl Gossip {
    /// A node alone, at the start `generation`. Sets its own [`key::INTERNODE`].
    pub fn new(config: Config, me: HostId, generation: Generation, now: Mono) -> Gossip {
        let mut own = NodeState::new(generation);
        own.set(key::INTERNODE, Bytes::from(config.address.to_string()));
        Gossip {
            config,
            me,
            own,
            peers: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            events: Vec::new(),
            last_tick: now,
            superseded: false,
            continues: None,
        }
    }

    /// This start goes on where the start of that generation ended, as the data directory says: a later one
    /// in between, that others know of, is told as [`Event::PutBack`].
    pub fn continues(&mut self, previous: Generation) {
        self.continues = Some(previous);
    }

    /// This node.
    pub fn me(&self) -> HostId {
        self.me
    }

    /// The cluster this node belongs to.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.config.cluster
    }

    /// The node has found, or founded, its cluster. Peers it heard of through another are dropped
    /// without a word, so that they are not carried over.
    pub fn set_cluster(&mut self, cluster: ClusterId) {
        self.config.cluster = Some(cluster);
        self.peers.retain(|_, p| p.told_by.is_none_or(|c| c == cluster));
    }

    /// Sets a value of this node; true if that is news, and worth a round at once ([`Gossip::choose`]).
    ///
    /// Panics if name or value are over the bounds of [`key`], or there are too many values.
    pub fn set(&mut self, name: &str, value: impl Into<Bytes>) -> bool {
        let value = value.into();
        assert!(
            name.len() <= key::KEY_BYTES_MAX && value.len() <= key::VALUE_BYTES_MAX,
            "{name} is too long"
        );
        assert!(
            self.own.values().len() < key::VALUES_MAX || self.own.value(name).is_some(),
            "too many values"
        );
        self.own.set(name, value)
    }

    /// One interval passed: beats, convicts the silent, and gives the peers to open an exchange with.
    pub fn tick(&mut self, now: Mono, rng: &dyn Rng) -> Vec<SocketAddr> {
        self.excuse_own_pause(now);
        self.last_tick = now;
        self.own.beat();
        let threshold = self.config.phi_threshold;
        for (&host, peer) in &mut self.peers {
            if peer.up && peer.detector.phi(now) >= threshold {
                peer.down(host, &mut self.events);
            }
        }
        self.choose(rng)
    }

    /// Peers for a round out of turn, when news should not wait for the next tick.
    pub fn choose(&self, rng: &dyn Rng) -> Vec<SocketAddr> {
        let me = self.config.address;
        let addresses = |up: bool| -> BTreeSet<SocketAddr> {
            let peers = self.peers.values().filter(|p| p.up == up);
            peers.filter_map(|p| p.state.address()).filter(|a| *a != me).collect()
        };
        let seeds = self.config.seeds.iter().copied().filter(|a| *a != me).collect();
        peers::choose(&addresses(true), &addresses(false), &seeds, self.config.fanout, rng)
    }

    /// Opens an exchange.
    pub fn syn(&self) -> Syn {
        Syn { header: self.header(), digest: self.digest() }
    }

    /// Answers an exchange that a peer opened.
    pub fn handle_syn(&mut self, syn: Syn, now: Mono) -> Result<SynAck, Refusal> {
        syn.check()?;
        self.admit(&syn.header)?;
        self.excuse_own_pause(now);
        self.learn_digest(&syn.digest, &syn.header, now);
        self.learn_sender(&syn.header, now);
        Ok(SynAck { header: self.header(), digest: self.digest(), delta: self.delta_for(&syn.digest) })
    }

    /// Learns from the answer and closes the exchange. The ack need not be sent if it has no news.
    pub fn handle_syn_ack(&mut self, syn_ack: SynAck, now: Mono) -> Result<Ack, Refusal> {
        syn_ack.check()?;
        self.admit(&syn_ack.header)?;
        self.excuse_own_pause(now);
        self.learn_delta(syn_ack.delta, &syn_ack.header, now);
        self.learn_digest(&syn_ack.digest, &syn_ack.header, now);
        self.learn_sender(&syn_ack.header, now);
        Ok(Ack { header: self.header(), delta: self.delta_for(&syn_ack.digest) })
    }

    /// Learns from the end of an exchange, or from a farewell.
    pub fn handle_ack(&mut self, ack: Ack, now: Mono) -> Result<(), Refusal> {
        ack.check()?;
        self.admit(&ack.header)?;
        self.excuse_own_pause(now);
        self.learn_delta(ack.delta, &ack.header, now);
        self.learn_sender(&ack.header, now);
        Ok(())
    }

    /// Marks this start as over and gives the message that tells so: a clean stop sends it to every
    /// peer that is up, and is then not waited for by their detectors.
    pub fn farewell(&mut self) -> Ack {
        self.own.set(key::STATUS, Bytes::from_static(key::STATUS_SHUTDOWN.as_bytes()));
        self.own.beat();
        Ack { header: self.header(), delta: Delta { nodes: vec![self.own.since(self.me, 0, usize::MAX)] } }
    }

    /// Drops a node that left the cluster. Old gossip about it is ignored; a later start is not.
    pub fn forget(&mut self, host: HostId) {
        let Some(mut peer) = self.peers.remove(&host) else { return };
        if peer.up {
            peer.down(host, &mut self.events);
        }
        self.forgotten.insert(host, peer.state.generation());
        if self.forgotten.len() > key::NODES_MAX / 4 {
            self.forgotten.pop_first();
        }
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether the node is believed to be up. This node is.
    pub fn is_up(&self, host: HostId) -> bool {
        host == self.me || self.peers.get(&host).is_some_and(|p| p.up)
    }

    /// Every node believed to be up, this one included.
    pub fn live(&self) -> BTreeSet<HostId> {
        let peers = self.peers.iter().filter(|(_, p)| p.up).map(|(&host, _)| host);
        peers.chain([self.me]).collect()
    }

    /// The suspicion of a node; none if it is unknown or not up.
    pub fn phi(&self, host: HostId, now: Mono) -> Option<f64> {
        self.peers.get(&host).filter(|p| p.up).map(|p| p.detector.phi(now))
    }

    /// Every other node that is known, up or not, by host id.
    pub fn peers(&self) -> Vec<PeerView> {
        let view = |(&host, peer): (&HostId, &Peer)| PeerView {
            host,
            generation: peer.state.generation(),
            heartbeat: peer.state.heartbeat(),
            up: peer.up,
            shut_down: peer.state.is_shut_down(),
            address: peer.state.address(),
        };
        self.peers.iter().map(view).collect()
    }

    /// The state of a node, this one included.
    pub fn state(&self, host: HostId) -> Option<&NodeState> {
        if host == self.me { Some(&self.own) } else { self.peers.get(&host).map(|p| &p.state) }
    }

    /// A value of a node, this one included.
    pub fn value(&self, host: HostId, name: &str) -> Option<Bytes> {
        self.state(host)?.value(name).cloned()
    }

    /// A value of a node as text.
    pub fn text(&self, host: HostId, name: &str) -> Option<String> {
        self.state(host)?.text(name).map(str::to_owned)
    }

    /// The sender line of this node's messages.
    pub fn header(&self) -> Header {
        Header {
            cluster: self.config.cluster,
            cluster_name: self.config.cluster_name.clone(),
            from: self.me,
            generation: self.own.generation(),
            heartbeat: self.own.heartbeat(),
        }
    }

    fn states(&self) -> impl Iterator<Item = (HostId, &NodeState)> {
        self.peers.iter().map(|(&host, p)| (host, &p.state)).chain([(self.me, &self.own)])
    }

    fn digest(&self) -> Digest {
        Digest::of(self.states(), &self.forgotten)
    }

    fn delta_for(&self, digest: &Digest) -> Delta {
        Delta::for_digest(digest, self.states(), self.me, self.config.delta_bytes_max)
    }

    /// Whether to take anything from the sender.
    fn admit(&mut self, header: &Header) -> Result<(), Refusal> {
        if header.cluster_name != self.config.cluster_name {
            return Err(Refusal::OtherName {
                from: header.from,
                theirs: header.cluster_name.clone(),
                ours: self.config.cluster_name.clone(),
            });
        }
        if let (Some(ours), Some(theirs)) = (self.config.cluster, header.cluster)
            && ours != theirs
        {
            return Err(Refusal::OtherCluster {
                from: header.from,
                theirs,
                name: header.cluster_name.clone(),
                ours,
            });
        }
        if header.from == self.me {
            self.note_own_generation(header.generation);
            return Err(Refusal::Myself);
        }
        Ok(())
    }

    /// If this node did not tick for long, it could not hear anybody either: moves every peer's last
    /// heartbeat by the time lost, before that time is held against them or learned as their rhythm.
    fn excuse_own_pause(&mut self, now: Mono) {
        let elapsed = now.since(self.last_tick);
        if elapsed <= self.config.interval * (self.config.own_pause_intervals + 1) {
            return;
        }
        let pause = elapsed - self.config.interval;
        for peer in self.peers.values_mut() {
            peer.detector.excuse(pause, now);
            peer.last_advance = peer.last_advance.after(pause);
        }
        self.last_tick = now;
    }

    fn note_own_generation(&mut self, generation: Generation) {
        if generation > self.own.generation() && !self.superseded {
            self.superseded = true;
            self.events.push(Event::Superseded(generation));
        }
        if generation < self.own.generation() && self.continues.is_some_and(|previous| generation > previous)
        {
            self.continues = None;
            self.events.push(Event::PutBack(generation));
        }
    }

    fn learn_sender(&mut self, header: &Header, now: Mono) {
        if let Some(peer) = self.peers.get_mut(&header.from)
            && peer.state.generation() == header.generation
            && peer.state.learn_heartbeat(header.heartbeat)
        {
            peer.heard(header.from, true, now, &self.config, &mut self.events);
        }
    }

    fn learn_digest(&mut self, digest: &Digest, header: &Header, now: Mono) {
        for entry in &digest.nodes {
            if entry.host == self.me {
                self.note_own_generation(entry.generation);
            } else if let Some(peer) = self.peers.get_mut(&entry.host)
                && peer.state.generation() == entry.generation
                && peer.state.learn_heartbeat(entry.heartbeat)
            {
                peer.heard(entry.host, entry.host == header.from, now, &self.config, &mut self.events);
            }
        }
    }

    fn learn_delta(&mut self, delta: Delta, header: &Header, now: Mono) {
        // A sender that has found no cluster yet may know nodes of any; here it speaks for itself only.
        let outsider = self.config.cluster.is_some() && header.cluster.is_none();
        for node in delta.nodes {
            if node.host == self.me {
                self.note_own_generation(node.generation);
            } else if !outsider || node.host == header.from {
                self.learn_node(node, header, now);
            }
        }
    }

    fn learn_node(&mut self, delta: NodeDelta, header: &Header, now: Mono) {
        let (host, direct) = (delta.host, delta.host == header.from);
        if self.forgotten.get(&host).is_some_and(|g| *g >= delta.generation) {
            return;
        }
        let known = self.peers.get(&host).map(|p| p.state.generation());
        if known.is_some_and(|g| g > delta.generation) {
            return;
        }
        if known != Some(delta.generation) {
            if delta.after != 0 || (known.is_none() && self.peers.len() >= key::NODES_MAX) {
                return;
            }
            self.forgotten.remove(&host);
            self.begin(host, delta.generation, header.cluster, now);
        }
        let Some(peer) = self.peers.get_mut(&host) else { return };
        let first = known != Some(delta.generation);
        let applied = peer.state.apply(delta);
        self.events.extend(applied.changed.into_iter().map(|name| Event::Changed(host, name)));
        if peer.up && peer.state.is_shut_down() {
            peer.down(host, &mut self.events);
        } else if direct && (first || applied.heartbeat) {
            peer.heard(host, true, now, &self.config, &mut self.events);
        } else if !first && applied.heartbeat {
            peer.heard(host, false, now, &self.config, &mut self.events);
        }
    }

    /// A node, or a later start of one, is heard of for the first time. A restarted node stays up if it
    /// was: that it started is later news than its last heartbeat.
    fn begin(&mut self, host: HostId, generation: Generation, told_by: Option<ClusterId>, now: Mono) {
        let settings = PhiSettings {
            interval: self.config.interval,
            acceptable_pause: self.config.acceptable_pause,
            deviation_min: self.config.deviation_min,
            deviation_max: self.config.deviation_max,
            window: self.config.window,
        };
        let peer = Peer {
            state: NodeState::new(generation),
            detector: Detector::new(settings, now),
            up: self.peers.get(&host).is_some_and(|p| p.up),
            advances: 0,
            last_advance: now,
            told_by,
        };
        if self.peers.insert(host, peer).is_some() {
            self.events.push(Event::Restarted(host));
        }
    }
}

impl Peer {
    /// Its heartbeat went up; `direct` if it said so itself.
    fn heard(&mut self, host: HostId, direct: bool, now: Mono, config: &Config, events: &mut Vec<Event>) {
        if self.up {
            self.detector.heard(now);
            return;
        }
        if self.state.is_shut_down() {
            return;
        }
        let in_a_row = now.since(self.last_advance) <= config.acceptable_pause;
        self.advances = if in_a_row { self.advances + 1 } else { 1 };
        self.last_advance = now;
        if direct || self.advances >= INDIRECT_HEARTBEATS_MIN {
            self.up = true;
            self.detector.heard_again(now);
            events.push(Event::Up(host));
        }
    }

    fn down(&mut self, host: HostId, events: &mut Vec<Event>) {
        self.up = false;
        self.advances = 0;
        events.push(Event::Down(host));
    }
}
