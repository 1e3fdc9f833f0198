//! How a client is made.

use crate::address::{NodeAddress, NotANode};
use crate::client::Client;
use crate::cluster::Cluster;
use crate::connector::Connector;
use crate::dispatch::Dispatch;
use crate::node::Sharing;
use crate::tls::Tls;
use dunlin_types::Consistency;
use std::time::Duration;

/// The longest wait of a call unless another is set.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of a client; see [`Client::builder`].
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use dunlin_client::{Client, Consistency, Tls};
/// use std::time::Duration;
///
/// let client = Client::builder()
///     .nodes(["10.0.0.1", "10.0.0.2:9041"])
///     .tls(Tls::from_ca_file("certs/ca.crt")?)
///     .user("alice", "secret")
///     .consistency(Consistency::Quorum)
///     .timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing before build()"]
pub struct Builder {
    nodes: Vec<String>,
    connector: Connector,
    timeout: Duration,
    consistency: Option<Consistency>,
    connections_per_node: usize,
    in_flight_max: usize,
    identified_writes: bool,
    discovery: bool,
}

/// Why no client can be made of the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No node was named.
    #[error("a client needs at least one node to start from")]
    NoNodes,
    /// A name that is none.
    #[error(transparent)]
    Node(#[from] NotANode),
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            nodes: Vec::new(),
            connector: Connector::new(TIMEOUT),
            timeout: TIMEOUT,
            consistency: None,
            connections_per_node: 2,
            in_flight_max: 512,
            identified_writes: true,
            discovery: true,
        }
    }
}

impl Builder {
    /// Adds nodes to start from, as [`NodeAddress`] reads them: `host` or `host:port`.
    pub fn nodes<S: Into<String>>(mut self, nodes: impl IntoIterator<Item = S>) -> Builder {
        self.nodes.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// Speaks TLS. Default: plain TCP.
    pub fn tls(mut self, tls: Tls) -> Builder {
        self.connector = self.connector.tls(tls);
        self
    }

    /// Logs in on every connection. Default: no login.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Builder {
        self.connector = self.connector.login(name, password);
        self
    }

    /// Connects in that way, instead of [`Builder::tls`] and [`Builder::user`]; its bound becomes the [`Builder::timeout`].
    pub fn connector(mut self, connector: Connector) -> Builder {
        self.timeout = connector.timeout();
        self.connector = connector;
        self
    }

    /// The level of every statement that does not say another one. Default: that of a new session, QUORUM.
    pub fn consistency(mut self, level: Consistency) -> Builder {
        self.consistency = Some(level);
        self
    }

    /// The longest wait of a call, with all its attempts, connecting included; a scan waits so long for each page.
    /// Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.timeout = timeout;
        self
    }

    /// Connections to each node; a second one is opened when the first is busy. Default: 2.
    pub fn connections_per_node(mut self, connections: usize) -> Builder {
        self.connections_per_node = connections.max(1);
        self
    }

    /// Statements in flight on each connection; further calls wait. Default: 512; nodes take up 1024.
    pub fn in_flight_max(mut self, statements: usize) -> Builder {
        self.in_flight_max = statements.clamp(1, 1024);
        self
    }

    /// Whether writes carry a request id, under which they are repeated where the first attempt may have been applied. The
    /// nodes ask one another before they make such a write: it takes one more exchange between them. Default: yes.
    pub fn identified_writes(mut self, identified: bool) -> Builder {
        self.identified_writes = identified;
        self
    }

    /// Whether nodes that the named ones know are used too. They are dialled at the addresses that they tell one another,
    /// so switch it off where clients need others. Default: yes.
    pub fn discovery(mut self, on: bool) -> Builder {
        self.discovery = on;
        self
    }

    /// The client. Nothing is connected before the first call.
    pub fn build(self) -> Result<Client, BuildError> {
        let mut given: Vec<String> = Vec::new();
        for node in &self.nodes {
            let addr = node.parse::<NodeAddress>()?.to_string();
            if !given.contains(&addr) {
                given.push(addr);
            }
        }
        if given.is_empty() {
            return Err(BuildError::NoNodes);
        }
        let sharing = Sharing {
            connector: self.connector.with_timeout(self.timeout),
            consistency: self.consistency,
            connections_per_node: self.connections_per_node,
            in_flight_max: self.in_flight_max,
        };
        let cluster = Cluster::new(given, sharing);
        Ok(Client::of(Dispatch::new(cluster, self.timeout, self.identified_writes, self.discovery)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_needs_nodes_that_are_some() {
        assert_eq!(Client::builder().build().unwrap_err(), BuildError::NoNodes);
        let wrong = Client::builder().nodes(["a", "b:0"]).build().unwrap_err();
        assert!(wrong.to_string().contains("1 to 65535"), "{wrong}");
        let client = Client::builder().nodes(["a", "a:9041", "[::1]"]).build().unwrap();
        assert_eq!(client.nodes(), ["a:9041", "[::1]:9041"]);
    }
}
