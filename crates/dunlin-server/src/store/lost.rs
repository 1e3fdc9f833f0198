//! Ranges of tables in which this node lost synced data: to a damaged SSTable that was scrubbed, to a damaged log
//! that was cut, or because its directory was put back to a snapshot.
//!
//! Its copy of them must not be read for clients, nor count in a quorum, before it has been compared with every
//! other replica (semantics, section 8). Writes go on, and so does repair, which heals it. Kept in
//! `system/lost`, durable before a call returns.

use crate::membership::persist;
use dunlin_replication::store::StoreError;
use dunlin_storage::fs::Fs;
use dunlin_types::{TableId, Token, TokenRange};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const FILE: &str = "system/lost";
const HEAD: &str = "dunlin lost 1\n";
/// Ranges kept apart for one table; with more, the whole table counts as lost.
const RANGES_MAX: usize = 1024;

/// First and last token of each range.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Lost(BTreeMap<TableId, Vec<(Token, Token)>>);

/// What counts as lost of a table at some moment, and how often anything had been added to it by then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostMark {
    /// The ranges.
    pub ranges: Vec<TokenRange>,
    additions: u64,
}

/// Whether a range meets any of these.
pub(crate) fn overlaps(ranges: &[TokenRange], range: TokenRange) -> bool {
    ranges.iter().any(|other| other.first <= range.last && range.first <= other.last)
}

/// See the module's comment.
pub struct LostRanges {
    fs: Arc<dyn Fs>,
    lost: RwLock<Lost>,
    /// Of each table, how often ranges were added in this run.
    additions: RwLock<BTreeMap<TableId, u64>>,
    any: AtomicBool,
}

impl LostRanges {
    /// As the last run left them.
    pub fn open(fs: Arc<dyn Fs>) -> io::Result<LostRanges> {
        let lost = match persist::read(&*fs, FILE, HEAD)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} is damaged: {e}")))?,
            None => Lost::default(),
        };
        let any = AtomicBool::new(!lost.0.is_empty());
        Ok(LostRanges { fs, lost: RwLock::new(lost), additions: RwLock::default(), any })
    }

    /// Adds ranges of a table.
    pub fn add(&self, table: TableId, ranges: &[TokenRange]) -> io::Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        *self.additions.write().entry(table).or_default() += 1;
        self.change(|lost| {
            let mine = lost.entry(table).or_default();
            mine.extend(ranges.iter().map(|r| (r.first, r.last)));
            mine.sort_unstable();
            mine.dedup();
            if mine.len() > RANGES_MAX {
                *mine = vec![(TokenRange::ALL.first, TokenRange::ALL.last)];
            }
        })
    }

    /// By table.
    pub fn marks(&self) -> BTreeMap<TableId, LostMark> {
        let additions = self.additions.read().clone();
        let mark = |(table, ranges)| {
            let additions = additions.get(&table).copied().unwrap_or_default();
            (table, LostMark { ranges, additions })
        };
        self.all().into_iter().map(mark).collect()
    }

    /// What counted as lost of a table at that moment is back (or the table is gone). If anything was lost since, be it
    /// of the same ranges, all of it stays.
    pub fn remove(&self, table: TableId, mark: &LostMark) -> io::Result<()> {
        if self.additions.read().get(&table).copied().unwrap_or_default() != mark.additions {
            return Ok(());
        }
        self.change(|lost| drop(lost.remove(&table)))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<TableId, Vec<(Token, Token)>>)) -> io::Result<()> {
        let mut lost = self.lost.write();
        let mut changed = lost.clone();
        change(&mut changed.0);
        let bytes = serde_json::to_vec(&changed).expect("plain values are always JSON");
        persist::write(&*self.fs, FILE, HEAD, &bytes)?;
        self.any.store(!changed.0.is_empty(), Ordering::Release);
        *lost = changed;
        Ok(())
    }

    /// By table.
    pub fn all(&self) -> BTreeMap<TableId, Vec<TokenRange>> {
        let range = |&(first, last): &(Token, Token)| TokenRange { first, last };
        self.lost.read().0.iter().map(|(t, ranges)| (*t, ranges.iter().map(range).collect())).collect()
    }

    /// Error: some of the range's data was lost here and is not back yet.
    pub(super) fn check(&self, table: TableId, range: TokenRange) -> Result<(), StoreError> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(());
        }
        let lost = self.lost.read();
        let meets = |&(first, last): &(Token, Token)| first <= range.last && range.first <= last;
        match lost.0.get(&table).is_some_and(|ranges| ranges.iter().any(meets)) {
            true => Err(StoreError::Damaged(
                "data was lost here and is not back from the other replicas yet".into(),
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_storage::fs::{MemFs, create_dirs};

    fn range(first: u64, last: u64) -> TokenRange {
        TokenRange { first: Token(first), last: Token(last) }
    }

    #[test]
    fn ranges_are_refused_until_they_are_back_and_survive_a_restart() {
        let fs = MemFs::new();
        create_dirs(&fs, "system").unwrap();
        let open = || LostRanges::open(Arc::new(fs.clone())).unwrap();
        let lost = open();
        let table = TableId(7);
        assert!(lost.check(table, TokenRange::ALL).is_ok());
        lost.add(table, &[range(10, 19), range(30, 39)]).unwrap();
        fs.crash(1);
        let lost = open();
        for (first, last, refused) in [
            (0, 9, false),
            (0, 10, true),
            (15, 15, true),
            (20, 29, false),
            (39, 50, true),
            (40, u64::MAX, false),
        ] {
            assert_eq!(lost.check(table, range(first, last)).is_err(), refused, "{first}-{last}");
            assert!(lost.check(TableId(8), range(first, last)).is_ok());
        }
        let mark = lost.marks()[&table].clone();
        // What is lost once more while it is fetched is not back.
        lost.add(table, &[range(10, 19)]).unwrap();
        lost.remove(table, &mark).unwrap();
        assert_eq!(lost.all(), [(table, vec![range(10, 19), range(30, 39)])].into());
        let mark = lost.marks()[&table].clone();
        lost.remove(table, &mark).unwrap();
        assert_eq!(open().all(), BTreeMap::new());
    }

    #[test]
    fn very_many_ranges_are_the_whole_table() {
        let fs = MemFs::new();
        create_dirs(&fs, "system").unwrap();
        let lost = LostRanges::open(Arc::new(fs)).unwrap();
        let many: Vec<TokenRange> = (0..=RANGES_MAX as u64).map(|i| range(i * 10, i * 10 + 1)).collect();
        lost.add(TableId(1), &many).unwrap();
        assert_eq!(lost.all()[&TableId(1)], [TokenRange::ALL]);
    }
}
