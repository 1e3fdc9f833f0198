//! One node: its shared connections, how much is in flight to it, and whether it is worth asking.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it runs on its user's tokio, never in the simulator"
)]

use crate::connection::Connection;
use crate::connector::{Connector, no_answer};
use crate::error::ClientError;
use crate::pipe::{Pipe, Request};
use crate::reply::Reply;
use bytes::Bytes;
use dunlin_types::{Consistency, ErrorCode};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// A further connection is opened once so many statements are in flight on each that there is.
const BUSY: usize = 16;
/// How long a node that failed is left alone: doubled with each failure in a row.
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(30);
/// An answer that was not awaited so long says nothing about the node.
const SLOW: Duration = Duration::from_secs(1);

/// How connections are made and shared.
#[derive(Debug, Clone)]
pub(crate) struct Sharing {
    pub connector: Connector,
    pub consistency: Option<Consistency>,
    pub connections_per_node: usize,
    pub in_flight_max: usize,
}

/// A statement and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// Whole, with its end.
    pub text: Bytes,
    /// Without an answer it may have been applied.
    pub changes: bool,
}

/// When an attempt ends, successful or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For an answer.
    pub answer: Instant,
    /// For a connection.
    pub connect: Instant,
    /// How long the statement may keep others waiting whose answers come after its own.
    pub patience: Duration,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub addr: String,
    /// Named by the user, and therefore never forgotten.
    pub given: bool,
    /// Where it was found last.
    found_at: Mutex<Option<SocketAddr>>,
    slots: Vec<Slot>,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

/// Room for a connection.
#[derive(Debug)]
struct Slot {
    /// Whoever finds none opens one, and the others wait for that.
    pipe: tokio::sync::Mutex<Option<Arc<Pipe>>>,
    places: Arc<Semaphore>,
    /// Callers that use it or wait to, and statements whose callers are gone.
    in_flight: AtomicUsize,
}

/// Counts a caller for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    pub(crate) fn new(addr: String, given: bool, sharing: &Sharing) -> Node {
        let slot = || Slot {
            pipe: tokio::sync::Mutex::new(None),
            places: Arc::new(Semaphore::new(sharing.in_flight_max)),
            in_flight: AtomicUsize::new(0),
        };
        Node {
            addr,
            given,
            found_at: Mutex::new(None),
            slots: (0..sharing.connections_per_node).map(|_| slot()).collect(),
            rest: Mutex::default(),
        }
    }

    /// Statements that are under way to it, or wait to be.
    pub(crate) fn in_flight(&self, sharing: &Sharing) -> usize {
        self.slots.iter().map(|slot| slot.load(sharing)).sum()
    }

    /// Whether it is the node at that address.
    pub(crate) fn is_at(&self, addr: &str) -> bool {
        let found_at = *self.found_at.lock().expect("no holder panics");
        self.addr == addr || found_at.is_some_and(|at| addr.parse() == Ok(at))
    }

    /// Until when it is better left alone; `None` if it may be asked.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        self.rest.lock().expect("no holder panics").until.filter(|until| *until > Instant::now())
    }

    /// Notes how it did.
    pub(crate) fn note(&self, outcome: Result<&Reply, &ClientError>, took: Duration) {
        let failed = match outcome {
            Ok(_) => false,
            Err(ClientError::Connect { .. } | ClientError::Handshake { .. }) => true,
            Err(ClientError::Unanswered { source, .. }) => {
                source.kind() != std::io::ErrorKind::TimedOut || took >= SLOW
            }
            Err(ClientError::Failed(failure)) => failure.kind() == Some(ErrorCode::NotReady),
            // Nothing of it is the node's fault.
            Err(_) => return,
        };
        let mut rest = self.rest.lock().expect("no holder panics");
        if failed {
            let pause = (REST * 2u32.saturating_pow(rest.failures)).min(REST_MAX);
            *rest = Rest { failures: rest.failures + 1, until: Some(Instant::now() + pause) };
        } else {
            *rest = Rest::default();
        }
    }

    /// One attempt. `greeted` is given the node's answer about its peers whenever a connection was opened. Dropped, it
    /// may still be sent and applied; its answer is nobody's.
    pub(crate) async fn exchange(
        &self,
        sharing: &Sharing,
        statement: &Statement,
        limits: Limits,
        greeted: impl Fn(&Reply),
    ) -> Result<Reply, ClientError> {
        let slot = self.choose(sharing);
        let _counted = Counted::new(&slot.in_flight);
        let busy = || ClientError::Busy { addr: self.addr.clone() };
        // A connection that ends between the look at it and the sending is replaced once.
        for _ in 0..2 {
            let place = timeout_at(limits.answer, slot.places.clone().acquire_owned());
            let place = place.await.map_err(|_| busy())?.map_err(|_| busy())?;
            let opened = timeout_at(limits.connect.min(limits.answer), slot.pipe(self, sharing, &greeted));
            let pipe = opened.await.unwrap_or_else(|_| {
                Err(ClientError::Connect { addr: self.addr.clone(), source: no_answer() })
            })?;
            let (answer, answered) = oneshot::channel();
            pipe.send(Request { text: statement.text.clone(), patience: limits.patience, answer, place });
            match timeout_at(limits.answer, answered).await {
                Ok(Ok(Ok(outcome))) => return Ok(outcome?),
                Ok(Ok(Err(lost))) => return Err(self.unanswered(lost.into_error(), statement)),
                Ok(Err(_never_sent)) => {}
                Err(_) => return Err(self.unanswered(no_answer(), statement)),
            }
        }
        let source = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "it closes every connection");
        Err(ClientError::Connect { addr: self.addr.clone(), source })
    }

    fn unanswered(&self, source: std::io::Error, statement: &Statement) -> ClientError {
        ClientError::Unanswered { addr: self.addr.clone(), source, changes: statement.changes }
    }

    /// The first connection that is not busy, else the least busy one.
    fn choose(&self, sharing: &Sharing) -> &Slot {
        let loads = || self.slots.iter().map(|slot| (slot.load(sharing), slot));
        let free = loads().find(|(load, _)| *load < BUSY);
        let least = || loads().min_by_key(|(load, _)| *load);
        free.or_else(least).map(|(_, slot)| slot).expect("a node has room for a connection")
    }
}

