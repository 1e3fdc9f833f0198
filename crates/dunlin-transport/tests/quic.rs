//! The QUIC transport over loopback.

// The edge under test needs real time, files and sockets.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use dunlin_transport::conformance::{self, Sleeper, World};
use dunlin_transport::quic::{QuicOptions, QuicTransport};
use dunlin_transport::{Handler, Incoming, Lane, TlsIdentity, Transport, TransportError, certs};
use dunlin_types::runtime::BoxFuture;
use futures::future::join_all;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(10);

fn ca() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    certs::init_ca(dir.path()).unwrap();
    dir
}

fn identity(ca: &Path, name: &str) -> TlsIdentity {
    let files = certs::issue(ca, name, &["127.0.0.1".into()]).unwrap();
    TlsIdentity::from_files(&files.ca, &files.cert, &files.key).unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn start_at(tls: TlsIdentity, listen: SocketAddr) -> Arc<QuicTransport> {
    Arc::new(QuicTransport::bind(QuicOptions { listen, advertise: None, tls }).unwrap())
}

fn start(ca: &Path, name: &str) -> Arc<QuicTransport> {
    start_at(identity(ca, name), any_port())
}

fn on_one_thread(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

struct Echo;

impl Handler for Echo {
    fn handle(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Bytes> {
        Box::pin(async move { incoming.body })
    }
}

/// Never answers, and counts what arrived.
#[derive(Default)]
struct Hole(AtomicUsize);

impl Handler for Hole {
    fn handle(self: Arc<Self>, _: Incoming) -> BoxFuture<'static, Bytes> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come about");
}

struct Loopback {
    ca: TempDir,
}

impl World for Loopback {
    fn start(&self, name: &str, at: Option<SocketAddr>) -> BoxFuture<'_, Arc<dyn Transport>> {
        let tls = identity(self.ca.path(), name);
        Box::pin(async move {
            let listen = at.unwrap_or(any_port());
            for _ in 0..500 {
                let tls = TlsIdentity::from_files(
                    &self.ca.path().join("ca.crt"),
                    &self.ca.path().join(format!("{}.crt", tls.name())),
                    &self.ca.path().join(format!("{}.key", tls.name())),
                )
                .unwrap();
                match QuicTransport::bind(QuicOptions { listen, advertise: None, tls }) {
                    Ok(transport) => return Arc::new(transport) as Arc<dyn Transport>,
                    // The one that was stopped has not let go of its socket yet.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
            panic!("{listen} stays taken");
        })
    }

    fn stop(&self, node: Arc<dyn Transport>) -> BoxFuture<'_, ()> {
        node.close();
        drop(node);
        Box::pin(async {})
    }

    fn nobody(&self) -> SocketAddr {
        // Bound and never read: nobody answers, and nobody else can take the port.
        let socket = Box::leak(Box::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
        socket.local_addr().unwrap()
    }

    fn sleeper(&self) -> Sleeper {
        Arc::new(|duration| Box::pin(tokio::time::sleep(duration)))
    }
}

#[test]
fn conforms() {
    on_one_thread(async { conformance::run(&Loopback { ca: ca() }).await });
}

#[test]
fn conforms_on_several_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { conformance::run(&Loopback { ca: ca() }).await });
}

#[test]
fn load_is_batched() {
    on_one_thread(async {
        let ca = ca();
        let (a, b) = (start(ca.path(), "a"), start(ca.path(), "b"));
        b.listen(Arc::new(Echo));
        let to = b.local_addr();
        a.call(to, Lane::Request, Bytes::new(), TIMEOUT).await.unwrap();
        let (before_a, before_b, packets) = (a.stats(), b.stats(), a.peers()[0].packets_sent);
        let clients = (0..64).map(|_| {
            let a = a.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    a.call(to, Lane::Request, Bytes::from_static(&[7; 150]), TIMEOUT).await.unwrap();
                }
            })
        });
        join_all(clients).await;
        for (before, after) in [(before_a, a.stats()), (before_b, b.stats())] {
            let (frames, writes) = (after.frames - before.frames, after.writes - before.writes);
            assert_eq!(frames, 6400);
            assert!(frames / writes >= 8, "{frames} frames in {writes} writes");
        }
        let packets = a.peers()[0].packets_sent - packets;
        assert!(packets <= 6400 / 5, "{packets} packets for 6400 requests");
        assert_eq!(b.stats().handled_later, 0);
    });
}

