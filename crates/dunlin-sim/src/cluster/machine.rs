//! One machine, and how a node starts on it.

use super::Cluster;
use crate::disk::SimDisk;
use crate::executor::{HostId, World};
use crate::network::SimTransport;
use crate::runtime::SimRuntime;
use dunlin_server::config::Config;
use dunlin_server::node::{Node, NodeParts, StoreMode};
use parking_lot::Mutex;
use std::sync::Arc;

pub(super) struct Machine {
    pub host: HostId,
    pub disk: SimDisk,
    /// The running node and its process.
    pub node: Mutex<Option<(u32, Arc<Node>)>>,
    /// Whether the machine is part of the run by now.
    pub wanted: Mutex<bool>,
    /// Whether its node was asked to leave the cluster.
    pub leaving: Mutex<bool>,
    /// Whether it is not to run a node any more.
    pub given_up: Mutex<bool>,
    /// Whether it ever lost synced data.
    pub damaged: Mutex<bool>,
    /// Whether an operator has to look through its log before the next start.
    pub log_flipped: Mutex<bool>,
    /// Whether an operator has yet to scrub its SSTables.
    pub to_scrub: Mutex<bool>,
    /// Whether the last process is gone and its disk has settled.
    pub buried: Mutex<bool>,
}

impl Machine {
    pub fn new(world: &Arc<World>, number: u32) -> Machine {
        let host = world.add_host();
        debug_assert_eq!(host.0, number + 1, "the driver's machine comes first");
        Machine {
            host,
            disk: SimDisk::new(world, host),
            node: Mutex::default(),
            wanted: Mutex::new(false),
            leaving: Mutex::new(false),
            given_up: Mutex::new(false),
            damaged: Mutex::new(false),
            log_flipped: Mutex::new(false),
            to_scrub: Mutex::new(false),
            buried: Mutex::new(true),
        }
    }
}

impl Cluster {
    /// Starts a node, unless one runs.
    pub fn start(self: &Arc<Self>, number: u32) {
        let machine = self.machine(number);
        if *machine.given_up.lock() {
            return;
        }
        *machine.wanted.lock() = true;
        if !std::mem::replace(&mut *machine.buried.lock(), false) {
            return;
        }
        self.mend_log(number);
        let process = self.world.start_process(machine.host);
        let name = format!("n{}", number + 1);
        let address = Cluster::address(number);
        let transport = SimTransport::bind(&self.world, &self.network, machine.host, process, &name, address);
        let Some(transport) = transport else {
            self.complain(format!("{name}: its address is in use"));
            return;
        };
        let parts = NodeParts {
            config: self.config(number, name),
            runtime: SimRuntime::new(self.world.clone(), machine.host, process),
            fs: Arc::new(machine.disk.fs().clone()),
            transport,
            store_mode: StoreMode::Inline,
        };
        let cluster = self.clone();
        let start = async move { cluster.started(number, process, parts) };
        self.world.spawn(machine.host, "node start", Box::pin(start));
    }

    fn started(&self, number: u32, process: u32, parts: NodeParts) {
        let machine = self.machine(number);
        match Node::start(parts) {
            Ok(node) if self.world.is_running(machine.host, process) => {
                self.world.note("node started", &[u64::from(number)]);
                *machine.node.lock() = Some((process, node));
            }
            Ok(node) => drop(node),
            Err(error) => {
                tracing::info!(machine = number, %error, "node did not start");
                self.world.note("node did not start", &[u64::from(number)]);
                if self.is_healed() {
                    self.complain(format!("n{} does not start: {error}", number + 1));
                }
                self.world.condemn(machine.host, "start failed");
            }
        }
    }

    fn config(&self, number: u32, name: String) -> Config {
        let mut config = Config::default();
        config.cluster.name = "simulated".into();
        config.cluster.seeds = self.seeds().iter().map(ToString::to_string).collect();
        config.cluster.default_replication_factor = self.options.replication_factor;
        config.cluster.vnodes = self.options.vnodes;
        config.node.name = name;
        config.node.rack = format!("r{}", number % 3);
        config.internode.address = Cluster::address(number).to_string();
        config.repair.interval_s = self.options.repair_interval_s;
        config.repair.purge_margin_s = self.options.purge_margin_s;
        config.limits.internode_requests = self.options.internode_requests;
        config
    }
}
