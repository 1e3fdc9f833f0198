//! One connection: bytes in, statements in order, bytes out. Runs over any stream.
//!
//! A statement that is alone is executed in the connection's own task, with nothing allocated for it.
//! When more come before it is answered, those that touch different keys are worked on at once, still in
//! this task. What changes the session, the schema, or many keys waits until all before it is answered.

use super::budget::Budget;
use super::greeting::Foreign;
use super::input::{Frame, Input, Left, Refused};
use super::pipeline::Pipeline;
use super::services::ClientServices;
use super::session::{Prepared, Session};
use super::stream::{self, ClientStream};
use dunlin_cql::Reply;
use dunlin_types::ErrorCode;
use dunlin_types::runtime::BoxFuture;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// While this many bytes wait to be sent, no new statement is started.
const BACKLOG_BYTES: usize = 256 << 10;
/// Statements taken from the input before other connections have their turn.
const STATEMENTS_A_TURN: u32 = 16;
/// An output buffer larger than this is not kept.
const OUTPUT_KEPT_BYTES: usize = 64 << 10;
/// How long a connection that the server closes is still read, so that the peer gets the last answer.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// One client connection.
pub(super) struct Connection<S> {
    stream: S,
    services: Arc<ClientServices>,
    session: Session,
    input: Input,
    pipeline: Pipeline,
    /// Taken from the input, waiting for those before it.
    blocked: Option<Prepared>,
    output: Vec<u8>,
    sent: usize,
    flushed: bool,
    /// The input held no whole statement when last looked at.
    starved: bool,
    /// Bytes were read since it was last looked whether they leave something to answer.
    unacknowledged: bool,
    /// The peer turned out to speak another protocol.
    foreign: Option<Foreign>,
    /// The peer may still send.
    reading: bool,
    /// The node is stopping.
    draining: bool,
    /// Nothing more is taken from the input.
    closing: bool,
    /// Closed by the server while the peer may be sending.
    linger: bool,
    /// Runs while the peer lets the server wait.
    stalled: Option<BoxFuture<'static, ()>>,
    turn: Turn,
}

/// A connection whose input holds many statements lets others go on between them: all share one thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Statements may be taken.
    Mine,
    /// Enough were taken.
    Over,
    /// Others had their turn.
    Yielded,
}

impl<S: ClientStream> Connection<S> {
    pub fn new(stream: S, services: Arc<ClientServices>, budget: Arc<Budget>) -> Connection<S> {
        let input = Input::new(services.settings.statement_bytes, budget);
        Connection {
            stream,
            session: Session::new(Arc::clone(&services)),
            services,
            input,
            pipeline: Pipeline::default(),
            blocked: None,
            output: Vec::new(),
            sent: 0,
            flushed: true,
            starved: true,
            unacknowledged: false,
            foreign: None,
            reading: true,
            draining: false,
            closing: false,
            linger: false,
            stalled: None,
            turn: Turn::Mine,
        }
    }

    /// Serves until the peer is done or gone, `QUIT`, or `drain` ends: then what was taken is still answered. Returns
    /// the protocol of a peer that came here by mistake.
    pub async fn run(mut self, drain: impl Future<Output = ()> + Send) -> io::Result<Option<Foreign>> {
        let mut drain = pin!(drain);
        let mut draining = false;
        loop {
            self.start().await;
            if self.is_finished() {
                break;
            }
            self.acknowledge();
            let woken = poll_fn(|context| {
                if !draining && drain.as_mut().poll(context).is_ready() {
                    draining = true;
                    return Poll::Ready(Ok(()));
                }
                self.poll(context)
            });
            if let Err(error) = woken.await {
                // The peer is gone; what was started is brought to its end all the same.
                poll_fn(|context| self.finish_running(context)).await;
                return Err(error);
            }
            if draining && self.reading {
                self.reading = false;
                self.draining = true;
                self.linger = !self.pipeline.is_empty() || !self.output.is_empty();
            }
        }
        let foreign = self.foreign;
        self.close().await?;
        Ok(foreign)
    }

    /// Has the peer's bytes acknowledged at once if no answer will soon do that.
    fn acknowledge(&mut self) {
        let read = std::mem::take(&mut self.unacknowledged);
        if read && self.starved && self.pipeline.is_empty() && self.output.is_empty() {
            self.stream.acknowledge();
        }
    }

    fn is_finished(&self) -> bool {
        self.closing
            && self.pipeline.is_empty()
            && self.blocked.is_none()
            && self.output.is_empty()
            && self.flushed
    }

    /// Starts what may be started now, and executes what runs alone.
    async fn start(&mut self) {
        let mut taken = 0;
        while self.may_start() {
            if taken == STATEMENTS_A_TURN {
                self.turn = Turn::Over;
                return;
            }
            taken += 1;
            let prepared = match self.blocked.take() {
                Some(prepared) => Some(prepared),
                None => self.take_statement(),
            };
            let Some(prepared) = prepared else { continue };
            let alone = self.pipeline.is_empty();
            match prepared.touched() {
                Some(_) if alone && self.input.is_empty() && self.output.is_empty() => {
                    let reply = self.session.start(prepared).await;
                    self.put(&reply);
                }
                Some(touched) if !self.pipeline.conflicts(&touched) => {
                    let reply = self.session.start(prepared);
                    self.pipeline.push_running(touched, reply);
                }
                // What was answered before goes out first: this one may take long.
                None if alone && self.output.is_empty() => {
                    let reply = self.session.run(prepared).await;
                    self.put(&reply);
                    if self.session.is_ended() {
                        self.closing = true;
                        self.linger = self.reading;
                    }
                }
                _ => {
                    self.blocked = Some(prepared);
                    return;
                }
            }
        }
    }

