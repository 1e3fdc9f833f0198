//! How a verb reaches the cluster: options of the command line, else the environment, else a file, else defaults.
//!
//! A value is read only where nothing before it says otherwise, so that an option wins over a variable that cannot be
//! read. An error names the variable, or the file and the line.

#![allow(clippy::disallowed_methods, reason = "a tool: it reads the files that its user names")]

mod file;

use crate::args::{Connect, DEFAULT_HOST};
use anyhow::{Context, bail};
use dunlin_client::{Client, Connector, NodeAddress, Tls};
use dunlin_terminal::variable;
use dunlin_types::Consistency;
use file::File;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// What the command line, the environment and the file came to.
pub struct Settings {
    /// Nodes to start from; at least one.
    pub nodes: Vec<NodeAddress>,
    /// Longest wait.
    pub timeout: Duration,
    /// Level of reads and writes.
    pub consistency: Consistency,
    tls: Option<Tls>,
    login: Option<Login>,
}

#[derive(Clone)]
struct Login {
    user: String,
    password: String,
}

impl Settings {
    /// Puts the sources together; `timeout` is the default of the verb.
    pub fn gather(
        options: &Connect,
        consistency: Option<Consistency>,
        timeout: Duration,
    ) -> anyhow::Result<Settings> {
        let file = File::load(options.client_config.as_deref())?;
        let sources = Sources { file: &file };
        let nodes = match options.host.as_slice() {
            [] => match sources.pick(None, "DUNLIN_HOST", "hosts")? {
                Some(Nodes(nodes)) => nodes,
                None => vec![DEFAULT_HOST.parse()?],
            },
            given => given.to_vec(),
        };
        let timeout = sources.pick(options.timeout, "DUNLIN_TIMEOUT", "timeout")?.map_or(timeout, |s| s.0);
        let consistency = sources.pick(consistency, "DUNLIN_CONSISTENCY", "consistency")?;
        Ok(Settings {
            nodes,
            timeout,
            consistency: consistency.unwrap_or(Consistency::Quorum),
            tls: tls(options, &sources)?,
            login: login(options, &sources)?,
        })
    }

    /// The nodes as text: `host:port`.
    pub fn hosts(&self) -> Vec<String> {
        self.nodes.iter().map(ToString::to_string).collect()
    }

    /// A client of the whole cluster.
    pub fn client(&self) -> anyhow::Result<Client> {
        let builder = Client::builder().nodes(self.hosts()).connector(self.connector());
        Ok(builder.consistency(self.consistency).build()?)
    }

    /// Opens connections: one session each.
    pub fn connector(&self) -> Connector {
        let mut connector = Connector::new(self.timeout);
        if let Some(tls) = &self.tls {
            connector = connector.tls(tls.clone());
        }
        if let Some(Login { user, password }) = &self.login {
            connector = connector.login(user, password);
        }
        connector
    }
}

fn tls(options: &Connect, sources: &Sources<'_>) -> anyhow::Result<Option<Tls>> {
    let ca = sources.path(&options.tls_ca, "DUNLIN_TLS_CA", "tls.ca")?;
    let certificate = sources.path(&options.tls_cert, "DUNLIN_TLS_CERT", "tls.cert")?;
    let key = sources.path(&options.tls_key, "DUNLIN_TLS_KEY", "tls.key")?;
    let name: Option<String> =
        sources.pick(options.tls_server_name.clone(), "DUNLIN_TLS_SERVER_NAME", "tls.server_name")?;
    let Some(ca) = ca else {
        if certificate.is_some() || key.is_some() || name.is_some() {
            bail!("TLS needs the authority that issued the nodes' certificates: give it with --tls-ca FILE");
        }
        return Ok(None);
    };
    let mut tls = Tls::from_ca_file(ca)?;
    tls = match (certificate, key) {
        (None, None) => tls,
        (Some(certificate), Some(key)) => tls.with_identity_files(certificate, key)?,
        _ => bail!("a client certificate and its key belong together: give both --tls-cert and --tls-key"),
    };
    Ok(Some(match name {
        Some(name) => tls.with_server_name(&name)?,
        None => tls,
    }))
}

fn login(options: &Connect, sources: &Sources<'_>) -> anyhow::Result<Option<Login>> {
    let Some(user) = sources.pick(options.user.clone(), "DUNLIN_USER", "user")? else {
        if options.password_file.is_some() {
            bail!("a password needs its user: give --user NAME");
        }
        return Ok(None);
    };
    // The nearest source that says anything of a password is the one: not the file's password for an option's user.
    let password = match &options.password_file {
        Some(path) => Some(first_line(path)?),
        None => match variable::<PathBuf>("DUNLIN_PASSWORD_FILE")? {
            Some(path) => Some(first_line(&path)?),
            None => match variable::<String>("DUNLIN_PASSWORD")? {
                Some(password) => Some(password),
                None => match sources.file.path("password_file")? {
                    Some(path) => Some(first_line(&path)?),
                    None => sources.file.get("password")?,
                },
            },
        },
    };
    match password {
        Some(password) => Ok(Some(Login { user, password })),
        None => bail!("no password for user {user}: give --password-file FILE"),
    }
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("the first line of the password file {} is empty", path.display());
    }
    Ok(line.to_owned())
}

struct Sources<'a> {
    file: &'a File,
}

impl Sources<'_> {
    fn pick<T: FromStr<Err: fmt::Display>>(
        &self,
        option: Option<T>,
        name: &'static str,
        key: &'static str,
    ) -> anyhow::Result<Option<T>> {
        match option {
            Some(given) => Ok(Some(given)),
            None => match variable(name)? {
                Some(set) => Ok(Some(set)),
                None => self.file.get(key),
            },
        }
    }

    /// A path of the file is taken from where the file is.
    fn path(
        &self,
        option: &Option<PathBuf>,
        name: &'static str,
        key: &'static str,
    ) -> anyhow::Result<Option<PathBuf>> {
        match option {
            Some(given) => Ok(Some(given.clone())),
            None => match variable(name)? {
                Some(set) => Ok(Some(set)),
                None => self.file.path(key),
            },
        }
    }
}

/// A time in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub Duration);

/// The longest time that is taken.
const SECONDS_MAX: f64 = 86_400.0;

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        let seconds = text.trim().parse().ok().filter(|s: &f64| *s >= 0.001 && *s <= SECONDS_MAX);
        let seconds = seconds.ok_or_else(|| format!("a time is 0.001 to {SECONDS_MAX} seconds"))?;
        Ok(Seconds(Duration::from_secs_f64(seconds)))
    }
}

/// Nodes separated by commas.
struct Nodes(Vec<NodeAddress>);

impl FromStr for Nodes {
    type Err = dunlin_client::NotANode;

    fn from_str(text: &str) -> Result<Nodes, Self::Err> {
        let given = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let nodes = given.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        // A lone comma: what is wrong with it is what is wrong with an empty name.
        if nodes.is_empty() { "".parse().map(|node| Nodes(vec![node])) } else { Ok(Nodes(nodes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_within_bounds() {
        assert_eq!("1.5".parse(), Ok(Seconds(Duration::from_millis(1500))));
        for wrong in ["0", "-1", "NaN", "inf", "1e300", "", "5s"] {
            assert!(wrong.parse::<Seconds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_nodes_are_separated_by_commas() {
        let Nodes(nodes) = "a, b:7,,[::1]".parse().unwrap();
        assert_eq!(
            nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a:9041", "b:7", "[::1]:9041"]
        );
        assert!(",".parse::<Nodes>().is_err() && "a,:1".parse::<Nodes>().is_err());
    }
}
