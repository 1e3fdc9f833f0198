//! Which cluster, how it is reached, and how sure.
//!
//! Each of these can also stand in the environment and in a file: see [`crate::settings`].

use crate::settings::{Seconds, Settings};
use clap::Args;
use dunlin_client::{NodeAddress, TableName};
use dunlin_types::Consistency;
use std::path::PathBuf;
use std::time::Duration;

/// Where the client verbs connect when nothing else is said.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// How long a verb waits when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How the cluster is reached.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Connection (or in the environment, or in ~/.config/dunlin/client.toml)")]
pub struct Connect {
    /// A node; may be given several times. Port 9041 unless given [env: DUNLIN_HOST] [default: 127.0.0.1]
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub host: Vec<NodeAddress>,
    /// Speak TLS, and trust nodes whose certificates this authority issued (PEM) [env: DUNLIN_TLS_CA]
    #[arg(long, visible_alias = "tls", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// The client's own certificate (PEM), for nodes that ask for one [env: DUNLIN_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM) [env: DUNLIN_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The name that nodes' certificates are for, where it is not the host given [env: DUNLIN_TLS_SERVER_NAME]
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Log in as this user [env: DUNLIN_USER]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The user's password is the first line of this file [env: DUNLIN_PASSWORD_FILE, or DUNLIN_PASSWORD itself]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Longest wait, whatever is tried meanwhile [env: DUNLIN_TIMEOUT]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<Seconds>,
    /// Take settings from this file instead [env: DUNLIN_CLIENT_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub client_config: Option<PathBuf>,
}

/// Which table, and how sure.
#[derive(Args, Debug, Clone)]
pub struct Target {
    /// Table, as table or keyspace.table
    #[arg(long, default_value = "dunlin.kv")]
    pub table: TableName,
    /// ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM, EACH_QUORUM, ANY [env: DUNLIN_CONSISTENCY] [default: QUORUM]
    #[arg(long, value_name = "LEVEL")]
    pub consistency: Option<Consistency>,
    #[command(flatten)]
    pub connect: Connect,
}

impl Target {
    /// The options with what the environment and the file say where they are silent.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Settings::gather(&self.connect, self.consistency, TIMEOUT)
    }
}
