//! The dialling side: one peer, its connection, and the calls in flight to it.
//!
//! A peer is idle, connecting or up. The first call makes it connect; calls wait for a connection
//! being made; while an attempt is backed off from they fail at once. When a connection ends,
//! every call on it fails and the next call dials again.

use super::calls::{Call, Calls};
use super::frame::{self, LANE_BODY_MAX, LANE_FRAME_MAX, LANES, OWN_STREAM_MAX, Status, lane_index};
use super::stats::{Counters, PeerStats};
use super::{Shared, random_u64};
use crate::seam::{Lane, TransportError};
use crate::tls::SERVER_NAME;
use bytes::{Bytes, BytesMut};
use futures::future::Either;
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// An attempt to connect is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause between attempts; each is up to half shorter by chance.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Gossip may try this long after the last attempt whatever the backoff: it must find a peer that came back.
const GOSSIP_RETRY: Duration = Duration::from_millis(250);
/// A connection without calls for this long is closed.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// A longer time for a call is taken as this.
const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Unsent bytes of a lane, those of timed-out calls included.
const UNSENT_BYTES_MAX: usize = 16 << 20;
/// A buffer larger than this is not kept.
pub(super) const BUFFER_KEPT_BYTES: usize = 1 << 20;
/// Room made before each read.
pub(super) const READ_BYTES: usize = 64 << 10;

type Outcome = Result<Bytes, TransportError>;

/// A peer by its address.
pub(super) struct Peer {
    addr: SocketAddr,
    state: Mutex<State>,
    /// Wakes a lane's writer.
    wake: [Notify; 3],
}

struct State {
    link: Link,
    calls: Calls<oneshot::Sender<Outcome>>,
    unsent: [Unsent; 3],
    /// Messages for streams of their own that wait for the connection.
    large: Vec<Large>,
    last_used: Instant,
    /// Whether the connection that stands has brought an answer.
    proved: bool,
    /// Failed attempts in a row.
    failures: u32,
    last_failure: Option<String>,
}

enum Link {
    Idle { retry_at: Option<Instant>, last_attempt: Option<Instant> },
    Connecting,
    Up(Connection),
}

/// Frames of one lane that its writer has not taken yet.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    frames: u64,
}

struct Large {
    id: u64,
    lane: Lane,
    deadline: Instant,
    body: Bytes,
}

impl Peer {
    pub fn new(addr: SocketAddr) -> Peer {
        let state = State {
            link: Link::Idle { retry_at: None, last_attempt: None },
            calls: Calls::new(),
            unsent: Default::default(),
            large: Vec::new(),
            last_used: Instant::now(),
            proved: false,
            failures: 0,
            last_failure: None,
        };
        Peer { addr, state: Mutex::new(state), wake: Default::default() }
    }