impl Slot {
    fn load(&self, sharing: &Sharing) -> usize {
        let taken = sharing.in_flight_max - self.places.available_permits().min(sharing.in_flight_max);
        self.in_flight.load(Ordering::Relaxed).max(taken)
    }

    async fn pipe(
        &self,
        node: &Node,
        sharing: &Sharing,
        greeted: impl Fn(&Reply),
    ) -> Result<Arc<Pipe>, ClientError> {
        let mut held = self.pipe.lock().await;
        if let Some(pipe) = held.as_ref().filter(|pipe| !pipe.is_closed()) {
            return Ok(pipe.clone());
        }
        let (connection, peers) = greet(&node.addr, sharing).await?;
        *node.found_at.lock().expect("no holder panics") = connection.peer_addr();
        if let Some(peers) = peers {
            greeted(&peers);
        }
        let pipe = Arc::new(Pipe::share(connection, sharing.in_flight_max));
        *held = Some(pipe.clone());
        Ok(pipe)
    }
}

/// What a node says of the others.
pub(crate) const PEERS: &str = "SELECT * FROM system.peers";

/// Connects, brings the session to the client's level and hears a first word, by which whoever answers shows that it
/// is a node. Nothing of a caller was sent.
async fn greet(addr: &str, sharing: &Sharing) -> Result<(Connection, Option<Reply>), ClientError> {
    let not_broken = |error| match error {
        ClientError::Broken { addr, source } => ClientError::Connect { addr, source },
        other => other,
    };
    let mut connection = sharing.connector.connect(addr).await.map_err(not_broken)?;
    let level = sharing.consistency;
    if let Some(level) = level {
        connection.queue(&format!("CONSISTENCY {level}"));
    }
    connection.queue(PEERS);
    connection.flush().await.map_err(not_broken)?;
    if level.is_some() {
        connection.receive().await.map_err(not_broken)??;
    }
    // A node that has something against the question is a node.
    let peers = connection.receive().await.map_err(not_broken)?.ok();
    Ok((connection, peers))
}
