//! A real cluster: `dunlin local` with its node processes on loopback, driven and killed from outside.

use crate::binaries::binaries;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything in these tests; machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `dunlin local`. Dropping it stops every process.
pub struct LocalCluster {
    launcher: Child,
    /// Client port of the first node; node i has base_port + 10 i.
    pub base_port: u16,
    /// Its folder.
    pub dir: PathBuf,
    /// Nodes started by hand after they were killed.
    restarted: Vec<Child>,
}

impl LocalCluster {
    /// Starts `nodes` nodes below `dir` on free ports and waits for the line `ready`.
    pub fn start(dir: &Path, nodes: u16) -> LocalCluster {
        let base_port = free_ports(nodes);
        let mut launcher = Command::new(&binaries().dunlin)
            .args(["local", "--nodes", &nodes.to_string(), "--base-port", &base_port.to_string(), "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("dunlin local starts");
        let out = launcher.stdout.take().expect("stdout is piped");
        let mut cluster = LocalCluster { launcher, base_port, dir: dir.to_owned(), restarted: Vec::new() };
        let mut lines = BufReader::new(out).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.trim() == "ready");
        // Keep reading, or the launcher blocks on a full pipe.
        std::thread::Builder::new()
            .name("local-output".into())
            .spawn(move || lines.for_each(drop))
            .expect("a thread starts");
        if !ready {
            let status = cluster.launcher.wait();
            panic!("dunlin local ended before it was ready: {status:?}");
        }
        cluster
    }

    /// Client address of node `i`, from 1.
    pub fn client(&self, i: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.base_port + 10 * (i - 1)))
    }

    /// Admin port of node `i`.
    pub fn admin_port(&self, i: u16) -> u16 {
        self.base_port + 10 * (i - 1) + 2
    }

    /// Kills node `i` with SIGKILL and waits until it is gone.
    pub fn kill(&mut self, i: u16) {
        let config = self.config(i);
        let pid = pid_of(&config).unwrap_or_else(|| panic!("node {i} runs"));
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs").success());
        for child in &mut self.restarted {
            let _ = child.try_wait();
        }
        wait_until("the killed node is gone", || {
            for child in &mut self.restarted {
                let _ = child.try_wait();
            }
            pid_of(&config).is_none()
        });
    }

    /// Starts node `i` again, as its user would: `dunlin server --config DIR/ni/dunlin.toml`.
    pub fn restart(&mut self, i: u16) {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.dir.join(format!("n{i}-restarted.log")))
            .expect("a log file");
        let child = Command::new(&binaries().dunlin)
            .args(["server", "--config"])
            .arg(self.config(i))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("dunlin server starts");
        self.restarted.push(child);
        let addr = self.client(i);
        wait_until("the restarted node answers", || {
            statement(addr, "SELECT * FROM system.local").is_ok_and(|r| r.contains("END"))
        });
    }

    fn config(&self, i: u16) -> PathBuf {
        self.dir.join(format!("n{i}")).join("dunlin.toml")
    }

    /// Runs nodetool against node `i`.
    pub fn nodetool(&self, i: u16, args: &[&str]) -> Output {
        Command::new(&binaries().nodetool)
            .args(["--host", "127.0.0.1", "--port", &self.admin_port(i).to_string()])
            .args(args)
            .output()
            .expect("nodetool runs")
    }

    /// nodetool's JSON.
    pub fn nodetool_json(&self, i: u16, args: &[&str]) -> serde_json::Value {
        let mut all = vec!["--format", "json"];
        all.extend_from_slice(args);
        let output = self.nodetool(i, &all);
        assert!(
            output.status.success(),
            "nodetool {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("nodetool prints JSON")
    }

    /// Nodes that node `i` sees up.
    pub fn up(&self, i: u16) -> usize {
        let status = self.nodetool_json(i, &["status"]);
        status["nodes"].as_array().expect("nodes").iter().filter(|n| n["up"] == true).count()
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for child in &mut self.restarted {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = Command::new("kill").args(["-TERM", &self.launcher.id().to_string()]).status();
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if matches!(self.launcher.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
    }
}

/// Polls until it holds; panics with `what` after [`PATIENCE`].
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends one statement on a connection of its own, as `nc` would, and returns the whole reply.
pub fn statement(addr: SocketAddr, text: &str) -> std::io::Result<String> {
    Connection::open(addr)?.statement(text)
}

/// A plain connection of the text protocol.
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(addr: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, unread: Vec::new() })
    }

    /// Sends a statement (its `;` is added) and reads until the reply's last line.
    pub fn statement(&mut self, text: &str) -> std::io::Result<String> {
        self.stream.write_all(format!("{text};\n").as_bytes())?;
        self.reply()
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> std::io::Result<String> {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).into_owned();
                let tag = line.split(['\t', '\n']).next().unwrap_or_default().to_owned();
                reply.push_str(&line);
                if ["OK", "END", "ERROR"].contains(&tag.as_str()) {
                    return Ok(reply);
                }
            }
            let mut chunk = [0; 64 << 10];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    format!("closed after {reply:?}"),
                ));
            }
            self.unread.extend_from_slice(&chunk[..read]);
        }
    }
}

/// The process whose command line names this configuration file.
fn pid_of(config: &Path) -> Option<u32> {
    let config = config.to_string_lossy().into_owned();
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let args: Vec<String> =
            line.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        (args.iter().any(|a| a == "server") && args.contains(&config)).then_some(pid)
    })
}

/// A base port such that base..base+10*nodes were free a moment ago.
fn free_ports(nodes: u16) -> u16 {
    for _ in 0..100 {
        let probe = TcpListener::bind("127.0.0.1:0").expect("an ephemeral port");
        let base = probe.local_addr().expect("an address").port();
        let Some(end) = base.checked_add(10 * nodes) else { continue };
        drop(probe);
        let free = (base..end).all(|port| {
            TcpListener::bind(("127.0.0.1", port)).is_ok()
                && std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()
        });
        if free {
            return base;
        }
    }
    panic!("no free range of ports");
}
