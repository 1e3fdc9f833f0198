//! How connections are opened: TCP, TLS, login.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it runs on its user's tokio, never in the simulator"
)]

use crate::address::NodeAddress;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::stream::Stream;
use crate::tls::{self, Tls};
use dunlin_cql::Literal;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for a TLS handshake and for a word of what a peer is that does not answer: a port of another kind
/// is told within that time, whatever the client's own limit is.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(3);

/// Opens connections that are all alike.
#[derive(Clone)]
pub struct Connector {
    timeout: Duration,
    tls: Option<Tls>,
    login: Option<Arc<Login>>,
}

struct Login {
    user: String,
    password: String,
}

impl fmt::Debug for Connector {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("timeout", &self.timeout)
            .field("tls", &self.tls)
            .field("user", &self.login.as_ref().map(|login| &login.user))
            .finish()
    }
}

impl Connector {
    /// Plain TCP and no login. `timeout` bounds opening a connection, and on the connection each wait for a reply.
    pub fn new(timeout: Duration) -> Connector {
        Connector { timeout, tls: None, login: None }
    }

    /// The bound.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same with another bound.
    pub fn with_timeout(mut self, timeout: Duration) -> Connector {
        self.timeout = timeout;
        self
    }

    /// Speaks TLS on every connection.
    pub fn tls(mut self, tls: Tls) -> Connector {
        self.tls = Some(tls);
        self
    }

    /// Logs in on every connection before it is used.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Connector {
        self.login = Some(Arc::new(Login { user: user.into(), password: password.into() }));
        self
    }

    /// Connects to `host`, `host:port` or a [`NodeAddress`] as text. The whole of it (name resolution, TCP, TLS, login) ends
    /// within the bound.
    pub async fn connect(&self, addr: &str) -> Result<Connection, ClientError> {
        let late = || ClientError::Connect { addr: addr.to_owned(), source: no_answer() };
        timeout(self.timeout, self.open(addr)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn open(&self, addr: &str) -> Result<Connection, ClientError> {
        let fail = |source| ClientError::Connect { addr: addr.to_owned(), source };
        let node: NodeAddress =
            addr.parse().map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let stream = TcpStream::connect((node.host(), node.port())).await.map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => Stream::Tls(Box::new(handshake(tls, &node, stream).await?)),
        };
        let mut connection = Connection::new(node, stream, self.timeout);
        if let Some(login) = &self.login {
            let user = Literal::Text(login.user.clone());
            let password = Literal::Text(login.password.clone());
            connection.execute(&format!("LOGIN {user} {password}")).await?;
        }
        Ok(connection)
    }
}

async fn handshake(
    tls: &Tls,
    node: &NodeAddress,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
    let wrong = |what| ClientError::Handshake { addr: node.to_string(), what };
    let name = tls.name_for(node.host()).map_err(|error| wrong(error.to_string()))?;
    let shown = name.to_str().into_owned();
    match timeout(HANDSHAKE_MAX, tls.connector().connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(wrong(tls::meaning(&error, &shown).unwrap_or_else(|| {
            format!("it ended the TLS handshake ({error}): does it speak TLS on this port?")
        }))),
        Err(_) => Err(wrong(format!(
            "no TLS handshake within {} s: does it speak TLS on this port?",
            HANDSHAKE_MAX.as_secs()
        ))),
    }
}

/// Whether whoever listens there speaks TLS. False also where that cannot be found out in time.
pub(crate) async fn speaks_tls(node: &NodeAddress) -> bool {
    let Some(tls) = Tls::nobody() else { return false };
    let Ok(name) = tls.name_for("dunlin") else { return false };
    let attempt = async {
        let stream = TcpStream::connect((node.host(), node.port())).await?;
        tls.connector().connect(name, stream).await
    };
    match timeout(HANDSHAKE_MAX / 3, attempt).await {
        Err(_) => false,
        Ok(Ok(_)) => true,
        Ok(Err(error)) => tls::is_of_tls(&error),
    }
}

pub(crate) fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}
