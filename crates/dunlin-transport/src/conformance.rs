//! What every implementation of the [`Transport`] seam has to do, as one suite that runs on any
//! executor and any clock: the QUIC one runs it over loopback, the simulated one on virtual time.
//!
//! A case that fails panics.

use crate::seam::{Handler, Incoming, Lane, Transport, TransportError};
use bytes::Bytes;
use dunlin_types::limits::MESSAGE_BYTES_MAX;
use dunlin_types::runtime::BoxFuture;
use futures::future::{Either, join_all, select};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Waits on the world's clock.
pub type Sleeper = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// Makes the transports under test.
pub trait World: Send + Sync {
    /// Starts a node of that name, at a given address or a free one.
    fn start(&self, name: &str, at: Option<SocketAddr>) -> BoxFuture<'_, Arc<dyn Transport>>;

    /// Stops a node; when this returns its address may be started anew.
    fn stop(&self, node: Arc<dyn Transport>) -> BoxFuture<'_, ()>;

    /// An address where nobody listens.
    fn nobody(&self) -> SocketAddr;

    /// The clock to wait on.
    fn sleeper(&self) -> Sleeper;
}

const LANES: [Lane; 3] = [Lane::Gossip, Lane::Request, Lane::Bulk];
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs every case, one after another.
pub async fn run(world: &dyn World) {
    let (a, b) = (world.start("a", None).await, world.start("b", None).await);
    calls_before_listen_are_refused(&*a, b.local_addr()).await;
    let echo_a = listen(world, &*a);
    let echo_b = listen(world, &*b);
    let to_b = b.local_addr();

    every_lane_echoes(&*a, to_b).await;
    the_handler_learns_who_calls(&*a, to_b, &echo_b).await;
    messages_up_to_the_limit_pass(&*a, to_b).await;
    many_calls_get_their_own_answers(&*a, to_b).await;
    slow_calls_do_not_hold_up_others(&*a, to_b).await;
    a_call_without_an_answer_times_out(&*a, to_b).await;
    both_directions_at_once(&*a, &*b).await;
    nobody_cannot_be_reached(&*a, world.nobody()).await;
    let b = a_peer_comes_back(world, &*a, b).await;
    a_closed_transport_fails_calls(&*a, to_b).await;
    drop(echo_a);
    world.stop(a).await;
    world.stop(b).await;
}

/// Answers with the body. As exceptions `sleep:MS` waits before it answers, `never` does not answer,
/// and `large:BYTES` answers with that many.
struct Echo {
    sleeper: Sleeper,
    seen: Mutex<Vec<Incoming>>,
}

impl Handler for Echo {
    fn handle(self: Arc<Self>, incoming: Incoming) -> BoxFuture<'static, Bytes> {
        let body = incoming.body.clone();
        if body.len() < 1024 {
            self.seen.lock().push(incoming);
        }
        Box::pin(async move {
            let text = std::str::from_utf8(&body[..body.len().min(32)]).unwrap_or("");
            if let Some(ms) = number_after("sleep:", text) {
                (self.sleeper)(Duration::from_millis(ms)).await;
            } else if text == "never" {
                std::future::pending::<()>().await;
            } else if let Some(bytes) = number_after("large:", text) {
                return patterned(bytes as usize);
            }
            body
        })
    }
}

fn number_after(prefix: &str, text: &str) -> Option<u64> {
    text.strip_prefix(prefix)?.parse().ok()
}

/// Bytes of which none can be lost or swapped without notice.
fn patterned(length: usize) -> Bytes {
    (0..length).map(|i| (i % 251) as u8).collect()
}

fn listen(world: &dyn World, node: &dyn Transport) -> Arc<Echo> {
    let handler = Arc::new(Echo { sleeper: world.sleeper(), seen: Mutex::new(Vec::new()) });
    node.listen(handler.clone());
    handler
}

async fn ask(
    from: &dyn Transport,
    to: SocketAddr,
    lane: Lane,
    body: impl Into<Bytes>,
) -> Result<Bytes, TransportError> {
    from.call(to, lane, body.into(), TIMEOUT).await
}

async fn calls_before_listen_are_refused(a: &dyn Transport, to_b: SocketAddr) {
    let answer = ask(a, to_b, Lane::Request, "early").await;
    assert!(matches!(answer, Err(TransportError::Unreachable(_))), "{answer:?}");
}

async fn every_lane_echoes(a: &dyn Transport, to_b: SocketAddr) {
    for lane in LANES {
        for body in ["hello", ""] {
            assert_eq!(ask(a, to_b, lane, body).await, Ok(Bytes::from(body)), "{lane:?}");
        }
    }
}

async fn the_handler_learns_who_calls(a: &dyn Transport, to_b: SocketAddr, at_b: &Echo) {
    at_b.seen.lock().clear();
    ask(a, to_b, Lane::Bulk, "who").await.expect("b answers");
    let seen = at_b.seen.lock().clone();
    let [incoming] = &seen[..] else { panic!("one call arrives once, not {seen:?}") };
    assert_eq!(&*incoming.peer_name, "a");
    assert_eq!(incoming.peer_addr, a.local_addr());
    assert_eq!(incoming.lane, Lane::Bulk);
    assert!(incoming.timeout <= TIMEOUT && incoming.timeout > TIMEOUT / 2, "{:?}", incoming.timeout);
}