    /// Queues a call; the receiver gets its outcome. Error: nothing was sent nor will be.
    pub fn submit(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> Result<oneshot::Receiver<Outcome>, TransportError> {
        let now = Instant::now();
        let timeout = timeout.min(CALL_TIMEOUT_MAX);
        let index = lane_index(lane);
        let mut state = self.state.lock();
        if let Link::Idle { retry_at, last_attempt } = state.link {
            let backed_off = retry_at.is_some_and(|at| now < at);
            let gossip_may_try =
                lane == Lane::Gossip && last_attempt.is_none_or(|at| now >= at + GOSSIP_RETRY);
            if backed_off && !gossip_may_try {
                let reason = state.last_failure.clone().unwrap_or_else(|| "backing off".to_owned());
                return Err(TransportError::Unreachable(reason));
            }
            state.link = Link::Connecting;
            shared.runtime.spawn(run(shared.clone(), self.clone()));
        }
        if !state.calls.has_room(lane) || state.unsent[index].bytes.len() >= UNSENT_BYTES_MAX {
            Counters::add(&shared.counters.overloaded, 1);
            return Err(TransportError::Overloaded);
        }
        let (sender, receiver) = oneshot::channel();
        let deadline = now + timeout;
        let id = state.calls.insert(Call { lane, bytes: body.len(), deadline, answer: sender });
        state.last_used = now;
        Counters::add(&shared.counters.calls, 1);
        if body.len() > LANE_BODY_MAX {
            let large = Large { id, lane, deadline, body };
            match &state.link {
                Link::Up(connection) => {
                    shared.runtime.spawn(send_large(shared.clone(), self.clone(), connection.clone(), large));
                }
                _ => state.large.push(large),
            }
        } else {
            let unsent = &mut state.unsent[index];
            if unsent.frames == 0 {
                self.wake[index].notify_one();
            }
            unsent.frames += 1;
            unsent.bytes.extend_from_slice(&frame::request_head(id, timeout, body.len()));
            unsent.bytes.extend_from_slice(&body);
        }
        drop(state);
        shared.call_started();
        Ok(receiver)
    }

    /// Fails the calls whose time is over.
    pub fn expire(&self, shared: &Shared, now: Instant) {
        let expired = self.state.lock().calls.take_expired(now);
        Counters::add(&shared.counters.timeouts, expired.len() as u64);
        finish(shared, expired, &TransportError::Timeout);
    }

    /// Fails every call and forgets what is unsent.
    pub fn fail_all(&self, shared: &Shared, error: &TransportError) {
        let calls = self.state.lock().take_everything();
        finish(shared, calls, error);
    }

    /// Whether nothing would be lost by forgetting the peer.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        matches!(state.link, Link::Idle { .. }) && state.calls.len() == 0
    }

    pub fn stats(&self) -> PeerStats {
        let state = self.state.lock();
        let connection = match &state.link {
            Link::Up(connection) => Some(connection),
            _ => None,
        };
        PeerStats {
            addr: self.addr,
            connected: connection.is_some(),
            calls_in_flight: state.calls.len(),
            bytes_in_flight: state.calls.bytes(),
            rtt_us: connection.map_or(0, |c| c.rtt().as_micros() as u64),
            packets_sent: connection.map_or(0, |c| c.stats().udp_tx.datagrams),
            last_failure: state.last_failure.clone(),
        }
    }

    fn complete(&self, shared: &Shared, id: u64, outcome: Outcome) {
        let call = {
            let mut state = self.state.lock();
            state.proved = true;
            state.calls.take(id)
        };
        // A call that is not there ran out of time.
        if let Some(call) = call {
            shared.calls_ended(1);
            let _ = call.answer.send(outcome);
        }
    }

    fn complete_with(&self, shared: &Shared, answer: frame::Answer) {
        let outcome = match answer.status {
            Status::Answered => Ok(answer.body),
            Status::Refused => {
                Err(TransportError::Unreachable("the peer does not take calls yet".to_owned()))
            }
        };
        self.complete(shared, answer.id, outcome);
    }
}

impl State {
    fn take_everything(&mut self) -> Vec<Call<oneshot::Sender<Outcome>>> {
        self.unsent = Default::default();
        self.large.clear();
        self.calls.take_all()
    }

    /// Back to idle after a failed attempt, to be tried again after a pause.
    fn back_off(&mut self, reason: &str) {
        let now = Instant::now();
        let pause = BACKOFF_MAX.min(BACKOFF_MIN * 2u32.pow(self.failures.min(16)));
        let jitter = (random_u64() >> 11) as f64 / (1u64 << 53) as f64;
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(reason.to_owned());
        let retry_at = Some(now + pause.mul_f64(1.0 - jitter / 2.0));
        self.link = Link::Idle { retry_at, last_attempt: Some(now) };
    }
}

fn finish(shared: &Shared, calls: Vec<Call<oneshot::Sender<Outcome>>>, error: &TransportError) {
    shared.calls_ended(calls.len());
    for call in calls {
        let _ = call.answer.send(Err(error.clone()));
    }
}

/// Dials, keeps the connection for as long as it lives, and leaves the peer idle.
async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    match connect(&shared, &peer).await {
        Ok((connection, lanes)) => {
            Counters::add(&shared.counters.connections, 1);
            tracing::debug!(peer = %peer.addr, "connected");
            keep(&shared, &peer, connection, lanes).await;
        }
        Err(reason) => {
            Counters::add(&shared.counters.connect_failures, 1);
            tracing::debug!(peer = %peer.addr, %reason, "cannot connect");
            let calls = {
                let mut state = peer.state.lock();
                state.back_off(&reason);
                state.take_everything()
            };
            finish(&shared, calls, &TransportError::Unreachable(reason));
        }
    }
}

