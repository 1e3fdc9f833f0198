//! The plan of faults of a run: when what strikes whom.

use crate::executor::{MILLISECOND, Nanos, SECOND};
use crate::options::Options;
use crate::random::{Purpose, Stream};

/// Kinds of faults, as reports name them. [`Options::fault_kinds`] chooses among them.
pub const KINDS: [&str; 28] = [
    "power",
    "kill",
    "power-all",
    "clean-restart",
    "power-at-operation",
    "failed-sync",
    "slow-disk",
    "full-disk",
    "split",
    "one-way",
    "cut",
    "isolate",
    "loss",
    "delay",
    "slow-node",
    "pause",
    "clock-jump",
    "clock-drift",
    "join",
    "leave",
    "remove",
    "wipe",
    "restore",
    "flip-log",
    "flip-table",
    "schema",
    "burst",
    "compact",
];

/// Kinds that take synced data from a machine. All of a run strike the same one: what every copy of lost cannot be
/// kept by anything.
const DAMAGE: [&str; 5] = ["remove", "wipe", "restore", "flip-log", "flip-table"];

#[allow(missing_docs, reason = "the fields say what they are; units are those of their types")]
/// One fault. Machines are named by their number, from 0. `lasts` is the time until it is undone.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The power goes: unsynced writes may be lost.
    Power { machine: u32, lasts: Nanos },
    /// The process is killed; the system goes on.
    Kill { machine: u32, lasts: Nanos },
    /// The power goes everywhere.
    PowerAll { lasts: Nanos },
    /// The node is stopped in order and started again.
    CleanRestart { machine: u32, lasts: Nanos },
    /// The power goes at one of the next file operations.
    PowerAtOperation { machine: u32, operations_max: u64 },
    /// The next syncs fail; the process is started anew a little later.
    FailedSync { machine: u32, syncs: u32, lasts: Nanos },
    /// Every sync takes long.
    SlowDisk { machine: u32, cost: Nanos, lasts: Nanos },
    /// Little room is left.
    FullDisk { machine: u32, room: u64, lasts: Nanos },
    /// Two groups do not hear each other; the bits choose who is in which.
    Split { group: u32, lasts: Nanos },
    /// One machine does not hear another one.
    OneWay { from: u32, to: u32, lasts: Nanos },
    /// Two machines do not hear each other.
    Cut { a: u32, b: u32, lasts: Nanos },
    /// A machine hears nobody and nobody hears it.
    Isolate { machine: u32, lasts: Nanos },
    /// Messages of a machine get lost.
    Loss { machine: u32, percent: u64, lasts: Nanos },
    /// Messages of a machine are slow.
    Delay { machine: u32, delay: Nanos, lasts: Nanos },
    /// Everything on a machine takes long.
    SlowNode { machine: u32, cost: Nanos, lasts: Nanos },
    /// A machine stands still.
    Pause { machine: u32, lasts: Nanos },
    /// A wall clock jumps.
    ClockJump { machine: u32, micros: i64 },
    /// Clocks run fast or slow.
    ClockDrift { machine: u32, ppm: i64 },
    /// A new node joins.
    Join { machine: u32 },
    /// A node is decommissioned.
    Leave { machine: u32 },
    /// A machine is lost for good, with its disk; an operator takes its node out of the cluster.
    Remove { machine: u32 },
    /// A machine loses its disk, and starts again with an empty one; an operator takes its old node out.
    Wipe { machine: u32 },
    /// A snapshot is taken; after a while the node is stopped, put back to it, and started.
    Restore { machine: u32, after: Nanos, lasts: Nanos },
    /// The process is killed and a bit of its log flips; an operator mends it before the next start.
    FlipLog { machine: u32, power: bool, lasts: Nanos },
    /// A bit of an SSTable flips; an operator scrubs it some time later.
    FlipTable { machine: u32, lasts: Nanos },
    /// Options of the table change; another table comes and goes.
    Schema { number: u64 },
    /// Operators write all memtables out and compact everything, on the machines whose bit is set.
    Compact { machines: u32 },
    /// Very many statements at once on one node.
    Burst { machine: u32, statements: u64 },
}

impl Fault {
    /// Whether some wall clock is wrong from then on.
    pub fn bends_clocks(&self) -> bool {
        matches!(self, Fault::ClockJump { .. } | Fault::ClockDrift { .. })
    }
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// After the start of the workload.
    pub at: Nanos,
    /// What.
    pub fault: Fault,
}

