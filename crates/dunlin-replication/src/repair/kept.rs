//! Trees that are kept between exchanges: a write marks its leaf, and only marked leaves are read again.
//!
//! Invariant: a leaf that is not stale holds what a read of its slice now would give. So a write marks its leaf after
//! it was applied, and a leaf that was marked while it was being read stays stale.
//!
//! Memory is bounded: with too many leaves all trees are folded to half as many; sums make that a matter of adding.

use super::tree::{LEAF_RECORDS, Sum, leaf_of};
use dunlin_types::{Micros, TableId, Token, TokenRange};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// What was read of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafRead {
    /// Of its records' hashes.
    pub sum: Sum,
    /// Records in the slice, those beyond the horizon included.
    pub records: u32,
    /// The earliest horizon for which `sum` holds,
    pub from: Micros,
    /// and the latest.
    pub upto: Micros,
}

impl Default for LeafRead {
    /// Of a slice without records.
    fn default() -> Self {
        LeafRead { sum: Sum::default(), records: 0, from: Micros(0), upto: Micros(u64::MAX) }
    }
}

impl LeafRead {
    /// Adds a record as it counts at a horizon: one of which nothing is left since before it is not part of the sum.
    pub fn add(&mut self, gone_at: Option<Micros>, horizon: Micros, hash: impl FnOnce() -> Sum) {
        self.records = self.records.saturating_add(1);
        match gone_at {
            Some(at) if at < horizon => self.from = self.from.max(Micros(at.0 + 1)),
            _ => {
                self.upto = self.upto.min(gone_at.unwrap_or(Micros(u64::MAX)));
                self.sum = self.sum + hash();
            }
        }
    }