async fn connect(
    shared: &Shared,
    peer: &Peer,
) -> Result<(Connection, Vec<(SendStream, RecvStream)>), String> {
    let attempt = async {
        let config = shared.client_config.lock().clone();
        let connecting = shared
            .endpoint
            .connect_with(config, peer.addr, SERVER_NAME)
            .map_err(|error| error.to_string())?;
        let connection = connecting.await.map_err(|error| error.to_string())?;
        let mut lanes = Vec::new();
        for lane in LANES {
            let (mut send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
            let _ = send.set_priority(frame::priority(lane));
            send.write_all(&[frame::stream_kind(lane, false)]).await.map_err(|error| error.to_string())?;
            lanes.push((send, receive));
        }
        Ok((connection, lanes))
    };
    timeout_at(Instant::now() + CONNECT_TIMEOUT, attempt)
        .await
        .unwrap_or_else(|_| Err("no answer to the handshake".to_owned()))
}

async fn keep(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: Connection,
    lanes: Vec<(SendStream, RecvStream)>,
) {
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for (lane, (send, receive)) in LANES.into_iter().zip(lanes) {
        tasks.push(shared.runtime.spawn(write_loop(shared.clone(), peer.clone(), lane, send)));
        tasks.push(shared.runtime.spawn(read_loop(
            shared.clone(),
            peer.clone(),
            connection.clone(),
            receive,
        )));
    }
    tasks.push(shared.runtime.spawn(large_answers(shared.clone(), peer.clone(), connection.clone())));
    let waiting = {
        let mut state = peer.state.lock();
        state.link = Link::Up(connection.clone());
        state.proved = false;
        std::mem::take(&mut state.large)
    };
    for large in waiting {
        shared.runtime.spawn(send_large(shared.clone(), peer.clone(), connection.clone(), large));
    }

    let reason = wait_for_end(peer, &connection).await;
    for task in &tasks {
        task.abort();
    }
    for task in tasks {
        // Either its end or the abort: nothing of this connection may touch the next one's frames.
        let _ = task.await;
    }
    tracing::debug!(peer = %peer.addr, %reason, "connection ended");
    let (calls, error) = {
        let mut state = peer.state.lock();
        let refused = refusal(&reason);
        if state.proved {
            state.failures = 0;
            state.last_failure = None;
            state.link = Link::Idle { retry_at: None, last_attempt: None };
        } else {
            state.back_off(refused.as_deref().unwrap_or("the connection broke"));
        }
        let error = refused.map_or(TransportError::Broken, TransportError::Unreachable);
        (state.take_everything(), error)
    };
    finish(shared, calls, &error);
}

/// Returns when the connection is over, by either side or because nobody uses it.
async fn wait_for_end(peer: &Peer, connection: &Connection) -> ConnectionError {
    let mut closed = pin!(connection.closed());
    loop {
        let unused_at = peer.state.lock().last_used + UNUSED_MAX;
        let timer = pin!(sleep_until(unused_at));
        match futures::future::select(closed.as_mut(), timer).await {
            Either::Left((reason, _)) => return reason,
            Either::Right(_) => {
                let state = peer.state.lock();
                if state.calls.len() == 0 && state.last_used + UNUSED_MAX <= Instant::now() {
                    connection.close(VarInt::from_u32(0), b"unused");
                }
            }
        }
    }
}

/// If the peer ended the handshake because of our certificate: what to say. Nothing was handled then.
fn refusal(reason: &ConnectionError) -> Option<String> {
    match reason {
        ConnectionError::ConnectionClosed(close) if (0x100..0x200).contains(&u64::from(close.error_code)) => {
            Some(format!("the peer refused this node's certificate: {close}"))
        }
        _ => None,
    }
}

/// Sends a lane's frames, all that wait in one write.
async fn write_loop(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane, mut stream: SendStream) {
    let index = lane_index(lane);
    let mut buffer = Vec::new();
    loop {
        let frames = {
            let unsent = &mut peer.state.lock().unsent[index];
            std::mem::swap(&mut unsent.bytes, &mut buffer);
            std::mem::take(&mut unsent.frames)
        };
        if frames == 0 {
            peer.wake[index].notified().await;
            continue;
        }
        Counters::add(&shared.counters.frames, frames);
        Counters::add(&shared.counters.writes, 1);
        if stream.write_all(&buffer).await.is_err() {
            return;
        }
        buffer.clear();
        buffer.shrink_to(BUFFER_KEPT_BYTES);
    }
}

/// Completes calls with the answers of a lane's stream.
async fn read_loop(shared: Arc<Shared>, peer: Arc<Peer>, connection: Connection, mut stream: RecvStream) {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) => break,
            Err(_) if connection.close_reason().is_some() => return,
            Err(_) => break,
        }
        loop {
            match frame::split_frame(&mut buffer, LANE_FRAME_MAX) {
                Ok(None) => break,
                Ok(Some(content)) => match frame::parse_answer(content) {
                    Ok(answer) => peer.complete_with(&shared, answer),
                    Err(error) => return close_malformed(&connection, &error),
                },
                Err(error) => return close_malformed(&connection, &error),
            }
        }
    }
    // A peer that ends one lane has ended the connection.
    connection.close(VarInt::from_u32(0), b"lane closed");
}

