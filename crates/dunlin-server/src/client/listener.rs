//! The edge: takes TCP connections and gives each a task.

use super::budget::Budget;
use super::connection::{Connection, LINGER};
use super::greeting::{Foreign, answer_without_tls, tls_too_many};
use super::services::ClientServices;
use super::stream;
use dunlin_cql::Reply;
use dunlin_types::ErrorCode;
use dunlin_types::runtime::timeout;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
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
/// TLS handshakes that may be under way whatever the limit on connections is.
const HANDSHAKES_MIN: usize = 64;
/// First byte of a TLS record with a handshake.
const TLS_HANDSHAKE: u8 = 22;
/// Bytes looked at to tell what a peer speaks that does not speak TLS.
const PEEKED_BYTES: usize = 16;
/// Plain text on a port that speaks TLS is a setting to correct, and worth one line in this time.
const PLAIN_TEXT_WARNED_EVERY: Duration = Duration::from_secs(60);

/// The port for clients.
pub struct ClientListener {
    socket: TcpListener,
    services: Arc<ClientServices>,
    tls: Option<Arc<Tls>>,
    budget: Arc<Budget>,
    ended: Arc<Notify>,
}

/// TLS of the port.
struct Tls {
    acceptor: TlsAcceptor,
    /// Handshakes under way, oldest first, each with the bell that ends it.
    handshakes: Mutex<BTreeMap<u64, Arc<Notify>>>,
    /// How many there may be: for one more the oldest is ended. So peers that never finish theirs take at most half
    /// of the connections, and keep nobody else out.
    handshakes_max: usize,
    /// Handshakes ever begun.
    begun: AtomicU64,
    /// Peers that sent plain text since it was last warned of that.
    plain_texts: AtomicU64,
    /// When it was warned of that, in milliseconds of the monotonic clock, plus one.
    warned_ms: AtomicU64,
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
        let tls = tls.map(|acceptor| {
            Arc::new(Tls {
                acceptor,
                handshakes: Mutex::default(),
                handshakes_max: (services.settings.connections / 2).max(HANDSHAKES_MIN),
                begun: AtomicU64::new(0),
                plain_texts: AtomicU64::new(0),
                warned_ms: AtomicU64::new(0),
            })
        });
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
        let _ = timeout(&**services.runtime(), drain_timeout, all_ended).await;
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
            return turn_away(stream, &if self.tls.is_some() { tls_too_many() } else { reply.to_bytes() });
        }
        let open = Open { services: Arc::clone(&services), ended: Arc::clone(&self.ended) };
        let (tls, budget) = (self.tls.clone(), Arc::clone(&self.budget));
        let task = async move {
            let _open = open;
            match serve_one(stream, peer, services, tls, budget, drain).await {
                Ok(None) => {}
                Ok(Some(foreign)) => {
                    debug!(%peer, protocol = foreign.name(), "client speaks another protocol");
                }
                Err(error) => debug!(%peer, %error, "client connection broke"),
            }
        };
        drop(self.services.runtime().spawn("client-connection", Box::pin(task)));
    }
}

/// Says a last word straight to the socket, which does not block: a flood of connections makes no tasks.
fn turn_away(stream: TcpStream, word: &[u8]) {
    let _ = stream.into_std().and_then(|mut socket| socket.write(word));
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    services: Arc<ClientServices>,
    tls: Option<Arc<Tls>>,
    budget: Arc<Budget>,
    drain: watch::Receiver<bool>,
) -> io::Result<Option<Foreign>> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Connection::new(stream, services, budget).run(drained(drain)).await;
    };
    let handshake = Handshake::begin(&tls);
    let runtime = Arc::clone(services.runtime());
    let shaken = timeout(&*runtime, HANDSHAKE_TIMEOUT, async {
        let mut first = [0; PEEKED_BYTES];
        let n = stream.peek(&mut first).await?;
        if n > 0 && first[0] != TLS_HANDSHAKE {
            refuse_plain_text(stream, &first[..n], peer, &services, &tls).await?;
            return Ok(None);
        }
        tls.acceptor.accept(stream).await.map(Some)
    });
    let stream = tokio::select! {
        biased;
        shaken = shaken => shaken.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?,
        () = handshake.ended.notified() => return Err(io::Error::other("too many TLS handshakes")),
    };
    drop(handshake);
    match stream {
        Some(stream) => Connection::new(stream, services, budget).run(drained(drain)).await,
        None => Ok(None),
    }
}

/// Tells a peer that sent plain text that this port speaks TLS, in the protocol that it seems to speak.
async fn refuse_plain_text(
    mut stream: TcpStream,
    first: &[u8],
    peer: SocketAddr,
    services: &ClientServices,
    tls: &Tls,
) -> io::Result<()> {
    let plain_texts = tls.plain_texts.fetch_add(1, Ordering::Relaxed) + 1;
    let now_ms = services.runtime().mono().0 / 1_000_000 + 1;
    let warned_ms = tls.warned_ms.load(Ordering::Relaxed);
    if warned_ms == 0 || now_ms - warned_ms > PLAIN_TEXT_WARNED_EVERY.as_millis() as u64 {
        tls.warned_ms.store(now_ms, Ordering::Relaxed);
        tls.plain_texts.store(0, Ordering::Relaxed);
        warn!(%peer, connections = plain_texts, "plain text came to the client port, which speaks TLS");
    } else {
        debug!(%peer, "plain text came to the client port, which speaks TLS");
    }
    stream.write_all(&answer_without_tls(first)).await?;
    let farewell = stream::part(&mut stream, true);
    timeout(&**services.runtime(), LINGER, farewell).await.unwrap_or(Ok(()))
}

/// A TLS handshake under way: counted while it lives.
struct Handshake {
    tls: Arc<Tls>,
    number: u64,
    /// Rings when this handshake has to make room.
    ended: Arc<Notify>,
}

impl Handshake {
    fn begin(tls: &Arc<Tls>) -> Handshake {
        let number = tls.begun.fetch_add(1, Ordering::Relaxed);
        let ended = Arc::new(Notify::new());
        let mut handshakes = tls.handshakes.lock();
        if handshakes.len() >= tls.handshakes_max
            && let Some((_, oldest)) = handshakes.pop_first()
        {
            oldest.notify_one();
        }
        handshakes.insert(number, Arc::clone(&ended));
        Handshake { tls: Arc::clone(tls), number, ended }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.tls.handshakes.lock().remove(&self.number);
    }
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
