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

    fn taken(&self, table: TableId, token: Token, record: &Record) {
        self.trees.mark(table, token);
        // An exchange may have begun, and read the copy, after the word before and before the write was there.
        self.taking(table, token, record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::compared::{ExchangeId, Side};
    use dunlin_types::record::Latest;
    use dunlin_types::{HostId, Micros, TokenRange, Value};

    #[test]
    fn a_deletion_that_an_exchange_missed_is_not_proved_by_it() {
        let (trees, compared) = (Arc::new(KeptTrees::new(64)), Arc::new(Compared::default()));
        let watch = Watch { trees, compared: compared.clone() };
        let (table, range, peer) = (TableId(1), TokenRange::ALL, HostId([2; 16]));
        let value = Value { written: Micros(50), expires: None, data: None };
        let record = Record::Latest(Latest { host: HostId([1; 16]), value });
        watch.taking(table, Token(7), &record);
        let exchange = ExchangeId { peer, side: Side::Asker, number: 1 };
        compared.begin(table, range, exchange, Micros(100));
        // The copy is read here, without the record.
        watch.taken(table, Token(7), &record);
        compared.ended(table, range, exchange);
        assert_eq!(compared.repaired_at(table, range, &[peer].into()), Ok(Micros(50)));
    }
}
