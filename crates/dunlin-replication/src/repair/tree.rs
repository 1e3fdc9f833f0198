//! Merkle trees over a token range (Merkle 1987; used as in DeCandia et al. 2007, section 4.7).
//!
//! Records lie in token order, so a leaf is a contiguous slice of the range and a tree is built in one
//! pass. Both sides cut a range into the same slices, given the number of leaves.

use super::message::Digest;
use dunlin_types::{Key, Token, TokenRange};

/// Domain of leaves: a keyed BLAKE3, so that a leaf can never be taken for an inner node.
const LEAF_KEY: &[u8; 32] = b"dunlin merkle tree: leaf, v1....";
/// Domain of inner nodes.
const INNER_KEY: &[u8; 32] = b"dunlin merkle tree: inner, v1...";
/// Domain of key hashes.
const KEY_KEY: &[u8; 32] = b"dunlin merkle tree: key, v1.....";

/// Most leaves of a tree, as a power of two.
pub const LEAVES_LOG2_MAX: u8 = 14;
/// Records a leaf should have.
const LEAF_RECORDS: u64 = 16;

/// Stands for a leaf without records, and for an inner node without any below it.
pub const EMPTY: Digest = [0; 16];

/// A finished tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MerkleTree {
    range: TokenRange,
    leaves_log2: u8,
    /// Level by level from the root: node `i` of level `l` is at `2^l - 1 + i`.
    nodes: Vec<Digest>,
    records: u64,
}

impl MerkleTree {
    /// The root.
    pub fn root(&self) -> Digest {
        self.nodes[0]
    }

    /// Two to this power leaves.
    pub fn leaves_log2(&self) -> u8 {
        self.leaves_log2
    }

    /// Records in it.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Node `index` of a level (0 is the root's); none outside the tree.
    pub fn node(&self, level: u8, index: u32) -> Option<Digest> {
        if level > self.leaves_log2 || index >> level != 0 {
            return None;
        }
        self.nodes.get((1usize << level) - 1 + index as usize).copied()
    }

    /// The slice of a leaf.
    pub fn slice(&self, leaf: u32) -> TokenRange {
        slice(self.range, self.leaves_log2, leaf)
    }
}

/// A number of leaves for a range with about so many records.
pub fn leaves_log2_for(range: TokenRange, records: u64) -> u8 {
    let wanted = records.div_ceil(LEAF_RECORDS).max(1).next_power_of_two().trailing_zeros() as u8;
    wanted.min(leaves_log2_max(range))
}

/// The most leaves of a range's tree: no leaf is without a token.
pub fn leaves_log2_max(range: TokenRange) -> u8 {
    let bits = (length(range).ilog2()) as u8;
    bits.min(LEAVES_LOG2_MAX)
}

/// The hash of a key, as lists name it.
pub fn key_hash(key: &Key) -> Digest {
    cut(blake3::keyed_hash(KEY_KEY, key.as_bytes()))
}

fn length(range: TokenRange) -> u128 {
    u128::from(range.last.0.saturating_sub(range.first.0)) + 1
}

/// Slice `leaf` of `2^leaves_log2`. The slices cut the range without gap or overlap.
fn slice(range: TokenRange, leaves_log2: u8, leaf: u32) -> TokenRange {
    let start = |leaf: u32| (length(range) * u128::from(leaf)).div_ceil(1 << leaves_log2);
    let token =
        |offset: u128| Token(range.first.0 + u64::try_from(offset).expect("an offset lies in the range"));
    TokenRange { first: token(start(leaf)), last: token(start(leaf + 1) - 1) }
}

fn leaf_of(range: TokenRange, leaves_log2: u8, token: Token) -> u32 {
    let offset = u128::from(token.0 - range.first.0);
    ((offset << leaves_log2) / length(range)) as u32
}

fn cut(hash: blake3::Hash) -> Digest {
    hash.as_bytes()[..16].try_into().expect("a BLAKE3 hash has 32 bytes")
}

fn inner(left: Digest, right: Digest) -> Digest {
    if left == EMPTY && right == EMPTY {
        return EMPTY;
    }
    let mut both = [0; 32];
    both[..16].copy_from_slice(&left);
    both[16..].copy_from_slice(&right);
    cut(blake3::keyed_hash(INNER_KEY, &both))
}

/// Takes records in token order and makes the tree.
pub struct TreeBuilder {
    range: TokenRange,
    leaves_log2: u8,
    leaves: Vec<Digest>,
    hasher: blake3::Hasher,
    current: u32,
    current_records: u64,
    records: u64,
}

impl TreeBuilder {
    /// For a range; `leaves_log2` is lowered to what the range can have.
    pub fn new(range: TokenRange, leaves_log2: u8) -> TreeBuilder {
        let leaves_log2 = leaves_log2.min(leaves_log2_max(range));
        TreeBuilder {
            range,
            leaves_log2,
            leaves: vec![EMPTY; 1 << leaves_log2],
            hasher: blake3::Hasher::new_keyed(LEAF_KEY),
            current: 0,
            current_records: 0,
            records: 0,
        }
    }

