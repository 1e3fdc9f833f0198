//! The shape of a run, drawn from its seed: every run leaves some faults out and stresses others
//! ("swarm testing", Groce et al. 2012).

use crate::executor::{MICROSECOND, MILLISECOND, Nanos, SECOND};
use crate::fault::KINDS;
use crate::network::Weather;
use crate::oracle::TableMode;
use crate::random::{Purpose, Stream};
use dunlin_types::Consistency;
use dunlin_types::runtime::PlantedBug;

/// A grace period that outlasts every run. With a shorter one a hint may grow too old to be delivered, and a
/// write at level ANY with it.
const KEPT_S: u64 = 864_000;

/// Kinds of faults under which every replica goes on answering, a little late.
const GENTLE: [&str; 4] = ["delay", "slow-node", "clock-jump", "schema"];

/// Kinds of faults under which every coordinator lives to keep its hints.
const HINTS_ENOUGH: [&str; 8] =
    ["split", "one-way", "cut", "isolate", "loss", "delay", "slow-node", "schema"];

/// A level with its weight.
pub type LevelMix = Vec<(Consistency, u64)>;

/// Everything about a run but when which fault strikes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run's seed.
    pub seed: u64,
    /// The bug planted.
    pub planted: Option<PlantedBug>,
    /// Nodes from the start.
    pub nodes: u32,
    /// Nodes that may join later.
    pub joiners: u32,
    /// Copies of each key.
    pub replication_factor: u32,
    /// What the table does with concurrent writes.
    pub mode: TableMode,
    /// Virtual nodes of the ring.
    pub vnodes: u32,
    /// Time in which anti-entropy compares everything once.
    pub repair_interval_s: u64,
    /// Clients.
    pub clients: u32,
    /// Keys in use at one time.
    pub keys: u32,
    /// After so long the keys in use are others.
    pub keys_change_every: Nanos,
    /// Mean pause of a client between two statements.
    pub think_time: Nanos,
    /// Values are padded up to this length.
    pub padding_max: u64,
    /// Levels of writes.
    pub write_levels: LevelMix,
    /// Levels of reads.
    pub read_levels: LevelMix,
    /// Share of writes with contexts that do not wait for syncs.
    pub buffered: f64,
    /// Share of values that expire.
    pub expiring: f64,
    /// Share of writes that carry a request id and are asked for again when nobody knows how they ended.
    pub repeated: f64,
    /// Share of statements that are batches.
    pub batches: f64,
    /// Deletions older than this may be forgotten, seconds.
    pub gc_grace_s: u64,
    /// Beyond that, a margin for clocks and requests under way, seconds.
    pub purge_margin_s: u64,
    /// Requests of other nodes that a node handles at once.
    pub internode_requests: usize,
    /// Share of reads that are of the whole table.
    pub scans: f64,
    /// Share of reads that are followed at once by another one of the same key.
    pub double_reads: f64,
    /// How long clients and faults go on.
    pub duration: Nanos,
    /// The network without faults.
    pub weather: Weather,
    /// Kinds of faults that occur, by their number in [`KINDS`].
    pub fault_kinds: Vec<usize>,
    /// Faults in all.
    pub faults: u64,
    /// Every replica can be asked at any time, and a write is asked for again only when the time before has
    /// certainly arrived: it is never made twice.
    pub gentle: bool,
    /// Other nodes stand in for dead replicas.
    pub sloppy: bool,
    /// No node fails and anti-entropy is off: hints alone make the replicas equal again.
    pub hints_only: bool,
    /// Rare branches are taken.
    pub buggify: bool,
}

