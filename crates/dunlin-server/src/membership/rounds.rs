//! The tasks that send: rounds of gossip, and the spreading of layouts and schema.

use super::message::{MembershipMessage, SchemaMessage};
use super::{CALL_TIMEOUT, Membership};
use dunlin_gossip::key;
use dunlin_transport::Lane;
use dunlin_types::{HostId, Mono};
use futures::stream::{FuturesUnordered, StreamExt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Shortest time between two rounds, however much there is to tell.
const ROUND_PAUSE: Duration = Duration::from_millis(10);
/// How often news of the chain is offered to nodes that do not have it.
const SPREAD_PAUSE: Duration = Duration::from_millis(2);

impl Membership {
    /// Rounds of gossip at the configured pace, and at once when there is news.
    pub(super) async fn gossip_loop(self: Arc<Self>) {
        let interval = self.settings.gossip_interval;
        let mut next_tick = self.runtime.mono();
        loop {
            let now = self.runtime.mono();
            let due = now >= next_tick;
            let targets = self.act(|state| match due {
                true => state.gossip.tick(now, &*self.runtime),
                false => state.gossip.choose(&*self.runtime),
            });
            if due {
                next_tick = next_tick.after(interval).max(now);
            }
            for address in targets {
                self.exchange_with(address);
            }
            let wait = next_tick.since(self.runtime.mono());
            tokio::select! {
                biased;
                () = self.runtime.sleep(wait) => {}
                () = self.gossip_now.notified() => self.runtime.sleep(ROUND_PAUSE.min(wait)).await,
            }
        }
    }

    /// Opens an exchange in a task of its own, unless one with that address is under way.
    fn exchange_with(self: &Arc<Self>, address: SocketAddr) {
        if !self.exchanging.lock().insert(address) {
            return;
        }
        let membership = Arc::clone(self);
        let task = async move {
            let peer = membership.exchange(address).await;
            membership.exchanging.lock().remove(&address);
            if let Some(peer) = peer {
                membership.compare_with(peer);
            }
        };
        drop(self.runtime.spawn("gossip-exchange", Box::pin(task)));
    }

    /// One exchange; the peer, if it answered.
    async fn exchange(self: &Arc<Self>, address: SocketAddr) -> Option<HostId> {
        let syn = MembershipMessage::Syn(self.state.lock().gossip.syn());
        let MembershipMessage::SynAck(answer) = self.ask(address, &syn).await? else { return None };
        let (peer, cluster) = (answer.header.from, answer.header.cluster);
        let now = self.runtime.mono();
        let (ack, lost) = self.act(|state| {
            let ack = state.gossip.handle_syn_ack(answer, now);
            (ack, state.chain.is_none())
        });
        let ack = match ack {
            Ok(ack) => ack,
            Err(dunlin_gossip::Refusal::Myself) => return None,
            Err(refusal) => {
                self.note_refusal(address, &refusal.to_string());
                return None;
            }
        };
        if !ack.delta.nodes.is_empty() {
            self.ask(address, &MembershipMessage::Ack(ack)).await;
        }
        if lost && cluster.is_some() {
            self.fetch_chain(address).await;
        }
        Some(peer)
    }

    /// A call of lane `Gossip`. `None`: no answer, or a refusal, which is logged.
    pub(super) async fn ask(
        &self,
        address: SocketAddr,
        message: &MembershipMessage,
    ) -> Option<MembershipMessage> {
        let answer = self.transport.call(address, Lane::Gossip, message.encode(), CALL_TIMEOUT).await.ok()?;
        match MembershipMessage::decode(&answer) {
            Ok(MembershipMessage::Refused(reason)) => {
                self.note_refusal(address, &format!("the peer refuses this node: {reason}"));
                None
            }
            Ok(answer) => Some(answer),
            Err(error) => {
                self.note_refusal(address, &error.to_string());
                None
            }
        }
    }

    /// Exchanges chains with an address; whether it answered.
    pub(super) async fn fetch_chain(self: &Arc<Self>, address: SocketAddr) -> bool {
        let message = MembershipMessage::Chain(self.chain_message());
        let Some(MembershipMessage::Chain(answer)) = self.ask(address, &message).await else { return false };
        if let Err(reason) = self.take_chain(answer) {
            self.note_refusal(address, &reason);
        }
        true
    }

    /// Exchanges schemas with an address; whether the peer then has what this node had.
    pub(super) async fn exchange_schema(self: &Arc<Self>, address: SocketAddr) -> bool {
        let message: SchemaMessage = self.schema_message();
        let Some(MembershipMessage::Schema(answer)) =
            self.ask(address, &MembershipMessage::Schema(message)).await
        else {
            return false;
        };
        if let Err(reason) = self.take_schema(answer) {
            self.note_refusal(address, &reason);
            return false;
        }
        true
    }

    /// Fetches chain and schema from a peer where its gossip says that it has others.
    pub(super) fn compare_with(self: &Arc<Self>, peer: HostId) {
        let (chain, schema, address) = {
            let state = self.state.lock();
            let differs = |name: &str| {
                let theirs = state.gossip.value(peer, name);
                theirs.is_some() && theirs != state.gossip.value(state.me(), name)
            };
            if state.stopping || state.gossip.cluster().is_none() {
                return;
            }
            (
                differs(key::CHAIN_DIGEST),
                differs(key::SCHEMA_DIGEST),
                state.gossip.state(peer).and_then(|s| s.address()),
            )
        };
        if let Some(address) = address
            && (chain || schema)
        {
            self.fetch(address, chain, schema);
        }
    }

    /// Fetches what a peer knows: a request met its newer layout or schema.
    pub(super) fn fetch_from(self: &Arc<Self>, peer: HostId) {
        let address = self.state.lock().gossip.state(peer).and_then(|s| s.address());
        if let Some(address) = address {
            self.fetch(address, true, true);
        }
    }

    fn fetch(self: &Arc<Self>, address: SocketAddr, chain: bool, schema: bool) {
        if !self.exchanging.lock().insert(address) {
            return;
        }
        let membership = Arc::clone(self);
        let task = async move {
            // The schema first: a layout may be followed only by a node that has the tables.
            if schema {
                membership.exchange_schema(address).await;
            }
            if chain {
                membership.fetch_chain(address).await;
            }
            membership.exchanging.lock().remove(&address);
        };
        drop(self.runtime.spawn("cluster-fetch", Box::pin(task)));
    }

    /// Tells every live node of a changed chain at once, and takes in their answers.
    pub(super) async fn spread_loop(self: Arc<Self>) {
        loop {
            self.spread_now.notified().await;
            if self.runtime.buggify("spread_late") {
                self.runtime.sleep(Duration::from_millis(300)).await;
            }
            let targets = self.state.lock().behind();
            let mut calls: FuturesUnordered<_> =
                targets.into_iter().map(|(_, address)| self.fetch_chain(address)).collect();
            let started = self.runtime.mono();
            // A slow peer must not hold up news to the others: it hears of it by gossip.
            while let Some(more) = next_before(&self, &mut calls, started).await {
                if !more {
                    break;
                }
            }
            self.runtime.sleep(SPREAD_PAUSE).await;
        }
    }
}

/// The next answer; `Some(false)` when patience is over, `None` when there are no more.
async fn next_before<F: Future<Output = bool>>(
    membership: &Membership,
    calls: &mut FuturesUnordered<F>,
    started: Mono,
) -> Option<bool> {
    const PATIENCE: Duration = Duration::from_millis(250);
    let left = PATIENCE.saturating_sub(membership.runtime.mono().since(started));
    tokio::select! {
        biased;
        answer = calls.next() => answer.map(|_| true),
        () = membership.runtime.sleep(left) => Some(false),
    }
}
