//! Faults as they strike, and as they are undone.

use super::Cluster;
use crate::executor::{Nanos, SECOND};
use crate::fault::{Fault, Planned};
use crate::network::Link;
use std::sync::Arc;

impl Cluster {
    /// Lets the planned faults strike, each at its time after now.
    pub fn strike_all(self: &Arc<Self>, plan: &[Planned]) {
        for Planned { at, fault } in plan.iter().cloned() {
            let cluster = self.clone();
            self.world.after(at, move || {
                if !cluster.is_healed() {
                    tracing::info!(?fault, "fault");
                    cluster.strike(fault);
                }
            });
        }
    }

    fn strike(self: &Arc<Self>, fault: Fault) {
        self.world.note(name(&fault), &[]);
        match fault {
            Fault::Power { machine, lasts } => self.crash_for(machine, true, lasts),
            Fault::Kill { machine, lasts } => self.crash_for(machine, false, lasts),
            Fault::PowerAll { lasts } => {
                for machine in self.wanted() {
                    self.crash_for(machine, true, lasts + u64::from(machine) * SECOND / 5);
                }
            }
            Fault::CleanRestart { machine, lasts } => self.restart_cleanly(machine, lasts),
            Fault::PowerAtOperation { machine, operations_max } => {
                self.disk(machine).stop_soon(operations_max)
            }
            Fault::FailedSync { machine, syncs, lasts } => {
                self.disk(machine).fail_syncs(syncs);
                self.undo(lasts, move |cluster| cluster.restart_read_only(machine));
            }
            Fault::SlowDisk { machine, cost, lasts } => {
                self.disk(machine).set_sync_cost(cost);
                self.undo(lasts, move |cluster| cluster.disk(machine).set_sync_cost(0));
            }
            Fault::FullDisk { machine, room, lasts } => {
                self.disk(machine).set_room(Some(room));
                self.undo(lasts, move |cluster| {
                    cluster.disk(machine).set_room(None);
                    cluster.restart_read_only(machine);
                });
            }
            Fault::SlowNode { machine, cost, lasts } => {
                self.world.set_poll_cost(self.host(machine), cost);
                self.undo(lasts, move |cluster| cluster.world.set_poll_cost(cluster.host(machine), 0));
            }
            Fault::Pause { machine, lasts } => self.world.pause(self.host(machine), lasts),
            Fault::ClockJump { machine, micros } => self.world.set_wall_offset(self.host(machine), micros),
            Fault::ClockDrift { machine, ppm } => self.world.set_drift(self.host(machine), ppm),
            Fault::Join { machine } => self.start(machine),
            Fault::Leave { machine } => self.decommission(machine),
            Fault::Remove { machine } => self.lose(machine),
            Fault::Wipe { machine } => self.wipe(machine),
            Fault::Restore { machine, after, lasts } => self.restore(machine, after, lasts),
            Fault::FlipLog { machine, power, lasts } => self.flip_log(machine, power, lasts),
            Fault::FlipTable { machine, lasts } => self.flip_table(machine, lasts),
            Fault::Compact { machines } => {
                let chosen = (0..self.len()).filter(|machine| machines >> machine & 1 == 1);
                chosen.for_each(|machine| self.compact(machine));
            }
            // What clients and operators do beside the workload; see `crate::workload`.
            Fault::Schema { .. } | Fault::Burst { .. } => self.ask(&fault),
            network => self.strike_network(network),
        }
    }

    fn strike_network(self: &Arc<Self>, fault: Fault) {
        match fault {
            Fault::Split { group, lasts } => {
                let side = |machine: u32| group >> machine & 1;
                self.block_for(lasts, |from, to| side(from) != side(to));
            }
            Fault::OneWay { from: a, to: b, lasts } => {
                self.block_for(lasts, |from, to| (from, to) == (a, b));
            }
            Fault::Cut { a, b, lasts } => {
                self.block_for(lasts, |from, to| (from, to) == (a, b) || (from, to) == (b, a));
            }
            Fault::Isolate { machine, lasts } => {
                self.block_for(lasts, |from, to| from == machine || to == machine);
            }
            Fault::Loss { machine, percent, lasts } => {
                let loss = percent as f64 / 100.0;
                self.bend_for(machine, lasts, move |link, on| link.loss = if on { loss } else { 0.0 });
            }
            Fault::Delay { machine, delay, lasts } => {
                self.bend_for(machine, lasts, move |link, on| link.extra_delay = if on { delay } else { 0 });
            }
            _ => {}
        }
    }

    pub(super) fn undo(self: &Arc<Self>, after: Nanos, undo: impl FnOnce(&Arc<Cluster>) + Send + 'static) {
        let cluster = self.clone();
        self.world.after(after, move || {
            // Healing has undone everything already.
            if !cluster.is_healed() {
                undo(&cluster);
            }
        });
    }

