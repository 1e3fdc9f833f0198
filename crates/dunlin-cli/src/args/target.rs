//! Which cluster, and how sure.

use clap::Args;
use dunlin_client::Connector;
use dunlin_types::Consistency;
use std::time::Duration;

/// Where the client verbs connect when nothing else is said.
pub const DEFAULT_HOST: &str = "127.0.0.1:9041";
/// Port of the text protocol.
pub const CLIENT_PORT: u16 = 9041;

/// Which cluster, and how sure.
#[derive(Args, Debug, Clone)]
pub struct Target {
    /// A node: HOST[:PORT]; may be given several times
    #[arg(long, value_name = "HOST[:PORT]", default_value = DEFAULT_HOST, env = "DUNLIN_HOST", value_delimiter = ',')]
    pub host: Vec<String>,
    /// Table, as table or keyspace.table
    #[arg(long, default_value = "dunlin.kv")]
    pub table: String,
    /// ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM, EACH_QUORUM, ANY
    #[arg(long, default_value = "QUORUM")]
    pub consistency: Consistency,
    /// Longest wait for an answer, in seconds
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub timeout: f64,
}

impl Target {
    /// Hosts with their port.
    pub fn hosts(&self) -> Vec<String> {
        self.host.iter().map(|host| with_port(host)).collect()
    }

    /// The wait as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout).unwrap_or(Duration::from_secs(10))
    }

    /// Options of a client for this target.
    pub fn options(&self) -> dunlin_client::Options {
        dunlin_client::Options {
            consistency: Some(self.consistency),
            timeout: self.timeout(),
            ..Default::default()
        }
    }

    /// Opens connections to its nodes.
    pub fn connector(&self) -> Connector {
        Connector::new(self.timeout())
    }
}

/// `host` or `host:port` with the port added where it is missing.
pub fn with_port(host: &str) -> String {
    let bare_v6 = host.matches(':').count() > 1 && !host.contains(']');
    match host.rsplit_once(':') {
        _ if bare_v6 => format!("[{host}]:{CLIENT_PORT}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:{CLIENT_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_added() {
        for (given, full) in [
            ("127.0.0.1", "127.0.0.1:9041"),
            ("node:7", "node:7"),
            ("::1", "[::1]:9041"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(with_port(given), full);
        }
    }
}
