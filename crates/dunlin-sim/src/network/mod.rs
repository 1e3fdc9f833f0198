//! The network between simulated machines: what is left of QUIC when seen from above.
//!
//! Whole messages arrive late, in any order, at most once, or the caller gets an error:
//! - Delay is heavy-tailed; loss shows as more delay (retransmission) and at the worst as a broken connection.
//! - A blocked direction holds messages back. When it opens within the idle timeout they arrive late, even
//!   if their caller has given up; after it they are lost and the path counts as unreachable.
//! - A peer that is down swallows messages; after the idle timeout it counts as unreachable.
//! - Answers travel like calls, over the other direction.
//!
//! QUIC never delivers a message twice, and the seam promises so. [`Weather::duplication`] breaks that promise
//! on purpose for the lanes Gossip and Bulk, whose messages have to be idempotent anyhow (a peer may send
//! the same heartbeat, hint or Merkle exchange again after an error). Messages of the lane Request are never
//! doubled: a forwarded client write applied twice would get two dots, and the protocol rests on the
//! seam's promise there.

mod link;
mod transport;

pub use link::{IDLE_TIMEOUT, Link, Weather};
pub use transport::SimTransport;

use crate::executor::{HostId, MILLISECOND, Nanos, World};
use crate::random::{Purpose, Stream};
use bytes::Bytes;
use dunlin_transport::{Handler, Incoming, Lane, TransportError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;

/// Messages that a blocked direction holds back; more are lost.
const HELD_MAX: usize = 2000;
/// A doubled message comes again within this time.
const DUPLICATE_DELAY_MAX: Nanos = 3000 * MILLISECOND;

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStatistics {
    /// Calls and answers that set out.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Arrived after having been held back by a blocked path.
    pub late: u64,
    /// Lost for good.
    pub lost: u64,
    /// Delivered a second time.
    pub duplicated: u64,
}

/// All machines' network.
pub struct Network {
    world: Arc<World>,
    state: Mutex<State>,
}

struct State {
    chance: Stream,
    weather: Weather,
    endpoints: BTreeMap<SocketAddr, Endpoint>,
    links: BTreeMap<(HostId, HostId), Link>,
    held: BTreeMap<(HostId, HostId), Vec<Held>>,
    down_since: BTreeMap<HostId, Nanos>,
    statistics: NetworkStatistics,
}

#[derive(Clone)]
struct Endpoint {
    host: HostId,
    process: u32,
    handler: Option<Arc<dyn Handler>>,
}

struct Held {
    since: Nanos,
    message: Message,
}

/// Something on its way; runs at the far end.
type Message = Box<dyn FnOnce() + Send>;

/// Where the answer goes. Dropped without one, the caller learns in time that the connection broke.
struct Caller {
    network: Weak<Network>,
    /// From the one who answers to the one who called.
    path: (HostId, HostId),
    answer: Option<oneshot::Sender<Result<Bytes, TransportError>>>,
}

type Answer = Result<Bytes, TransportError>;

impl Network {
    /// A network without machines.
    pub fn new(world: Arc<World>, weather: Weather) -> Arc<Network> {
        let chance = Stream::new(world.seed(), Purpose::Network);
        let state = State {
            chance,
            weather,
            endpoints: BTreeMap::new(),
            links: BTreeMap::new(),
            held: BTreeMap::new(),
            down_since: BTreeMap::new(),
            statistics: NetworkStatistics::default(),
        };
        Arc::new(Network { world, state: Mutex::new(state) })
    }

    /// Changes the general conditions.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Counters.
    pub fn statistics(&self) -> NetworkStatistics {
        self.state.lock().statistics
    }

    /// Changes one direction, but for its being blocked.
    pub fn change_link(&self, from: HostId, to: HostId, change: impl FnOnce(&mut Link)) {
        change(self.state.lock().links.entry((from, to)).or_default());
    }

    /// Lets nothing pass in one direction.
    pub fn block(&self, from: HostId, to: HostId) {
        let now = self.world.now();
        self.state.lock().links.entry((from, to)).or_default().blocked_since.get_or_insert(now);
    }

    /// Opens one direction; what it held back arrives, unless its connection is gone by now.
    pub fn unblock(&self, from: HostId, to: HostId) {
        let now = self.world.now();
        let mut state = self.state.lock();
        state.links.entry((from, to)).or_default().blocked_since = None;
        let held = state.held.remove(&(from, to)).unwrap_or_default();
        for Held { since, message } in held {
            if now - since >= IDLE_TIMEOUT {
                state.statistics.lost += 1;
                self.drop_later(&mut state, message);
                continue;
            }
            state.statistics.late += 1;
            let delay = state.chance.heavy_tail(MILLISECOND, 500 * MILLISECOND);
            self.world.after(delay, message);
        }
    }

    /// Makes every path healthy.
    pub fn heal(&self) {
        let paths: Vec<(HostId, HostId)> = self.state.lock().links.keys().copied().collect();
        for (from, to) in paths {
            self.unblock(from, to);
            self.change_link(from, to, |link| *link = Link::default());
        }
    }

    /// Tells the network that a machine's process has ended.
    pub fn host_down(&self, host: HostId) {
        let now = self.world.now();
        let mut state = self.state.lock();
        state.down_since.entry(host).or_insert(now);
        let endpoints = state.endpoints.values_mut().filter(|e| e.host == host);
        let handlers: Vec<_> = endpoints.filter_map(|e| e.handler.take()).collect();
        drop(state);
        drop(handlers);
    }

    /// Gives a machine's process an address. `None`: the address is taken by a process that runs.
    fn bind(&self, addr: SocketAddr, host: HostId, process: u32) -> Option<()> {
        let mut state = self.state.lock();
        if let Some(old) = state.endpoints.get(&addr)
            && self.world.is_running(old.host, old.process)
            && old.handler.is_some()
        {
            return None;
        }
        state.down_since.remove(&host);
        state.endpoints.insert(addr, Endpoint { host, process, handler: None });
        Some(())
    }

    fn listen(&self, addr: SocketAddr, handler: Arc<dyn Handler>) {
        if let Some(endpoint) = self.state.lock().endpoints.get_mut(&addr) {
            endpoint.handler = Some(handler);
        }
    }

    fn unbind(&self, addr: SocketAddr, process: u32) {
        let mut state = self.state.lock();
        let gone = match state.endpoints.get_mut(&addr) {
            Some(endpoint) if endpoint.process == process => endpoint.handler.take(),
            _ => None,
        };
        drop(state);
        drop(gone);
    }

    /// Sends a call on its way; the answer comes out of the receiver.
    fn call(self: &Arc<Self>, call: Call) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        let now = self.world.now();
        let Some(to) = state.endpoints.get(&call.to).map(|e| e.host) else {
            let delay = state.chance.between(MILLISECOND, 2000 * MILLISECOND);
            self.world.after(delay, move || _ = answer.send(Err(unreachable("nobody is there"))));
            return receiver;
        };
        let path = (call.from, to);
        if state.is_dead(path, now) || state.is_dead((to, call.from), now) {
            let delay = state.chance.between(0, 2000 * MILLISECOND);
            self.world.after(delay, move || _ = answer.send(Err(unreachable("the peer is silent"))));
            return receiver;
        }
        let caller = Caller { network: Arc::downgrade(self), path: (to, call.from), answer: Some(answer) };
        let bytes = call.incoming.body.len();
        let doubled = call.incoming.lane != Lane::Request && {
            let probability = state.weather.duplication;
            state.chance.chance(probability)
        };
        if doubled {
            state.statistics.duplicated += 1;
            let (network, addr, incoming) = (Arc::downgrade(self), call.to, call.incoming.clone());
            let again = Caller { network: Weak::new(), path: (to, call.from), answer: None };
            let delay = state.chance.between(MILLISECOND, DUPLICATE_DELAY_MAX);
            let world = self.world.clone();
            self.world.after(delay, move || arrive(&network, &world, addr, incoming, again));
        }
        let (network, addr, world) = (Arc::downgrade(self), call.to, self.world.clone());
        let message = Box::new(move || arrive(&network, &world, addr, call.incoming, caller));
        self.send(&mut state, path, bytes, message);
        receiver
    }

    /// Sends something over a path.
    fn send(&self, state: &mut State, path: (HostId, HostId), bytes: usize, message: Message) {
        state.statistics.sent += 1;
        state.statistics.bytes += bytes as u64;
        let now = self.world.now();
        let link = state.links.get(&path).copied().unwrap_or_default();
        if link.blocked_since.is_some() {
            let held = state.held.entry(path).or_default();
            if held.len() < HELD_MAX {
                held.push(Held { since: now, message });
            } else {
                state.statistics.lost += 1;
                self.drop_later(state, message);
            }
            return;
        }
        let weather = state.weather;
        match link.delay(&weather, bytes, &mut state.chance) {
            Some(delay) => self.world.after(delay, message),
            None => {
                state.statistics.lost += 1;
                self.drop_later(state, message);
            }
        }
    }

    /// A lost message is noticed (its caller told) within the idle timeout.
    fn drop_later(&self, state: &mut State, message: Message) {
        let delay = state.chance.between(10 * MILLISECOND, IDLE_TIMEOUT);
        self.world.after(delay, move || drop(message));
    }

    /// Sends an answer back. It is lost if the one who answers is no more.
    fn answer(&self, path: (HostId, HostId), body: Bytes, to: oneshot::Sender<Answer>) {
        let mut state = self.state.lock();
        let bytes = body.len();
        let message = Box::new(move || _ = to.send(Ok(body)));
        self.send(&mut state, path, bytes, message);
    }

    fn break_later(&self, answer: oneshot::Sender<Answer>, error: TransportError) {
        let delay = self.state.lock().chance.between(MILLISECOND, IDLE_TIMEOUT);
        self.world.after(delay, move || _ = answer.send(Err(error)));
    }
}

