use super::*;
use crate::executor::{DRIVER, SECOND, Stopped};
use crate::runtime::SimRuntime;
use dunlin_transport::Transport;
use dunlin_transport::conformance::{self, Sleeper};
use dunlin_types::runtime::{BoxFuture, Runtime};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

/// The world of the conformance suite: each node gets a machine of its own at its first start.
struct Nodes {
    world: Arc<World>,
    network: Arc<Network>,
    hosts: Mutex<BTreeMap<SocketAddr, HostId>>,
    port: AtomicU16,
}

impl conformance::World for Nodes {
    fn start(&self, name: &str, at: Option<SocketAddr>) -> BoxFuture<'_, Arc<dyn Transport>> {
        let at = at.unwrap_or_else(|| addr(self.port.fetch_add(1, Ordering::Relaxed)));
        let host = *self.hosts.lock().entry(at).or_insert_with(|| self.world.add_host());
        let process = self.world.start_process(host);
        let transport = SimTransport::bind(&self.world, &self.network, host, process, name, at);
        Box::pin(async move { transport.expect("the address is free") as Arc<dyn Transport> })
    }

    fn stop(&self, node: Arc<dyn Transport>) -> BoxFuture<'_, ()> {
        let host = self.hosts.lock()[&node.local_addr()];
        node.close();
        self.world.end_process(host);
        self.network.host_down(host);
        Box::pin(async {})
    }

    fn nobody(&self) -> SocketAddr {
        addr(9)
    }

    fn sleeper(&self) -> Sleeper {
        let runtime = SimRuntime::new(self.world.clone(), DRIVER, 0);
        Arc::new(move |duration| runtime.sleep(duration))
    }
}

#[test]
fn it_conforms_to_the_seam() {
    for seed in 0..3 {
        let world = World::new(seed, None);
        let network = Network::new(world.clone(), Weather::default());
        let nodes =
            Nodes { world: world.clone(), network, hosts: Mutex::default(), port: AtomicU16::new(100) };
        let passed = Arc::new(AtomicU64::new(0));
        let out = passed.clone();
        world.drive("conformance", async move {
            conformance::run(&nodes).await;
            out.store(1, Ordering::Relaxed);
        });
        world.run(1000 * SECOND, || passed.load(Ordering::Relaxed) == 1);
        assert_eq!(passed.load(Ordering::Relaxed), 1, "seed {seed}: the suite did not end");
        world.close();
    }
}

struct Count(AtomicU64);

impl Handler for Count {
    fn handle(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Bytes> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { incoming.body })
    }
}

struct Pair {
    world: Arc<World>,
    network: Arc<Network>,
    hosts: [HostId; 2],
    caller: Arc<SimTransport>,
    arrived: Arc<Count>,
}

fn pair(seed: u64, weather: Weather) -> Pair {
    let world = World::new(seed, None);
    let network = Network::new(world.clone(), weather);
    let hosts = [world.add_host(), world.add_host()];
    let [caller, callee] = hosts.map(|host| {
        let process = world.start_process(host);
        let name = format!("n{}", host.0);
        SimTransport::bind(&world, &network, host, process, &name, addr(host.0 as u16)).expect("free")
    });
    let arrived = Arc::new(Count(AtomicU64::new(0)));
    callee.listen(arrived.clone());
    Pair { world, network, hosts, caller, arrived }
}

impl Pair {
    /// Calls from the first machine to the second; the answer appears once there is one.
    fn call(&self, lane: Lane, timeout: Duration) -> Arc<Mutex<Option<Answer>>> {
        let answer = Arc::new(Mutex::new(None));
        let out = answer.clone();
        let call = self.caller.call(addr(self.hosts[1].0 as u16), lane, Bytes::from("x"), timeout);
        self.world.spawn(self.hosts[0], "call", Box::pin(async move { *out.lock() = Some(call.await) }));
        answer
    }

    fn run(&self, seconds: u64) {
        // Something to happen at the end, or the time would stop with the last message.
        self.world.after(seconds * SECOND, || ());
        self.world.run(self.world.now() + seconds * SECOND, || false);
    }

    fn arrived(&self) -> u64 {
        self.arrived.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_held_call_arrives_after_the_caller_gave_up() {
    let pair = pair(1, Weather::default());
    let [a, b] = pair.hosts;
    pair.network.block(a, b);
    let answer = pair.call(Lane::Request, Duration::from_secs(2));
    pair.run(5);
    assert_eq!(answer.lock().clone(), Some(Err(TransportError::Timeout)));
    assert_eq!(pair.arrived(), 0);
    pair.network.unblock(a, b);
    pair.run(5);
    assert_eq!(pair.arrived(), 1);
    assert_eq!(pair.network.statistics().late, 1);
}

#[test]
fn a_long_cut_loses_calls_and_then_refuses_them() {
    let pair = pair(1, Weather::default());
    let [a, b] = pair.hosts;
    pair.network.block(a, b);
    pair.call(Lane::Request, Duration::from_secs(1));
    pair.run(11);
    let answer = pair.call(Lane::Request, Duration::from_secs(5));
    pair.run(5);
    assert!(matches!(answer.lock().clone(), Some(Err(TransportError::Unreachable(_)))));
    pair.network.heal();
    pair.run(5);
    assert_eq!(pair.arrived(), 0);
    let answer = pair.call(Lane::Request, Duration::from_secs(5));
    pair.run(5);
    assert_eq!(answer.lock().clone(), Some(Ok(Bytes::from("x"))));
}

#[test]
fn a_one_way_cut_delivers_the_call_and_holds_the_answer() {
    let pair = pair(1, Weather::default());
    let [a, b] = pair.hosts;
    pair.network.block(b, a);
    let answer = pair.call(Lane::Request, Duration::from_secs(2));
    pair.run(3);
    assert_eq!(pair.arrived(), 1);
    assert_eq!(answer.lock().clone(), Some(Err(TransportError::Timeout)));
}

#[test]
fn a_peer_that_dies_swallows_the_call() {
    let pair = pair(1, Weather::default());
    pair.world.end_process(pair.hosts[1]);
    pair.network.host_down(pair.hosts[1]);
    let answer = pair.call(Lane::Request, Duration::from_secs(30));
    pair.run(11);
    assert_eq!(answer.lock().clone(), Some(Err(TransportError::Broken)));
    let answer = pair.call(Lane::Request, Duration::from_secs(30));
    pair.run(5);
    assert!(matches!(answer.lock().clone(), Some(Err(TransportError::Unreachable(_)))));
}

#[test]
fn only_idempotent_lanes_see_a_message_twice() {
    let hostile = Weather { duplication: 1.0, ..Weather::default() };
    for (lane, times) in [(Lane::Gossip, 2), (Lane::Bulk, 2), (Lane::Request, 1)] {
        let pair = pair(1, hostile);
        pair.call(lane, Duration::from_secs(1));
        pair.run(10);
        assert_eq!(pair.arrived(), times, "{lane:?}");
    }
}

#[test]
fn nothing_leaves_a_condemned_process() {
    let pair = pair(1, Weather::default());
    pair.world.condemn(pair.hosts[0], "test");
    let answer = pair.call(Lane::Request, Duration::from_secs(1));
    assert_eq!(pair.world.run(SECOND, || false), Stopped::Dead);
    assert_eq!((pair.arrived(), answer.lock().clone()), (0, Some(Err(unreachable("closed")))));
}
