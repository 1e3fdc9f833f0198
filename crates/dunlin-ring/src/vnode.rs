//! The circle of `u64`, cut into equal virtual nodes.

use dunlin_types::{Token, TokenRange, limits};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the ring's equal ranges, counted from token 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Vnode(pub u32);

impl fmt::Display for Vnode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How many virtual nodes a ring has: a power of two, at most [`limits::VNODES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VnodeCount(u32);

/// Not a power of two, or too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the number of vnodes is a power of two from 1 to {max}, not {0}", max = limits::VNODES_MAX)]
pub struct BadVnodeCount(pub u32);

impl TryFrom<u32> for VnodeCount {
    type Error = BadVnodeCount;
    fn try_from(count: u32) -> Result<VnodeCount, BadVnodeCount> {
        if count.is_power_of_two() && count <= limits::VNODES_MAX {
            Ok(VnodeCount(count))
        } else {
            Err(BadVnodeCount(count))
        }
    }
}

impl From<VnodeCount> for u32 {
    fn from(count: VnodeCount) -> u32 {
        count.0
    }
}

impl VnodeCount {
    /// As a number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Every virtual node, in ring order.
    pub fn iter(self) -> impl Iterator<Item = Vnode> {
        (0..self.0).map(Vnode)
    }

    /// The virtual node that holds a token.
    pub fn vnode_of(self, token: Token) -> Vnode {
        let vnode = (u128::from(token.0) * u128::from(self.0)) >> 64;
        Vnode(
            u32::try_from(vnode).expect("a token times the count, cut to its high word, is below the count"),
        )
    }

    /// The tokens of a virtual node. Panics if it is not one of this ring.
    pub fn range_of(self, vnode: Vnode) -> TokenRange {
        assert!(vnode.0 < self.0, "vnode {vnode} of a ring of {}", self.0);
        let width = (1u128 << 64) / u128::from(self.0);
        let first = u128::from(vnode.0) * width;
        TokenRange { first: Token(first as u64), last: Token((first + width - 1) as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_lies_in_the_range_of_its_vnode() {
        for count in [1, 2, 256, 1024, 65_536] {
            let ring = VnodeCount::try_from(count).unwrap();
            let mut next = 0u128;
            for vnode in ring.iter() {
                let range = ring.range_of(vnode);
                assert_eq!(u128::from(range.first.0), next);
                assert_eq!(ring.vnode_of(range.first), vnode);
                assert_eq!(ring.vnode_of(range.last), vnode);
                next = u128::from(range.last.0) + 1;
            }
            assert_eq!(next, 1 << 64);
        }
    }

    #[test]
    fn only_powers_of_two_up_to_the_limit() {
        for count in [0, 3, 1000, 131_072] {
            assert_eq!(VnodeCount::try_from(count), Err(BadVnodeCount(count)));
        }
    }
}
