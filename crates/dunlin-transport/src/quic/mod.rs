//! [`QuicTransport`]: the seam over QUIC with mutual TLS.
//!
//! One endpoint (socket) accepts and dials. Each side dials its own connection for its own calls and
//! keeps it; on it every lane has one long-lived stream of frames ([`frame`]), with gossip first and
//! bulk last, so that requests cost a share of a packet rather than a stream. Callers append frames to
//! their lane's buffer and wake its writer, which sends all of them in one write; readers handle every
//! whole frame of a read. Batching so grows with load. [`peer`] is the dialling side, [`serve`] the
//! accepting one, [`calls`] the table of calls in flight.
//!
//! Everything runs on the tokio runtime that [`QuicTransport::bind`] was called on, which should be
//! a current-thread one: spread over threads, the tasks break up the batches.

mod calls;
mod endpoint;
mod frame;
mod peer;
mod serve;
mod stats;

pub use stats::{PeerStats, TransportStats};

use crate::seam::{Handler, Lane, Transport, TransportError};
use crate::tls::{TlsError, TlsIdentity};
use bytes::Bytes;
use dunlin_types::limits::MESSAGE_BYTES_MAX;
use dunlin_types::runtime::BoxFuture;
use parking_lot::Mutex;
use peer::Peer;
use stats::Counters;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How exact deadlines of calls are.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);
/// Peers remembered; beyond it those without a connection are forgotten.
const PEERS_MAX: usize = 4096;

/// What a transport needs to know.
#[derive(Debug)]
pub struct QuicOptions {
    /// UDP address to listen on and to dial from; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where peers reach this node, if not at `listen`.
    pub advertise: Option<SocketAddr>,
    /// The node's certificate and the CA it trusts.
    pub tls: TlsIdentity,
}

/// Why a transport could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}/udp: {source}")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Called outside of a tokio runtime.
    #[error("not inside a tokio runtime")]
    NoRuntime,
}

/// The `Transport` seam over QUIC.
pub struct QuicTransport {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
}

/// What all tasks of a transport share.
struct Shared {
    endpoint: quinn::Endpoint,
    client_config: Mutex<quinn::ClientConfig>,
    handler: OnceLock<Arc<dyn Handler>>,
    peers: Mutex<BTreeMap<SocketAddr, Arc<Peer>>>,
    counters: Counters,
    runtime: Handle,
    closed: AtomicBool,
    /// Calls in flight to all peers; the sweeper rests while there are none.
    in_flight: AtomicUsize,
    sweep: Notify,
}

impl QuicTransport {
    /// Opens the socket and starts accepting. Must be called on the tokio runtime that is to run it.
    pub fn bind(options: QuicOptions) -> Result<QuicTransport, QuicError> {
        let runtime = Handle::try_current().map_err(|_| QuicError::NoRuntime)?;
        let client_config = endpoint::client_config(&options.tls)?;
        let endpoint = endpoint::open(options.listen, &options.tls)?;
        let bound =
            endpoint.local_addr().map_err(|source| QuicError::Bind { listen: options.listen, source })?;
        let shared = Arc::new(Shared {
            endpoint,
            client_config: Mutex::new(client_config),
            handler: OnceLock::new(),
            peers: Mutex::new(BTreeMap::new()),
            counters: Counters::default(),
            runtime: runtime.clone(),
            closed: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            sweep: Notify::new(),
        });
        runtime.spawn(serve::accept_loop(shared.clone()));
        runtime.spawn(sweep_loop(shared.clone()));
        Ok(QuicTransport { shared, local_addr: options.advertise.unwrap_or(bound) })
    }

    /// Uses another certificate or CA from now on. Connections that stand keep theirs.
    pub fn reload(&self, tls: &TlsIdentity) -> Result<(), QuicError> {
        let server_config = endpoint::server_config(tls)?;
        *self.shared.client_config.lock() = endpoint::client_config(tls)?;
        self.shared.endpoint.set_server_config(Some(server_config));
        Ok(())
    }

    /// Counters since the start.
    pub fn stats(&self) -> TransportStats {
        self.shared.counters.snapshot()
    }

    /// What is known of every peer this node calls.
    pub fn peers(&self) -> Vec<PeerStats> {
        self.shared.peers.lock().values().map(|peer| peer.stats()).collect()
    }

    /// After [`Transport::close`]: waits until the peers were told, at most about a second.
    pub async fn closed(&self) {
        // Its own bound is three probe timeouts; a peer that is gone must not hold up a shutdown.
        let _ = tokio::time::timeout_at(
            Instant::now() + Duration::from_secs(1),
            self.shared.endpoint.wait_idle(),
        )
        .await;
    }
}

impl Transport for QuicTransport {
    fn call(
        &self,
        to: SocketAddr,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let submitted = if body.len() > MESSAGE_BYTES_MAX {
            Err(TransportError::TooLarge { bytes: body.len() })
        } else if self.shared.closed.load(Ordering::Relaxed) {
            Err(closed_error())
        } else {
            self.shared.peer(to).submit(&self.shared, lane, body, timeout)
        };
        match submitted {
            Ok(answer) => Box::pin(async move { answer.await.unwrap_or(Err(TransportError::Broken)) }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn listen(&self, handler: Arc<dyn Handler>) {
        if self.shared.handler.set(handler).is_err() {
            tracing::warn!("the transport has a handler already; the new one is ignored");
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn close(&self) {
        self.shared.close();
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn peer(&self, addr: SocketAddr) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(&addr) {
            return peer.clone();
        }
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, peer| !peer.is_idle());
        }
        let peer = Arc::new(Peer::new(addr));
        peers.insert(addr, peer.clone());
        peer
    }

    fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        self.endpoint.close(quinn::VarInt::from_u32(0), b"closed");
        let peers = std::mem::take(&mut *self.peers.lock());
        for peer in peers.values() {
            peer.fail_all(self, &closed_error());
        }
        self.sweep.notify_one();
    }

    fn call_started(&self) {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            self.sweep.notify_one();
        }
    }

    fn calls_ended(&self, count: usize) {
        self.in_flight.fetch_sub(count, Ordering::Relaxed);
    }
}

fn closed_error() -> TransportError {
    TransportError::Unreachable("this node's transport is closed".to_owned())
}

/// Fails calls whose time is over: one timer for all of them.
async fn sweep_loop(shared: Arc<Shared>) {
    while !shared.closed.load(Ordering::Relaxed) {
        if shared.in_flight.load(Ordering::Relaxed) == 0 {
            shared.sweep.notified().await;
            continue;
        }
        tokio::time::sleep_until(Instant::now() + SWEEP_INTERVAL).await;
        let peers: Vec<Arc<Peer>> = shared.peers.lock().values().cloned().collect();
        let now = Instant::now();
        for peer in peers {
            peer.expire(&shared, now);
        }
    }
}

/// For connection ids and jitter.
fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the operating system gives random bytes");
    u64::from_le_bytes(bytes)
}

/// A door for fuzzing (`fuzz/`): reads frames as they come from a stream. No part of the crate's interface.
#[doc(hidden)]
pub fn fuzz_frame(data: &[u8]) {
    let mut buffer = bytes::BytesMut::from(data);
    while let Ok(Some(content)) = frame::split_frame(&mut buffer, 1 << 20) {
        let _ = frame::parse_request(content.clone());
        let _ = frame::parse_answer(content);
    }
    let _ = frame::only_frame(data.to_vec());
    if let Some(&kind) = data.first() {
        let _ = frame::parse_stream_kind(kind);
    }
}
