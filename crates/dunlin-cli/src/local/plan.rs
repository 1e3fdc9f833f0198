//! Names, addresses and files of a local cluster.

use crate::args::LocalArgs;
use anyhow::{Context, bail};
use dunlin_transport::certs;
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// The whole cluster.
pub struct Plan {
    pub dir: PathBuf,
    pub nodes: Vec<NodePlan>,
}

/// One node.
pub struct NodePlan {
    pub name: String,
    pub client: SocketAddr,
    pub internode: SocketAddr,
    pub admin: SocketAddr,
    pub dir: PathBuf,
}

impl NodePlan {
    fn new(dir: &Path, index: u16, base_port: Option<u16>) -> NodePlan {
        let name = format!("n{}", index + 1);
        let dir = dir.join(&name);
        let at = |ip: [u8; 4], port: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port);
        match base_port {
            Some(base) => {
                let base = base + 10 * index;
                let loopback = [127, 0, 0, 1];
                NodePlan {
                    name,
                    client: at(loopback, base),
                    internode: at(loopback, base + 1),
                    admin: at(loopback, base + 2),
                    dir,
                }
            }
            None => {
                let ip = [127, 0, 0, u8::try_from(index + 1).expect("at most 99 nodes")];
                NodePlan { name, client: at(ip, 9041), internode: at(ip, 7000), admin: at(ip, 7199), dir }
            }
        }
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir.join("dunlin.toml")
    }

    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Whether a process has its data open.
    fn is_held(&self) -> bool {
        let lock = File::open(self.data_dir().join("LOCK"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

impl Plan {
    /// Decides everything; touches nothing but the folder's name.
    pub fn make(args: &LocalArgs) -> anyhow::Result<Plan> {
        let base_port = args.base_port.or(if cfg!(target_os = "linux") { None } else { Some(9041) });
        if let Some(base) = base_port
            && u32::from(base) + 10 * u32::from(args.nodes) > 65_536
        {
            bail!("--base-port {base} leaves no room for {} nodes below port 65536", args.nodes);
        }
        let other = "(--dir names another folder)";
        std::fs::create_dir_all(&args.dir)
            .with_context(|| format!("cannot make the folder {} {other}", args.dir.display()))?;
        let dir = args
            .dir
            .canonicalize()
            .with_context(|| format!("cannot open the folder {} {other}", args.dir.display()))?;
        if dir.join("node.toml").exists() || dir.join("commitlog").exists() {
            bail!(
                "{} is the data directory of one node, not the folder of a local cluster {other}",
                dir.display()
            );
        }
        let held = (1..=99).take_while(|i| dir.join(format!("n{i}/data")).exists()).count();
        if held > usize::from(args.nodes) {
            bail!(
                "{} holds a cluster of {held} nodes: use --nodes {held}, or another --dir, or remove the folder",
                dir.display()
            );
        }
        let nodes = (0..args.nodes).map(|index| NodePlan::new(&dir, index, base_port)).collect();
        Ok(Plan { dir, nodes })
    }

    /// Nobody else runs a cluster here as long as the file is open.
    pub fn lock(&self) -> anyhow::Result<File> {
        let path = self.dir.join("LOCK");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock =
            lock.with_context(|| format!("cannot write {} (--dir names another folder)", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => bail!(
                "another `dunlin local` runs with {}: stop it, or use another --dir (and other ports, --base-port)",
                self.dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// A node whose data some process has open.
    pub fn held(&self) -> Option<&NodePlan> {
        self.nodes.iter().find(|node| node.is_held())
    }

    /// A clear word before anything is started, instead of a node's death.
    pub fn check_ports(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            for (what, addr, free) in [
                ("client", node.client, TcpListener::bind(node.client).map(drop)),
                ("admin", node.admin, TcpListener::bind(node.admin).map(drop)),
                ("internode", node.internode, UdpSocket::bind(node.internode).map(drop)),
            ] {
                free.with_context(|| {
                    format!("{}'s {what} address {addr} cannot be used; does another cluster run? Stop it, or choose other ports with --base-port N", node.name)
                })?;
            }
        }
        Ok(())
    }

    /// Certificates (once) and configurations (each time: addresses may have changed).
    pub fn write_files(&self) -> anyhow::Result<()> {
        let certs_dir = self.dir.join("certs");
        if !certs_dir.join("ca.crt").exists() {
            certs::init_ca(&certs_dir)?;
        }
        for node in &self.nodes {
            std::fs::create_dir_all(node.data_dir())
                .with_context(|| format!("cannot make {}", node.dir.display()))?;
            if !certs_dir.join(format!("{}.crt", node.name)).exists() {
                certs::issue(&certs_dir, &node.name, &[node.internode.ip().to_string()])?;
            }
            let file = node.config_file();
            std::fs::write(&file, self.config(node, &certs_dir))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    fn config(&self, node: &NodePlan, certs_dir: &Path) -> String {
        let seeds: Vec<String> = self.nodes.iter().take(3).map(|n| n.internode.to_string()).collect();
        let mut out = String::from(
            "# Made by `dunlin local`, again at each of its starts. conf/dunlin.toml explains every key.\n",
        );
        let path = |p: PathBuf| toml::Value::String(p.to_string_lossy().into_owned());
        let _ = write!(
            out,
            "\n[cluster]\nname = \"local\"\nseeds = {seeds:?}\ndefault_replication_factor = {}\n\
             \n[node]\nname = {:?}\ndata_dir = {}\n\
             \n[internode]\naddress = \"{}\"\nca = {}\ncertificate = {}\nkey = {}\n\
             \n[client]\naddress = \"{}\"\n\
             \n[admin]\naddress = \"{}\"\n",
            self.nodes.len().min(3),
            node.name,
            path(node.data_dir()),
            node.internode,
            path(certs_dir.join("ca.crt")),
            path(certs_dir.join(format!("{}.crt", node.name))),
            path(certs_dir.join(format!("{}.key", node.name))),
            node.client,
            node.admin,
        );
        out
    }
}
