//! Sets of small numbers.

/// A set of numbers below a bound fixed when it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set for numbers below `bound`.
    pub fn new(bound: usize) -> Bits {
        Bits(vec![0; bound.div_ceil(64)])
    }

    pub fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    pub fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }

    pub fn contains(&self, number: usize) -> bool {
        self.0[number / 64] & 1 << (number % 64) != 0
    }

    pub fn join(&mut self, other: &Bits) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// Keeps only numbers below `bound`.
    pub fn truncate(&mut self, bound: usize) {
        for (index, word) in self.0.iter_mut().enumerate() {
            let left = bound.saturating_sub(index * 64);
            if left < 64 {
                *word &= (1u64 << left) - 1;
            }
        }
    }

    /// The lowest number that is here and not there.
    pub fn first_missing_in(&self, other: &Bits) -> Option<usize> {
        let words = self.0.iter().zip(&other.0).enumerate();
        words.map(|(i, (mine, theirs))| (i, mine & !theirs)).find(|(_, word)| *word != 0).map(first)
    }

    /// The lowest number of both sets.
    pub fn first_common(&self, other: &Bits) -> Option<usize> {
        let words = self.0.iter().zip(&other.0).enumerate();
        words.map(|(i, (mine, theirs))| (i, mine & theirs)).find(|(_, word)| *word != 0).map(first)
    }
}

fn first((index, word): (usize, u64)) -> usize {
    index * 64 + word.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_do_what_sets_do() {
        let mut a = Bits::new(130);
        let mut b = Bits::new(130);
        for n in [0, 64, 129] {
            a.insert(n);
        }
        b.insert(0);
        assert_eq!((a.first_missing_in(&b), a.first_common(&b)), (Some(64), Some(0)));
        b.join(&a);
        assert_eq!(a.first_missing_in(&b), None);
        a.truncate(129);
        assert!(a.contains(64) && !a.contains(129));
        a.truncate(64);
        a.remove(0);
        assert_eq!(a, Bits::new(130));
    }
}
