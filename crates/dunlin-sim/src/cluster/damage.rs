//! Disks that lose what was synced, and what operators do about it.

use super::Cluster;
use crate::executor::{Nanos, SECOND};
use dunlin_server::AdminDoor;
use dunlin_server::admin::{AdminBackend, Params};
use dunlin_storage::fs::{Fs, replace_file};
use dunlin_storage::snapshot::{self, RESTORED};
use dunlin_storage::{EngineOptions, scrub_log};
use dunlin_types::{HostId as NodeId, Micros};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The snapshot that is gone back to.
const SNAPSHOT: &str = "sim";

impl Cluster {
    /// A machine is gone for good.
    pub(super) fn lose(self: &Arc<Self>, machine: u32) {
        let Some(running) = self.running(machine) else { return };
        let host = running.node.host();
        drop(running);
        self.mark_damaged(machine);
        self.crash(machine, true);
        self.give_up(machine);
        self.take_out(machine, host);
    }

    /// A machine gets a new, empty disk. Its old node has to be taken out before the new one, of the same name,
    /// may join.
    pub(super) fn wipe(self: &Arc<Self>, machine: u32) {
        let Some(running) = self.running(machine) else { return };
        let host = running.node.host();
        drop(running);
        self.mark_damaged(machine);
        self.crash(machine, true);
        self.disk(machine).fs().wipe();
        self.start_later(machine, SECOND);
        self.take_out(machine, host);
    }

    /// Nodes are told that one of them is gone for good until they agree that it is down.
    fn take_out(self: &Arc<Self>, machine: u32, gone: NodeId) {
        let cluster = self.clone();
        self.world.drive("operator", async move {
            loop {
                cluster.world.sleep(SECOND).await;
                let others = cluster.wanted().into_iter().filter(|other| *other != machine);
                let told = others
                    .filter_map(|number| cluster.running(number))
                    .any(|running| running.node.membership.remove(gone, false).is_ok());
                if told {
                    return cluster.world.note("removal began", &[u64::from(machine)]);
                }
            }
        });
    }

    /// Takes a snapshot now, and goes back to it later.
    pub(super) fn restore(self: &Arc<Self>, machine: u32, after: Nanos, lasts: Nanos) {
        let Some(running) = self.running(machine) else { return };
        let now = Micros(self.world.wall_micros(running.host));
        // One of an earlier fault is given up.
        let _ = running.node.store.engine().clear_snapshot(SNAPSHOT);
        if let Err(error) = running.node.store.engine().snapshot(SNAPSHOT, now) {
            return tracing::info!(machine, %error, "no snapshot");
        }
        drop(running);
        self.undo(after, move |cluster| {
            if !cluster.crash(machine, false) {
                return;
            }
            // One that fails halfway is ended by the next start.
            cluster.mark_damaged(machine);
            match snapshot::restore(cluster.disk(machine).fs(), SNAPSHOT) {
                Ok(_) => cluster.world.note("went back to a snapshot", &[u64::from(machine)]),
                Err(error) => {
                    tracing::info!(machine, %error, "not restored");
                    cluster.end_power_loss(machine);
                }
            }
            cluster.start_later(machine, lasts);
        });
    }

    /// As `nodetool flush` and `nodetool compact`.
    pub(super) fn compact(&self, machine: u32) {
        let Some(running) = self.running(machine) else { return };
        let engine = running.node.store.engine();
        match engine.flush(None).and_then(|()| engine.compact(None)) {
            Ok(()) => self.world.note("compacted", &[u64::from(machine)]),
            Err(error) => tracing::info!(machine, %error, "not compacted"),
        }
    }

    /// A process ends and a bit of its log changes.
    pub(super) fn flip_log(self: &Arc<Self>, machine: u32, power: bool, lasts: Nanos) {
        if !self.crash(machine, power) {
            return;
        }
        let is_segment = |path: &str| path.starts_with("commitlog/") && path.ends_with(".log");
        if self.flip(machine, is_segment) {
            *self.machine(machine).log_flipped.lock() = true;
        }
        self.start_later(machine, lasts);
    }

