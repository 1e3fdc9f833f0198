//! A cluster of simulated machines, each with a disk, clocks, and now and then a node running on it.

mod damage;
mod inject;
mod machine;
mod settle;

pub use settle::{Records, Unsettled};

use crate::disk::SimDisk;
use crate::executor::{HostId, MILLISECOND, Nanos, SECOND, World};
use crate::fault::Fault;
use crate::network::Network;
use crate::options::Options;
use crate::oracle::{Rule, Violation};
use dunlin_server::node::Node;
use machine::Machine;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;

/// Machines by number; the seeds are the first ones.
pub struct Cluster {
    /// The world they are in.
    pub world: Arc<World>,
    /// The network between them.
    pub network: Arc<Network>,
    /// The run.
    pub options: Options,
    machines: Vec<Machine>,
    /// What is wrong with the nodes themselves.
    complaints: Mutex<Vec<Violation>>,
    /// From then on nothing may fail any more.
    healed: Mutex<Option<Nanos>>,
    /// Does what takes statements: changes of the schema, bursts.
    asker: Mutex<Option<Asker>>,
}

/// See [`Cluster::set_asker`].
pub type Asker = Box<dyn Fn(&Fault) + Send>;

/// A node that runs, and where.
#[derive(Clone)]
pub struct Running {
    /// The node.
    pub node: Arc<Node>,
    /// Its machine.
    pub host: HostId,
    /// Its process there.
    pub process: u32,
}

const SEEDS: u32 = 3;

impl Cluster {
    /// Machines without nodes.
    pub fn new(world: Arc<World>, options: Options) -> Arc<Cluster> {
        let network = Network::new(world.clone(), options.weather);
        let machines =
            (0..options.nodes + options.joiners).map(|number| Machine::new(&world, number)).collect();
        Arc::new(Cluster {
            world,
            network,
            options,
            machines,
            complaints: Mutex::default(),
            healed: Mutex::new(None),
            asker: Mutex::default(),
        })
    }

    /// Whoever executes the statements that faults consist of.
    pub fn set_asker(&self, asker: Asker) {
        *self.asker.lock() = Some(asker);
    }

    fn ask(&self, fault: &Fault) {
        if let Some(asker) = &*self.asker.lock() {
            asker(fault);
        }
    }

    /// How many machines there are.
    pub fn len(&self) -> u32 {
        self.machines.len() as u32
    }

    /// Whether there is none; never.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    fn machine(&self, number: u32) -> &Machine {
        &self.machines[number as usize]
    }

    fn host(&self, number: u32) -> HostId {
        self.machine(number).host
    }

    fn disk(&self, number: u32) -> &SimDisk {
        &self.machine(number).disk
    }

    fn address(number: u32) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number as u8 + 1], 7000))
    }

    fn seeds(&self) -> Vec<SocketAddr> {
        (0..SEEDS.min(self.options.nodes)).map(Cluster::address).collect()
    }

    /// The node that runs on a machine.
    pub fn running(&self, number: u32) -> Option<Running> {
        let machine = self.machine(number);
        let (process, node) = machine.node.lock().clone()?;
        self.world.is_running(machine.host, process).then_some(Running { node, host: machine.host, process })
    }

    /// All nodes that run.
    pub fn running_all(&self) -> Vec<Running> {
        (0..self.len()).filter_map(|number| self.running(number)).collect()
    }

    /// Machines that should run a node.
    pub fn wanted(&self) -> Vec<u32> {
        (0..self.len()).filter(|number| *self.machine(*number).wanted.lock()).collect()
    }

    /// A machine is not to run a node any more.
    fn give_up(&self, number: u32) {
        *self.machine(number).wanted.lock() = false;
        *self.machine(number).given_up.lock() = true;
    }

    /// Machines that lost synced data.
    pub fn disks_lost(&self) -> usize {
        self.machines.iter().filter(|machine| *machine.damaged.lock()).count()
    }

    /// Starts a node after a while, unless one runs by then.
    pub fn start_later(self: &Arc<Self>, number: u32, delay: Nanos) {
        let cluster = self.clone();
        self.world.after(delay, move || cluster.start(number));
    }

    /// The process on a machine is gone, whatever the reason; its power or only itself.
    fn bury(&self, number: u32, power: bool) {
        let machine = self.machine(number);
        self.world.end_process(machine.host);
        self.network.host_down(machine.host);
        if power || machine.disk.fs().is_stopped() {
            machine.disk.lose_power();
        } else {
            machine.disk.lose_process();
        }
        let node = machine.node.lock().take();
        drop(node);
        *machine.buried.lock() = true;
    }

    /// Ends the process of a machine, if one runs.
    fn crash(&self, number: u32, power: bool) -> bool {
        let is_up = self.world.is_up(self.host(number));
        if is_up {
            self.bury(number, power);
        }
        is_up
    }

    /// Looks after processes that end by themselves: their machines start them again.
    pub async fn undertaker(self: Arc<Self>) {
        loop {
            let death = self.world.death().await;
            let Some(number) = self.machines.iter().position(|m| m.host == death.host) else { continue };
            let number = number as u32;
            tracing::info!(machine = number, reason = death.reason, "process ended");
            self.bury(number, false);
            let pause = if self.is_healed() { 500 * MILLISECOND } else { 2 * SECOND };
            self.start_later(number, pause);
        }
    }

    /// From now on failures of nodes are violations.
    fn set_healed(&self) {
        *self.healed.lock() = Some(self.world.now());
    }

    fn is_healed(&self) -> bool {
        self.healed_at().is_some()
    }

    /// When faults ended.
    pub fn healed_at(&self) -> Option<Nanos> {
        *self.healed.lock()
    }

    fn complain(&self, message: String) {
        let mut complaints = self.complaints.lock();
        if complaints.len() < 10 {
            complaints.push(Violation { rule: Rule::NodeHealth, message });
        }
    }

    /// What nodes did that no node should.
    pub fn take_complaints(&self) -> Vec<Violation> {
        std::mem::take(&mut self.complaints.lock())
    }

    /// Ends everything.
    pub fn close(&self) {
        *self.asker.lock() = None;
        for machine in &self.machines {
            let node = machine.node.lock().take();
            drop(node);
        }
        self.world.close();
    }
}
