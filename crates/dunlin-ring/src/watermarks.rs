//! How far a member has followed the chain of layouts.

use crate::layout::LayoutDigest;
use serde::{Deserialize, Serialize};

/// A member's position on the way from the completed layout to the next. Written by that member
/// alone; the copy with the higher revision is the newer one.
///
/// The three versions are those of one candidate, or of the completed layout where the step is not
/// reached yet, so `sync_ack <= sync <= ack`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Watermarks {
    /// Grows with every change on one base.
    pub revision: u64,
    /// The completed layout these are counted from.
    pub base: LayoutDigest,
    /// "I know this version and no longer start writes that ignore it."
    pub ack: u64,
    /// Which layout of that version.
    pub ack_digest: LayoutDigest,
    /// "I hold all data I own in this version."
    pub sync: u64,
    /// "I know that everybody acknowledged and synced this version": from here on the member reads
    /// from it and follows no other layout on the same base.
    pub sync_ack: u64,
}

impl Watermarks {
    /// Those of a member that knows the completed layout and nothing beyond.
    pub fn at(version: u64, digest: LayoutDigest) -> Watermarks {
        Watermarks {
            revision: 0,
            base: digest,
            ack: version,
            ack_digest: digest,
            sync: version,
            sync_ack: version,
        }
    }

    /// Whether exactly this layout was acknowledged.
    pub fn acked(&self, digest: &LayoutDigest) -> bool {
        self.ack_digest == *digest
    }

    /// Whether exactly this layout was acknowledged and its data are there.
    pub fn synced(&self, digest: &LayoutDigest) -> bool {
        self.acked(digest) && self.sync == self.ack
    }

    /// Whether the member reads from exactly this layout and will follow no other on this base.
    pub fn committed(&self, digest: &LayoutDigest) -> bool {
        self.synced(digest) && self.sync_ack == self.ack
    }

    /// The layout to which the member is committed, if it is one beyond the base.
    pub fn commitment(&self) -> Option<&LayoutDigest> {
        (self.ack_digest != self.base && self.committed(&self.ack_digest)).then_some(&self.ack_digest)
    }
}