    /// A bit of an SSTable changes. Some time later somebody has the node look for damage.
    pub(super) fn flip_table(self: &Arc<Self>, machine: u32, lasts: Nanos) {
        let Some(running) = self.running(machine) else { return };
        if let Err(error) = running.node.store.engine().flush(None) {
            tracing::info!(machine, %error, "not flushed");
        }
        if !self.flip(machine, |path| path.ends_with(".sst")) {
            return;
        }
        *self.machine(machine).to_scrub.lock() = true;
        let cluster = self.clone();
        self.world.drive("operator", async move {
            cluster.world.sleep(lasts).await;
            while !cluster.scrub_tables(machine).await {
                cluster.world.sleep(SECOND).await;
            }
            *cluster.machine(machine).to_scrub.lock() = false;
            cluster.world.note("tables scrubbed", &[u64::from(machine)]);
        });
    }

    fn flip(&self, machine: u32, wanted: impl Fn(&str) -> bool) -> bool {
        let flipped = self.disk(machine).flip_bit(|path| wanted(path) && !path.starts_with("snapshots/"));
        if flipped {
            self.mark_damaged(machine);
            self.world.note("bit flipped", &[u64::from(machine)]);
        }
        flipped
    }

    /// As `nodetool scrub` on a running node. Whether it came to its end and nothing damaged is left.
    async fn scrub_tables(&self, machine: u32) -> bool {
        if *self.machine(machine).given_up.lock() {
            return true;
        }
        let Some(running) = self.running(machine) else { return false };
        let (told, ended) = oneshot::channel();
        let (host, node) = (running.host, running.node);
        let scrub = async move {
            let door = AdminDoor::new(node.clone(), None, None);
            let done = door.act("scrub".to_owned(), Params::new()).await;
            tracing::info!(machine, ?done, "scrub");
            let is_well = |task: Value| task["error"].is_null();
            let clean = node.store.engine().damaged_sstables().is_empty();
            _ = told.send(done.is_ok_and(is_well) && clean);
        };
        self.world.spawn(host, "operator scrubs", Box::pin(scrub));
        ended.await.unwrap_or(false)
    }

    /// As `nodetool scrub` on the directory of a stopped node, if a bit of its log has flipped.
    pub(super) fn mend_log(&self, machine: u32) {
        if !std::mem::take(&mut *self.machine(machine).log_flipped.lock()) {
            return;
        }
        if self.world.planted() == Some(dunlin_types::runtime::PlantedBug::LogUnchecked) {
            return;
        }
        let fs = self.disk(machine).fs();
        let mend = || -> Result<bool, Box<dyn std::error::Error>> {
            let marked = fs.list("")?.iter().any(|entry| entry.name == RESTORED);
            replace_file(fs, RESTORED, b"scrub")?;
            let found = scrub_log(fs, &EngineOptions::small())?;
            if !found.synced_lost && !marked {
                fs.remove(RESTORED)?;
                fs.sync_dir("")?;
            }
            Ok(found.synced_lost)
        };
        match mend() {
            Ok(true) => self.world.note("log mended, data lost", &[u64::from(machine)]),
            Ok(false) => self.world.note("log mended", &[u64::from(machine)]),
            Err(error) => {
                // The disk fails just now; the node will not start either, and then it is tried again.
                tracing::info!(machine, %error, "the log cannot be mended yet");
                *self.machine(machine).log_flipped.lock() = true;
                self.end_power_loss(machine);
                if self.is_healed() {
                    self.complain(format!("the log of n{} cannot be mended: {error}", machine + 1));
                }
            }
        }
    }

    /// The power may have gone while an operator worked on the disk of a stopped node.
    fn end_power_loss(&self, machine: u32) {
        if self.disk(machine).fs().is_stopped() {
            self.disk(machine).lose_power();
        }
    }

    fn mark_damaged(&self, machine: u32) {
        *self.machine(machine).damaged.lock() = true;
    }
}
