//! Sets of token ranges.

use dunlin_types::{Token, TokenRange};

/// The tokens in none of the ranges, as sorted disjoint ranges that do not touch.
pub(crate) fn complement(ranges: &[TokenRange]) -> Vec<TokenRange> {
    let mut sorted: Vec<_> = ranges.iter().filter(|r| r.first <= r.last).collect();
    sorted.sort_unstable_by_key(|r| r.first);
    let mut out = Vec::new();
    // The lowest token not looked at; `None` past the highest one.
    let mut next = Some(0);
    for range in sorted {
        let Some(from) = next else { break };
        if range.first.0 > from {
            out.push(TokenRange { first: Token(from), last: Token(range.first.0 - 1) });
        }
        next = range.last.0.checked_add(1).map(|end| end.max(from));
    }
    out.extend(next.map(|from| TokenRange { first: Token(from), last: Token(u64::MAX) }));
    out
}

/// The same tokens as sorted disjoint ranges that do not touch.
pub(crate) fn union(ranges: &[TokenRange]) -> Vec<TokenRange> {
    complement(&complement(ranges))
}

/// What of the ranges, which are disjoint, lies between two tokens.
pub(crate) fn within(ranges: &[TokenRange], first: Token, last: Token) -> Vec<TokenRange> {
    let cut = |r: &TokenRange| TokenRange { first: r.first.max(first), last: r.last.min(last) };
    ranges.iter().map(cut).filter(|r| r.first <= r.last).collect()
}

/// Cuts the tokens from `first` to `last` into about equal parts: tokens are hashes, so they hold about equally much.
pub(crate) fn split(first: Token, last: Token, parts: u64) -> Vec<TokenRange> {
    let span = u128::from(last.0.saturating_sub(first.0)) + 1;
    let parts = u128::from(parts.max(1)).min(span);
    let at = |i: u128| first.0 + (span * i / parts) as u64;
    (0..parts)
        .map(|i| {
            let end = if i + 1 == parts { last } else { Token(at(i + 1) - 1) };
            TokenRange { first: Token(at(i)), last: end }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(u64, u64)]) -> Vec<TokenRange> {
        pairs.iter().map(|&(first, last)| TokenRange { first: Token(first), last: Token(last) }).collect()
    }

    #[test]
    fn complements() {
        const MAX: u64 = u64::MAX;
        for (given, expected) in [
            (&[][..], &[(0, MAX)][..]),
            (&[(0, MAX)], &[]),
            (&[(0, 9)], &[(10, MAX)]),
            (&[(10, MAX)], &[(0, 9)]),
            (&[(20, 29), (5, 9)], &[(0, 4), (10, 19), (30, MAX)]),
            (&[(5, 20), (7, 9), (15, 30)], &[(0, 4), (31, MAX)]),
            (&[(5, 9), (10, 12), (3, 2)], &[(0, 4), (13, MAX)]),
            (&[(5, MAX), (7, 9)], &[(0, 4)]),
        ] {
            assert_eq!(complement(&ranges(given)), ranges(expected), "{given:?}");
            assert_eq!(complement(&union(&ranges(given))), ranges(expected), "{given:?}");
        }
    }

    #[test]
    fn cuts_and_splits() {
        let all = ranges(&[(0, 4), (10, 19), (30, 40)]);
        assert_eq!(within(&all, Token(4), Token(12)), ranges(&[(4, 4), (10, 12)]));
        assert_eq!(within(&all, Token(20), Token(29)), []);
        assert_eq!(
            split(Token(0), Token(u64::MAX), 2),
            ranges(&[(0, u64::MAX / 2), (u64::MAX / 2 + 1, u64::MAX)])
        );
        assert_eq!(split(Token(5), Token(6), 9), ranges(&[(5, 5), (6, 6)]));
        assert_eq!(split(Token(5), Token(5), 0), ranges(&[(5, 5)]));
        for parts in 1..20 {
            let all = split(Token(3), Token(u64::MAX - 7), parts);
            assert_eq!(all.len() as u64, parts);
            assert!(all.windows(2).all(|p| p[0].last.0 + 1 == p[1].first.0 && p[0].first <= p[0].last));
        }
    }
}
