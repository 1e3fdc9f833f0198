//! Hints that are in no file yet: one for each key, later records joined into it.

use super::segment::{self, Hint};
use dunlin_types::{Key, Micros, Record, TableId, Token};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A key of a table.
pub(super) type Place = (TableId, Token, Key);

/// See the module's comment. Its bytes are estimates until they are encoded.
#[derive(Default)]
pub(super) struct Pending {
    records: BTreeMap<Place, (Micros, Record)>,
    bytes: u64,
    oldest: Option<Micros>,
}

/// Encoded hints on their way to a file.
pub(super) struct Encoded {
    pub bytes: Vec<u8>,
    pub count: u64,
    pub oldest: Micros,
    /// What they were estimated at while they were pending.
    pub estimate: u64,
}

impl Pending {
    /// Adds a hint; whether it is one more, and not joined into another of its key.
    pub(super) fn add(&mut self, hint: Hint) -> bool {
        let weight = weight(&hint.key, &hint.record);
        self.oldest = Some(self.oldest.map_or(hint.created, |oldest| oldest.min(hint.created)));
        match self.records.entry((hint.table, hint.token, hint.key)) {
            Entry::Vacant(entry) => {
                entry.insert((hint.created, hint.record));
                self.bytes += weight;
                true
            }
            Entry::Occupied(mut entry) => {
                let key_weight = weight_of_key(&entry.key().2);
                let (created, record) = entry.get_mut();
                let before = key_weight + weight_of_record(record);
                // As old as its oldest part: what is older than `gc_grace` must not be delivered.
                *created = (*created).min(hint.created);
                record.merge(&hint.record);
                self.bytes = self.bytes - before + key_weight + weight_of_record(record);
                false
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// About how long they will be in a file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn oldest(&self) -> Option<Micros> {
        self.oldest
    }

    pub(super) fn clear(&mut self) {
        *self = Pending::default();
    }

    /// Takes all of them, as a segment holds them.
    pub(super) fn take(&mut self) -> Encoded {
        let taken = std::mem::take(self);
        let oldest = taken.oldest.unwrap_or_default();
        let mut bytes = Vec::with_capacity(usize::try_from(taken.bytes).unwrap_or(0));
        let count = taken.len();
        for ((table, token, key), (created, record)) in &taken.records {
            segment::put_hint(&mut bytes, *created, *table, *token, key, record);
        }
        Encoded { bytes, count, oldest, estimate: taken.bytes }
    }
}

/// About how many bytes a hint has in a segment or a message.
pub(super) fn weight(key: &Key, record: &Record) -> u64 {
    weight_of_key(key) + weight_of_record(record)
}

fn weight_of_key(key: &Key) -> u64 {
    36 + key.as_bytes().len() as u64
}

fn weight_of_record(record: &Record) -> u64 {
    let data = |value: &dunlin_types::Value| value.data.as_ref().map_or(0, |data| data.len() as u64);
    match record {
        Record::Siblings(set) => 24 + set.values().iter().map(|(_, value)| 40 + data(value)).sum::<u64>(),
        Record::Latest(latest) => 28 + data(&latest.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::record::Latest;
    use dunlin_types::{HostId, Value};

    fn hint(key: &str, created: u64, value: &str) -> Hint {
        let value =
            Value { written: Micros(created), expires: None, data: Some(value.as_bytes().to_vec().into()) };
        let record = Record::Latest(Latest { host: HostId([1; 16]), value });
        Hint {
            created: Micros(created),
            table: TableId(1),
            token: Token(2),
            key: Key::new(key.to_owned()).unwrap(),
            record,
        }
    }

    #[test]
    fn a_key_has_one_hint_with_the_join_of_all_and_the_age_of_the_oldest() {
        let mut pending = Pending::default();
        assert!(pending.add(hint("a", 5, "five")));
        assert!(!pending.add(hint("a", 7, "seven")));
        assert!(!pending.add(hint("a", 3, "three")));
        let alone = pending.bytes();
        assert!(pending.add(hint("b", 9, "nine")));
        assert_eq!((pending.len(), pending.oldest()), (2, Some(Micros(3))));
        let mut other = Pending::default();
        other.add(hint("a", 3, "seven"));
        assert_eq!(alone, other.bytes(), "the weight is that of the join");
        let encoded = pending.take();
        assert_eq!((encoded.count, encoded.oldest, pending.len(), pending.bytes()), (2, Micros(3), 0, 0));
        let mut bytes = segment::header(HostId([9; 16])).to_vec();
        bytes.extend(&encoded.bytes);
        let read: Vec<Hint> = segment::Hints::new(bytes.into()).collect();
        assert_eq!(read[0], Hint { created: Micros(3), ..hint("a", 7, "seven") });
        assert_eq!(read[1], hint("b", 9, "nine"));
    }
}
