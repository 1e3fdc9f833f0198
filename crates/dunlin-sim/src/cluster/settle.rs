//! Waiting for the cluster to be whole: at the start, and after healing.

use super::{Cluster, Running};
use crate::executor::{MILLISECOND, Nanos, SECOND};
use crate::oracle::{Rule, Violation};
use crate::workload::unpadded;
use bytes::Bytes;
use dunlin_server::client::Readiness;
use dunlin_types::{HostId as NodeId, Key, Micros, Record, TableId, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A stopped node has ended what it was doing after so long: the longest a request of another node may take.
const STOP_WITHIN: Nanos = 30 * SECOND;

/// Why the cluster is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// Which promise that breaks if it stays so.
    pub rule: Rule,
    /// What is missing.
    pub message: String,
}

fn unsettled<T>(rule: Rule, message: String) -> Result<T, Unsettled> {
    Err(Unsettled { rule, message })
}

/// The record of each key, one for all replicas.
pub type Records = BTreeMap<Key, Option<Record>>;

impl Cluster {
    /// Ends all faults and starts all nodes.
    pub fn heal(self: &Arc<Self>) {
        self.set_healed();
        self.world.note("healed", &[]);
        self.world.set_buggify(false);
        self.network.heal();
        for number in 0..self.len() {
            let host = self.host(number);
            self.world.set_poll_cost(host, 0);
            self.world.set_drift(host, 0);
            self.world.set_wall_offset(host, 0);
            self.disk(number).heal();
        }
        for number in self.wanted() {
            self.restart_read_only(number);
            self.start_later(number, MILLISECOND);
        }
    }

    /// Waits until every wanted node serves clients, sees all others, and one layout of all is active.
    pub async fn whole(self: &Arc<Self>, within: Nanos) -> Result<Vec<Running>, Unsettled> {
        self.until(within, || self.is_whole()).await
    }

    /// Waits until, besides, no hints are left and all replicas hold the same records of these keys.
    pub async fn converged(
        self: &Arc<Self>,
        within: Nanos,
        table: (&str, &str),
        keys: &[Key],
    ) -> Result<Records, Unsettled> {
        let deadline = self.world.now() + within;
        loop {
            let state = match self.is_whole().and_then(|nodes| hints_are_empty(&nodes).map(|()| nodes)) {
                Ok(nodes) => equal_records(&nodes, table, keys, self.options.bends_clocks()).await,
                Err(reason) => Err(reason),
            };
            match state {
                Err(_) if self.world.now() < deadline => self.world.sleep(SECOND / 2).await,
                state => return state,
            }
        }
    }

    /// Stops every node in order. Nothing of it may run on.
    pub async fn stop_all(self: &Arc<Self>) -> Result<(), Violation> {
        for number in self.wanted() {
            let Some(running) = self.running(number) else { continue };
            account_for_hints(&running)?;
            let Running { node, host, process } = running;
            let stop = async move { node.stop().await };
            let stopping = self.world.spawn(host, "clean stop", Box::pin(stop));
            let deadline = self.world.now() + STOP_WITHIN;
            let ended = || self.world.is_finished(stopping) && self.world.task_names(host).is_empty();
            while !ended() && self.world.now() < deadline {
                self.world.sleep(100 * MILLISECOND).await;
            }
            let left = self.world.task_names(host);
            if !left.is_empty() && self.world.is_running(host, process) {
                let message = format!("n{} was stopped, and these tasks run on: {left:?}", number + 1);
                return Err(Violation { rule: Rule::TaskLeaked, message });
            }
            self.crash(number, false);
            *self.machine(number).wanted.lock() = false;
        }
        Ok(())
    }

    async fn until<T>(
        self: &Arc<Self>,
        within: Nanos,
        check: impl Fn() -> Result<T, Unsettled>,
    ) -> Result<T, Unsettled> {
        let deadline = self.world.now() + within;
        loop {
            match check() {
                Err(_) if self.world.now() < deadline => self.world.sleep(100 * MILLISECOND).await,
                state => return state,
            }
        }
    }

    /// Switches off nodes that have left: all others have forgotten them, and they have nothing to give.
    fn retire(&self) {
        let leaving: Vec<u32> =
            self.wanted().into_iter().filter(|n| *self.machine(*n).leaving.lock()).collect();
        for number in leaving {
            let Some(running) = self.running(number) else { continue };
            let me = running.node.host();
            let others = self.wanted().into_iter().filter(|other| *other != number);
            let forgotten = others
                .filter_map(|other| self.running(other))
                .all(|other| other.node.view().layouts.iter().all(|layout| !layout.contains(me)));
            if forgotten && running.node.hints.count() == 0 {
                self.world.note("decommission ended", &[u64::from(number)]);
                self.crash(number, false);
                self.give_up(number);
            }
        }
    }

