//! What two replicas say to one another to find and mend their differences; lane `Bulk`.

use crate::message::Refusal;
use crate::store::Entry;
use dunlin_types::{Key, TableId, Token, TokenRange};
use serde::{Deserialize, Serialize};

/// A node of a Merkle tree, a key, or a record, in short: BLAKE3 cut to 16 bytes.
pub type Digest = [u8; 16];

/// Ranges of one [`RepairRequest::Roots`].
pub const ROOTS_MAX: usize = 256;
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
    /// The tree has two to this power leaves.
    pub leaves_log2: u8,
    /// Its root.
    pub root: Digest,
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
        /// The asker's trees.
        ranges: Vec<RangeRoot>,
    },
    /// Build the tree of a range and keep it for a while. Answer: `Tree`.
    Build {
        /// See above.
        layout: u64,
        /// The table.
        table: TableId,
        /// The range.
        range: TokenRange,
        /// Two to this power leaves.
        leaves_log2: u8,
    },
    /// Nodes of a tree: for each parent at `level`, all its descendants at `level + down`. Answer: `Nodes`.
    Nodes {
        /// As in `Tree`.
        tree: u64,
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
        /// At most [`SLICES_MAX`].
        slices: Vec<TokenRange>,
        /// In the first slice, strictly after this place.
        after: Option<(Token, Key)>,
    },
    /// These records whole. Answer: `Records`.
    Fetch {
        /// The table.
        table: TableId,
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
}

/// Answers to [`RepairRequest`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum RepairResponse {
    /// Tables known here.
    Tables(Vec<TableId>),
    /// Indexes of the ranges that differ.
    Differ(Vec<u32>),
    /// The tree was built.
    Tree {
        /// Names it in `Nodes`.
        tree: u64,
        /// Its root.
        root: Digest,
    },
    /// In the order asked.
    Nodes(Vec<Digest>),
    /// The tree is no longer kept.
    Gone,
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
    /// Nothing was done.
    Refused(Refusal),
}
