//! The bugs that can be planted, to prove that the checkers see them.

use dunlin_types::runtime::PlantedBug;

/// Every bug.
pub const ALL: [PlantedBug; 23] = [
    PlantedBug::AckBeforeSync,
    PlantedBug::SiblingsCollapse,
    PlantedBug::HealingOff,
    PlantedBug::WriteQuorumShort,
    PlantedBug::ReadOneOnly,
    PlantedBug::ReplicaOverwrites,
    PlantedBug::ContextIgnored,
    PlantedBug::RepairNotAwaited,
    PlantedBug::WriteDuplicated,
    PlantedBug::ContextTooWide,
    PlantedBug::LogUnchecked,
    PlantedBug::DotsReused,
    PlantedBug::VisibleBeforeSync,
    PlantedBug::JoinEarly,
    PlantedBug::RepairDropsValue,
    PlantedBug::AfterIgnored,
    PlantedBug::TimestampIgnored,
    PlantedBug::RefusalUntrue,
    PlantedBug::LostVotes,
    PlantedBug::TaskLeaked,
    PlantedBug::PurgedEarly,
    PlantedBug::HintsForgotten,
    PlantedBug::RepairSendsAll,
];

/// The bug of that name.
pub fn by_name(name: &str) -> Option<PlantedBug> {
    ALL.into_iter().find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name))
}

/// The oracle that has to see the bug; others may as well.
pub fn oracle_of(bug: PlantedBug) -> u8 {
    match bug {
        PlantedBug::AckBeforeSync => 1,
        PlantedBug::RefusalUntrue | PlantedBug::LogUnchecked => 2,
        PlantedBug::SiblingsCollapse
        | PlantedBug::ReplicaOverwrites
        | PlantedBug::ContextTooWide
        | PlantedBug::RepairDropsValue => 3,
        PlantedBug::ContextIgnored | PlantedBug::WriteDuplicated => 4,
        PlantedBug::WriteQuorumShort
        | PlantedBug::ReadOneOnly
        | PlantedBug::JoinEarly
        | PlantedBug::DotsReused
        | PlantedBug::LostVotes => 5,
        PlantedBug::RepairNotAwaited | PlantedBug::VisibleBeforeSync => 6,
        PlantedBug::AfterIgnored => 7,
        PlantedBug::PurgedEarly => 8,
        PlantedBug::HealingOff => 9,
        PlantedBug::HintsForgotten => 10,
        PlantedBug::RepairSendsAll => 11,
        PlantedBug::TimestampIgnored => 13,
        PlantedBug::TaskLeaked => 14,
    }
}