impl State {
    /// Whether connections over the path are gone and none can be made.
    fn is_dead(&self, path: (HostId, HostId), now: Nanos) -> bool {
        self.links.get(&path).is_some_and(|link| link.is_dead(now))
            || self.down_since.get(&path.1).is_some_and(|since| now >= since + IDLE_TIMEOUT)
    }
}

/// A call about to set out.
struct Call {
    from: HostId,
    to: SocketAddr,
    incoming: Incoming,
}

fn unreachable(why: &str) -> TransportError {
    TransportError::Unreachable(why.to_owned())
}

/// A call is at its destination: if somebody listens, a task there answers it.
fn arrive(network: &Weak<Network>, world: &Arc<World>, at: SocketAddr, incoming: Incoming, caller: Caller) {
    let Some(network) = network.upgrade() else { return };
    let endpoint = network.state.lock().endpoints.get(&at).cloned();
    let Some(endpoint) = endpoint.filter(|e| world.is_running(e.host, e.process)) else {
        return caller.fail(TransportError::Broken);
    };
    let Some(handler) = endpoint.handler else {
        return caller.refuse();
    };
    let task = async move {
        let answer = handler.handle(incoming).await;
        caller.answer(answer);
    };
    world.spawn(endpoint.host, "call handler", Box::pin(task));
}

impl Caller {
    fn answer(mut self, body: Bytes) {
        if let (Some(answer), Some(network)) = (self.answer.take(), self.network.upgrade()) {
            network.answer(self.path, body, answer);
        }
    }

    fn fail(mut self, error: TransportError) {
        if let (Some(answer), Some(network)) = (self.answer.take(), self.network.upgrade()) {
            network.break_later(answer, error);
        }
    }

    /// The process is there but does not listen: the caller learns soon.
    fn refuse(mut self) {
        if let Some(answer) = self.answer.take() {
            _ = answer.send(Err(unreachable("nobody listens")));
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let (Some(answer), Some(network)) = (self.answer.take(), self.network.upgrade()) {
            network.break_later(answer, TransportError::Broken);
        }
    }
}

#[cfg(test)]
mod tests;
