//! The edge: takes TCP connections and gives each a task.

use super::budget::Budget;
use super::connection::Connection;
use super::services::ClientServices;
use dunlin_cql::Reply;
use dunlin_types::ErrorCode;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

/// Connections that the system keeps while they wait to be taken.
const BACKLOG: u32 = 1024;
/// Pause after a failed `accept`, for instance without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The port for clients.
pub struct ClientListener {
    socket: TcpListener,
    services: Arc<ClientServices>,
    tls: Option<TlsAcceptor>,
    budget: Arc<Budget>,
    ended: Arc<Notify>,
}

impl ClientListener {
    /// Opens the port; with `tls`, every connection starts with a handshake. Must be called in a tokio runtime.
    pub fn bind(
        address: SocketAddr,
        services: Arc<ClientServices>,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<ClientListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Inherited by what is accepted: a peer that vanished without a word is noticed in the end.
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        let budget = Arc::new(Budget::new(services.settings.input_bytes));
        Ok(ClientListener {
            socket: socket.listen(BACKLOG)?,
            services,
            tls,
            budget,
            ended: Arc::new(Notify::new()),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `drain` becomes true, then takes no more connections, and ends when those there are have
    /// answered what they took, at most `drain_timeout` later. Returns how many were still open then.
    pub async fn serve(self, drain: watch::Receiver<bool>, drain_timeout: Duration) -> usize {
        loop {
            let accepted = tokio::select! {
                biased;
                () = drained(drain.clone()) => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, drain.clone()),
                Err(error) => {
                    warn!(%error, "cannot take a client connection");
                    self.services.runtime().sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let ClientListener { socket, services, ended, .. } = self;
        drop(socket);
        let open = || services.stats.connections.load(Ordering::Acquire);
        let all_ended = async {
            loop {
                let notified = ended.notified();
                if open() == 0 {
                    return;
                }
                notified.await;
            }
        };
        let _ = dunlin_types::runtime::timeout(&**services.runtime(), drain_timeout, all_ended).await;
        info!(open = open(), "client port is closed");
        open()
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, drain: watch::Receiver<bool>) {
        let services = Arc::clone(&self.services);
        if services.stats.connections.fetch_add(1, Ordering::AcqRel) >= services.settings.connections {
            services.stats.connections.fetch_sub(1, Ordering::AcqRel);
            services.stats.refused.fetch_add(1, Ordering::Relaxed);
            let reply =
                Reply::error(ErrorCode::Overloaded, "too many connections").with("retry_after_ms", "1000");
            // Straight to the socket, which does not block: a flood of connections makes no tasks.
            let _ = stream.into_std().and_then(|mut socket| socket.write(&reply.to_bytes()));
            return;
        }
        let open = Open { services: Arc::clone(&services), ended: Arc::clone(&self.ended) };
        let (tls, budget) = (self.tls.clone(), Arc::clone(&self.budget));
        let task = async move {
            let _open = open;
            if let Err(error) = serve_one(stream, services, tls, budget, drain).await {
                debug!(%peer, %error, "client connection broke");
            }
        };
        drop(self.services.runtime().spawn("client-connection", Box::pin(task)));
    }
}

async fn serve_one(
    stream: TcpStream,
    services: Arc<ClientServices>,
    tls: Option<TlsAcceptor>,
    budget: Arc<Budget>,
    drain: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Connection::new(stream, services, budget).run(drained(drain)).await;
    };
    let handshake = tls.accept(stream);
    let stream = dunlin_types::runtime::timeout(&**services.runtime(), HANDSHAKE_TIMEOUT, handshake)
        .await
        .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    Connection::new(stream, services, budget).run(drained(drain)).await
}

/// Ends when the node drains; a sender that is gone means the same.
async fn drained(mut drain: watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}

/// Counts a connection while it is open.
struct Open {
    services: Arc<ClientServices>,
    ended: Arc<Notify>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.services.stats.connections.fetch_sub(1, Ordering::AcqRel);
        self.ended.notify_waiters();
    }
}
