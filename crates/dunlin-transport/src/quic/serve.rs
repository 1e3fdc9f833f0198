//! The accepting side: peers' connections, their calls, and the answers.
//!
//! A call's future is polled once where it was read; most answers are ready then and go out in one
//! write with all others of that read. The rest finish in tasks of their own. A reader stops reading
//! while too much of its stream is unanswered, and QUIC's flow control passes that on to the peer.

use super::frame::{self, LANE_BODY_MAX, LANE_FRAME_MAX, OWN_STREAM_MAX, Request, Status};
use super::peer::{BUFFER_KEPT_BYTES, READ_BYTES, close_malformed};
use super::stats::Counters;
use super::{Shared, calls};
use crate::seam::{Incoming, Lane};
use crate::tls::peer_name;
use bytes::{Bytes, BytesMut};
use futures::future::{Either, select};
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Handshakes worked on at a time: one costs as much as a thousand requests.
const HANDSHAKES_MAX: usize = 32;
/// A handshake is given up after this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of peers.
const CONNECTIONS_MAX: usize = 4096;
/// Answers that wait to be sent on one stream, bytes.
const UNSENT_BYTES_MAX: usize = 8 << 20;
/// Of one cause, a refused peer is logged once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Takes connections until the endpoint is closed.
pub(super) async fn accept_loop(shared: Arc<Shared>) {
    let handshakes = Arc::new(AtomicUsize::new(0));
    let refusals = Arc::new(Refusals::default());
    while let Some(incoming) = shared.endpoint.accept().await {
        let over = handshakes.load(Ordering::Relaxed) >= HANDSHAKES_MAX
            || shared.endpoint.open_connections() >= CONNECTIONS_MAX;
        if over {
            Counters::add(&shared.counters.refused, 1);
            incoming.refuse();
            continue;
        }
        let held = Held::new(handshakes.clone());
        let (shared, refusals) = (shared.clone(), refusals.clone());
        shared.clone().runtime.spawn(async move {
            let from = incoming.remote_address();
            let handshake = async { incoming.accept()?.await };
            let result = timeout_at(Instant::now() + HANDSHAKE_TIMEOUT, handshake).await;
            drop(held);
            match result {
                Ok(Ok(connection)) => serve(shared, connection).await,
                Ok(Err(error)) => {
                    Counters::add(&shared.counters.refused, 1);
                    refusals.log(from, &error);
                }
                Err(_) => tracing::debug!(peer = %from, "a handshake was not finished"),
            }
        });
    }
}

/// Counts one handshake for as long as it lives.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: Arc<AtomicUsize>) -> Held {
        count.fetch_add(1, Ordering::Relaxed);
        Held(count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps refused peers from filling the log.
#[derive(Default)]
struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    fn log(&self, from: SocketAddr, error: &ConnectionError) {
        if !matches!(error, ConnectionError::TransportError(_) | ConnectionError::ConnectionClosed(_)) {
            tracing::debug!(peer = %from, %error, "a handshake failed");
            return;
        }
        let now = Instant::now();
        let mut state = self.0.lock();
        if state.0.is_some_and(|last| now < last + WARN_INTERVAL) {
            state.1 += 1;
            return;
        }
        let unlogged = std::mem::take(&mut state.1);
        state.0 = Some(now);
        tracing::warn!(peer = %from, %error, unlogged, "refused a peer without a good certificate of this cluster's CA");
    }
}

/// A peer's connection, as its streams see it. Unfinished calls hold it weakly, so that they keep
/// neither connection nor socket open.
struct Session {
    shared: Arc<Shared>,
    connection: Connection,
    peer_name: Arc<str>,
    peer_addr: SocketAddr,
}

async fn serve(shared: Arc<Shared>, connection: Connection) {
    let name = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .and_then(|chain| peer_name(&chain));
    let Some(peer_name) = name else {
        Counters::add(&shared.counters.refused, 1);
        tracing::warn!(peer = %connection.remote_address(), "refused a peer whose certificate has no DNS name");
        connection.close(VarInt::from_u32(3), b"certificate without a DNS name");
        return;
    };
    Counters::add(&shared.counters.accepted, 1);
    let peer_addr = connection.remote_address();
    let session = Arc::new(Session { shared: shared.clone(), connection, peer_name, peer_addr });
    // The number of streams at a time is bounded by the transport parameters; their tasks end with
    // the connection.
    while let Ok((send, receive)) = session.connection.accept_bi().await {
        shared.runtime.spawn(serve_stream(session.clone(), send, receive));
    }
}

async fn serve_stream(session: Arc<Session>, send: SendStream, mut receive: RecvStream) {
    let mut kind = [0];
    if receive.read_exact(&mut kind).await.is_err() {
        return;
    }
    match frame::parse_stream_kind(kind[0]) {
        Ok((lane, false)) => serve_lane(session, lane, send, receive).await,
        Ok((lane, true)) => serve_large(session, lane, send, receive).await,
        Err(error) => close_malformed(&session.connection, &error),
    }
}

/// Answers the calls of a lane's stream until it ends.
async fn serve_lane(session: Arc<Session>, lane: Lane, send: SendStream, mut receive: RecvStream) {
    let _ = send.set_priority(frame::priority(lane));
    let outbox = Arc::new(Outbox::default());
    let writer = session.shared.runtime.spawn(write_loop(session.shared.clone(), outbox.clone(), send));
    let mut buffer = BytesMut::new();
    loop {
        outbox.wait_for_room().await;
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        match receive.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
        if let Err(error) = session.handle_frames(lane, &outbox, &mut buffer) {
            close_malformed(&session.connection, &error);
            break;
        }
    }
    outbox.close();
    writer.abort();
}

