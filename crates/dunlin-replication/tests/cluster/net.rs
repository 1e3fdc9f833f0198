//! Calls between nodes of one test, with links that fail in chosen ways.

use bytes::Bytes;
use dunlin_replication::message::Envelope;
use dunlin_transport::{Handler, Incoming, Lane, Transport, TransportError};
use dunlin_types::runtime::{BoxFuture, SharedRuntime};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    Up,
    /// The call never arrives; the caller waits in vain.
    Lost,
    /// The call is acted on; its answer never arrives.
    AnswerLost,
    /// Nothing is sent.
    Refused,
    /// Takes so many ms each way.
    Slow(u64),
}

#[derive(Default)]
pub struct Net {
    handlers: Mutex<BTreeMap<SocketAddr, Arc<dyn Handler>>>,
    links: Mutex<BTreeMap<SocketAddr, Link>>,
    pub calls: Mutex<Vec<(SocketAddr, Envelope)>>,
}

impl Net {
    /// How calls to that node fare.
    pub fn set(&self, to: SocketAddr, link: Link) {
        self.links.lock().unwrap().insert(to, link);
    }
}

pub struct Port {
    pub net: Arc<Net>,
    pub runtime: SharedRuntime,
    pub address: SocketAddr,
}

impl Transport for Port {
    fn call(
        &self,
        to: SocketAddr,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let link = self.net.links.lock().unwrap().get(&to).copied().unwrap_or(Link::Up);
        let handler = self.net.handlers.lock().unwrap().get(&to).cloned();
        let runtime = Arc::clone(&self.runtime);
        let net = Arc::clone(&self.net);
        let from = self.address;
        Box::pin(async move {
            let (Some(handler), true) = (handler, link != Link::Refused) else {
                return Err(TransportError::Unreachable("test".into()));
            };
            if let Ok(envelope) = Envelope::decode(&body) {
                net.calls.lock().unwrap().push((to, envelope));
            }
            let delay = Duration::from_millis(if let Link::Slow(ms) = link { ms } else { 1 });
            let (sender, receiver) = futures::channel::oneshot::channel();
            let there = Arc::clone(&runtime);
            let serve = async move {
                if link == Link::Lost {
                    there.sleep(Duration::from_secs(3600)).await;
                }
                there.sleep(delay).await;
                let incoming = Incoming { peer_name: "test".into(), peer_addr: from, lane, timeout, body };
                let answer = handler.handle(incoming).await;
                there.sleep(delay).await;
                if link == Link::AnswerLost {
                    there.sleep(Duration::from_secs(3600)).await;
                }
                let _ = sender.send(answer);
            };
            drop(runtime.spawn("call", Box::pin(serve)));
            match dunlin_types::runtime::timeout(&*runtime, timeout, receiver).await {
                Some(Ok(answer)) => Ok(answer),
                Some(Err(_)) => Err(TransportError::Broken),
                None => Err(TransportError::Timeout),
            }
        })
    }

    fn listen(&self, handler: Arc<dyn Handler>) {
        self.net.handlers.lock().unwrap().insert(self.address, handler);
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn close(&self) {}
}