    fn may_start(&self) -> bool {
        let settings = &self.services.settings;
        (self.blocked.is_some() || !self.closing && !self.starved)
            && self.output.len() - self.sent + self.pipeline.held_bytes() < BACKLOG_BYTES
            && self.pipeline.len() < settings.pipeline
            && self.pipeline.running() < settings.pipeline_in_parallel
    }

    /// Takes the next statement from the input; one that is wrong is answered here.
    fn take_statement(&mut self) -> Option<Prepared> {
        match self.input.take() {
            Some(Frame::Statement(length)) => {
                let prepared = match self.input.text(length) {
                    Ok(text) => match self.session.shed(text) {
                        Some(refused) => Err(refused),
                        None => self.session.prepare(text),
                    },
                    Err(error) => Err(error.into()),
                };
                self.input.consume(length);
                return prepared.map_err(|reply| self.pipeline_done(reply)).ok();
            }
            Some(Frame::Refused(why)) => self.pipeline_done(self.refused(why)),
            Some(Frame::Lost(why)) => {
                self.pipeline_done(self.refused(why));
                self.closing = true;
                self.linger = true;
            }
            Some(Frame::Foreign(foreign)) => {
                self.output.extend_from_slice(&foreign.answer());
                self.foreign = Some(foreign);
                self.closing = true;
                self.linger = true;
            }
            None => {
                self.starved = true;
                if !self.reading {
                    self.closing = true;
                    match self.input.finish().filter(|_| !self.draining) {
                        Some(Left::Unfinished(error)) => self.pipeline_done(error.into()),
                        Some(Left::Refused(why)) => self.pipeline_done(self.refused(why)),
                        None => {}
                    }
                }
            }
        }
        None
    }

    fn refused(&self, why: Refused) -> Reply {
        match why {
            Refused::TooLong => {
                let max = self.services.settings.statement_bytes;
                super::errors::not_applied(
                    ErrorCode::TooLarge,
                    format!("a statement has at most {max} bytes"),
                )
            }
            Refused::NoMemory => {
                let message = "too many long statements are being received";
                super::errors::not_applied(ErrorCode::Overloaded, message).with("retry_after_ms", "1000")
            }
        }
    }

    /// Answers a statement that was not executed, in its turn.
    fn pipeline_done(&mut self, reply: Reply) {
        if self.pipeline.is_empty() {
            self.put(&reply);
        } else {
            self.pipeline.push_done(reply);
        }
    }

    fn put(&mut self, reply: &Reply) {
        reply.encode(&mut self.output);
    }

    /// Writes, works, reads; ready when something happened that [`Connection::start`] should see.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut progress = self.pipeline.poll(context).is_ready();
        if self.turn == Turn::Yielded {
            self.turn = Turn::Mine;
            progress = true;
        }
        // All answers that are ready go out in one write.
        while self.output.len() - self.sent < BACKLOG_BYTES
            && let Some(reply) = self.pipeline.take_reply()
        {
            self.put(&reply);
            progress = true;
        }
        match self.poll_write(context) {
            Poll::Ready(Ok(wrote)) => progress |= wrote,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
        if self.reading && !self.closing && self.starved && self.blocked.is_none() {
            match self.poll_read(context) {
                Poll::Ready(Ok(())) => progress = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if self.turn == Turn::Over {
            self.turn = Turn::Yielded;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if progress || (!self.reading && self.starved && !self.closing) {
            self.stalled = None;
            self.starved &= self.reading;
            return Poll::Ready(Ok(()));
        }
        self.poll_stalled(context)
    }

    /// Ready with whether anything was written, once all is written.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut wrote = false;
        while self.sent < self.output.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(context, &self.output[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
            wrote = true;
            self.flushed = false;
            self.stalled = None;
            self.services.stats.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.flushed = true;
            wrote = true;
        }
        self.sent = 0;
        if self.output.capacity() > OUTPUT_KEPT_BYTES {
            self.output = Vec::new();
        } else {
            self.output.clear();
        }
        Poll::Ready(Ok(wrote))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = self.input.room();
        let free = room.capacity() - room.len();
        let read = pin!(self.stream.read_buf(room)).poll(context);
        let n = ready!(read)?;
        self.reading = n > 0;
        // More is there already where all room was filled.
        self.unacknowledged = self.reading && n < free;
        self.starved = false;
        self.services.stats.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    /// Ends with an error when the peer has let the server wait for too long.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let settings = &self.services.settings;
        let (partial, large) = self.input.partial();
        let patience = if self.sent < self.output.len() || !self.flushed || (large && self.starved) {
            settings.stall_timeout
        } else if partial && self.starved && self.reading && self.pipeline.is_empty() {
            settings.partial_timeout
        } else {
            return Poll::Pending;
        };
        let runtime = self.services.runtime();
        let timer = self.stalled.get_or_insert_with(|| runtime.sleep(patience));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn finish_running(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.pipeline.running() > 0 {
            ready!(self.pipeline.poll(context));
        }
        Poll::Ready(())
    }

    async fn close(mut self) -> io::Result<()> {
        let runtime = Arc::clone(self.services.runtime());
        let farewell = stream::part(&mut self.stream, self.linger);
        dunlin_types::runtime::timeout(&*runtime, LINGER, farewell).await.unwrap_or(Ok(()))
    }
}