    fn join(self, other: LeafRead) -> LeafRead {
        LeafRead {
            sum: self.sum + other.sum,
            records: self.records.saturating_add(other.records),
            from: self.from.max(other.from),
            upto: self.upto.min(other.upto),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    read: Option<LeafRead>,
    /// Counts the marks: a read that began before the last of them is void.
    marks: u32,
}

struct Kept {
    id: u64,
    range: TokenRange,
    leaves_log2: u8,
    leaves: Vec<Leaf>,
}

/// A tree as it is to be read: names it, and says which leaves are known.
#[derive(Clone, Debug)]
pub struct Plan {
    id: u64,
    /// Two to this power leaves.
    pub leaves_log2: u8,
    /// What is known of each leaf, or when it was marked last.
    pub leaves: Vec<Result<LeafRead, Mark>>,
}

/// The state of a leaf that has to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(u32);

/// See the module's comment.
pub struct KeptTrees {
    leaves_max: usize,
    trees: Mutex<Trees>,
}

#[derive(Default)]
struct Trees {
    /// By table and first token; those of a table are disjoint.
    kept: BTreeMap<(TableId, Token), Kept>,
    leaves: usize,
    last_id: u64,
    /// How often all trees were folded.
    folded: u32,
}

impl KeptTrees {
    /// At most so many leaves (about 64 bytes each) and as many trees.
    pub fn new(leaves_max: usize) -> KeptTrees {
        KeptTrees { leaves_max, trees: Mutex::default() }
    }

    /// Records that a leaf should have, for trees to fit.
    pub fn leaf_records(&self) -> u64 {
        LEAF_RECORDS << self.trees.lock().folded.min(32)
    }

    /// The tree of a range, if one is kept: leaves that are known for that horizon, and those to be read.
    pub fn plan(&self, table: TableId, range: TokenRange, horizon: Micros) -> Option<Plan> {
        let trees = self.trees.lock();
        let kept = trees.kept.get(&(table, range.first)).filter(|kept| kept.range == range)?;
        let leaf = |leaf: &Leaf| match leaf.read {
            Some(read) if read.from <= horizon && horizon <= read.upto => Ok(read),
            _ => Err(Mark(leaf.marks)),
        };
        Some(Plan {
            id: kept.id,
            leaves_log2: kept.leaves_log2,
            leaves: kept.leaves.iter().map(leaf).collect(),
        })
    }

    /// A new tree for a range, none of whose leaves is known. Trees that overlap it go.
    pub fn open(&self, table: TableId, range: TokenRange, leaves_log2: u8) -> Plan {
        let mut trees = self.trees.lock();
        trees.remove(table, range);
        let count = 1usize << leaves_log2;
        while trees.leaves + count > self.leaves_max && trees.fold() {}
        while trees.leaves + count > self.leaves_max
            && let Some((_, gone)) = trees.kept.pop_first()
        {
            trees.leaves -= gone.leaves.len();
        }
        trees.last_id += 1;
        let id = trees.last_id;
        let leaves = vec![Leaf { read: None, marks: 0 }; count];
        trees.leaves += count;
        trees.kept.insert((table, range.first), Kept { id, range, leaves_log2, leaves });
        Plan { id, leaves_log2, leaves: vec![Err(Mark(0)); count] }
    }

    /// Takes in a leaf that was read, unless it was marked since, or its tree is another one by now.
    pub fn keep(
        &self,
        table: TableId,
        range: TokenRange,
        plan: &Plan,
        leaf: u32,
        mark: Mark,
        read: LeafRead,
    ) {
        let mut trees = self.trees.lock();
        let kept = trees.kept.get_mut(&(table, range.first)).filter(|kept| kept.id == plan.id);
        if let Some(leaf) = kept.and_then(|kept| kept.leaves.get_mut(leaf as usize))
            && leaf.marks == mark.0
        {
            leaf.read = Some(read);
        }
    }

    /// A write to that token was applied.
    pub fn mark(&self, table: TableId, token: Token) {
        let mut trees = self.trees.lock();
        let last = trees.kept.range_mut((table, Token(0))..=(table, token)).next_back();
        if let Some((_, kept)) = last.filter(|(_, kept)| kept.range.contains(token)) {
            let leaf = leaf_of(kept.range, kept.leaves_log2, token);
            let leaf = &mut kept.leaves[leaf as usize];
            leaf.read = None;
            leaf.marks = leaf.marks.wrapping_add(1);
        }
    }

    /// Drops trees that meet a range: its records changed other than by writes, or it needs a tree of another depth.
    pub fn forget(&self, table: TableId, range: TokenRange) {
        self.trees.lock().remove(table, range);
    }

    /// Drops the trees that are not wanted.
    pub fn retain(&self, wanted: impl Fn(TableId, TokenRange) -> bool) {
        let mut trees = self.trees.lock();
        trees.kept.retain(|(table, _), kept| wanted(*table, kept.range));
        trees.leaves = trees.kept.values().map(|kept| kept.leaves.len()).sum();
    }

    /// Leaves kept, for metrics.
    pub fn leaves(&self) -> usize {
        self.trees.lock().leaves
    }
}

impl Trees {
    fn remove(&mut self, table: TableId, range: TokenRange) {
        let meets = |kept: &Kept| kept.range.first <= range.last && range.first <= kept.range.last;
        // Disjoint and in order: of those that begin before the range, only the last one can reach into it.
        let before = self.kept.range((table, Token(0))..(table, range.first)).next_back();
        let mut gone: Vec<_> =
            before.filter(|(_, kept)| meets(kept)).map(|(at, _)| *at).into_iter().collect();
        gone.extend(self.kept.range((table, range.first)..=(table, range.last)).map(|(at, _)| *at));
        for at in gone {
            if let Some(kept) = self.kept.remove(&at) {
                self.leaves -= kept.leaves.len();
            }
        }
    }

    /// Halves all trees; false if none of them has more than one leaf.
    fn fold(&mut self) -> bool {
        let before = self.leaves;
        for kept in self.kept.values_mut().filter(|kept| kept.leaves_log2 > 0) {
            self.last_id += 1;
            kept.id = self.last_id;
            kept.leaves_log2 -= 1;
            let pairs = kept.leaves.chunks_exact(2);
            kept.leaves = pairs
                .map(|pair| Leaf { read: pair[0].read.zip(pair[1].read).map(|(a, b)| a.join(b)), marks: 0 })
                .collect();
        }
        self.leaves = self.kept.values().map(|kept| kept.leaves.len()).sum();
        self.folded += u32::from(self.leaves < before);
        self.leaves < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableId = TableId(1);

    fn range(first: u64, last: u64) -> TokenRange {
        TokenRange { first: Token(first), last: Token(last) }
    }

    fn read(records: u32) -> LeafRead {
        LeafRead { records, ..LeafRead::default() }
    }

    /// Leaves that have to be read for horizon `at`.
    fn stale(trees: &KeptTrees, range: TokenRange, at: u64) -> Vec<usize> {
        let plan = trees.plan(TABLE, range, Micros(at)).expect("a tree");
        (0..plan.leaves.len()).filter(|&i| plan.leaves[i].is_err()).collect()
    }

    fn fill(trees: &KeptTrees, range: TokenRange) {
        let plan = trees.plan(TABLE, range, Micros(0)).expect("a tree");
        for (i, leaf) in (0u32..).zip(&plan.leaves) {
            if let Err(mark) = leaf {
                trees.keep(TABLE, range, &plan, i, *mark, read(i));
            }
        }
    }

    #[test]
    fn only_leaves_that_were_written_to_are_read_again() {
        let trees = KeptTrees::new(1 << 10);
        let r = range(0, 799);
        assert!(trees.plan(TABLE, r, Micros(0)).is_none());
        trees.open(TABLE, r, 3);
        assert_eq!(stale(&trees, r, 0).len(), 8);
        fill(&trees, r);
        assert_eq!(stale(&trees, r, 0), []);
        trees.mark(TABLE, Token(0));
        trees.mark(TABLE, Token(799));
        trees.mark(TABLE, Token(800));
        trees.mark(TableId(2), Token(300));
        assert_eq!(stale(&trees, r, 0), [0, 7]);
    }

    #[test]
    fn a_write_during_the_read_leaves_its_leaf_stale() {
        let trees = KeptTrees::new(1 << 10);
        let r = range(0, 99);
        trees.open(TABLE, r, 1);
        let plan = trees.plan(TABLE, r, Micros(0)).expect("a tree");
        let mark = plan.leaves[0].expect_err("to be read");
        trees.mark(TABLE, Token(3));
        // Another reader, which begins after the write, must not hide that the first one began before.
        let second = trees.plan(TABLE, r, Micros(0)).expect("a tree");
        trees.keep(TABLE, r, &plan, 0, mark, read(1));
        assert_eq!(stale(&trees, r, 0), [0, 1]);
        trees.keep(TABLE, r, &second, 0, second.leaves[0].expect_err("to be read"), read(2));
        assert_eq!(stale(&trees, r, 0), [1]);
        trees.open(TABLE, r, 1);
        trees.keep(TABLE, r, &second, 1, second.leaves[1].expect_err("to be read"), read(2));
        assert_eq!(stale(&trees, r, 0), [0, 1], "of another tree");
    }

    #[test]
    fn a_leaf_holds_for_the_horizons_between_its_records() {
        let trees = KeptTrees::new(1 << 10);
        let r = range(0, 99);
        let plan = trees.open(TABLE, r, 0);
        let mut read = LeafRead::default();
        for gone_at in [None, Some(10), Some(5), Some(30), Some(20)] {
            read.add(gone_at.map(Micros), Micros(15), Sum::default);
        }
        assert_eq!(read.records, 5);
        trees.keep(TABLE, r, &plan, 0, plan.leaves[0].expect_err("to be read"), read);
        for (horizon, known) in [(0, false), (10, false), (11, true), (20, true), (21, false)] {
            assert_eq!(stale(&trees, r, horizon).is_empty(), known, "horizon {horizon}");
        }
    }

    #[test]
    fn too_many_leaves_are_folded_and_too_many_trees_go() {
        let trees = KeptTrees::new(8);
        let (a, b) = (range(0, 99), range(100, 199));
        trees.open(TABLE, a, 2);
        fill(&trees, a);
        trees.mark(TABLE, Token(0));
        trees.open(TABLE, b, 3);
        // However often it is folded, there is no room for it beside the other.
        assert_eq!(trees.plan(TABLE, a, Micros(0)).map(|p| p.leaves.len()), None);
        assert_eq!(trees.leaves(), 8);
        trees.open(TABLE, a, 2);
        assert_eq!(trees.leaves(), 8, "the larger one was halved");
        assert_eq!(trees.plan(TABLE, b, Micros(0)).map(|p| p.leaves_log2), Some(2));
        assert!(trees.leaf_records() > LEAF_RECORDS);
        fill(&trees, a);
        trees.mark(TABLE, Token(0));
        trees.open(TABLE, range(200, 299), 0);
        let folded = trees.plan(TABLE, a, Micros(0)).expect("a tree");
        assert!(folded.leaves[0].is_err());
        assert_eq!(folded.leaves[1].expect("known").records, 5);
    }

    #[test]
    fn trees_of_a_table_are_disjoint() {
        let trees = KeptTrees::new(1 << 10);
        trees.open(TABLE, range(0, 99), 0);
        trees.open(TABLE, range(100, 199), 0);
        trees.open(TABLE, range(50, 149), 0);
        assert!(trees.plan(TABLE, range(0, 99), Micros(0)).is_none());
        assert!(trees.plan(TABLE, range(100, 199), Micros(0)).is_none());
        assert_eq!(trees.leaves(), 1);
        trees.retain(|_, range| range.first > Token(50));
        assert_eq!(trees.leaves(), 0);
    }
}
