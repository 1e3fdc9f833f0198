//! One socket: statements go out in order, replies come back in the same order.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it runs on its user's tokio, never in the simulator"
)]

use crate::columns::{self, Columns};
use crate::error::ClientError;
use crate::reply::{Builder, Failure, Reply};
use bytes::{Buf, BytesMut};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest line a server may send: a value of the largest size with every byte escaped, and room for the rest.
const LINE_BYTES_MAX: usize = 64 << 20;

/// A connection to one node.
///
/// Not cancel-safe, but for [`Connection::receive`]: drop the connection when a future of it was dropped before it
/// ended, since replies would no longer match statements.
#[derive(Debug)]
pub struct Connection {
    addr: String,
    stream: TcpStream,
    outgoing: Vec<u8>,
    incoming: BytesMut,
    scanned: usize,
    builder: Builder,
    timeout: Duration,
    waiting: usize,
}

impl Connection {
    /// Connects to `host:port`. `timeout` bounds the connecting and, later, each wait for a reply.
    pub async fn connect(addr: &str, timeout_each: Duration) -> Result<Connection, ClientError> {
        let fail = |source| ClientError::Connect { addr: addr.to_owned(), source };
        let stream = timeout(timeout_each, TcpStream::connect(addr))
            .await
            .unwrap_or_else(|_| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time")))
            .map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(Connection {
            addr: addr.to_owned(),
            stream,
            outgoing: Vec::new(),
            incoming: BytesMut::with_capacity(16 << 10),
            scanned: 0,
            builder: Builder::default(),
            timeout: timeout_each,
            waiting: 0,
        })
    }

    /// The node's address as given.
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Whether the connection can be given another statement as far as can be told without sending: the
    /// node has not closed it, and nothing is left over from before.
    pub fn is_usable(&self) -> bool {
        let quiet = self.waiting == 0 && self.outgoing.is_empty() && self.incoming.is_empty();
        let mut byte = [0];
        // Nothing was asked, so anything but "nothing yet" is the end or a breach of the protocol.
        quiet
            && self
                .stream
                .try_read(&mut byte)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Statements sent or queued whose replies were not received yet.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds a statement to the buffer of [`Connection::flush`]. A missing `;` is added.
    pub fn queue(&mut self, statement: &str) {
        self.outgoing.extend_from_slice(statement.as_bytes());
        if !statement.trim_end().ends_with(';') {
            self.outgoing.push(b';');
        }
        self.outgoing.push(b'\n');
        self.waiting += 1;
    }

    /// Sends what was queued.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let sent = timeout(self.timeout, self.stream.write_all(&self.outgoing)).await;
        self.outgoing.clear();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.broken(source)),
            Err(_) => Err(self.broken(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// The next reply. Safe to drop: what came of it is kept for the next call.
    pub async fn receive(&mut self) -> Result<Result<Reply, Failure>, ClientError> {
        loop {
            while let Some(at) = self.incoming[self.scanned..].iter().position(|b| *b == b'\n') {
                let line = self.incoming.split_to(self.scanned + at);
                self.incoming.advance(1);
                self.scanned = 0;
                let text =
                    std::str::from_utf8(&line).map_err(|_| self.protocol("a line that is not UTF-8"))?;
                match self.builder.line(text.trim_end_matches('\r')) {
                    None => {}
                    Some(Ok(reply)) => {
                        self.waiting = self.waiting.saturating_sub(1);
                        return Ok(reply);
                    }
                    Some(Err(what)) => return Err(self.protocol(&what)),
                }
            }
            self.scanned = self.incoming.len();
            if self.scanned > LINE_BYTES_MAX {
                return Err(self.protocol("an endless line"));
            }
            self.incoming.reserve(16 << 10);
            match timeout(self.timeout, self.stream.read_buf(&mut self.incoming)).await {
                Ok(Ok(0)) => return Err(self.broken(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(Ok(_)) => {}
                Ok(Err(source)) => return Err(self.broken(source)),
                Err(_) => return Err(self.broken(std::io::ErrorKind::TimedOut.into())),
            }
        }
    }

    /// The columns of a table (`t` of the keyspace `dunlin`, or `ks.t`), if there is such a table.
    pub async fn columns(&mut self, table: &str) -> Result<Option<Columns>, ClientError> {
        Ok(Columns::find(&self.execute(columns::QUERY).await?, table))
    }

    /// Sends one statement and waits for its reply.
    pub async fn execute(&mut self, statement: &str) -> Result<Reply, ClientError> {
        self.queue(statement);
        self.flush().await?;
        Ok(self.receive().await??)
    }

    fn broken(&self, source: std::io::Error) -> ClientError {
        ClientError::Broken { addr: self.addr.clone(), source }
    }

    fn protocol(&self, what: &str) -> ClientError {
        ClientError::Protocol { addr: self.addr.clone(), what: what.to_owned() }
    }
}
