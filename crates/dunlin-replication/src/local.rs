//! This node's own copy, as coordinator and replica both use it: the store, the hybrid clock, and
//! the places where the simulator plants its replica bugs.

use crate::store::{Durability, ReplicaStore, StoreError, Updated};
use dunlin_types::record::SiblingSet;
use dunlin_types::runtime::{BoxFuture, PlantedBug, SharedRuntime};
use dunlin_types::{Hlc, HlcClock, Key, Record, TableId, Token, TokenRange};
use std::sync::Arc;

/// The store with what surrounds it.
#[derive(Clone)]
pub struct Local {
    /// The seam itself.
    pub store: Arc<dyn ReplicaStore>,
    runtime: SharedRuntime,
    clock: Arc<HlcClock>,
}

impl Local {
    /// Puts the parts together.
    pub fn new(store: Arc<dyn ReplicaStore>, runtime: SharedRuntime, clock: Arc<HlcClock>) -> Local {
        Local { store, runtime, clock }
    }

    /// A reading of the hybrid clock for an event of now: later than every write that was seen.
    pub fn now(&self) -> Hlc {
        self.clock.tick(self.runtime.wall())
    }

    /// Reads for a client.
    pub fn read(
        &self,
        table: TableId,
        token: Token,
        key: Key,
    ) -> BoxFuture<'static, Result<Option<Record>, StoreError>> {
        match self.store.serves(table, TokenRange { first: token, last: token }) {
            Ok(()) => self.store.get(table, token, key),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    pub(crate) fn planted(&self, bug: PlantedBug) -> bool {
        self.runtime.planted(bug)
    }

    /// Joins a record that another coordinator made (or this one, in last_write_wins tables).
    pub fn merge(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        durability: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        self.clock.observe(record.written_max(), self.runtime.wall());
        let durability = self.durability(durability);
        let overwrite = self.runtime.planted(PlantedBug::ReplicaOverwrites);
        let collapse = self.runtime.planted(PlantedBug::SiblingsCollapse);
        if !overwrite && !collapse {
            return self.store.merge(table, token, key, record, durability);
        }
        let change = move |old: Option<Record>| {
            let mut record = record;
            if let Some(old) = old {
                let sent = record.clone();
                record.merge(&old);
                if overwrite {
                    drop_unsent(&mut record, &sent);
                }
            }
            if collapse {
                collapse_siblings(&mut record);
            }
            Ok(record)
        };
        let update = self.store.update(table, token, key, Box::new(change), durability);
        Box::pin(async move { update.await?.durable.await })
    }

    /// The same for a record that this node coordinates for a client: refused where there is no room for it.
    pub fn merge_write(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        record: Record,
        durability: Durability,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        match self.store.takes_client_writes() {
            Ok(()) => self.merge(table, token, key, record, durability),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    /// Reads, changes and writes in one step; see [`ReplicaStore::update`].
    pub async fn update(
        &self,
        table: TableId,
        token: Token,
        key: Key,
        change: impl FnOnce(Option<Record>) -> Result<Record, Box<dunlin_types::ClusterError>> + Send + 'static,
        durability: Durability,
    ) -> Result<Updated, StoreError> {
        let durability = self.durability(durability);
        if !self.runtime.planted(PlantedBug::SiblingsCollapse) {
            return self.store.update(table, token, key, Box::new(change), durability).await;
        }
        let collapsing = move |old: Option<Record>| {
            let mut record = change(old)?;
            collapse_siblings(&mut record);
            Ok(record)
        };
        self.store.update(table, token, key, Box::new(collapsing), durability).await
    }

    fn durability(&self, asked: Durability) -> Durability {
        if self.runtime.planted(PlantedBug::AckBeforeSync) { Durability::Buffered } else { asked }
    }
}

/// What [`PlantedBug::ReplicaOverwrites`] makes of a merge. The engine joins what it is given with what it
/// holds, so the values that were not sent have to count as superseded.
fn drop_unsent(record: &mut Record, sent: &Record) {
    if let (Record::Siblings(set), Record::Siblings(sent)) = (record, sent) {
        set.supersede(|dot| sent.values().iter().all(|(other, _)| *other != dot));
    }
}

fn collapse_siblings(record: &mut Record) {
    if let Record::Siblings(set) = record
        && let Some(newest) =
            set.values().iter().max_by_key(|(dot, value)| (value.written, *dot)).map(|(dot, _)| *dot)
    {
        set.supersede(|dot| dot != newest);
    }
}

/// What [`PlantedBug::RepairDropsValue`] makes of a read's merge: the values that the first replica
/// lacks are gone.
pub(crate) fn drop_unknown_to(first: &Record, merged: &mut Record) {
    if let (Record::Siblings(first), Record::Siblings(merged)) = (first, merged) {
        let known = |set: &SiblingSet, dot| set.values().iter().any(|(d, _)| *d == dot);
        merged.supersede(|dot| !known(first, dot));
    }
}
