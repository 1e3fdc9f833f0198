//! How sure: consistency levels and how many replicas each wants.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Chosen per request. See the semantics page, section 5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Consistency {
    /// Writes only: one acknowledgement, and a stored hint counts.
    Any,
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// A majority of all replicas: `floor(sum of RF / 2) + 1`.
    #[default]
    Quorum,
    /// Every replica.
    All,
    /// One replica in the coordinator's data centre.
    LocalOne,
    /// A majority in the coordinator's data centre.
    LocalQuorum,
    /// A majority in every data centre.
    EachQuorum,
}

impl Consistency {
    /// Every level, in the order of the documentation.
    pub const ALL: [Consistency; 9] = [
        Consistency::Any,
        Consistency::One,
        Consistency::Two,
        Consistency::Three,
        Consistency::Quorum,
        Consistency::All,
        Consistency::LocalOne,
        Consistency::LocalQuorum,
        Consistency::EachQuorum,
    ];

    /// The name in statements and replies.
    pub fn name(self) -> &'static str {
        match self {
            Consistency::Any => "ANY",
            Consistency::One => "ONE",
            Consistency::Two => "TWO",
            Consistency::Three => "THREE",
            Consistency::Quorum => "QUORUM",
            Consistency::All => "ALL",
            Consistency::LocalOne => "LOCAL_ONE",
            Consistency::LocalQuorum => "LOCAL_QUORUM",
            Consistency::EachQuorum => "EACH_QUORUM",
        }
    }
}

/// `floor(replicas / 2) + 1`.
pub fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Consistency {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Consistency::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            format!(
                "no consistency level {text:?}; the levels are ANY, ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM, EACH_QUORUM"
            )
        })
    }
}
