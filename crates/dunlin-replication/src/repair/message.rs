//! What two replicas say to one another to find and mend their differences; lane `Bulk`.

use crate::message::Refusal;
use crate::store::Entry;
use dunlin_types::{Key, Micros, TableId, Token, TokenRange};
use serde::{Deserialize, Serialize};

/// A node of a Merkle tree, a key, or a record, in short: BLAKE3 cut to 16 bytes.
pub type Digest = [u8; 16];

/// Ranges of one [`RepairRequest::Roots`].
pub const ROOTS_MAX: usize = 256;
/// Records read for one [`RepairRequest::Roots`], after which the rest of its ranges is left for another one.
pub const ROOTS_RECORDS_MAX: u64 = 20_000;
/// Slices of one [`RepairRequest::List`].
pub const SLICES_MAX: usize = 256;
/// Parents of one [`RepairRequest::Nodes`].
pub const PARENTS_MAX: usize = 64;
/// Levels that one [`RepairRequest::Nodes`] descends.
pub const LEVELS_MAX: u8 = 4;
/// Entries of one [`RepairResponse::Lists`].
pub const LISTED_MAX: usize = 4096;
/// Records of one [`RepairRequest::Fetch`] or [`RepairRequest::Store`].
pub const RECORDS_MAX: usize = 256;
/// About the most bytes of records in one message; a single record may be larger.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// The root of a range's tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeRoot {
    /// The range.
    pub range: TokenRange,
    /// What is gone since before this time is not in the tree: the asker's purge horizon.
    pub horizon: Micros,
    /// The root.
    pub root: Digest,
}

/// A range whose root is another one here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Differing {
    /// Which of those asked for.
    pub index: u32,
    /// The later one of both sides' purge horizons: the one to compare at.
    pub horizon: Micros,
    /// The root here at that horizon.
    pub root: Digest,
    /// The tree here has two to this power leaves.
    pub leaves_log2: u8,
    /// The own purge horizon: what was deleted before is forgotten here.
    pub purged: Micros,
}

/// What a comparison is for: decides what a copy that lost data may take part in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Purpose {
    /// Both copies are to end equal.
    Repair,
    /// Nothing is to be moved.
    Preview,
    /// The asker gained the range in a layout.
    Transfer,
    /// The asker loses the range in a layout.
    Handover,
    /// The asker lost data of the range.
    Resync,
}

impl Purpose {
    /// Whether the asker takes what it lacks.
    pub fn pulls(self) -> bool {
        matches!(self, Purpose::Repair | Purpose::Transfer | Purpose::Resync)
    }

    /// Whether a copy that lost data may answer: it gives nothing then, or only to another one that did.
    pub fn suits_doubtful(self) -> bool {
        matches!(self, Purpose::Handover | Purpose::Resync)
    }

    /// Whether the asker gives what the peer lacks.
    pub fn pushes(self) -> bool {
        matches!(self, Purpose::Repair | Purpose::Handover)
    }
}

/// A record in short.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its place on the ring.
    pub token: Token,
    /// BLAKE3 of its key, cut.
    pub key_hash: Digest,
    /// `Record::digest`.
    pub digest: Digest,
    /// Nothing is left of it since before the horizon: it travels only to a copy that has something under its key of which something is left.
    pub gone: bool,
}

/// Asked by the node that began the exchange.
///
/// `layout` is the version that the answering node must know before it reads its data: what it
/// answers then holds every write that it acknowledged under earlier layouts only.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum RepairRequest {
    /// Which tables are there? Answer: `Tables`.
    Tables {
        /// See above.
        layout: u64,
    },
    /// Which of these ranges differ? At most [`ROOTS_MAX`]. Answer: `Differ`.
    Roots {
        /// See above.
        layout: u64,
        /// The table.
        table: TableId,
        /// What for.
        purpose: Purpose,
        /// The asker's number for it, named again in `Ended`.
        exchange: u64,
        /// The asker's trees.
        ranges: Vec<RangeRoot>,
    },
    /// Nodes of the tree of a range: for each parent at `level`, all its descendants at `level + down`.
    /// Answer: `Nodes`.
    Nodes {
        /// The table.
        table: TableId,
        /// The range.
        range: TokenRange,
        /// As in `Differ`.
        horizon: Micros,
        /// Level of the parents; the root's is 0.
        level: u8,
        /// Levels to descend, 1 to [`LEVELS_MAX`].
        down: u8,
        /// Indexes of the parents in their level, at most [`PARENTS_MAX`].
        parents: Vec<u32>,
    },
    /// The records of some slices in short, at most [`LISTED_MAX`] in all. Answer: `Lists`.
    List {
        /// The table.
        table: TableId,
        /// What for.
        purpose: Purpose,
        /// As in `Differ`.
        horizon: Micros,
        /// At most [`SLICES_MAX`].
        slices: Vec<TokenRange>,
        /// In the first slice, strictly after this place.
        after: Option<(Token, Key)>,
    },
    /// These records whole. Answer: `Records`.
    Fetch {
        /// The table.
        table: TableId,
        /// What for.
        purpose: Purpose,
        /// Token and key hash of at most [`RECORDS_MAX`].
        wanted: Vec<(Token, Digest)>,
    },
    /// Join these records, at most [`RECORDS_MAX`]. Answer: `Stored`.
    Store {
        /// The table.
        table: TableId,
        /// The records.
        entries: Vec<Entry>,
    },
    /// An exchange has ended for these ranges: either side has what the other one had at its begin. Answer: `Noted`.
    Ended {
        /// The table.
        table: TableId,
        /// As in `Roots`.
        exchange: u64,
        /// At most [`ROOTS_MAX`].
        ranges: Vec<TokenRange>,
    },
}

/// Answers to [`RepairRequest`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum RepairResponse {
    /// Tables known here.
    Tables(Vec<TableId>),
    /// The ranges that differ.
    Differ {
        /// The first so many of those asked for were compared; the rest would have taken too long.
        compared: u32,
        /// Of these, in the order asked.
        differing: Vec<Differing>,
        /// Of these, those of which data was lost here: unless [`Purpose::suits_doubtful`], they were not compared.
        doubtful: Vec<u32>,
    },
    /// In the order asked.
    Nodes(Vec<Digest>),
    /// One list a slice, in the order asked. Fewer lists than slices: the rest did not fit.
    Lists {
        /// Sorted by token.
        lists: Vec<Vec<Listed>>,
        /// If set, the last list is cut after this place.
        cut: Option<(Token, Key)>,
    },
    /// Records, those that are no longer there left out.
    Records {
        /// The first `answered` of those wanted were looked for; the rest did not fit.
        answered: u32,
        /// The records.
        entries: Vec<Entry>,
    },
    /// Joined and synced.
    Stored {
        /// How many.
        stored: u32,
        /// How many were not taken, as this node owns their tokens in no layout.
        refused: u32,
    },
    /// To `Ended`.
    Noted,
    /// Nothing was done.
    Refused(Refusal),
}