#[test]
fn a_stranger_is_refused() {
    on_one_thread(async {
        let (ours, theirs) = (ca(), ca());
        let (server, stranger) = (start(ours.path(), "n1"), start(theirs.path(), "n1"));
        server.listen(Arc::new(Echo));
        stranger.listen(Arc::new(Echo));
        // Whoever dials: the dialler does not trust the listener.
        for (from, to) in [(&stranger, &server), (&server, &stranger)] {
            let answer = from.call(to.local_addr(), Lane::Gossip, Bytes::from("let me in"), TIMEOUT).await;
            assert!(matches!(answer, Err(TransportError::Unreachable(_))), "{answer:?}");
        }
        assert_eq!(server.stats().handled + stranger.stats().handled, 0);
    });
}

/// A certificate of the cluster's CA is trusted by the dialler, who itself has one of another CA.
#[test]
fn a_caller_with_a_foreign_certificate_is_refused() {
    on_one_thread(async {
        let (ours, theirs) = (ca(), ca());
        let server = start(ours.path(), "n1");
        server.listen(Arc::new(Echo));
        let foreign = certs::issue(theirs.path(), "n2", &[]).unwrap();
        let tls = TlsIdentity::from_files(&ours.path().join("ca.crt"), &foreign.cert, &foreign.key).unwrap();
        let stranger = start_at(tls, any_port());
        let answer =
            stranger.call(server.local_addr(), Lane::Gossip, Bytes::from("let me in"), TIMEOUT).await;
        let Err(TransportError::Unreachable(reason)) = answer else { panic!("{answer:?}") };
        assert!(reason.contains("certificate"), "{reason}");
        assert_eq!(server.stats().handled, 0);
        eventually("the refusal is counted", || server.stats().refused > 0).await;
        // It backs off: the next call fails without a packet.
        let again = stranger.call(server.local_addr(), Lane::Request, Bytes::from("now?"), TIMEOUT).await;
        assert!(matches!(again, Err(TransportError::Unreachable(_))), "{again:?}");
        assert_eq!(stranger.stats().calls, 1);
    });
}

#[test]
fn garbage_is_ignored() {
    on_one_thread(async {
        let ca = ca();
        let (a, b) = (start(ca.path(), "a"), start(ca.path(), "b"));
        b.listen(Arc::new(Echo));
        let noise = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for length in 0..400usize {
            let packet: Vec<u8> = (0..length * 3).map(|i| (i * 31 + length * 7) as u8).collect();
            noise.send_to(&packet, b.local_addr()).unwrap();
        }
        let answer = a.call(b.local_addr(), Lane::Request, Bytes::from("still there"), TIMEOUT).await;
        assert_eq!(answer, Ok(Bytes::from("still there")));
        assert_eq!(b.stats().accepted, 1);
    });
}

#[test]
fn calls_in_flight_are_bounded() {
    on_one_thread(async {
        let ca = ca();
        let (a, b) = (start(ca.path(), "a"), start(ca.path(), "b"));
        let hole = Arc::new(Hole::default());
        b.listen(hole.clone());
        let to = b.local_addr();
        let calls: Vec<_> = (0..4096).map(|_| a.call(to, Lane::Request, Bytes::new(), TIMEOUT)).collect();
        let over = a.call(to, Lane::Request, Bytes::new(), TIMEOUT).await;
        assert_eq!(over, Err(TransportError::Overloaded));
        // Another lane has its own bound, and bytes count as well as calls.
        let bulk: Vec<_> =
            (0..8).map(|_| a.call(to, Lane::Bulk, Bytes::from(vec![0; 1 << 20]), TIMEOUT)).collect();
        let over = a.call(to, Lane::Bulk, Bytes::from("one more"), TIMEOUT).await;
        assert_eq!(over, Err(TransportError::Overloaded));
        eventually("every call arrives", || hole.0.load(Ordering::Relaxed) == 4096 + 8).await;
        assert_eq!(a.peers()[0].calls_in_flight, 4096 + 8);
        b.close();
        for answer in join_all(calls.into_iter().chain(bulk)).await {
            assert_eq!(answer, Err(TransportError::Broken));
        }
        assert_eq!(a.peers()[0].calls_in_flight, 0);
    });
}

