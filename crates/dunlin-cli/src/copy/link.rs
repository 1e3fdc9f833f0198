//! Connections of a COPY: like the session's, to one node after another.

use dunlin_client::{ClientError, Connection, Connector};
use std::rc::Rc;

/// How connections like the session's are made.
pub struct Cluster {
    /// Nodes; the session's first.
    pub hosts: Vec<String>,
    /// Opens them.
    pub connector: Connector,
    /// What each is told first.
    pub settings: Vec<String>,
}

/// One connection, and another one when it is lost.
pub struct Link {
    cluster: Rc<Cluster>,
    at: usize,
    connection: Option<Connection>,
}

impl Link {
    /// Not connected yet; the `first` node is tried first.
    pub fn new(cluster: Rc<Cluster>, first: usize) -> Link {
        Link { cluster, at: first, connection: None }
    }

    /// The node in use, or to be tried next.
    pub fn host(&self) -> &str {
        &self.cluster.hosts[self.at % self.cluster.hosts.len()]
    }

    /// The connection, opened if there is none.
    pub async fn connected(&mut self) -> Result<&mut Connection, ClientError> {
        if self.connection.is_none() {
            let mut connection = self.cluster.connector.connect(self.host()).await?;
            for statement in &self.cluster.settings {
                connection.execute(statement).await?;
            }
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("it was opened"))
    }

    /// The connection, if there is one.
    pub fn open(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// The next node from now on.
    pub fn leave(&mut self) {
        self.connection = None;
        self.at += 1;
    }
}
