//! [`SimRuntime`]: the runtime doors of a node, standing on the simulated world.

use crate::executor::{HostId, SpawnedTask, World};
use dunlin_types::runtime::{BoxFuture, Clock, PlantedBug, Rng, Runtime, TaskControl, TaskHandle};
use dunlin_types::{Micros, Mono};
use std::sync::Arc;
use std::time::Duration;

/// Events whose numbers oracles look at.
const RECORDED: [&str; 1] = ["repair_exchange"];

/// The doors of one process on one machine. Once that process has ended they lead nowhere: nothing is
/// spawned, sleeps do not end, events are not heard.
pub struct SimRuntime {
    world: Arc<World>,
    host: HostId,
    process: u32,
}

impl SimRuntime {
    /// Doors for the process that [`World::start_process`] has started.
    pub fn new(world: Arc<World>, host: HostId, process: u32) -> Arc<SimRuntime> {
        Arc::new(SimRuntime { world, host, process })
    }

    fn is_running(&self) -> bool {
        self.world.is_running(self.host, self.process)
    }
}

impl Clock for SimRuntime {
    fn mono(&self) -> Mono {
        Mono(self.world.mono(self.host))
    }

    fn wall(&self) -> Micros {
        Micros(self.world.wall_micros(self.host))
    }
}

impl Rng for SimRuntime {
    fn random(&self) -> u64 {
        self.world.random(self.host)
    }
}

impl Runtime for SimRuntime {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Box::pin(self.world.sleep_on(self.host, nanos))
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> TaskHandle {
        let task = self.is_running().then(|| self.world.spawn(self.host, name, future));
        Box::new(SimTask { world: self.world.clone(), task })
    }

    fn die(&self, reason: &str) {
        if self.is_running() {
            self.world.note("process died by itself", &[u64::from(self.host.0)]);
            self.world.condemn(self.host, reason);
        }
    }

    fn event(&self, kind: &'static str, a: u64, b: u64) {
        if self.is_running() {
            self.world.note(kind, &[u64::from(self.host.0), a, b]);
            if RECORDED.contains(&kind) {
                self.world.record(kind, a, b);
            }
        }
    }

    fn buggify(&self, point: &'static str) -> bool {
        self.world.buggify(point)
    }

    fn planted(&self, bug: PlantedBug) -> bool {
        self.world.planted() == Some(bug)
    }
}

struct SimTask {
    world: Arc<World>,
    task: Option<SpawnedTask>,
}

impl TaskControl for SimTask {
    fn abort(&self) {
        if let Some(task) = self.task {
            self.world.abort(task);
        }
    }

    fn is_finished(&self) -> bool {
        self.task.is_none_or(|task| self.world.is_finished(task))
    }
}