/// Bulk has been given more than its stream can hold before the first gossip is sent, and gossip is
/// answered while most of it waits still.
#[test]
fn bulk_does_not_hold_up_gossip() {
    on_one_thread(async {
        let ca = ca();
        let (a, b) = (start(ca.path(), "a"), start(ca.path(), "b"));
        b.listen(Arc::new(Echo));
        let to = b.local_addr();
        a.call(to, Lane::Gossip, Bytes::new(), TIMEOUT).await.unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let bulk: Vec<_> = (0..100)
            .map(|_| {
                let call = a.call(to, Lane::Bulk, Bytes::from(vec![1; 64 << 10]), TIMEOUT);
                let done = done.clone();
                tokio::spawn(async move {
                    call.await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let mut answered_before = Vec::new();
        for _ in 0..3 {
            a.call(to, Lane::Gossip, Bytes::from("beat"), TIMEOUT).await.unwrap();
            answered_before.push(done.load(Ordering::Relaxed));
        }
        assert!(answered_before[0] < 50, "bulk calls answered before each gossip: {answered_before:?}");
        join_all(bulk).await;
        assert_eq!(done.load(Ordering::Relaxed), 100);
    });
}

/// A peer that dies without a word and starts again at once: its old connections are reset by the
/// new process, not by the idle timeout.
#[test]
fn a_crashed_peer_is_found_out_at_once() {
    on_one_thread(async {
        let ca = ca();
        let a = start(ca.path(), "a");
        let tls = || {
            let file = |name: &str| ca.path().join(name);
            TlsIdentity::from_files(&file("ca.crt"), &file("b.crt"), &file("b.key")).unwrap()
        };
        certs::issue(ca.path(), "b", &[]).unwrap();
        // b lives on a runtime of its own, which is torn down before b could say goodbye.
        let crash = Arc::new(tokio::sync::Notify::new());
        let (crashing, tls_of_b, (sender, address)) = (crash.clone(), tls(), tokio::sync::oneshot::channel());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let b = runtime.block_on(async {
                let b = start_at(tls_of_b, any_port());
                b.listen(Arc::new(Echo));
                sender.send(b.local_addr()).unwrap();
                crashing.notified().await;
                b
            });
            drop(runtime);
            drop(b);
        });
        let to = address.await.unwrap();
        a.call(to, Lane::Request, Bytes::from("1"), TIMEOUT).await.unwrap();
        crash.notify_one();
        thread.join().unwrap();
        let b = loop {
            match QuicTransport::bind(QuicOptions { listen: to, advertise: None, tls: tls() }) {
                Ok(b) => break b,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        b.listen(Arc::new(Echo));
        let lost = a.call(to, Lane::Request, Bytes::from("2"), Duration::from_secs(8)).await;
        assert_eq!(lost, Err(TransportError::Broken));
        assert_eq!(a.call(to, Lane::Request, Bytes::from("3"), TIMEOUT).await, Ok(Bytes::from("3")));
    });
}

#[test]
fn certificates_can_be_exchanged_while_running() {
    on_one_thread(async {
        let (old, new) = (ca(), ca());
        let (a, b) = (start(old.path(), "a"), start(old.path(), "b"));
        b.listen(Arc::new(Echo));
        a.reload(&identity(new.path(), "a")).unwrap();
        let refused = a.call(b.local_addr(), Lane::Request, Bytes::from("1"), TIMEOUT).await;
        assert!(refused.is_err());
        b.reload(&identity(new.path(), "b")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            a.call(b.local_addr(), Lane::Gossip, Bytes::from("2"), TIMEOUT).await,
            Ok(Bytes::from("2"))
        );
    });
}
