//! What operators ask of membership, and what they are told.

use super::Membership;
use super::state::State;
use dunlin_gossip::key;
use dunlin_ring::{LayoutChain, StageError, StagedChange};
use dunlin_types::{HostId, Micros};
use std::sync::Arc;
use std::time::Duration;

/// Why an operator's word was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// No cluster yet.
    #[error("this node is not part of a cluster yet")]
    NoCluster,
    /// It is up: a node that lives leaves by its own word.
    #[error("node {0} is up: let it leave by itself (nodetool decommission there), or stop it first")]
    IsUp(HostId),
    /// It could not be written down, so it was not done.
    #[error(
        "the change could not be saved (see this node's log): make room on its disk, or ask another node"
    )]
    NotSaved,
    /// The chain refuses.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// One node as this one sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSeen {
    /// Its id.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// Down for how long, if it was seen going down.
    pub down_for: Option<Duration>,
    /// `waiting`, `joining`, `normal`, `leaving`, `left`.
    pub state: &'static str,
    /// Its latest start.
    pub generation: u64,
    /// Its ticks since.
    pub heartbeat: u64,
    /// By how many microseconds its wall clock was ahead of this node's when it last told.
    pub clock_ahead_us: Option<i64>,
    /// Suspicion, if it is up.
    pub phi: Option<f64>,
    /// Every value that it gossips; bytes that are no text as hexadecimal.
    pub values: Vec<(String, String)>,
}

/// Said of a node that is no member any more.
pub(super) const LEFT: &str =
    "it has left the cluster for good; to join again, stop it, empty its data directory and start it";

impl Membership {
    /// Every node that is known, this one included, by host id.
    pub fn nodes(&self) -> Vec<NodeSeen> {
        let now = self.runtime.mono();
        let state = self.state.lock();
        let mut hosts: Vec<HostId> =
            state.gossip.peers().iter().map(|p| p.host).chain([state.me()]).collect();
        hosts.extend(
            state
                .chain
                .iter()
                .flat_map(LayoutChain::write_layouts)
                .flat_map(|l| l.members.iter().map(|m| m.host)),
        );
        hosts.sort_unstable();
        hosts.dedup();
        hosts.into_iter().map(|host| seen(&state, host, now)).collect()
    }

    /// The chain of layouts.
    pub fn chain(&self) -> Option<LayoutChain> {
        self.state.lock().chain.clone()
    }

    /// A value that a node gossips, as text.
    pub fn gossiped(&self, host: HostId, name: &str) -> Option<String> {
        self.state.lock().gossip.text(host, name)
    }

    /// Why this node cannot join, if so.
    pub fn join_error(&self) -> Option<String> {
        self.state.lock().join_error.as_ref().map(StageError::to_string)
    }

    /// What keeps this node from being a member that serves.
    pub fn obstacle(&self) -> String {
        if let Some(error) = self.join_error() {
            return format!("it cannot join: {error}");
        }
        let state = self.state.lock();
        match state.status(state.me()) {
            "waiting" => "looking for the cluster",
            "normal" => "looking for the other members",
            "left" => LEFT,
            other => other,
        }
        .to_owned()
    }

    /// The member, or the node seen in gossip, of that host id or, if only one has it, that name.
    pub fn host_of(&self, text: &str) -> Result<HostId, String> {
        let named: Vec<HostId> =
            self.nodes().into_iter().filter(|n| n.name == text).map(|n| n.host).collect();
        match named.as_slice() {
            [] => text.parse().map_err(|_| format!("no node has the name or the host id {text:?}")),
            [host] => Ok(*host),
            _ => Err(format!("several nodes have the name {text:?}; say the host id")),
        }
    }

    /// Digests of the schema on every live member, with its name; they agree when all are equal.
    pub fn schema_digests(&self) -> Vec<(HostId, Option<bytes::Bytes>)> {
        let state = self.state.lock();
        state
            .gossip
            .live()
            .into_iter()
            .map(|host| (host, state.gossip.value(host, key::SCHEMA_DIGEST)))
            .collect()
    }

    /// Tells others how much this node holds and what time it thinks it is.
    pub fn tell(self: &Arc<Self>, load_bytes: u64, hints: u64) {
        let Micros(wall) = self.runtime.wall();
        self.act(|state| {
            state.gossip.set(key::LOAD, load_bytes.to_string());
            state.gossip.set(key::HINTS, hints.to_string());
            state.gossip.set(key::WALL_CLOCK, wall.to_string());
        });
    }

    /// This node leaves: its data moves to the others first. Returns at once.
    pub fn decommission(self: &Arc<Self>) -> Result<(), OperateError> {
        let me = self.me();
        self.stage(me, StagedChange::Leave)
    }

    /// Takes out a node that is dead for good.
    pub fn remove(self: &Arc<Self>, host: HostId, force: bool) -> Result<(), OperateError> {
        if self.state.lock().gossip.is_up(host) {
            return Err(OperateError::IsUp(host));
        }
        self.stage(host, if force { StagedChange::ForceRemove } else { StagedChange::Remove })
    }

    /// Takes back what is staged for a node.
    pub fn abort_change(self: &Arc<Self>, host: HostId) -> Result<(), OperateError> {
        self.stage(host, StagedChange::Cancelled)
    }

    fn stage(self: &Arc<Self>, host: HostId, change: StagedChange) -> Result<(), OperateError> {
        let what = change.name();
        self.act(|state| {
            let me = state.me();
            let chain = state.chain.as_mut().ok_or(OperateError::NoCluster)?;
            chain.stage(me, host, change.clone())?;
            Ok::<(), OperateError>(())
        })?;
        // A chain that cannot be saved is taken back, and the operator's word with it.
        let state = self.state.lock();
        if state.chain.as_ref().is_none_or(|chain| chain.staging().change(host) != Some(&change)) {
            return Err(OperateError::NotSaved);
        }
        tracing::info!(%host, what, "a change of membership was staged");
        Ok(())
    }
}

fn seen(state: &State, host: HostId, now: dunlin_types::Mono) -> NodeSeen {
    let node = state.gossip.state(host);
    let values = node.map(|n| n.values().iter().map(|(name, entry)| (name.clone(), text(entry))).collect());
    NodeSeen {
        host,
        name: state.name(host),
        up: state.gossip.is_up(host),
        down_for: state.down_since.get(&host).map(|since| now.since(*since)),
        state: state.status(host),
        generation: node.map_or(0, |n| n.generation().0),
        heartbeat: node.map_or(0, |n| n.heartbeat()),
        clock_ahead_us: state.clocks.get(&host).and_then(|(_, ahead)| *ahead),
        phi: state.gossip.phi(host, now),
        values: values.unwrap_or_default(),
    }
}

fn text(entry: &dunlin_gossip::state::Versioned) -> String {
    match std::str::from_utf8(&entry.value) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => entry.value.iter().take(16).map(|b| format!("{b:02x}")).collect(),
    }
}
