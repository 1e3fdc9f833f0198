//! Nodes in one process: real clocks and threads, disks in memory, and a network of function calls.
#![allow(clippy::disallowed_methods, dead_code)]

use bytes::Bytes;
use dunlin_server::config::{Config, Size};
use dunlin_server::runtime::TokioRuntime;
use dunlin_server::{Node, NodeParts, StoreMode};
use dunlin_storage::fs::MemFs;
use dunlin_transport::{Handler, Incoming, Lane, Transport, TransportError};
use dunlin_types::runtime::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The network.
#[derive(Default)]
pub struct Hub {
    handlers: Mutex<BTreeMap<SocketAddr, (Arc<str>, Arc<dyn Handler>)>>,
    cut: Mutex<BTreeSet<SocketAddr>>,
    /// Bytes of calls of lane `Bulk`, both ways.
    pub bulk_bytes: AtomicU64,
}

impl Hub {
    /// Cuts a node off, or lets it back.
    pub fn cut(&self, address: SocketAddr, cut: bool) {
        let mut cuts = self.cut.lock();
        if cut {
            cuts.insert(address)
        } else {
            cuts.remove(&address)
        };
    }
}

/// One node's end of it.
pub struct HubTransport {
    hub: Arc<Hub>,
    name: Arc<str>,
    address: SocketAddr,
}

impl Transport for HubTransport {
    fn call(
        &self,
        to: SocketAddr,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let cut = self.hub.cut.lock().iter().any(|c| *c == to || *c == self.address);
        let handler = self.hub.handlers.lock().get(&to).map(|h| h.1.clone()).filter(|_| !cut);
        let Some(handler) = handler else {
            return Box::pin(async { Err(TransportError::Unreachable("nobody there".into())) });
        };
        let incoming =
            Incoming { peer_name: self.name.clone(), peer_addr: self.address, lane, timeout, body };
        let (hub, sent) = (self.hub.clone(), incoming.body.len());
        Box::pin(async move {
            tokio::task::yield_now().await;
            let answer = tokio::time::timeout(timeout, handler.handle(incoming)).await;
            let answer = answer.map_err(|_| TransportError::Timeout)?;
            if lane == Lane::Bulk {
                hub.bulk_bytes.fetch_add((sent + answer.len()) as u64, Ordering::Relaxed);
            }
            Ok(answer)
        })
    }

    fn listen(&self, handler: Arc<dyn Handler>) {
        self.hub.handlers.lock().insert(self.address, (self.name.clone(), handler));
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn close(&self) {
        self.hub.handlers.lock().remove(&self.address);
    }
}

/// Address of node `i`.
pub fn address(i: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + i))
}

/// Configuration of node `i` among `count` seeds.
pub fn config(i: u16, seeds: u16) -> Config {
    let mut config = Config::default();
    config.cluster.name = "test".into();
    config.cluster.seeds = (1..=seeds).map(|s| address(s).to_string()).collect();
    config.cluster.default_replication_factor = u32::from(seeds.clamp(1, 3));
    config.cluster.vnodes = 64;
    // Every node writes its segments in advance, here into memory.
    config.storage.log_segment_size = Size::mib(1);
    config.node.name = format!("n{i}");
    config
}

/// Starts node `i`.
pub fn start(hub: &Arc<Hub>, fs: &MemFs, config: Config, i: u16) -> Arc<Node> {
    try_start(hub, fs, config, i).expect("the node starts")
}

/// Starts node `i`, or says why not.
pub fn try_start(
    hub: &Arc<Hub>,
    fs: &MemFs,
    config: Config,
    i: u16,
) -> Result<Arc<Node>, dunlin_server::StartError> {
    let transport =
        HubTransport { hub: hub.clone(), name: Arc::from(config.node.name.as_str()), address: address(i) };
    Node::start(NodeParts {
        config,
        runtime: Arc::new(TokioRuntime::new()),
        fs: Arc::new(fs.clone()),
        transport: Arc::new(transport),
        store_mode: StoreMode::Threads,
    })
}

/// Runs a test on a runtime such as a node's.
pub fn run<F: Future<Output = ()>>(test: F) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test ends in time")
    });
}

/// Polls until it holds; how long that took.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

/// Whether every node sees `count` members in one layout, all of them up.
pub fn whole(nodes: &[Arc<Node>], count: usize) -> bool {
    nodes.iter().all(|node| {
        let view = node.view();
        view.layouts.len() == 1 && view.layouts[0].members.len() == count && view.alive.len() == count
    })
}

/// Executes a statement that has to succeed; the reply as text.
pub async fn ok(node: &Node, statement: &str) -> String {
    let reply = node.session().execute(statement).await;
    let text = String::from_utf8_lossy(&reply.to_bytes()).into_owned();
    assert!(reply.code().is_none(), "{statement}: {text}");
    text
}
