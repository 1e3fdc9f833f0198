//! What anti-entropy learns of every write to the own copy.

use super::compared::Compared;
use super::gone::oldest_deletion;
use super::kept::KeptTrees;
use crate::store::WriteObserver;
use dunlin_types::{Record, TableId, Token};
use std::sync::Arc;

/// Marks the leaves of trees that a write changes, and takes back proofs that do not cover it.
pub struct Watch {
    /// Trees of the own copy.
    pub trees: Arc<KeptTrees>,
    /// What comparisons have proved.
    pub compared: Arc<Compared>,
}

impl WriteObserver for Watch {
    fn taking(&self, table: TableId, token: Token, record: &Record) {
        if let Some(oldest) = oldest_deletion(record) {
            self.compared.taking(table, token, oldest);
        }
    }

    fn taken(&self, table: TableId, token: Token) {
        self.trees.mark(table, token);
    }
}
