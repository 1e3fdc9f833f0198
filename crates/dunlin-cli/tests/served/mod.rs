//! A real node: `dunlin server` as a process, with files and ports of its own.

// Not every test needs all of it.
#![allow(dead_code)]

use crate::scripted::command;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for a node to serve.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// A running node. Dropped, it ends: it does not outlive its standard input.
pub struct Node {
    /// Where clients are heard.
    pub host: String,
    /// Its files; `certs` holds the authority's and the node's certificates.
    pub dir: TempDir,
    child: Child,
}

impl Node {
    /// Starts one with this in its `[client]` section, and waits until it can be connected to.
    pub fn start(client: &str) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let config = configuration(dir.path(), client);
        let mut child = command(&["server", "--until-stdin-closes", "--config", config.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let open =
            log.by_ref().find(|line| line.contains("ports are open")).expect("the node opens its ports");
        let host = open.split("client=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        // Somebody has to read what it logs.
        std::thread::spawn(move || log.for_each(drop));
        Node { host, dir, child }
    }

    /// One that serves in plain text.
    pub fn plain() -> Node {
        let node = Node::start("");
        let until = Instant::now() + SERVES_WITHIN;
        while !crate::scripted::dunlin(&["get", "k", "--host", &node.host]).stderr.starts_with(b"no such key")
        {
            assert!(Instant::now() < until, "the node does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }

    /// A file of its authority or of its certificate.
    pub fn certificate(&self, name: &str) -> String {
        self.dir.path().join("certs").join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A node's configuration with the files that it names. Nobody listens at its ports.
pub fn configuration(dir: &Path, client: &str) -> PathBuf {
    let certs = dir.join("certs");
    dunlin_transport::certs::init_ca(&certs).unwrap();
    let files = dunlin_transport::certs::issue(&certs, "n1", &["127.0.0.1".to_owned()]).unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[cluster]\nname = \"served\"\ndefault_replication_factor = 1\n[node]\nname = \"n1\"\ndata_dir = {:?}\n\
         [internode]\naddress = \"{free}\"\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n\
         [client]\naddress = \"127.0.0.1:0\"\n{client}\n[admin]\naddress = \"127.0.0.1:0\"\n",
        dir.join("data"),
        files.ca,
        files.cert,
        files.key
    );
    let file = dir.join("n1.toml");
    std::fs::write(&file, text).unwrap();
    file
}
