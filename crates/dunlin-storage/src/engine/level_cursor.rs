//! Reading a level below 0 in order: its SSTables are disjoint, so one is open at a time.

use super::table::State;
use crate::entry::Cursor;
use crate::error::EngineError;
use crate::memtable::Place;
use crate::sstable::SstCursor;
use dunlin_types::Token;
use std::sync::Arc;

pub(crate) struct LevelCursor {
    state: Arc<State>,
    level: usize,
    /// Number in the level of the SSTable to open next.
    next: usize,
    from: Place,
    last: Token,
    open: Option<SstCursor>,
}

impl LevelCursor {
    /// Entries of a level from a place to a token; `None` if no SSTable of it reaches into that range.
    pub(crate) fn new(state: &Arc<State>, level: usize, from: &Place, last: Token) -> Option<LevelCursor> {
        let sstables = state.sstables.level(level);
        let next = sstables.partition_point(|s| s.statistics().last < from.token);
        let meets = sstables.get(next).is_some_and(|s| s.statistics().first <= last);
        meets.then(|| LevelCursor { state: state.clone(), level, next, from: from.clone(), last, open: None })
    }

    fn opened(&self) -> &SstCursor {
        self.open.as_ref().expect("asked only after advance gave true")
    }
}

impl Cursor for LevelCursor {
    fn advance(&mut self) -> Result<bool, EngineError> {
        loop {
            if let Some(open) = &mut self.open {
                if open.advance()? {
                    return Ok(true);
                }
                self.open = None;
            }
            let next = self.state.sstables.level(self.level).get(self.next);
            let Some(sstable) = next.filter(|s| s.statistics().first <= self.last) else { return Ok(false) };
            self.open = Some(SstCursor::new(sstable.clone(), self.from.clone(), self.last, true));
            self.next += 1;
        }
    }

    fn token(&self) -> Token {
        self.opened().token()
    }

    fn key(&self) -> &[u8] {
        self.opened().key()
    }

    fn record(&self) -> &[u8] {
        self.opened().record()
    }
}