pub(super) fn close_malformed(connection: &Connection, error: &frame::FrameError) {
    tracing::warn!(peer = %connection.remote_address(), %error, "closing a connection");
    connection.close(VarInt::from_u32(1), error.to_string().as_bytes());
}

/// Takes the answers that are too large for a lane's stream.
async fn large_answers(shared: Arc<Shared>, peer: Arc<Peer>, connection: Connection) {
    // The number of such streams at a time is bounded by the transport parameters.
    while let Ok(mut stream) = connection.accept_uni().await {
        let (shared, peer, connection) = (shared.clone(), peer.clone(), connection.clone());
        shared.clone().runtime.spawn(async move {
            let Ok(content) = stream.read_to_end(OWN_STREAM_MAX).await else { return };
            match frame::only_frame(content).and_then(frame::parse_answer) {
                Ok(answer) => peer.complete_with(&shared, answer),
                Err(error) => close_malformed(&connection, &error),
            }
        });
    }
}

/// Sends a message on a stream of its own and completes its call with the answer on that stream.
async fn send_large(shared: Arc<Shared>, peer: Arc<Peer>, connection: Connection, large: Large) {
    let Large { id, lane, deadline, body } = large;
    Counters::add(&shared.counters.large_messages, 1);
    let exchange = async {
        let (mut send, mut receive) = connection.open_bi().await.ok()?;
        let timeout = deadline.saturating_duration_since(Instant::now());
        // Below the lane's own stream, so that small messages pass it.
        let _ = send.set_priority(frame::priority(lane) - 1);
        let mut head = vec![frame::stream_kind(lane, true)];
        head.extend_from_slice(&frame::request_head(id, timeout, body.len()));
        let mut sending = Truncated(Some(&mut send));
        let stream = sending.0.as_mut()?;
        stream.write_all(&head).await.ok()?;
        stream.write_chunk(body).await.ok()?;
        stream.finish().ok()?;
        sending.0 = None;
        drop(sending);
        let content = receive.read_to_end(OWN_STREAM_MAX).await.ok()?;
        frame::only_frame(content).and_then(frame::parse_answer).ok().filter(|answer| answer.id == id)
    };
    match timeout_at(deadline, exchange).await {
        Ok(Some(answer)) => peer.complete_with(&shared, answer),
        Ok(None) => peer.complete(&shared, id, Err(TransportError::Broken)),
        // The sweep has failed the call, or will within its interval.
        Err(_) => {}
    }
}

/// Resets a stream that was not sent whole; dropped as it is, it would end like a finished one.
struct Truncated<'a>(Option<&'a mut SendStream>);

impl Drop for Truncated<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            let _ = stream.reset(VarInt::from_u32(2));
        }
    }
}
