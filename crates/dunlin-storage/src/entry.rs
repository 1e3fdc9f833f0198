//! Entries on their way between memtable, SSTables and readers: cursors over canonical bytes.

use crate::LogPosition;
use crate::error::EngineError;
use bytes::Bytes;
use dunlin_types::view::{Joined, join};
use dunlin_types::{Record, Token};

/// Gives entries in (token, key) order, each place once, without an allocation for each.
pub(crate) trait Cursor: Send {
    /// Goes to the next entry; false at the end, and for ever after.
    fn advance(&mut self) -> Result<bool, EngineError>;
    /// Of the current entry: this and the following may be asked only after `advance` gave true.
    fn token(&self) -> Token;
    /// Its key.
    fn key(&self) -> &[u8];
    /// Canonical bytes of its record.
    fn record(&self) -> &[u8];
    /// Of the last synced write in it; zero once it is in an SSTable.
    fn position(&self) -> LogPosition {
        LogPosition(0)
    }
}

/// Decodes canonical bytes that passed a checksum; `file` names them if they are wrong all the same.
pub(crate) fn decode(record: &Bytes, file: &str, offset: u64) -> Result<Record, EngineError> {
    Record::decode(record).map_err(|e| EngineError::damaged(file, offset + e.offset as u64, e.what))
}

/// What a record that is being joined is called where a file would be named.
const JOINING: &str = "a record to be joined";

/// Puts into `held` what it and `other` are together; `scratch` is for use in between. Joining is
/// commutative, so the order of calls does not matter.
pub(crate) fn join_into(
    held: &mut Vec<u8>,
    other: &[u8],
    scratch: &mut Vec<u8>,
    file: &str,
) -> Result<(), EngineError> {
    match join(held, other, scratch).map_err(|e| EngineError::damaged(file, e.offset as u64, e.what))? {
        Joined::First => {}
        Joined::Second => {
            held.clear();
            held.extend_from_slice(other);
        }
        Joined::New => std::mem::swap(held, scratch),
    }
    Ok(())
}

/// Joins cursors: the same place in several of them becomes one entry.
pub(crate) struct Merge {
    heads: Vec<Head>,
    /// The first head at the current place.
    first: usize,
    /// The record, if several heads are at the current place.
    joined: Option<Vec<u8>>,
    /// Kept for the next join.
    spare: Vec<u8>,
    scratch: Vec<u8>,
    position: LogPosition,
}

struct Head {
    cursor: Box<dyn Cursor>,
    token: Token,
    /// It is at the current place of the merge.
    taken: bool,
}

impl Merge {
    /// Reads the first entry of every cursor.
    pub(crate) fn new(cursors: Vec<Box<dyn Cursor>>) -> Result<Merge, EngineError> {
        let mut heads = Vec::with_capacity(cursors.len());
        for mut cursor in cursors {
            if cursor.advance()? {
                heads.push(Head { token: cursor.token(), cursor, taken: false });
            }
        }
        let (joined, spare, scratch) = (None, Vec::new(), Vec::new());
        Ok(Merge { heads, first: 0, joined, spare, scratch, position: LogPosition(0) })
    }

    fn leave_place(&mut self) -> Result<(), EngineError> {
        let mut i = 0;
        while let Some(head) = self.heads.get_mut(i) {
            if !head.taken {
                i += 1;
            } else if head.cursor.advance()? {
                head.token = head.cursor.token();
                head.taken = false;
                i += 1;
            } else {
                self.heads.swap_remove(i);
            }
        }
        Ok(())
    }

    fn join(&mut self) -> Result<(), EngineError> {
        let mut held = std::mem::take(&mut self.spare);
        held.clear();
        held.extend_from_slice(self.heads[self.first].cursor.record());
        for (i, head) in self.heads.iter().enumerate() {
            if head.taken && i != self.first {
                join_into(&mut held, head.cursor.record(), &mut self.scratch, JOINING)?;
                self.position = self.position.max(head.cursor.position());
            }
        }
        self.joined = Some(held);
        Ok(())
    }
}

impl Cursor for Merge {
    fn advance(&mut self) -> Result<bool, EngineError> {
        if let Some(buffer) = self.joined.take() {
            self.spare = buffer;
        }
        self.leave_place()?;
        let Some(least) = self.heads.iter().map(|h| h.token).min() else { return Ok(false) };
        // Different keys of one token hardly ever meet: tokens are compared first, keys only among equals.
        let mut first: Option<usize> = None;
        let mut several = false;
        for i in 0..self.heads.len() {
            if self.heads[i].token != least {
                continue;
            }
            let order = first.map(|f| self.heads[i].cursor.key().cmp(self.heads[f].cursor.key()));
            match order {
                None => first = Some(i),
                Some(std::cmp::Ordering::Less) => {
                    self.heads.iter_mut().for_each(|h| h.taken = false);
                    first = Some(i);
                    several = false;
                }
                Some(std::cmp::Ordering::Equal) => several = true,
                Some(std::cmp::Ordering::Greater) => continue,
            }
            self.heads[i].taken = true;
        }
        self.first = first.unwrap_or_default();
        self.position = self.heads[self.first].cursor.position();
        if several {
            self.join()?;
        }
        Ok(true)
    }

    fn token(&self) -> Token {
        self.heads[self.first].token
    }

    fn key(&self) -> &[u8] {
        self.heads[self.first].cursor.key()
    }

    fn record(&self) -> &[u8] {
        self.joined.as_deref().unwrap_or_else(|| self.heads[self.first].cursor.record())
    }

    fn position(&self) -> LogPosition {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_types::record::Latest;
    use dunlin_types::{HostId, Micros, Value};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Listed(Vec<(u64, u8, Vec<u8>)>, usize);

    impl Cursor for Listed {
        fn advance(&mut self) -> Result<bool, EngineError> {
            self.1 += 1;
            Ok(self.1 <= self.0.len())
        }
        fn token(&self) -> Token {
            Token(self.0[self.1 - 1].0)
        }
        fn key(&self) -> &[u8] {
            std::slice::from_ref(&self.0[self.1 - 1].1)
        }
        fn record(&self) -> &[u8] {
            &self.0[self.1 - 1].2
        }
    }

    fn record(written: u64) -> Vec<u8> {
        let value = Value { written: Micros(written), expires: None, data: Some(vec![7].into()) };
        Record::Latest(Latest { host: HostId([1; 16]), value }).to_bytes().into()
    }

    proptest! {
        #[test]
        fn merges_as_one_map_does(lists in prop::collection::vec(prop::collection::btree_map((0..6u64, 0..3u8), 0..9u64, 0..12), 0..5)) {
            let mut expected: BTreeMap<(u64, u8), u64> = BTreeMap::new();
            for (place, written) in lists.iter().flatten() {
                let held = expected.entry(*place).or_default();
                *held = (*held).max(*written);
            }
            let cursors = lists.iter().map(|list| {
                let entries = list.iter().map(|(&(token, key), &written)| (token, key, record(written)));
                Box::new(Listed(entries.collect(), 0)) as Box<dyn Cursor>
            });
            let mut merge = Merge::new(cursors.collect()).unwrap();
            for ((token, key), written) in expected {
                prop_assert!(merge.advance().unwrap());
                prop_assert_eq!((merge.token(), merge.key()), (Token(token), &[key][..]));
                prop_assert_eq!(merge.record(), &record(written)[..]);
            }
            prop_assert!(!merge.advance().unwrap() && !merge.advance().unwrap());
        }
    }
}