    /// The next record. Panics if it is outside the range or before the last one's slice.
    pub fn push(&mut self, token: Token, key: &Key, digest: Digest) {
        assert!(self.range.contains(token), "a record outside the range of its tree");
        let leaf = leaf_of(self.range, self.leaves_log2, token);
        assert!(leaf >= self.current, "records out of order");
        if leaf != self.current {
            self.close_leaf();
            self.current = leaf;
        }
        self.hasher.update(&token.0.to_be_bytes());
        self.hasher.update(&key_hash(key));
        self.hasher.update(&digest);
        self.current_records += 1;
    }

    /// The tree.
    pub fn finish(mut self) -> MerkleTree {
        self.close_leaf();
        let count = self.leaves.len();
        let mut nodes = vec![EMPTY; 2 * count - 1];
        nodes[count - 1..].copy_from_slice(&self.leaves);
        for i in (0..count - 1).rev() {
            nodes[i] = inner(nodes[2 * i + 1], nodes[2 * i + 2]);
        }
        MerkleTree { range: self.range, leaves_log2: self.leaves_log2, nodes, records: self.records }
    }

    fn close_leaf(&mut self) {
        if self.current_records > 0 {
            self.leaves[self.current as usize] = cut(self.hasher.finalize());
            self.hasher.reset();
            self.records += self.current_records;
            self.current_records = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u64, last: u64) -> TokenRange {
        TokenRange { first: Token(first), last: Token(last) }
    }

    fn tree(range: TokenRange, leaves_log2: u8, records: &[(u64, u8)]) -> MerkleTree {
        let mut builder = TreeBuilder::new(range, leaves_log2);
        for &(token, value) in records {
            builder.push(Token(token), &Key::new(token.to_be_bytes().to_vec()).unwrap(), [value; 16]);
        }
        builder.finish()
    }

    #[test]
    fn slices_cut_a_range_exactly() {
        let vnode = 1u64 << 56;
        for r in [
            range(0, u64::MAX),
            range(vnode, 2 * vnode - 1),
            range(5, 5),
            range(10, 16),
            range(u64::MAX, u64::MAX),
        ] {
            for leaves_log2 in 0..=leaves_log2_max(r).min(6) {
                let mut next = u128::from(r.first.0);
                for leaf in 0..1u32 << leaves_log2 {
                    let s = slice(r, leaves_log2, leaf);
                    assert_eq!(u128::from(s.first.0), next);
                    assert!(s.first <= s.last);
                    assert_eq!(leaf_of(r, leaves_log2, s.first), leaf);
                    assert_eq!(leaf_of(r, leaves_log2, s.last), leaf);
                    next = u128::from(s.last.0) + 1;
                }
                assert_eq!(next, u128::from(r.last.0) + 1);
            }
        }
    }

    #[test]
    fn number_of_leaves_follows_the_records() {
        let r = range(0, u64::MAX);
        for (records, expected) in
            [(0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (1 << 20, 14), (u64::MAX / 32, 14)]
        {
            assert_eq!(leaves_log2_for(r, records), expected, "{records} records");
        }
        assert_eq!(leaves_log2_for(range(8, 11), 1 << 20), 2);
    }

    #[test]
    fn domains_are_apart() {
        let r = range(0, 255);
        let left = tree(r, 1, &[(1, 1)]);
        assert_ne!(left.node(1, 0), Some(EMPTY));
        assert_eq!(left.node(1, 1), Some(EMPTY));
        assert_eq!(tree(r, 4, &[]).root(), EMPTY);
        assert_eq!(left.node(0, 1), None);
        assert_eq!(left.node(2, 0), None);
        assert_ne!(left.root(), tree(r, 0, &[(1, 1)]).root());
    }

    proptest! {
        #[test]
        fn trees_differ_in_exactly_the_leaves_whose_records_differ(
            mine in prop::collection::btree_map(0u64..1000, 0u8..3, 0..60),
            theirs in prop::collection::btree_map(0u64..1000, 0u8..3, 0..60),
            leaves_log2 in 0u8..8,
        ) {
            let r = range(0, 999);
            let list = |m: &std::collections::BTreeMap<u64, u8>| m.iter().map(|(t, v)| (*t, *v)).collect::<Vec<_>>();
            let (a, b) = (tree(r, leaves_log2, &list(&mine)), tree(r, leaves_log2, &list(&theirs)));
            prop_assert_eq!(a.records(), mine.len() as u64);
            for leaf in 0..1u32 << leaves_log2 {
                let s = a.slice(leaf);
                let part = |m: &std::collections::BTreeMap<u64, u8>| m.range(s.first.0..=s.last.0).map(|(t, v)| (*t, *v)).collect::<Vec<_>>();
                prop_assert_eq!(a.node(leaves_log2, leaf) == b.node(leaves_log2, leaf), part(&mine) == part(&theirs));
            }
            prop_assert_eq!(a.root() == b.root(), mine == theirs);
        }
    }
}
