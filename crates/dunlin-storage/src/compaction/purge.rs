//! Which deletions and expired values may be forgotten.

use dunlin_types::view::RecordView;
use dunlin_types::{Hlc, Micros, Token, TokenRange};

/// What may be forgotten of a table: given anew after each start.
///
/// A record that is nothing but tombstones and expired values, all of it written and expired before the time
/// given for its token, is dropped by a compaction when nothing else in the table may hold its key. The owner
/// sets that time: older than the grace period, than the last full repair, than every hint on its way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PurgeRule {
    /// Values that expire at this time or before are expired.
    now: Micros,
    /// Sorted, disjoint.
    before: Vec<(TokenRange, Micros)>,
}

impl PurgeRule {
    /// A rule as of `now`: in each range, what was written and expired before the time beside it. Tokens in no
    /// range keep everything. `None` if ranges overlap or end before they start.
    pub fn new(now: Micros, ranges: impl IntoIterator<Item = (TokenRange, Micros)>) -> Option<PurgeRule> {
        let mut before: Vec<_> = ranges.into_iter().collect();
        before.sort_unstable_by_key(|(range, _)| range.first);
        let apart = before.windows(2).all(|pair| pair[0].0.last < pair[1].0.first);
        (apart && before.iter().all(|(range, _)| range.first <= range.last))
            .then_some(PurgeRule { now, before })
    }

    /// The time before which deletions of that token may be forgotten.
    pub fn before(&self, token: Token) -> Option<Micros> {
        let at = self.before.partition_point(|(range, _)| range.last < token);
        self.before.get(at).filter(|(range, _)| range.contains(token)).map(|(_, before)| *before)
    }

    /// Whether a record may be forgotten, as far as its age is concerned.
    pub(crate) fn allows(&self, token: Token, record: &RecordView) -> bool {
        let Some(before) = self.before(token) else { return false };
        let Some(gone_at) = record.gone_at else { return false };
        // A record without values is a context that outlived them: nothing tells its age.
        let dated = record.written_max > Hlc::default();
        dated && record.written_max < before && gone_at <= self.now && gone_at < before
    }

    /// The latest time of any token in a range.
    pub(crate) fn latest(&self, range: TokenRange) -> Option<Micros> {
        let from = self.before.partition_point(|(r, _)| r.last < range.first);
        self.before[from..].iter().take_while(|(r, _)| r.first <= range.last).map(|(_, at)| *at).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::record::Latest;
    use dunlin_types::{HostId, Record, Value};

    fn range(first: u64, last: u64) -> TokenRange {
        TokenRange { first: Token(first), last: Token(last) }
    }

    #[test]
    fn ranges_must_be_apart() {
        let rule = |ranges: &[TokenRange]| PurgeRule::new(Micros(9), ranges.iter().map(|&r| (r, Micros(1))));
        assert!(rule(&[]).is_some());
        assert!(rule(&[range(5, 9), range(0, 4)]).is_some());
        assert!(rule(&[range(5, 9), range(0, 5)]).is_none());
        assert!(rule(&[range(5, 4)]).is_none());
    }

    #[test]
    fn times_are_of_their_ranges() {
        let ranges = [(range(10, 19), Micros(100)), (range(30, u64::MAX), Micros(300))];
        let rule = PurgeRule::new(Micros(1_000), ranges).expect("apart");
        for (token, expected) in
            [(9, None), (10, Some(100)), (19, Some(100)), (20, None), (u64::MAX, Some(300))]
        {
            assert_eq!(rule.before(Token(token)), expected.map(Micros), "{token}");
        }
        assert_eq!(rule.latest(range(0, 9)), None);
        assert_eq!(rule.latest(range(19, 29)), Some(Micros(100)));
        assert_eq!(rule.latest(TokenRange::ALL), Some(Micros(300)));
    }

    #[test]
    fn old_deletions_and_expired_values_may_go() {
        let rule = PurgeRule::new(Micros(500), [(range(0, 9), Micros(100)), (range(10, 19), Micros(900))]);
        let rule = rule.expect("apart");
        let check = |token, written, expires: Option<u64>, data: Option<&str>, expected| {
            let data = data.map(|d| d.as_bytes().to_vec().into());
            let value = Value { written: Micros(written), expires: expires.map(Micros), data };
            let record = Record::Latest(Latest { host: HostId([1; 16]), value });
            let view = RecordView::parse(&record.to_bytes()).expect("canonical");
            assert_eq!(rule.allows(Token(token), &view), expected, "{token} {record:?}");
        };
        check(5, 99, None, None, true);
        check(5, 100, None, None, false);
        check(20, 1, None, None, false);
        check(5, 1, None, Some("a"), false);
        check(5, 1, Some(99), Some("a"), true);
        check(5, 1, Some(100), Some("a"), false);
        check(15, 1, Some(500), Some("a"), true);
        check(15, 1, Some(501), Some("a"), false);
        let empty = RecordView::parse(&Record::Siblings(Default::default()).to_bytes()).expect("canonical");
        assert!(!rule.allows(Token(5), &empty), "a context alone has no age");
    }
}
