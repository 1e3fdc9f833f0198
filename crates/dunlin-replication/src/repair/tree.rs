//! Merkle trees over a token range (Merkle 1987; used as in DeCandia et al. 2007, section 4.7), of sums.
//!
//! A record's hash is a BLAKE3 keyed with a secret of the cluster, and a node is the sum, modulo 2^128, of the hashes
//! of all records below it (an additive set hash; Clarke et al. 2003). So a leaf folds into its parent by addition:
//! trees of any two depths compare, and a leaf whose records changed is put in place without reading its neighbours.
//! Without the secret nobody can choose records whose sums meet.
//!
//! Records lie in token order, so a leaf is a contiguous slice of the range.

use super::message::Digest;
use dunlin_types::{Key, PartitionerKey, Token, TokenRange};
use std::ops::Add;

/// What the key of record hashes is derived under.
const RECORDS: &str = "dunlin 2026 merkle tree: records";
/// Domain of key hashes.
const KEYS: &[u8; 32] = b"dunlin merkle tree: key, v1.....";

/// Most leaves of a tree, as a power of two.
pub const LEAVES_LOG2_MAX: u8 = 14;
/// Records a leaf should have.
pub const LEAF_RECORDS: u64 = 16;

/// The sum of the hashes of some records; zero of none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u128);

impl Sum {
    /// As it travels.
    pub fn digest(self) -> Digest {
        self.0.to_be_bytes()
    }
}

impl Add for Sum {
    type Output = Sum;
    fn add(self, other: Sum) -> Sum {
        Sum(self.0.wrapping_add(other.0))
    }
}

/// Hashes records, the same on all nodes of a cluster.
#[derive(Clone)]
pub struct RecordHasher([u8; 32]);

impl RecordHasher {
    /// Of the cluster with that key.
    pub fn new(partitioner: PartitionerKey) -> RecordHasher {
        RecordHasher(blake3::derive_key(RECORDS, &partitioner.0))
    }

    /// The hash of a record; `digest` is [`dunlin_types::Record::digest`].
    pub fn hash(&self, token: Token, key: &Key, digest: Digest) -> Sum {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&token.0.to_be_bytes());
        hasher.update(&digest);
        hasher.update(key.as_bytes());
        Sum(u128::from_be_bytes(cut(hasher.finalize())))
    }
}

/// A tree as it was at some moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MerkleTree {
    range: TokenRange,
    leaves_log2: u8,
    /// Level by level from the root: node `i` of level `l` is at `2^l - 1 + i`.
    nodes: Vec<Sum>,
}

impl MerkleTree {
    /// From its leaves, in order. Panics unless they are a power of two.
    pub fn fold(range: TokenRange, leaves: &[Sum]) -> MerkleTree {
        assert!(leaves.len().is_power_of_two(), "a tree has a power of two leaves");
        let count = leaves.len();
        let mut nodes = vec![Sum::default(); 2 * count - 1];
        nodes[count - 1..].copy_from_slice(leaves);
        for i in (0..count - 1).rev() {
            nodes[i] = nodes[2 * i + 1] + nodes[2 * i + 2];
        }
        MerkleTree { range, leaves_log2: count.trailing_zeros() as u8, nodes }
    }

    /// The root.
    pub fn root(&self) -> Digest {
        self.nodes[0].digest()
    }

    /// Two to this power leaves.
    pub fn leaves_log2(&self) -> u8 {
        self.leaves_log2
    }

    /// Node `index` of a level (0 is the root's); none outside the tree.
    pub fn node(&self, level: u8, index: u32) -> Option<Digest> {
        if level > self.leaves_log2 || index >> level != 0 {
            return None;
        }
        self.nodes.get((1usize << level) - 1 + index as usize).map(|sum| sum.digest())
    }

    /// The slice of a node.
    pub fn slice(&self, level: u8, index: u32) -> TokenRange {
        slice(self.range, level, index)
    }
}

/// A number of leaves for a range with about so many records, `leaf_records` in each.
pub fn leaves_log2_for(range: TokenRange, records: u64, leaf_records: u64) -> u8 {
    let leaves = records.div_ceil(leaf_records).clamp(1, 1 << LEAVES_LOG2_MAX).next_power_of_two();
    (leaves.trailing_zeros() as u8).min(leaves_log2_max(range))
}

/// The most leaves of a range's tree: no leaf is without a token.
pub fn leaves_log2_max(range: TokenRange) -> u8 {
    let bits = (length(range).ilog2()) as u8;
    bits.min(LEAVES_LOG2_MAX)
}