/// Draws the plan.
pub fn plan(options: &Options) -> Vec<Planned> {
    let mut chance = Stream::new(options.seed, Purpose::Faults);
    let mut planned: Vec<Planned> = Vec::new();
    let (mut joined, mut left) = (0, false);
    let damaged = chance.below(u64::from(options.nodes)) as u32;
    for _ in 0..options.faults {
        if options.fault_kinds.is_empty() {
            break;
        }
        let at = chance.below(options.duration);
        let kind = KINDS[chance.pick(&options.fault_kinds)];
        let fault = draw(options, kind, damaged, &mut chance);
        match fault {
            // Nothing but other copies can bring back what a disk has lost.
            _ if DAMAGE.contains(&kind) && options.replication_factor.min(options.nodes) < 2 => continue,
            Fault::Join { .. } if joined == options.joiners => continue,
            Fault::Join { .. } => {
                planned.push(Planned { at, fault: Fault::Join { machine: options.nodes + joined } });
                joined += 1;
            }
            // Enough nodes must be left for every copy.
            Fault::Leave { .. } | Fault::Remove { .. } | Fault::Wipe { .. }
                if left || options.nodes <= options.replication_factor.max(3) =>
            {
                continue;
            }
            fault => {
                left |= matches!(fault, Fault::Leave { .. } | Fault::Remove { .. } | Fault::Wipe { .. });
                planned.push(Planned { at, fault });
            }
        }
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

fn draw(options: &Options, kind: &str, damaged: u32, chance: &mut Stream) -> Fault {
    let machines = u64::from(options.nodes);
    let machine = match chance.below(machines) as u32 {
        _ if DAMAGE.contains(&kind) => damaged,
        any => any,
    };
    let other = (machine + 1 + chance.below(machines - 1) as u32) % options.nodes;
    let lasts = match chance.below(4) {
        0 => chance.between(10 * MILLISECOND, SECOND),
        1 => chance.between(SECOND, 15 * SECOND),
        _ => chance.between(SECOND / 2, 5 * SECOND),
    };
    match kind {
        "power" => Fault::Power { machine, lasts },
        "kill" => Fault::Kill { machine, lasts },
        "power-all" => Fault::PowerAll { lasts: lasts.min(3 * SECOND) },
        "clean-restart" => Fault::CleanRestart { machine, lasts },
        "power-at-operation" => {
            Fault::PowerAtOperation { machine, operations_max: chance.pick(&[5, 50, 500]) }
        }
        "failed-sync" => Fault::FailedSync { machine, syncs: chance.between(1, 3) as u32, lasts },
        "slow-disk" => Fault::SlowDisk { machine, cost: chance.between(1, 400) * MILLISECOND, lasts },
        "full-disk" => Fault::FullDisk { machine, room: chance.below(100_000), lasts },
        "split" => Fault::Split { group: chance.random() as u32, lasts },
        "one-way" => Fault::OneWay { from: machine, to: other, lasts },
        "cut" => Fault::Cut { a: machine, b: other, lasts },
        "isolate" => Fault::Isolate { machine, lasts },
        "loss" => Fault::Loss { machine, percent: chance.between(5, 60), lasts },
        "delay" => Fault::Delay { machine, delay: chance.between(20, 800) * MILLISECOND, lasts },
        "slow-node" => {
            let cost = chance.between(20, 3000) * 1000;
            Fault::SlowNode { machine, cost, lasts }
        }
        "pause" => Fault::Pause { machine, lasts },
        "clock-jump" => {
            let far = chance.pick(&[100_000, 5_000_000, 3_600_000_000u64]);
            Fault::ClockJump { machine, micros: chance.below(2 * far) as i64 - far as i64 }
        }
        "clock-drift" => Fault::ClockDrift { machine, ppm: chance.below(100_000) as i64 - 50_000 },
        "join" => Fault::Join { machine },
        "leave" => Fault::Leave { machine },
        "remove" => Fault::Remove { machine },
        "wipe" => Fault::Wipe { machine },
        "restore" => Fault::Restore { machine, after: chance.between(SECOND / 2, 15 * SECOND), lasts },
        "flip-log" => Fault::FlipLog { machine, power: chance.chance(0.5), lasts },
        "flip-table" => Fault::FlipTable { machine, lasts },
        "schema" => Fault::Schema { number: chance.below(3) },
        "compact" => Fault::Compact { machines: chance.random() as u32 | chance.random() as u32 },
        _ => Fault::Burst { machine, statements: chance.between(50, 400) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_options() {
        let mut kinds = [0; KINDS.len()];
        for seed in 0..200 {
            let options = Options::draw(seed, None);
            assert_eq!(plan(&options), plan(&Options::draw(seed, None)));
            assert!(plan(&options).is_sorted_by_key(|planned| planned.at));
            options.fault_kinds.iter().for_each(|kind| kinds[*kind] += 1);
        }
        assert!(kinds.iter().all(|times| *times > 50), "{kinds:?}");
    }
}
