//! One socket: statements go out in order, replies come back in the same order.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it runs on its user's tokio, never in the simulator"
)]

use crate::address::NodeAddress;
use crate::columns::Columns;
use crate::connector::{self, HANDSHAKE_MAX};
use crate::error::ClientError;
use crate::reply::{Failure, Reply, outcome};
use crate::statement;
use crate::stream::Stream;
use crate::tls;
use dunlin_cql::name::TableName;
use dunlin_cql::reply::ReplyReader;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Longest reply taken: a key's siblings of the largest size with every byte escaped, or a long page.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 30;

/// A connection to one node: a session, with what USE, CONSISTENCY, PAGING, TRACING and LOGIN set.
///
/// Opened by [`crate::Connector::connect`]. Not cancel-safe, but for [`Connection::receive`]: drop the connection when a
/// future of it was dropped before it ended, since replies would no longer match statements.
#[derive(Debug)]
pub struct Connection {
    node: NodeAddress,
    addr: String,
    stream: Stream,
    outgoing: Vec<u8>,
    reader: ReplyReader,
    timeout: Duration,
    waiting: usize,
    /// A text that was not queued because it is not one statement.
    refused: Option<statement::NotOneStatement>,
    trust: Trust,
}

/// What is known of whoever is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It has not said anything yet.
    Unheard,
    /// The same, and it does not speak TLS.
    NotTls,
    /// It has answered in the protocol.
    Node,
}

impl Connection {
    pub(crate) fn new(node: NodeAddress, stream: Stream, timeout: Duration) -> Connection {
        Connection {
            addr: node.to_string(),
            node,
            trust: if stream.is_tls() { Trust::NotTls } else { Trust::Unheard },
            stream,
            outgoing: Vec::new(),
            reader: ReplyReader::new(REPLY_BYTES_MAX),
            timeout,
            waiting: 0,
            refused: None,
        }
    }

    /// The node's address.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Whether the connection can be given another statement as far as can be told without sending: the
    /// node has not closed it, and nothing is left over from before.
    pub fn is_usable(&mut self) -> bool {
        let quiet = self.waiting == 0 && self.outgoing.is_empty() && !self.reader.is_midway();
        // Nothing was asked, so anything but "nothing yet" is the end or a breach of the protocol.
        quiet && self.stream.is_quiet()
    }

    /// Statements sent or queued whose replies were not received yet.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whom it is to.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.stream.peer_addr()
    }

    /// The stream, and what was read of it, of a connection on which no answer is waited for.
    pub(crate) fn into_parts(self) -> (Stream, ReplyReader) {
        debug_assert!(self.waiting == 0 && self.outgoing.is_empty());
        (self.stream, self.reader)
    }

    /// Adds a statement to the buffer of [`Connection::flush`]. A missing `;` is added. A text that is not one whole
    /// statement is not added: the next [`Connection::flush`] sends nothing and says so.
    pub fn queue(&mut self, statement: &str) {
        match statement::append(&mut self.outgoing, statement) {
            Ok(()) => self.waiting += 1,
            Err(why) => self.refused = Some(why),
        }
    }

    /// Sends what was queued.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        if let Some(why) = self.refused.take() {
            return Err(why.into());
        }
        let write = async {
            self.stream.write_all(&self.outgoing).await?;
            self.stream.flush().await
        };
        let sent = timeout(self.timeout, write).await.unwrap_or_else(|_| Err(connector::no_answer()));
        self.outgoing.clear();
        match sent {
            Ok(()) => Ok(()),
            Err(error) => Err(self.broken(error).await),
        }
    }

    /// The next reply. Safe to drop: what came of it is kept for the next call.
    pub async fn receive(&mut self) -> Result<Result<Reply, Failure>, ClientError> {
        let mut patience = self.timeout;
        loop {
            match self.reader.take_reply() {
                Ok(Some(reply)) => {
                    self.trust = Trust::Node;
                    let Some(waiting) = self.waiting.checked_sub(1) else {
                        return Err(self.protocol("an answer to nothing".to_owned()));
                    };
                    self.waiting = waiting;
                    return Ok(outcome(reply));
                }
                Ok(None) => {}
                Err(error) => return Err(self.protocol(error.to_string())),
            }
            // Somebody of another kind may wait for more, and for ever.
            let wait = if self.trust == Trust::Unheard { patience.min(HANDSHAKE_MAX) } else { patience };
            match timeout(wait, self.stream.read_buf(self.reader.room())).await {
                Ok(Ok(0)) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into()).await),
                Ok(Ok(_)) if self.trust == Trust::Unheard && is_tls(self.reader.unread()) => {
                    return Err(self.wants_tls());
                }
                Ok(Ok(_)) => patience = self.timeout,
                Ok(Err(error)) => return Err(self.broken(error).await),
                Err(_) if wait < patience => {
                    patience -= wait;
                    self.ask_for_tls().await?;
                }
                Err(_) => return Err(self.broken(connector::no_answer()).await),
            }
        }
    }

    /// The columns of a table, if there is such a table.
    pub async fn columns(&mut self, table: &TableName) -> Result<Option<Columns>, ClientError> {
        Ok(Columns::find(&self.execute(&Columns::query(table)).await?, table))
    }

    /// Sends one statement and waits for its reply. Nothing is sent if the text is not one whole statement.
    pub async fn execute(&mut self, statement: &str) -> Result<Reply, ClientError> {
        self.queue(statement);
        self.flush().await?;
        Ok(self.receive().await??)
    }

    /// The error for a connection that came to its end. A peer that has not said a word may be one that speaks TLS.
    async fn broken(&mut self, source: io::Error) -> ClientError {
        if let Some(what) = tls::meaning(&source, self.node.host()) {
            return ClientError::Handshake { addr: self.addr.clone(), what };
        }
        let may_be_tls = self.trust == Trust::Unheard && source.kind() != io::ErrorKind::TimedOut;
        if may_be_tls && let Err(error) = self.ask_for_tls().await {
            return error;
        }
        ClientError::Broken { addr: self.addr.clone(), source }
    }

    async fn ask_for_tls(&mut self) -> Result<(), ClientError> {
        self.trust = Trust::NotTls;
        if connector::speaks_tls(&self.node).await { Err(self.wants_tls()) } else { Ok(()) }
    }

    fn wants_tls(&self) -> ClientError {
        let what = "it speaks TLS: give the authority of its certificate with --tls-ca".to_owned();
        ClientError::Handshake { addr: self.addr.clone(), what }
    }

    fn protocol(&self, what: String) -> ClientError {
        let addr = self.addr.clone();
        if self.trust != Trust::Node && self.reader.unread().starts_with(b"HTTP/") {
            let what = "a web server answers there: if that is the node's admin port, its client port is another \
                        (9041 unless configured)";
            return ClientError::Handshake { addr, what: what.to_owned() };
        }
        ClientError::Protocol { addr, what }
    }
}

/// Whether the first bytes of a peer are a record of TLS: an alert or a handshake.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15 | 0x16, 0x03, ..])
}
