//! The SSTables of a table, by level.

use crate::compaction::LEVEL_MAX;
use crate::sstable::SsTable;
use dunlin_types::{Token, TokenRange};
use std::sync::Arc;

/// Invariant: below level 0 the SSTables of a level are disjoint and sorted by token; level 0 is sorted by
/// sequence, oldest first.
#[derive(Clone, Default)]
pub(crate) struct Levels {
    levels: [Vec<Arc<SsTable>>; LEVEL_MAX as usize + 1],
}

impl Levels {
    /// Sorts SSTables into the levels given. One that would overlap another of its level goes to level 0, where
    /// it does no harm; so does one that cannot say what it holds, which would drive all others out.
    pub(crate) fn new(sstables: impl IntoIterator<Item = (u8, Arc<SsTable>)>) -> Levels {
        let mut levels = Levels::default();
        for (level, sstable) in sstables {
            let level = if sstable.knows_its_range() { level } else { 0 };
            levels.levels[usize::from(level.min(LEVEL_MAX))].push(sstable);
        }
        let (level0, deeper) = levels.levels.split_at_mut(1);
        for level in deeper {
            level.sort_by_key(|s| (s.statistics().first, s.sequence()));
            let mut last: Option<Token> = None;
            level.retain(|sstable| {
                let apart = last.is_none_or(|last| last < sstable.statistics().first);
                if apart {
                    last = Some(sstable.statistics().last);
                } else {
                    tracing::warn!(file = sstable.path(), "an SSTable overlaps others of its level");
                    level0[0].push(sstable.clone());
                }
                apart
            });
        }
        level0[0].sort_by_key(|s| s.sequence());
        levels
    }

    /// All, with their levels.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &Arc<SsTable>)> {
        (0u8..).zip(&self.levels).flat_map(|(level, all)| all.iter().map(move |s| (level, s)))
    }

    pub(crate) fn len(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    pub(crate) fn level0(&self) -> &[Arc<SsTable>] {
        &self.levels[0]
    }

    /// Those of one level; empty past the last.
    pub(crate) fn level(&self, level: usize) -> &[Arc<SsTable>] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    /// Those whose token range holds a token: newest first, at most one of each level below 0.
    pub(crate) fn covering(&self, token: Token) -> impl Iterator<Item = &Arc<SsTable>> {
        let (level0, deeper) = self.levels.split_at(1);
        let at = move |level: &'_ [Arc<SsTable>]| level.partition_point(|s| s.statistics().last < token);
        let holds = move |s: &&Arc<SsTable>| s.statistics().first <= token && token <= s.statistics().last;
        let deeper = deeper.iter().filter_map(move |level| level.get(at(level)));
        level0[0].iter().rev().chain(deeper).filter(holds)
    }

    /// Whether an SSTable's tokens meet a range.
    pub(crate) fn meets(sstable: &SsTable, range: TokenRange) -> bool {
        sstable.statistics().first <= range.last && range.first <= sstable.statistics().last
    }
}
