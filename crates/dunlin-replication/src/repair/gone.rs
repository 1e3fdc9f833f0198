//! Records of which nothing is left to read: deletions, and values with an expiry.

use dunlin_types::{Hlc, Micros, Record, Value};

/// From when on a record is nothing but deletions and expired values, all of them written before; `None`: a value of
/// it never expires. A purge horizon later than this time lets the record be forgotten.
pub fn gone_at(record: &Record) -> Option<Micros> {
    let of = |value: &Value| match (&value.data, value.expires) {
        (None, _) => Some(value.written),
        (Some(_), expires) => expires.map(|at| at.max(value.written)),
    };
    match record {
        Record::Latest(latest) => of(&latest.value),
        // Of a context without values nothing tells the age.
        Record::Siblings(set) if set.values().is_empty() => None,
        Record::Siblings(set) => {
            set.values().iter().try_fold(Micros(0), |at, (_, value)| Some(at.max(of(value)?)))
        }
    }
}

/// When the earliest deletion, or value with an expiry, in a record was written.
pub fn oldest_deletion(record: &Record) -> Option<Hlc> {
    let of = |value: &Value| (value.data.is_none() || value.expires.is_some()).then_some(value.written);
    match record {
        Record::Latest(latest) => of(&latest.value),
        Record::Siblings(set) => set.values().iter().filter_map(|(_, value)| of(value)).min(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::record::{Latest, SiblingSet};
    use dunlin_types::{Actor, Context, Dot, Generation, HostId};

    fn value(written: u64, expires: Option<u64>, data: bool) -> Value {
        Value { written: Micros(written), expires: expires.map(Micros), data: data.then(|| "v".into()) }
    }

    fn check(values: &[Value], gone: Option<u64>, oldest: Option<u64>) {
        let actor = |i| Actor { host: HostId::from_words(i, 0), generation: Generation(1) };
        let mut record = Record::Siblings(SiblingSet::default());
        for (i, value) in (1..).zip(values) {
            let dot = Dot { actor: actor(i), counter: 1 };
            record.merge(&Record::Siblings(SiblingSet::detached(&Context::new(), dot, value.clone())));
        }
        assert_eq!(
            (gone_at(&record), oldest_deletion(&record)),
            (gone.map(Micros), oldest.map(Micros)),
            "{values:?}"
        );
        if let [value] = values {
            let record = Record::Latest(Latest { host: HostId::from_words(1, 0), value: value.clone() });
            assert_eq!((gone_at(&record), oldest_deletion(&record)), (gone.map(Micros), oldest.map(Micros)));
        }
    }

    #[test]
    fn a_record_is_gone_with_its_last_value() {
        check(&[], None, None);
        check(&[value(5, None, true)], None, None);
        check(&[value(5, None, false)], Some(5), Some(5));
        check(&[value(5, Some(9), true)], Some(9), Some(5));
        check(&[value(5, Some(3), true)], Some(5), Some(5));
        check(&[value(5, None, false), value(3, Some(9), true), value(7, None, false)], Some(9), Some(3));
        check(&[value(5, None, false), value(3, None, true)], None, Some(5));
    }
}
