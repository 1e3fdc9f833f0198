//! Writing back what a read found missing.

use super::get::Reading;
use super::spread::Call;
use super::tracker::{Progress, Tally};
use crate::message::{Envelope, MergeReason, MergeRequest, Request};
use crate::store::Durability;
use bytes::Bytes;
use dunlin_transport::Lane;
use dunlin_types::{Record, ReplicaOutcome};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

impl Reading {
    /// Sends the merged record to the replicas that answered with less. With `wait`, ends when as many
    /// replicas hold it as the level reads (`true`), or when that cannot be done in time (`false`);
    /// replicas that were not read stand in for ones that fail or are slow. The rest goes on by itself.
    pub(super) async fn repair(&mut self, record: &Record, wait: bool) -> bool {
        let merged = Some(record.clone());
        let mut tally = self.fresh_tally();
        let holders = self.tracker.holders(&merged);
        (0..self.replicas.hosts.len()).filter(|i| holders & 1 << i != 0).for_each(|i| tally.add_success(i));
        let stale = self.tracker.stale(&merged);
        let mut sent = stale | holders;
        let mut calls = FuturesUnordered::new();
        let mut body = None;
        self.send_repairs(record, stale, &mut body, &calls);
        let core = self.core.clone();
        let enough = !wait || self.await_repairs(record, &mut tally, &mut sent, &mut body, &mut calls).await;
        if !calls.is_empty() {
            drop(
                core.runtime.spawn(
                    "read-repair-rest",
                    Box::pin(async move { while calls.next().await.is_some() {} }),
                ),
            );
        }
        enough
    }

    async fn await_repairs(
        &mut self,
        record: &Record,
        tally: &mut Tally,
        sent: &mut super::level::Mask,
        body: &mut Option<Bytes>,
        calls: &mut FuturesUnordered<Call>,
    ) -> bool {
        // Repairs are writes: what the table's reads usually take says nothing about them.
        let patience = self.core.config.speculative_after.min(self.core.left(self.deadline));
        let mut timer = self.core.runtime.sleep(patience);
        let mut patient = true;
        loop {
            match tally.progress() {
                Progress::Enough => return true,
                Progress::Impossible => return false,
                Progress::Pending => {}
            }
            let mut widen = false;
            tokio::select! {
                biased;
                answer = calls.next() => match answer {
                    Some((index, answer)) => {
                        let (outcome, stamp) = answer.read();
                        self.note_newer(index, stamp);
                        if outcome == ReplicaOutcome::Ok {
                            tally.add_success(index);
                        } else {
                            self.outcomes[index] = Some(outcome);
                            tally.add_failure(index);
                            widen = true;
                        }
                    }
                    None => return false,
                },
                () = &mut timer => {
                    let left = self.core.left(self.deadline);
                    if left.is_zero() || !patient {
                        return false;
                    }
                    (patient, widen) = (false, true);
                    timer = self.core.runtime.sleep(left);
                }
            }
            if widen {
                let others =
                    self.order().iter().fold(0, |mask: super::level::Mask, i| mask | 1 << i) & !*sent;
                *sent |= others;
                self.send_repairs(record, others, body, calls);
            }
        }
    }

    fn send_repairs(
        &self,
        record: &Record,
        targets: super::level::Mask,
        body: &mut Option<Bytes>,
        calls: &FuturesUnordered<Call>,
    ) {
        for (index, &host) in self.replicas.hosts.iter().enumerate().filter(|(i, _)| targets & 1 << i != 0) {
            if host == self.core.me() {
                let done = self.core.local.merge(
                    self.table,
                    self.token,
                    self.key.clone(),
                    record.clone(),
                    Durability::Synced,
                );
                calls.push(Call::own(index, done));
            } else if let Some(peer) = self.view.peers.get(&host) {
                let body = body.get_or_insert_with(|| self.repair_body(record)).clone();
                calls.push(Call::remote(
                    index,
                    self.core.transport.call(
                        peer.address,
                        Lane::Request,
                        body,
                        self.core.left(self.deadline),
                    ),
                ));
            }
        }
    }

    fn repair_body(&self, record: &Record) -> Bytes {
        let request = MergeRequest {
            table: self.table,
            token: self.token,
            key: self.key.clone(),
            record: record.clone(),
            durability: Durability::Synced,
            reason: MergeReason::Repair,
            identified: None,
        };
        Envelope { from: self.core.me(), fence: self.view.fence, request: Request::Merge(request) }.encode()
    }
}