impl Session {
    fn handle_frames(
        self: &Arc<Self>,
        lane: Lane,
        outbox: &Arc<Outbox>,
        buffer: &mut BytesMut,
    ) -> Result<(), frame::FrameError> {
        while let Some(content) = frame::split_frame(buffer, LANE_FRAME_MAX)? {
            let request = frame::parse_request(content)?;
            let id = request.id;
            let Some(mut answer) = self.start(lane, request) else {
                outbox.append(id, Status::Refused, &[]);
                continue;
            };
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(body) => self.answer(lane, outbox, id, body),
                Poll::Pending => {
                    // Polled again by its task at once, so the waker that does nothing loses nothing.
                    Counters::add(&self.shared.counters.handled_later, 1);
                    outbox.begin();
                    let (session, outbox) = (Arc::downgrade(self), outbox.clone());
                    self.shared.runtime.spawn(async move {
                        let body = answer.await;
                        outbox.end();
                        if let Some(session) = session.upgrade() {
                            session.answer(lane, &outbox, id, body);
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// The handler's future, if there is a handler.
    fn start(
        &self,
        lane: Lane,
        request: Request,
    ) -> Option<dunlin_types::runtime::BoxFuture<'static, Bytes>> {
        let handler = self.shared.handler.get()?.clone();
        Counters::add(&self.shared.counters.handled, 1);
        Some(handler.handle(Incoming {
            peer_name: self.peer_name.clone(),
            peer_addr: self.peer_addr,
            lane,
            timeout: request.timeout,
            body: request.body,
        }))
    }

    fn answer(self: &Arc<Self>, lane: Lane, outbox: &Arc<Outbox>, id: u64, body: Bytes) {
        if body.len() <= LANE_BODY_MAX {
            outbox.append(id, Status::Answered, &body);
            return;
        }
        // Counted like an unfinished call until it is sent, so that the reader waits.
        outbox.begin();
        let (session, outbox) = (self.clone(), outbox.clone());
        self.shared.runtime.spawn(async move {
            Counters::add(&session.shared.counters.large_messages, 1);
            if let Ok(stream) = session.connection.open_uni().await {
                let _ = send_answer(stream, lane, id, Status::Answered, body).await;
            }
            outbox.end();
        });
    }
}

/// Answers the one call of a stream, on that stream.
async fn serve_large(session: Arc<Session>, lane: Lane, send: SendStream, mut receive: RecvStream) {
    let Ok(content) = receive.read_to_end(OWN_STREAM_MAX).await else { return };
    match frame::only_frame(content).and_then(frame::parse_request) {
        Ok(request) => {
            let id = request.id;
            let answer = session.start(lane, request);
            drop(session);
            let (status, body) = match answer {
                None => (Status::Refused, Bytes::new()),
                Some(answer) => match select(answer, pin!(send.stopped())).await {
                    Either::Left((body, _)) => (Status::Answered, body),
                    Either::Right((_, answer)) => {
                        // Nobody waits any more. The call runs on, without the connection.
                        drop(send);
                        answer.await;
                        return;
                    }
                },
            };
            let _ = send_answer(send, lane, id, status, body).await;
        }
        Err(error) => close_malformed(&session.connection, &error),
    }
}

async fn send_answer(
    mut stream: SendStream,
    lane: Lane,
    id: u64,
    status: Status,
    body: Bytes,
) -> Result<(), quinn::WriteError> {
    let _ = stream.set_priority(frame::priority(lane) - 1);
    stream.write_all(&frame::answer_head(id, status, body.len())).await?;
    stream.write_chunk(body).await?;
    let _ = stream.finish();
    Ok(())
}

/// Answers of one lane's stream that its writer has not taken yet.
#[derive(Default)]
struct Outbox {
    state: Mutex<OutboxState>,
    /// Wakes the writer.
    wake: Notify,
    /// Wakes the reader when there is room again.
    room: Notify,
}

#[derive(Default)]
struct OutboxState {
    bytes: Vec<u8>,
    frames: u64,
    /// Calls whose answers are still to come.
    unfinished: usize,
    closed: bool,
}

impl OutboxState {
    fn is_full(&self) -> bool {
        self.unfinished >= calls::CALLS_MAX || self.bytes.len() >= UNSENT_BYTES_MAX
    }
}

impl Outbox {
    fn append(&self, id: u64, status: Status, body: &[u8]) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        if state.frames == 0 {
            self.wake.notify_one();
        }
        state.frames += 1;
        state.bytes.extend_from_slice(&frame::answer_head(id, status, body.len()));
        state.bytes.extend_from_slice(body);
    }

    fn begin(&self) {
        self.state.lock().unfinished += 1;
    }

    fn end(&self) {
        let mut state = self.state.lock();
        let was_full = state.is_full();
        state.unfinished -= 1;
        if was_full {
            self.room.notify_one();
        }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = Vec::new();
    }

    async fn wait_for_room(&self) {
        while self.state.lock().is_full() {
            self.room.notified().await;
        }
    }
}

/// Sends a lane's answers, all that wait in one write.
async fn write_loop(shared: Arc<Shared>, outbox: Arc<Outbox>, mut stream: SendStream) {
    let mut buffer = Vec::new();
    loop {
        let frames = {
            let mut state = outbox.state.lock();
            let was_full = state.is_full();
            std::mem::swap(&mut state.bytes, &mut buffer);
            if was_full {
                outbox.room.notify_one();
            }
            std::mem::take(&mut state.frames)
        };
        if frames == 0 {
            outbox.wake.notified().await;
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
