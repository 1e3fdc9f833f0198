//! Which node's admin HTTP is asked.

use anyhow::{Context, bail};
use std::fmt;

/// Where a node answers operators unless its configuration says otherwise.
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 7199;
/// What stands for the options that are not given.
const HOST_VARIABLE: &str = "DUNLIN_ADMIN_HOST";
const PORT_VARIABLE: &str = "DUNLIN_ADMIN_PORT";

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Place {
    /// What the options say, then the environment, then the default. The environment is looked at only for what the
    /// options leave open.
    pub fn named(host: Option<&str>, port: Option<u16>) -> anyhow::Result<Place> {
        let env_host = match host {
            Some(_) => None,
            None => dunlin_terminal::variable::<String>(HOST_VARIABLE)?,
        };
        let (place, source) = match (host, &env_host) {
            (Some(host), _) => (host, "--host"),
            (None, Some(host)) => (host.as_str(), HOST_VARIABLE),
            (None, None) => (DEFAULT_HOST, ""),
        };
        let (host, beside) = split(place).with_context(|| format!("{source} {place}"))?;
        let port = match (port, beside) {
            (Some(port), Some(beside)) if source == "--host" && port != beside => {
                bail!("--host {place} and --port {port} name two ports: give one")
            }
            (Some(port), _) | (None, Some(port)) => port,
            (None, None) => dunlin_terminal::variable(PORT_VARIABLE)?.unwrap_or(DEFAULT_PORT),
        };
        Ok(Place { host: host.to_owned(), port })
    }
}

/// `HOST`, `HOST:PORT`, an IPv6 address with or without brackets, or the URL that `dunlin local` prints.
fn split(text: &str) -> anyhow::Result<(&str, Option<u16>)> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').context("the bracket is not closed")?;
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':').context("after the bracket stands no :PORT")?)),
            }
        }
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(['/', ' ']) {
        bail!("is no host: HOST or HOST:PORT");
    }
    let port = port.map(|port| port.parse().with_context(|| format!("{port:?} is no port")));
    Ok((host, port.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_ports() {
        for (text, host, port) in [
            ("127.0.0.1", "127.0.0.1", None),
            ("n1:7299", "n1", Some(7299)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:5", "::1", Some(5)),
            ("http://127.0.0.2:7199/", "127.0.0.2", Some(7199)),
        ] {
            assert_eq!(split(text).unwrap(), (host, port), "{text}");
        }
        for text in ["", ":7199", "n1:", "n1:x", "n1:70000", "[::1", "[::1]5", "a b", "http://n1/metrics"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_win() {
        let named = |host, port| Place::named(host, port).map(|place| place.to_string());
        assert_eq!(named(Some("n1:1"), None).unwrap(), "n1:1");
        assert_eq!(named(Some("n1"), Some(2)).unwrap(), "n1:2");
        assert_eq!(named(Some("::1"), Some(2)).unwrap(), "[::1]:2");
        assert_eq!(named(Some("n1:2"), Some(2)).unwrap(), "n1:2");
        assert!(named(Some("n1:1"), Some(2)).unwrap_err().to_string().contains("two ports"));
    }
}
