//! Planted bugs are caught, each by the oracle meant for it: the checkers have teeth.
//!
//! Each bug is tried under seeds from 1 on, as `dunlin-sim planted` does; those that need many seeds are
//! left to that command.

use dunlin_sim::cli::run_all;
use dunlin_sim::options::Options;
use dunlin_sim::planted;
use dunlin_sim::run::Plan;
use dunlin_types::runtime::PlantedBug;
use std::collections::BTreeSet;

/// Seeds tried; the bugs here are caught within the first ten or so.
const SEEDS_MAX: u64 = 60;

fn assert_caught(bug: PlantedBug) {
    let oracle = planted::oracle_of(bug);
    let mut caught = false;
    let mut others = BTreeSet::new();
    let plan = |seed| Plan::of(Options::draw(seed, Some(bug)));
    run_all(1..=SEEDS_MAX, 1, plan, |_, report| {
        for violation in &report.violations {
            caught |= violation.rule.oracle() == oracle;
            others.insert(violation.rule);
        }
        !caught
    });
    assert!(caught, "oracle {oracle} did not see {bug:?} within {SEEDS_MAX} seeds; seen: {others:?}");
}

macro_rules! caught {
    ($($name:ident: $bug:ident,)*) => {
        $(#[test]
        fn $name() {
            assert_caught(PlantedBug::$bug);
        })*
    };
}

caught! {
    a_replica_that_acknowledges_before_its_log_is_synced: AckBeforeSync,
    a_table_that_keeps_only_the_newest_sibling: SiblingsCollapse,
    hints_and_repair_that_do_nothing: HealingOff,
    a_write_acknowledged_one_replica_short: WriteQuorumShort,
    a_read_that_asks_one_replica: ReadOneOnly,
    a_replica_that_overwrites: ReplicaOverwrites,
    a_context_that_is_ignored: ContextIgnored,
    a_server_that_repeats_a_write: WriteDuplicated,
    a_context_that_covers_too_much: ContextTooWide,
    dots_used_again_after_a_crash: DotsReused,
    a_repair_that_drops_a_value: RepairDropsValue,
    a_read_that_may_be_older_than_its_token: AfterIgnored,
    a_timestamp_that_is_ignored: TimestampIgnored,
    a_refusal_that_is_not_true: RefusalUntrue,
    a_task_that_outlives_its_node: TaskLeaked,
    a_repair_that_sends_what_is_equal: RepairSendsAll,
}
