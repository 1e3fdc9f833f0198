//! Ranges of which this node gave away or lost its copy in the present incarnation.
//!
//! An incarnation's counter says "and everything before of my copy". Where the copy was removed, or damaged, since
//! the incarnation began, that is not so before it has been compared with every other owner again: until then
//! a write there gets a dot that stands for itself alone (`coordinator/mint`). The next start opens a new incarnation.

use dunlin_types::{TableId, Token, TokenRange};
use parking_lot::RwLock;
use std::collections::BTreeMap;

/// Ranges kept apart for one table; with more, the whole table counts.
const RANGES_MAX: usize = 1024;

/// See the module's comment.
#[derive(Debug, Default)]
pub struct Gaps(RwLock<BTreeMap<TableId, Vec<TokenRange>>>);

impl Gaps {
    /// Adds ranges of a table.
    pub fn add(&self, table: TableId, ranges: &[TokenRange]) {
        let mut gaps = self.0.write();
        let mine = gaps.entry(table).or_default();
        let new = ranges.iter().filter(|range| !mine.contains(range)).copied().collect::<Vec<_>>();
        mine.extend(new);
        if mine.len() > RANGES_MAX {
            *mine = vec![TokenRange::ALL];
        }
    }

    /// Whether the token is in any.
    pub fn meet(&self, table: TableId, token: Token) -> bool {
        self.0.read().get(&table).is_some_and(|gaps| gaps.iter().any(|gap| gap.contains(token)))
    }
}
