//! One session with the cluster on behalf of a person: a connection, and another one when it is lost.

#![allow(clippy::disallowed_methods, reason = "an edge: the shell measures and waits in real time")]

use crate::settings::Settings;
use dunlin_client::{ClientError, Connection, Connector, Failure, Reply};
use dunlin_terminal::{complain, printable};
use dunlin_types::ErrorCode;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Longest wait for one node while there are others to try.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A shell's session.
pub struct Session {
    connector: Connector,
    /// Longest wait for an answer.
    timeout: Duration,
    hosts: Vec<String>,
    /// The host in use, or to be tried first.
    at: usize,
    /// `None` after an answer was given up, which would otherwise be taken for the next statement's.
    connection: Option<Connection>,
    /// The connection went away by itself: whoever reads is told about the next one.
    is_lost: bool,
    /// Session statements to repeat on a new connection, by what they set.
    settings: Vec<(&'static str, String)>,
}

/// What came of a statement.
pub enum Outcome {
    /// A node's answer.
    Answer(Reply),
    /// A node's refusal.
    Refused(Failure),
    /// It reached no node, and why.
    Unsent(String),
    /// It was sent and there is no answer, and why: it may be at work still.
    Lost(String),
    /// Interrupted; whether it was sent.
    Cancelled(bool),
}

impl Session {
    /// Connects to the first of the hosts that answers and learns the other nodes' addresses, in case it goes away.
    /// The settings' time limit is the longest wait for this and, later, for each statement. `None` if it was interrupted.
    pub async fn connect(
        settings: &Settings,
        interrupted: &mut (impl Future<Output = ()> + Unpin),
    ) -> anyhow::Result<Option<Session>> {
        let mut session = Session {
            connector: settings.connector(),
            timeout: settings.timeout,
            hosts: settings.hosts(),
            at: 0,
            connection: None,
            is_lost: false,
            settings: Vec::new(),
        };
        match session.exchange("SELECT * FROM system.peers;", false, interrupted).await {
            Outcome::Answer(peers) => session.learn(&peers),
            // Every node knows its own tables: whoever does not is none that this shell can talk to, and says why.
            Outcome::Refused(failure) if failure.code == ErrorCode::Invalid.name() => {
                return Err(anyhow::anyhow!("{}: {}", session.host(), failure.message));
            }
            // A node that has something else against it is a node.
            Outcome::Refused(_) => {}
            Outcome::Unsent(why) | Outcome::Lost(why) => return Err(anyhow::Error::msg(why)),
            Outcome::Cancelled(_) => return Ok(None),
        }
        Ok(Some(session))
    }

    fn learn(&mut self, peers: &Reply) {
        let column = peers.column("client_address");
        for addr in peers.rows.iter().filter_map(|row| Some(row.get(column?)?.as_ref()?.to_string())) {
            // A node that listens everywhere does not say where it is.
            let is_somewhere = addr.parse().is_ok_and(|addr: SocketAddr| !addr.ip().is_unspecified());
            if is_somewhere && !self.hosts.contains(&addr) {
                self.hosts.push(addr);
            }
        }
    }

    /// Nodes to connect to, the one in use first.
    pub fn hosts_from_here(&self) -> Vec<String> {
        let (before, from_here) = self.hosts.split_at(self.at);
        from_here.iter().chain(before).cloned().collect()
    }

    /// The node in use.
    pub fn host(&self) -> &str {
        &self.hosts[self.at]
    }

    /// Opens further connections like this session's.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Statements that bring a new connection to this session's state, as far as these names go.
    pub fn settings(&self, names: &[&str]) -> impl Iterator<Item = &str> {
        let wanted = self.settings.iter().filter(|(name, _)| names.contains(name));
        wanted.map(|(_, statement)| statement.as_str())
    }

    /// From now on a new connection is told this too, in the place of an earlier one of the same name.
    pub fn remember(&mut self, name: &'static str, statement: &str) {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, statement.to_owned()));
    }

    /// Runs a reading statement that the shell itself needs. Safe to drop.
    pub async fn ask(&mut self, statement: &str) -> anyhow::Result<Reply> {
        match self.exchange(statement, false, &mut std::future::pending()).await {
            Outcome::Answer(reply) => Ok(reply),
            Outcome::Refused(failure) => Err(failure.into()),
            Outcome::Unsent(why) | Outcome::Lost(why) => Err(anyhow::Error::msg(why)),
            Outcome::Cancelled(_) => unreachable!("nothing interrupts it"),
        }
    }