impl Options {
    /// Draws a run.
    pub fn draw(seed: u64, planted: Option<PlantedBug>) -> Options {
        let mut chance = Stream::new(seed, Purpose::Options);
        let nodes = chance.between(3, 7) as u32;
        let replication_factor = match chance.below(10) {
            0 => 1,
            1 => 2,
            2 => 5.min(nodes),
            3 => 4.min(nodes),
            _ => 3,
        };
        let mode = if chance.chance(0.25) { TableMode::LastWriteWins } else { TableMode::Siblings };
        let gentle = chance.chance(0.1);
        let hints_only = !gentle && chance.chance(0.1);
        let gc_grace_s = if hints_only { KEPT_S } else { chance.pick(&[0, 1, 3, 10, KEPT_S, KEPT_S]) };
        let duration = chance.between(12, 40) * SECOND;
        let wanted = |kind: &usize| match (gentle, hints_only) {
            (true, _) => GENTLE.contains(&KINDS[*kind]),
            (_, true) => HINTS_ENOUGH.contains(&KINDS[*kind]),
            _ => true,
        };
        Options {
            seed,
            planted,
            nodes,
            joiners: chance.below(3) as u32,
            replication_factor,
            mode,
            vnodes: chance.pick(&[16, 32, 64]),
            repair_interval_s: chance.pick(&[5, 10, 20]) * u64::from(!hints_only),
            clients: chance.between(2, 7) as u32,
            keys: chance.between(3, 13) as u32,
            keys_change_every: chance.between(5, 20) * SECOND,
            think_time: chance.between(20, 250) * MILLISECOND,
            padding_max: chance.pick(&[0, 0, 100, 3000]),
            write_levels: draw_levels(&mut chance, true, gc_grace_s >= KEPT_S),
            read_levels: draw_levels(&mut chance, false, false),
            buffered: chance.pick(&[0.0, 0.0, 0.15]),
            expiring: chance.pick(&[0.0, 0.2]),
            repeated: chance.pick(&[0.0, 0.5]),
            batches: chance.pick(&[0.0, 0.05]),
            gc_grace_s,
            purge_margin_s: chance.pick(&[1, 5]),
            internode_requests: if hints_only { 16_384 } else { chance.pick(&[40, 16_384, 16_384]) },
            scans: chance.pick(&[0.0, 0.05]),
            double_reads: chance.pick(&[0.0, 0.3]),
            duration,
            weather: Weather {
                delay_min: chance.between(100, 2000) * MICROSECOND,
                delay_max: chance.between(3, 150) * MILLISECOND,
                duplication: chance.pick(&[0.0, 0.0, 0.02]),
            },
            fault_kinds: (0..KINDS.len()).filter(|_| chance.chance(0.5)).filter(wanted).collect(),
            // Now and then a storm: recovery has to begin while the next thing breaks.
            faults: chance.between(2, 4 + duration / SECOND / 2) * chance.pick(&[1, 1, 1, 4]),
            gentle,
            hints_only,
            sloppy: gc_grace_s == KEPT_S && chance.chance(0.25),
            buggify: chance.chance(0.7),
        }
    }

    /// Whether wall clocks may be wrong in the run.
    pub fn bends_clocks(&self) -> bool {
        self.fault_kinds.iter().any(|kind| KINDS[*kind].starts_with("clock-"))
    }

    /// One line for the report.
    pub fn summary(&self) -> String {
        let profile = match (self.gentle, self.hints_only) {
            (true, _) => ", gentle",
            (_, true) => ", hints only",
            _ => "",
        };
        let sloppy = if self.sloppy { ", sloppy" } else { "" };
        let kinds: Vec<&str> = self.fault_kinds.iter().map(|kind| KINDS[*kind]).collect();
        format!(
            "{} nodes + {} joining, RF {}, {:?}, {} vnodes, {} clients on {} keys, {} s{profile}{sloppy}, {} faults of [{}]",
            self.nodes,
            self.joiners,
            self.replication_factor,
            self.mode,
            self.vnodes,
            self.clients,
            self.keys,
            self.duration / SECOND,
            self.faults,
            kinds.join(" ")
        )
    }
}

fn draw_levels(chance: &mut Stream, writes: bool, with_any: bool) -> LevelMix {
    use Consistency::{All, Any, LocalQuorum, One, Quorum, Two};
    let mut mix = vec![(Quorum, 10), (One, chance.below(5)), (All, chance.below(3)), (Two, chance.below(2))];
    mix.push((LocalQuorum, chance.below(2)));
    let any = chance.below(2);
    if writes && with_any {
        mix.push((Any, any));
    }
    mix.retain(|(_, weight)| *weight > 0);
    mix
}

/// A level from the mix.
pub fn pick_level(chance: &mut Stream, mix: &LevelMix) -> Consistency {
    let total = mix.iter().map(|(_, weight)| weight).sum();
    let mut at = chance.below(total);
    for (level, weight) in mix {
        match at.checked_sub(*weight) {
            None => return *level,
            Some(rest) => at = rest,
        }
    }
    Consistency::Quorum
}
