//! A node as its user names it.

use std::fmt;
use std::str::FromStr;

/// Port of the text protocol where none is given.
pub const CLIENT_PORT: u16 = 9041;

/// A node's host and port: `host`, `host:port`, `10.0.0.5`, `::1`, `[::1]:9041`. The port is [`CLIENT_PORT`] unless given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress {
    host: String,
    port: u16,
}

impl NodeAddress {
    /// A host and its port.
    pub fn new(host: impl Into<String>, port: u16) -> NodeAddress {
        NodeAddress { host: host.into(), port }
    }

    /// The host: a name or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Text that names no node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no node: {reason}")]
pub struct NotANode {
    text: String,
    reason: &'static str,
}

impl FromStr for NodeAddress {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<NodeAddress, NotANode> {
        let bad = |reason| NotANode { text: text.to_owned(), reason };
        let whole = text.trim();
        let (host, port) = if let Some(rest) = whole.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(|| bad("a ] is missing"))?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(bad("expected :PORT after ]")),
            }
        } else if whole.matches(':').count() > 1 && !whole.contains("//") {
            // An IPv6 address with a port is written with brackets.
            (whole, None)
        } else {
            whole.split_once(':').map_or((whole, None), |(host, port)| (host, Some(port)))
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@,'\"[]".contains(c)) {
            return Err(bad("expected HOST or HOST:PORT"));
        }
        let port = match port {
            None => CLIENT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| bad("a port is a number from 1 to 65535"))?,
        };
        Ok(NodeAddress::new(host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_an_address() {
        for (text, full) in [
            ("127.0.0.1", "127.0.0.1:9041"),
            ("node:7", "node:7"),
            ("::1", "[::1]:9041"),
            ("[::1]", "[::1]:9041"),
            ("[::1]:5", "[::1]:5"),
            (" db.example ", "db.example:9041"),
        ] {
            let node: NodeAddress = text.parse().unwrap();
            assert_eq!(node.to_string(), full);
            assert_eq!(node.to_string().parse(), Ok(node));
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for (text, part) in [
            ("", "HOST"),
            (":9041", "HOST"),
            ("node:", "1 to 65535"),
            ("node:0", "1 to 65535"),
            ("node:99999", "1 to 65535"),
            ("http://node", "1 to 65535"),
            ("[::1", "]"),
            ("[::1]9041", "after ]"),
            ("a b", "HOST"),
        ] {
            let error = text.parse::<NodeAddress>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
