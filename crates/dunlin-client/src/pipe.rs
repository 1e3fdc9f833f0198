//! A connection that many callers share: statements go out in order, and each answer goes to the caller whose turn it is.
//!
//! A caller that goes away keeps its place in the line: the answer is read and thrown away, so nobody gets another's.
//! Only the task that owns the connection writes and reads; dropping a caller's future cannot leave half a statement
//! or half an answer behind. A connection whose oldest statement is overdue is closed, since everybody waits behind it.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it runs on its user's tokio, never in the simulator"
)]

use crate::connection::Connection;
use crate::reply::{Failure, Reply, outcome};
use crate::stream::Stream;
use bytes::Bytes;
use dunlin_cql::reply::ReplyReader;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Statements are gathered up to this many bytes before they are written; a longer one is not copied.
const GATHERED_BYTES: usize = 64 << 10;

/// A statement on its way. Dropped without an answer, it was never sent.
pub(crate) struct Request {
    /// One whole statement.
    pub text: Bytes,
    /// How long it may keep the others waiting once it is the oldest.
    pub patience: Duration,
    /// Who waits.
    pub answer: oneshot::Sender<Answer>,
    /// Its place among those that may be in flight; given back with the answer, whether or not anybody waits.
    pub place: OwnedSemaphorePermit,
}

/// What came of a statement that was sent.
pub(crate) type Answer = Result<Result<Reply, Failure>, Lost>;

/// Why there is no answer, now and for all others in flight.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    kind: io::ErrorKind,
    why: Arc<str>,
}

impl Lost {
    fn new(kind: io::ErrorKind, why: &str) -> Lost {
        Lost { kind, why: why.into() }
    }

    pub(crate) fn into_error(self) -> io::Error {
        io::Error::new(self.kind, self.why.to_string())
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        Lost::new(error.kind(), &error.to_string())
    }
}

/// A shared connection. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Pipe {
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pipe {
    /// Shares a connection of which nothing is waited for, among at most so many statements at once.
    pub(crate) fn share(connection: Connection, in_flight_max: usize) -> Pipe {
        let (requests, queued) = mpsc::channel(in_flight_max);
        let (stream, reader) = connection.into_parts();
        Pipe { requests, task: tokio::spawn(carry(stream, reader, queued)) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Puts a statement in the line, if the connection is open; the caller holds a place, so there is room.
    pub(crate) fn send(&self, request: Request) {
        // One that cannot be put there is dropped, by which its caller knows that it was not sent.
        let _ = self.requests.try_send(request);
    }
}

/// Works until the connection is of no more use, and tells everybody who waits.
async fn carry(stream: Stream, reader: ReplyReader, queued: mpsc::Receiver<Request>) {
    let line = Line::default();
    let (read, write) = tokio::io::split(stream);
    let lost = tokio::select! {
        biased;
        lost = receive(read, reader, &line) => lost,
        lost = send(write, queued, &line) => lost,
    };
    line.end(&lost);
}

async fn send(mut stream: WriteHalf<Stream>, mut queued: mpsc::Receiver<Request>, line: &Line) -> Lost {
    let mut gathered = Vec::new();
    loop {
        let mut next = queued.recv().await;
        if next.is_none() {
            return gone();
        }
        while let Some(request) = next {
            // Of somebody who has given up already.
            if !request.answer.is_closed() {
                let text = line.push(request);
                if text.len() > GATHERED_BYTES {
                    if let Err(error) = write_both(&mut stream, &mut gathered, &text).await {
                        return error.into();
                    }
                } else {
                    gathered.extend_from_slice(&text);
                }
            }
            next = if gathered.len() < GATHERED_BYTES { queued.try_recv().ok() } else { None };
        }
        if let Err(error) = write_both(&mut stream, &mut gathered, &[]).await {
            return error.into();
        }
    }
}

async fn write_both(stream: &mut WriteHalf<Stream>, gathered: &mut Vec<u8>, long: &[u8]) -> io::Result<()> {
    stream.write_all(gathered).await?;
    gathered.clear();
    stream.write_all(long).await?;
    stream.flush().await
}

async fn receive(mut stream: ReadHalf<Stream>, mut reader: ReplyReader, line: &Line) -> Lost {
    loop {
        loop {
            match reader.take_reply() {
                Ok(Some(reply)) => match line.pop() {
                    Some(waiting) => waiting.answer(Ok(outcome(reply))),
                    None => return not_of_the_protocol("an answer to nothing"),
                },
                Ok(None) => break,
                Err(error) => return not_of_the_protocol(&error.to_string()),
            }
        }
        let more = stream.read_buf(reader.room());
        let read = match line.overdue_at() {
            Some(at) => match timeout_at(at, more).await {
                Ok(read) => read,
                Err(_) => return Lost::new(io::ErrorKind::TimedOut, "no answer in time"),
            },
            None => tokio::select! {
                biased;
                read = more => read,
                () = line.begun.notified() => continue,
            },
        };
        match read {
            Ok(0) => return Lost::new(io::ErrorKind::UnexpectedEof, "it closed the connection"),
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}

fn not_of_the_protocol(what: &str) -> Lost {
    Lost::new(io::ErrorKind::InvalidData, &format!("it does not speak the protocol: {what}"))
}

/// Who waits, oldest first.
#[derive(Default)]
struct Line {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Somebody waits where nobody did.
    begun: Notify,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    patience: Duration,
    /// When it was sent, or became the oldest.
    since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    fn answer(self, answer: Answer) {
        // Whoever asked may be gone.
        let _ = self.answer.send(answer);
    }
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().expect("no holder panics")
    }

    fn push(&self, request: Request) -> Bytes {
        let Request { text, patience, answer, place } = request;
        self.waiting().push_back(Waiting { answer, patience, since: Instant::now(), _place: place });
        self.begun.notify_one();
        text
    }

    fn pop(&self) -> Option<Waiting> {
        let mut waiting = self.waiting();
        let oldest = waiting.pop_front();
        if let Some(next) = waiting.front_mut() {
            next.since = Instant::now();
        }
        oldest
    }

    /// When the oldest has waited too long; `None` if nobody waits.
    fn overdue_at(&self) -> Option<Instant> {
        self.waiting().front().map(|oldest| oldest.since + oldest.patience)
    }

    fn end(&self, lost: &Lost) {
        let all = std::mem::take(&mut *self.waiting());
        all.into_iter().for_each(|waiting| waiting.answer(Err(lost.clone())));
    }
}

impl Drop for Line {
    /// Also where the task was ended from outside: whoever waits for what was sent is told that it was.
    fn drop(&mut self) {
        self.end(&gone());
    }
}

fn gone() -> Lost {
    Lost::new(io::ErrorKind::NotConnected, "the client was closed")
}
