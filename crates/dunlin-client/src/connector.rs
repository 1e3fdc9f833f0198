//! How connections are opened.

use crate::connection::Connection;
use crate::error::ClientError;
use std::time::Duration;

/// Opens connections that are all alike.
#[derive(Debug, Clone)]
pub struct Connector {
    timeout: Duration,
}

impl Connector {
    /// Plain TCP; `timeout` bounds connecting, and on the connection each wait for a reply.
    pub fn new(timeout: Duration) -> Connector {
        Connector { timeout }
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

    /// Connects to `host:port`.
    pub async fn connect(&self, addr: &str) -> Result<Connection, ClientError> {
        Connection::connect(addr, self.timeout).await
    }
}
