//! `dunlin check-config`: what a node would stumble over at its start, without starting it.
// Files, names and ports are what is looked at.
#![allow(clippy::disallowed_methods)]

use crate::config::{self, Config};
use crate::identity;
use dunlin_storage::fs::OsFs;
use dunlin_transport::tls::{Found, check_files};
use rustls_pki_types::UnixTime;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What was found, each for a person.
#[derive(Debug, Default)]
pub struct Findings {
    /// Why the node would not start, or would not be a member.
    pub problems: Vec<String>,
    /// What is worth a word all the same.
    pub notes: Vec<String>,
}

impl Findings {
    fn problem(&mut self, key: &str, error: impl std::fmt::Display) {
        self.problems.push(format!("{key}: {error}"));
    }
}

/// Looks at a configuration file with the environment's overrides, and unless `text_only` at what it names on this
/// computer: data directory, certificates, host names, ports. Names are looked up, which may take a while; nothing is
/// changed, and no port stays open.
pub fn check(file: &Path, text_only: bool) -> Findings {
    let mut found = Findings::default();
    let config = match config::examine(file) {
        Ok((config, wrong)) => {
            found.problems.extend(wrong.iter().map(ToString::to_string));
            config
        }
        Err(error) => {
            found.problems.push(error.to_string());
            return found;
        }
    };
    if found.problems.is_empty() {
        if config.cluster.seeds.is_empty() {
            found.notes.push("cluster.seeds is empty: this node founds a cluster of its own".to_owned());
        }
        if !text_only {
            certificates(&config, &mut found);
            let runs = data_dir(&config, &mut found);
            seeds(&config, &mut found);
            addresses(&config, runs, &mut found);
        }
    }
    found
}

fn certificates(config: &Config, found: &mut Findings) {
    let paths = &config.internode;
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let (identity, Found { problems, notes }) = check_files(&paths.ca, &paths.certificate, &paths.key, now);
    for problem in problems {
        found.problem("[internode]", problem);
    }
    found.notes.extend(notes);
    if let Some(identity) = identity
        && let Err(error) = super::same_name(config, identity.name())
    {
        found.problems.push(error.to_string());
    }
    if config.client.tls
        && let Err(error) = super::acceptor(config)
    {
        found.problems.push(format!("{error:#}"));
    }
}

/// Whether a node uses the directory now.
fn data_dir(config: &Config, found: &mut Findings) -> bool {
    let dir = &config.node.data_dir;
    // What does not exist is made, in the nearest folder that does.
    let present = dir.ancestors().map(|at| if at.as_os_str().is_empty() { Path::new(".") } else { at });
    let Some(present) = present.into_iter().find(|at| at.exists()) else { return false };
    if !present.is_dir() {
        found.problem("node.data_dir", format!("{} is no directory", present.display()));
        return false;
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if let Err(error) = rustix::fs::access(present, access) {
        found.problem("node.data_dir", identity::unusable(present, error.into()));
        return false;
    }
    if present != dir {
        return false;
    }
    let examined = OsFs::new(dir)
        .map_err(|error| identity::unusable(dir, error))
        .and_then(|fs| identity::examine(&fs, dir, &config.cluster.name));
    match examined {
        Ok(runs) => {
            if runs {
                let note = format!("a node runs on {} now: its ports were not tried", dir.display());
                found.notes.push(note);
            }
            runs
        }
        Err(error) => {
            found.problem("node.data_dir", error);
            false
        }
    }
}

/// As at the start: the first seed decides who founds the cluster, any other is left out while its name is unknown.
fn seeds(config: &Config, found: &mut Findings) {
    for (place, seed) in config.cluster.seeds.iter().enumerate() {
        if let Err(error) = resolve(seed) {
            let text = format!("cluster.seeds: {error}");
            if place == 0 { &mut found.problems } else { &mut found.notes }.push(text);
        }
    }
}

/// Every port at once, so that two of the same are seen too.
fn addresses(config: &Config, runs: bool, found: &mut Findings) {
    let mut open: Vec<Box<dyn Send>> = Vec::new();
    for (key, address) in
        [("client.address", &config.client.address), ("admin.address", &config.admin.address)]
    {
        match resolve(address) {
            Err(error) => found.problem(key, error),
            Ok(_) if runs => {}
            Ok(addr) => match TcpListener::bind(addr) {
                Ok(listener) => open.push(Box::new(listener)),
                Err(error) => found.problem(key, format!("cannot listen on {addr}: {error}")),
            },
        }
    }
    match resolve(&config.internode.address) {
        Err(error) => found.problem("internode.address", error),
        Ok(_) if runs => {}
        Ok(addr) => {
            if let Err(error) = UdpSocket::bind(addr) {
                found.problem("internode.address", format!("cannot listen on {addr}: {error}"));
            }
        }
    }
    for (key, address) in
        [("internode.advertise", &config.internode.advertise), ("client.advertise", &config.client.advertise)]
    {
        if !address.is_empty()
            && let Err(error) = resolve(address)
        {
            found.problem(key, error);
        }
    }
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    let cannot = |reason: String| format!("cannot resolve {address}: {reason}");
    let mut found = address.to_socket_addrs().map_err(|error| cannot(error.to_string()))?;
    found.next().ok_or_else(|| cannot("the name has no address".to_owned()))
}