    fn is_whole(&self) -> Result<Vec<Running>, Unsettled> {
        self.retire();
        let mut nodes = Vec::new();
        for number in self.wanted() {
            let name = number + 1;
            let Some(running) = self.running(number) else {
                return unsettled(Rule::NotHealed, format!("n{name} does not run"));
            };
            if running.node.readiness() != Readiness::Ready {
                let why = running.node.not_ready().unwrap_or_default();
                return unsettled(Rule::NotHealed, format!("n{name} is not ready: {why}"));
            }
            if *self.machine(number).to_scrub.lock() {
                return unsettled(Rule::NotHealed, format!("n{name} has yet to be scrubbed"));
            }
            if !running.node.lost.all().is_empty() {
                return unsettled(Rule::NotHealed, format!("n{name} still lacks data that it lost"));
            }
            if let Some(reason) = running.node.store.engine().failure() {
                return unsettled(Rule::NotHealed, format!("n{name} takes no writes: {reason}"));
            }
            nodes.push(running);
        }
        let everybody: BTreeSet<NodeId> = nodes.iter().map(|running| running.node.host()).collect();
        for running in &nodes {
            let (view, name) = (running.node.view(), &running.node.config.node.name);
            let missing: Vec<String> =
                everybody.iter().filter(|host| !view.is_alive(**host)).map(ToString::to_string).collect();
            if !missing.is_empty() {
                return unsettled(Rule::NotHealed, format!("{name} does not see {}", missing.join(", ")));
            }
            let versions: Vec<u64> = view.layouts.iter().map(|layout| layout.version).collect();
            let [layout] = &view.layouts[..] else {
                return unsettled(Rule::NotHealed, format!("{name} has active layouts {versions:?}"));
            };
            let members: BTreeSet<NodeId> = layout.members.iter().map(|member| member.host).collect();
            if members != everybody {
                let message =
                    format!("layout {versions:?} of {name} has members {members:?} of {everybody:?}");
                return unsettled(Rule::NotHealed, message);
            }
        }
        Ok(nodes)
    }
}

/// Every hint that was kept and is not there any more was delivered, given to another node, or dropped by a rule.
fn account_for_hints(running: &Running) -> Result<(), Violation> {
    for stats in running.node.hints.stats() {
        if !stats.is_accounted_for() {
            let name = &running.node.config.node.name;
            let message = format!("{name} cannot account for its hints: {stats:?}");
            return Err(Violation { rule: Rule::HintUnaccounted, message });
        }
    }
    Ok(())
}

fn hints_are_empty(nodes: &[Running]) -> Result<(), Unsettled> {
    for running in nodes {
        let hints = running.node.hints.count();
        if hints > 0 {
            let name = &running.node.config.node.name;
            return unsettled(Rule::NotHealed, format!("{name} still has {hints} hints"));
        }
    }
    Ok(())
}

/// Compares the stores of the replicas of each key, byte for byte.
async fn equal_records(
    nodes: &[Running],
    (keyspace, table): (&str, &str),
    keys: &[Key],
    clocks_bent: bool,
) -> Result<Records, Unsettled> {
    let mut records = Records::new();
    for key in keys {
        let view = nodes[0].node.view();
        let Some(def) = view.schema.table(keyspace, table) else {
            return unsettled(Rule::NotHealed, "the table is gone".to_owned());
        };
        let id: TableId = def.id;
        let (Some(table_view), Some(layout)) = (view.table(id), view.read_layout()) else {
            return unsettled(Rule::NotHealed, "the table has no view".to_owned());
        };
        let token = layout.token(key);
        let grace_us = u64::from(def.gc_grace_s) * 1_000_000;
        // Where clocks were wrong, one replica may have forgotten what is of the future for another.
        let old = match clocks_bent {
            true => u64::MAX,
            false => nodes[0].node.runtime.wall().0.saturating_sub(grace_us),
        };
        let replicas = view.replicas(table_view, token);
        let mut first: Option<(String, Option<Record>, Bytes)> = None;
        for host in &replicas.hosts {
            let Some(running) = nodes.iter().find(|running| running.node.host() == *host) else {
                return unsettled(Rule::NotHealed, format!("replica {host} of {key:?} is no member"));
            };
            let name = running.node.config.node.name.clone();
            let record = match running.node.store.get(id, token, key.clone()).await {
                Ok(record) => record,
                Err(error) => {
                    return unsettled(Rule::NotHealed, format!("{name} cannot read {key:?}: {error}"));
                }
            };
            let bytes = record.as_ref().map(Record::to_bytes).unwrap_or_default();
            match &first {
                Some((_, theirs, _))
                    if is_forgettable(theirs.as_ref(), old) && is_forgettable(record.as_ref(), old) => {}
                Some((other, theirs, their_bytes)) if *their_bytes != bytes => {
                    let (theirs, ours) = (show(theirs.as_ref()), show(record.as_ref()));
                    let message = format!("{key:?} on {other}: {theirs}; on {name}: {ours}");
                    return unsettled(Rule::Divergence, message);
                }
                Some(_) => {}
                None => first = Some((name, record, bytes)),
            }
        }
        records.insert(key.clone(), first.and_then(|(_, record, _)| record));
    }
    Ok(records)
}

/// Whether one replica may have forgotten a record that another still holds: nothing of it is to be seen, and it
/// was so at `old` already.
fn is_forgettable(record: Option<&Record>, old: u64) -> bool {
    record.is_none_or(|record| record.written_max().0 < old && record.visible(Micros(old)).is_empty())
}

/// A record without the padding of its values.
fn show(record: Option<&Record>) -> String {
    match record {
        None => "nothing".to_owned(),
        Some(Record::Siblings(set)) => {
            let values = set.values().iter().map(|(dot, value)| (dot, show_value(value)));
            format!("{:?} seen {:?}", values.collect::<Vec<_>>(), set.seen())
        }
        Some(Record::Latest(latest)) => format!("{} of {}", show_value(&latest.value), latest.host),
    }
}

fn show_value(value: &Value) -> String {
    let data = value.data.as_deref().map(|data| unpadded(&String::from_utf8_lossy(data)));
    format!("{} at {}", data.as_deref().unwrap_or("deleted"), value.written.0)
}