async fn messages_up_to_the_limit_pass(a: &dyn Transport, to_b: SocketAddr) {
    for lane in LANES {
        for bytes in [65_535, 65_536, 65_537, 1 << 20] {
            let body = patterned(bytes);
            assert!(ask(a, to_b, lane, body.clone()).await == Ok(body), "{bytes} bytes on {lane:?}");
            let answer = ask(a, to_b, lane, format!("large:{bytes}")).await;
            assert!(answer == Ok(patterned(bytes)), "an answer of {bytes} bytes on {lane:?}");
        }
    }
    let body = patterned(MESSAGE_BYTES_MAX);
    assert!(ask(a, to_b, Lane::Bulk, body.clone()).await == Ok(body), "a message of the largest size");
    let over = ask(a, to_b, Lane::Bulk, vec![0; MESSAGE_BYTES_MAX + 1]).await;
    assert_eq!(over, Err(TransportError::TooLarge { bytes: MESSAGE_BYTES_MAX + 1 }));
}

async fn many_calls_get_their_own_answers(a: &dyn Transport, to_b: SocketAddr) {
    let calls = (0..1000).map(|i| async move {
        // Some are slow, some large, so that answers come in another order.
        let body = match i % 50 {
            0 => format!("sleep:{}", i % 7),
            1 => "x".repeat(70_000 + i),
            _ => format!("call {i}"),
        };
        let lane = LANES[i % 3];
        assert!(ask(a, to_b, lane, body.clone()).await == Ok(Bytes::from(body)), "call {i} on {lane:?}");
    });
    join_all(calls).await;
}

async fn slow_calls_do_not_hold_up_others(a: &dyn Transport, to_b: SocketAddr) {
    for lane in LANES {
        let slow = ask(a, to_b, lane, "sleep:2000");
        let quick = ask(a, to_b, lane, "quick");
        match select(Box::pin(slow), Box::pin(quick)).await {
            Either::Right((answer, slow)) => {
                assert_eq!(answer, Ok(Bytes::from("quick")));
                drop(slow);
            }
            Either::Left(_) => panic!("a slow call on {lane:?} was answered before a quick one"),
        }
    }
}

async fn a_call_without_an_answer_times_out(a: &dyn Transport, to_b: SocketAddr) {
    let answer = a.call(to_b, Lane::Request, Bytes::from("never"), Duration::from_millis(50)).await;
    assert_eq!(answer, Err(TransportError::Timeout));
    assert_eq!(ask(a, to_b, Lane::Request, "next").await, Ok(Bytes::from("next")));
}

async fn both_directions_at_once(a: &dyn Transport, b: &dyn Transport) {
    let calls = (0..100).map(|i| {
        let (from, to) = if i % 2 == 0 { (a, b.local_addr()) } else { (b, a.local_addr()) };
        async move {
            assert_eq!(ask(from, to, Lane::Request, format!("{i}")).await, Ok(Bytes::from(format!("{i}"))))
        }
    });
    join_all(calls).await;
}

async fn nobody_cannot_be_reached(a: &dyn Transport, nobody: SocketAddr) {
    for _ in 0..3 {
        let answer = a.call(nobody, Lane::Request, Bytes::from("?"), Duration::from_secs(5)).await;
        assert!(
            matches!(answer, Err(TransportError::Unreachable(_) | TransportError::Timeout)),
            "nobody answered: {answer:?}"
        );
    }
}

/// Returns the new b.
async fn a_peer_comes_back(
    world: &dyn World,
    a: &dyn Transport,
    b: Arc<dyn Transport>,
) -> Arc<dyn Transport> {
    let to_b = b.local_addr();
    let in_flight = ask(a, to_b, Lane::Request, "never");
    assert_eq!(ask(a, to_b, Lane::Request, "before").await, Ok(Bytes::from("before")));
    world.stop(b).await;
    let lost = in_flight.await;
    assert!(lost.is_err(), "{lost:?}");

    let b = world.start("b", Some(to_b)).await;
    listen(world, &*b);
    // The backoff is at most a few seconds, and gossip is let through earlier.
    for lane in [Lane::Gossip, Lane::Request, Lane::Bulk] {
        let mut last = None;
        for _ in 0..100 {
            last = Some(a.call(to_b, lane, Bytes::from("back"), Duration::from_millis(500)).await);
            if last == Some(Ok(Bytes::from("back"))) {
                break;
            }
            (world.sleeper())(Duration::from_millis(50)).await;
        }
        assert_eq!(last, Some(Ok(Bytes::from("back"))), "{lane:?}");
    }
    b
}

async fn a_closed_transport_fails_calls(a: &dyn Transport, to_b: SocketAddr) {
    let in_flight = ask(a, to_b, Lane::Request, "never");
    a.close();
    let lost = in_flight.await;
    assert!(lost.is_err(), "{lost:?}");
    let refused = ask(a, to_b, Lane::Request, "late").await;
    assert!(matches!(refused, Err(TransportError::Unreachable(_))), "{refused:?}");
}
