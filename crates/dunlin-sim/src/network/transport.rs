//! [`SimTransport`]: the transport seam of one process, standing on the simulated network.

use super::{Call, Network, unreachable};
use crate::executor::{HostId, Nanos, World};
use bytes::Bytes;
use dunlin_transport::{Handler, Incoming, Lane, Transport, TransportError};
use dunlin_types::limits::MESSAGE_BYTES_MAX;
use dunlin_types::runtime::BoxFuture;
use futures::future::{Either, select};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Calls in flight to one peer on one lane.
const CALLS_MAX: usize = 4096;

/// The transport of one process.
pub struct SimTransport {
    shared: Arc<Shared>,
}

struct Shared {
    world: Arc<World>,
    network: Arc<Network>,
    host: HostId,
    process: u32,
    name: Arc<str>,
    addr: SocketAddr,
    closed: AtomicBool,
    closing: Notify,
    in_flight: Mutex<BTreeMap<(SocketAddr, Lane), usize>>,
}

impl SimTransport {
    /// A transport at an address; `None` if that is in use.
    pub fn bind(
        world: &Arc<World>,
        network: &Arc<Network>,
        host: HostId,
        process: u32,
        name: &str,
        addr: SocketAddr,
    ) -> Option<Arc<SimTransport>> {
        network.bind(addr, host, process)?;
        let shared = Shared {
            world: world.clone(),
            network: network.clone(),
            host,
            process,
            name: Arc::from(name),
            addr,
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            in_flight: Mutex::default(),
        };
        Some(Arc::new(SimTransport { shared: Arc::new(shared) }))
    }
}

impl Transport for SimTransport {
    fn call(
        &self,
        to: SocketAddr,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.call(to, lane, body, timeout).await })
    }

    fn listen(&self, handler: Arc<dyn Handler>) {
        self.shared.network.listen(self.shared.addr, handler);
    }

    fn local_addr(&self) -> SocketAddr {
        self.shared.addr
    }

    fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.network.unbind(self.shared.addr, self.shared.process);
        self.shared.closing.notify_waiters();
    }
}

impl Shared {
    async fn call(
        self: Arc<Self>,
        to: SocketAddr,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, TransportError> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(TransportError::TooLarge { bytes: body.len() });
        }
        let closing = self.closing.notified();
        // What a process does between its death sentence and the end of its poll never leaves it.
        if self.closed.load(Ordering::Relaxed) || !self.world.is_running(self.host, self.process) {
            return Err(unreachable("closed"));
        }
        let _in_flight = InFlight::enter(&self, (to, lane))?;
        let incoming = Incoming { peer_name: self.name.clone(), peer_addr: self.addr, lane, timeout, body };
        let answer = self.network.call(Call { from: self.host, to, incoming });
        let nanos = Nanos::try_from(timeout.as_nanos()).unwrap_or(Nanos::MAX);
        let deadline = self.world.sleep_on(self.host, nanos);
        match select(select(answer, deadline), std::pin::pin!(closing)).await {
            Either::Left((Either::Left((answer, _)), _)) => answer.unwrap_or(Err(TransportError::Broken)),
            Either::Left((Either::Right(_), _)) => Err(TransportError::Timeout),
            Either::Right(_) => Err(TransportError::Broken),
        }
    }
}

/// Counts a call for as long as it lives.
struct InFlight {
    shared: Arc<Shared>,
    lane: (SocketAddr, Lane),
}

impl InFlight {
    fn enter(shared: &Arc<Shared>, lane: (SocketAddr, Lane)) -> Result<InFlight, TransportError> {
        let mut counts = shared.in_flight.lock();
        let count = counts.entry(lane).or_default();
        if *count >= CALLS_MAX {
            return Err(TransportError::Overloaded);
        }
        *count += 1;
        drop(counts);
        Ok(InFlight { shared: shared.clone(), lane })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(count) = self.shared.in_flight.lock().get_mut(&self.lane) {
            *count -= 1;
        }
    }
}
