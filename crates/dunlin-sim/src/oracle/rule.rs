//! What can be violated.

use std::fmt;

/// What was violated. Numbers of oracles are those of `docs/simulation.md`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Rule {
    /// An acknowledged write is neither there at the end nor superseded by one that may have seen it.
    AcknowledgedWriteLost,
    /// A value was read that was never written, not to that key, not yet, or whose write was refused.
    FromNowhere,
    /// An acknowledged write is gone, and beside what is there at the end it should be a sibling.
    FalseSupersession,
    /// Values shown together of which one certainly superseded the other.
    FalseSiblings,
    /// A read with W + R > RF missed a write acknowledged before it began.
    QuorumVisibility,
    /// A quorum read missed what an earlier one had shown.
    MonotonicReads,
    /// A read `AFTER` a token missed what the token had seen.
    SessionGuarantee,
    /// A value was read that had certainly been superseded by something the read had to include.
    Resurrection,
    /// A value was read after its time.
    ExpiredShown,
    /// Replicas differ after healing.
    Divergence,
    /// A hint was neither delivered nor dropped by a rule.
    HintUnaccounted,
    /// Repair moved records that did not differ.
    RepairWaste,
    /// A key of a last_write_wins table showed several values.
    SeveralWinners,
    /// A last_write_wins key ended with something else than the largest timestamp.
    WrongWinner,
    /// A node panicked.
    Panic,
    /// A warning or an error in a node's log that nothing explains.
    Complained,
    /// A node that was stopped in order left tasks behind.
    TaskLeaked,
    /// A queue or a memory of a node grew beyond its bound.
    Unbounded,
    /// The cluster did not become whole again in time after healing.
    NotHealed,
    /// The cluster did not come to life.
    NotFormed,
    /// A node's own complaint: it did not start, or its reply made no sense.
    NodeHealth,
}

impl Rule {
    /// The oracle that the rule belongs to.
    pub fn oracle(self) -> u8 {
        match self {
            Rule::AcknowledgedWriteLost => 1,
            Rule::FromNowhere => 2,
            Rule::FalseSupersession => 3,
            Rule::FalseSiblings => 4,
            Rule::QuorumVisibility => 5,
            Rule::MonotonicReads => 6,
            Rule::SessionGuarantee => 7,
            Rule::Resurrection | Rule::ExpiredShown => 8,
            Rule::Divergence => 9,
            Rule::HintUnaccounted => 10,
            Rule::RepairWaste => 11,
            Rule::SeveralWinners | Rule::WrongWinner => 13,
            Rule::Panic
            | Rule::Complained
            | Rule::TaskLeaked
            | Rule::Unbounded
            | Rule::NotHealed
            | Rule::NotFormed
            | Rule::NodeHealth => 14,
        }
    }
}

/// One violation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Of what.
    pub rule: Rule,
    /// For a person.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oracle {} ({:?}): {}", self.rule.oracle(), self.rule, self.message)
    }
}