    /// Sends a statement and waits for its answer, but not longer than the session's time limit, for connecting again and all.
    /// One that `changes` nothing is sent again, to the next node, when its connection is lost. Safe to drop.
    pub async fn exchange(
        &mut self,
        statement: &str,
        changes: bool,
        interrupted: &mut (impl Future<Output = ()> + Unpin),
    ) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let mut attempts_left = self.hosts.len() + 1;
        loop {
            attempts_left -= 1;
            tokio::select! {
                biased;
                () = &mut *interrupted => return Outcome::Cancelled(false),
                connected = self.connected(deadline) => match connected {
                    Ok(()) => {}
                    Err(why) => return Outcome::Unsent(why),
                },
            }
            let mut connection = self.connection.take().expect("it was connected");
            let answer = tokio::select! {
                biased;
                () = &mut *interrupted => return Outcome::Cancelled(true),
                answer = within(deadline, connection.execute(statement)) => answer,
            };
            match answer {
                Some(Ok(reply)) => {
                    self.connection = Some(connection);
                    return Outcome::Answer(reply);
                }
                Some(Err(ClientError::Failed(failure))) => {
                    // It will not be ready for the next attempt either, while others may.
                    let elsewhere = failure.kind() == Some(ErrorCode::NotReady) && !failure.maybe_applied();
                    if elsewhere && self.hosts.len() > 1 && attempts_left > 0 {
                        complain!("{} is not ready: {}", self.host(), printable(&failure.message));
                        self.leave();
                        continue;
                    }
                    self.connection = Some(connection);
                    return Outcome::Refused(failure);
                }
                None => return Outcome::Lost(self.too_late()),
                Some(Err(ClientError::Broken { source, .. })) if is_time(&source) => {
                    return Outcome::Lost(self.too_late());
                }
                Some(Err(ClientError::Broken { addr, source })) => {
                    let lost = format!("lost the connection to {addr} ({})", reason(&source));
                    self.leave();
                    if changes || attempts_left == 0 {
                        return Outcome::Lost(lost);
                    }
                    complain!("{lost}; the statement only reads and is sent again");
                }
                Some(Err(error)) => return Outcome::Lost(error.to_string()),
            }
        }
    }

    /// The next node is to be tried first.
    fn leave(&mut self) {
        self.at = (self.at + 1) % self.hosts.len();
        self.is_lost = true;
    }

    fn too_late(&self) -> String {
        format!("no answer from {} within {} s (--timeout)", self.host(), self.timeout.as_secs_f64())
    }

    /// There is a connection, in the session's state. An error says why there is none. Safe to drop.
    async fn connected(&mut self, deadline: Instant) -> Result<(), String> {
        if let Some(connection) = &mut self.connection {
            if connection.is_usable() {
                return Ok(());
            }
            self.connection = None;
            self.is_lost = true;
            complain!("{} has closed the connection", self.host());
        }
        let mut why = String::new();
        for turn in 0..self.hosts.len() {
            let at = (self.at + turn) % self.hosts.len();
            let is_last = turn + 1 == self.hosts.len();
            let limit = if is_last { deadline } else { deadline.min(Instant::now() + CONNECT_MAX) };
            match within(limit, self.connect_to(at)).await {
                Some(Ok(connection)) => {
                    self.connection = Some(connection);
                    if self.is_lost || at != self.at {
                        complain!("connected to {}", self.hosts[at]);
                    }
                    (self.at, self.is_lost) = (at, false);
                    return Ok(());
                }
                Some(Err(error)) => why = error.to_string(),
                None if Instant::now() >= deadline => return Err(self.too_late()),
                None => why = format!("cannot connect to {}: it does not answer", self.hosts[at]),
            }
        }
        Err(why)
    }

    async fn connect_to(&mut self, at: usize) -> Result<Connection, ClientError> {
        let mut connection = self.connector.connect(&self.hosts[at]).await?;
        let mut refused = Vec::new();
        for (name, statement) in &self.settings {
            match connection.execute(statement).await {
                Ok(_) => {}
                Err(ClientError::Failed(failure)) => {
                    complain!(
                        "{name} of this session does not hold any more: {}",
                        printable(&failure.to_string())
                    );
                    refused.push(*name);
                }
                Err(error) => return Err(error),
            }
        }
        self.settings.retain(|(name, _)| !refused.contains(name));
        Ok(connection)
    }
}

/// What came of it; `None` if that took until after the deadline.
async fn within<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}

fn is_time(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::TimedOut
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it was closed there".to_owned(),
        _ => error.to_string(),
    }
}
