//! The bugs that can be planted, to prove that the checkers see them.

use dunlin_types::runtime::PlantedBug;

/// Every bug.
pub const ALL: [PlantedBug; 15] = [
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
];

/// The bug of that name.
pub fn by_name(name: &str) -> Option<PlantedBug> {
    ALL.into_iter().find(|bug| format!("{bug:?}").eq_ignore_ascii_case(name))
}