/// The hash of a key, as lists name it.
pub fn key_hash(key: &Key) -> Digest {
    cut(blake3::keyed_hash(KEYS, key.as_bytes()))
}

fn length(range: TokenRange) -> u128 {
    u128::from(range.last.0.saturating_sub(range.first.0)) + 1
}

/// Slice `index` of `2^level`. The slices of a level cut the range without gap or overlap, and those of the next
/// level cut each of them in two.
pub fn slice(range: TokenRange, level: u8, index: u32) -> TokenRange {
    let start = |index: u32| (length(range) * u128::from(index)).div_ceil(1 << level);
    let token =
        |offset: u128| Token(range.first.0 + u64::try_from(offset).expect("an offset lies in the range"));
    TokenRange { first: token(start(index)), last: token(start(index + 1) - 1) }
}

/// The leaf of a token of the range.
pub fn leaf_of(range: TokenRange, leaves_log2: u8, token: Token) -> u32 {
    let offset = u128::from(token.0 - range.first.0);
    ((offset << leaves_log2) / length(range)) as u32
}

fn cut(hash: blake3::Hash) -> [u8; 16] {
    hash.as_bytes()[..16].try_into().expect("a BLAKE3 hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn range(first: u64, last: u64) -> TokenRange {
        TokenRange { first: Token(first), last: Token(last) }
    }

    fn tree(range: TokenRange, leaves_log2: u8, records: &BTreeMap<u64, u8>) -> MerkleTree {
        let hasher = RecordHasher::new(PartitionerKey([7; 16]));
        let mut leaves = vec![Sum::default(); 1 << leaves_log2];
        for (&token, &value) in records {
            let leaf = &mut leaves[leaf_of(range, leaves_log2, Token(token)) as usize];
            *leaf = *leaf
                + hasher.hash(Token(token), &Key::new(token.to_be_bytes().to_vec()).unwrap(), [value; 16]);
        }
        MerkleTree::fold(range, &leaves)
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
            for level in 0..=leaves_log2_max(r).min(6) {
                let mut next = u128::from(r.first.0);
                for index in 0..1u32 << level {
                    let s = slice(r, level, index);
                    assert_eq!(u128::from(s.first.0), next);
                    assert!(s.first <= s.last);
                    assert_eq!(leaf_of(r, level, s.first), index);
                    assert_eq!(leaf_of(r, level, s.last), index);
                    if level < leaves_log2_max(r).min(6) {
                        let (left, right) =
                            (slice(r, level + 1, 2 * index), slice(r, level + 1, 2 * index + 1));
                        assert_eq!((left.first, right.last), (s.first, s.last));
                    }
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
            assert_eq!(leaves_log2_for(r, records, 16), expected, "{records} records");
        }
        assert_eq!(leaves_log2_for(range(8, 11), 1 << 20, 16), 2);
        assert_eq!(leaves_log2_for(r, 1 << 12, 64), 6);
    }

    #[test]
    fn clusters_have_hashes_of_their_own() {
        let hash = |secret| {
            RecordHasher::new(PartitionerKey([secret; 16])).hash(Token(1), &Key::new("k").unwrap(), [3; 16])
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
        assert_ne!(hash(1), Sum::default());
        let empty = tree(range(0, 255), 4, &BTreeMap::new());
        assert_eq!(empty.root(), Sum::default().digest());
        assert_eq!((empty.node(0, 1), empty.node(5, 0)), (None, None));
    }

    proptest! {
        #[test]
        fn trees_of_any_depths_differ_in_exactly_the_slices_whose_records_differ(
            mine in prop::collection::btree_map(0u64..1000, 0u8..3, 0..60),
            theirs in prop::collection::btree_map(0u64..1000, 0u8..3, 0..60),
            my_depth in 0u8..8,
            their_depth in 0u8..8,
        ) {
            let r = range(0, 999);
            let (a, b) = (tree(r, my_depth, &mine), tree(r, their_depth, &theirs));
            for level in 0..=my_depth.min(their_depth) {
                for index in 0..1u32 << level {
                    let s = a.slice(level, index);
                    let part = |m: &BTreeMap<u64, u8>| {
                        m.range(s.first.0..=s.last.0).map(|(t, v)| (*t, *v)).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(a.node(level, index) == b.node(level, index), part(&mine) == part(&theirs));
                }
            }
            prop_assert_eq!(a.root() == b.root(), mine == theirs);
        }
    }
}