    pub(super) fn crash_for(self: &Arc<Self>, machine: u32, power: bool, lasts: Nanos) {
        if self.crash(machine, power) {
            self.start_later(machine, lasts);
        }
    }

    /// A node that takes no writes any more is started again, as an operator would.
    pub(super) fn restart_read_only(self: &Arc<Self>, machine: u32) {
        let failed = self.running(machine).is_some_and(|r| r.node.store.engine().failure().is_some());
        if failed {
            self.world.note("restarted after a failed sync", &[u64::from(machine)]);
            self.crash_for(machine, false, SECOND / 2);
        }
    }

    fn restart_cleanly(self: &Arc<Self>, machine: u32, lasts: Nanos) {
        let Some(running) = self.running(machine) else { return };
        let cluster = self.clone();
        let stop = async move {
            running.node.stop().await;
            if !cluster.world.is_running(running.host, running.process) {
                return;
            }
            let after = cluster.clone();
            // Ending a process from within its own task would drop the task while it runs.
            cluster.world.after(0, move || {
                if after.world.is_running(running.host, running.process) {
                    after.world.note("stopped cleanly", &[u64::from(machine)]);
                    // Whatever a clean stop leaves behind is durable.
                    after.crash_for(machine, true, lasts);
                }
            });
        };
        self.world.spawn(self.host(machine), "clean stop", Box::pin(stop));
    }

    /// Asks a node to leave. If it does not run now, it stays.
    fn decommission(&self, machine: u32) {
        let Some(running) = self.running(machine) else { return };
        match running.node.membership.decommission() {
            Ok(()) => {
                *self.machine(machine).leaving.lock() = true;
                self.world.note("decommission began", &[u64::from(machine)]);
            }
            Err(error) => tracing::info!(machine, %error, "cannot leave"),
        }
    }

    /// Blocks the chosen directions for a while.
    fn block_for(self: &Arc<Self>, lasts: Nanos, chosen: impl Fn(u32, u32) -> bool) {
        let paths: Vec<(u32, u32)> = (0..self.len())
            .flat_map(|from| (0..self.len()).map(move |to| (from, to)))
            .filter(|(from, to)| from != to && chosen(*from, *to))
            .collect();
        for (from, to) in &paths {
            self.network.block(self.host(*from), self.host(*to));
        }
        self.undo(lasts, move |cluster| {
            for (from, to) in paths {
                cluster.network.unblock(cluster.host(from), cluster.host(to));
            }
        });
    }

    /// Changes every path from and to a machine for a while.
    fn bend_for(
        self: &Arc<Self>,
        machine: u32,
        lasts: Nanos,
        change: impl Fn(&mut Link, bool) + Send + Copy + 'static,
    ) {
        self.bend(machine, |link| change(link, true));
        self.undo(lasts, move |cluster| cluster.bend(machine, |link| change(link, false)));
    }

    fn bend(&self, machine: u32, change: impl Fn(&mut Link)) {
        for other in (0..self.len()).filter(|other| *other != machine) {
            self.network.change_link(self.host(machine), self.host(other), &change);
            self.network.change_link(self.host(other), self.host(machine), &change);
        }
    }
}

/// What the coverage counts.
fn name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Power { .. } => "fault power",
        Fault::Kill { .. } => "fault kill",
        Fault::PowerAll { .. } => "fault power-all",
        Fault::CleanRestart { .. } => "fault clean-restart",
        Fault::PowerAtOperation { .. } => "fault power-at-operation",
        Fault::FailedSync { .. } => "fault failed-sync",
        Fault::SlowDisk { .. } => "fault slow-disk",
        Fault::FullDisk { .. } => "fault full-disk",
        Fault::Split { .. } => "fault split",
        Fault::OneWay { .. } => "fault one-way",
        Fault::Cut { .. } => "fault cut",
        Fault::Isolate { .. } => "fault isolate",
        Fault::Loss { .. } => "fault loss",
        Fault::Delay { .. } => "fault delay",
        Fault::SlowNode { .. } => "fault slow-node",
        Fault::Pause { .. } => "fault pause",
        Fault::ClockJump { .. } => "fault clock-jump",
        Fault::ClockDrift { .. } => "fault clock-drift",
        Fault::Join { .. } => "fault join",
        Fault::Leave { .. } => "fault leave",
        Fault::Remove { .. } => "fault remove",
        Fault::Wipe { .. } => "fault wipe",
        Fault::Restore { .. } => "fault restore",
        Fault::FlipLog { .. } => "fault flip-log",
        Fault::FlipTable { .. } => "fault flip-table",
        Fault::Schema { .. } => "fault schema",
        Fault::Burst { .. } => "fault burst",
        Fault::Compact { .. } => "fault compact",
    }
}
