//! Sloppy quorums: who stands in for replicas that are down when a write begins (keyspaces with
//! `sloppy_quorum = true`).
//!
//! For each of them the next live node further along the ring, in its data centre and no replica itself, keeps
//! a synced hint that names it, hands it off when it is up, and is counted in its place. Reads do not ask
//! stand-ins, so W + R > RF no longer makes a read see every write.

use super::level::Mask;
use super::spread::Answer;
use crate::core::{Core, decode_answer};
use crate::hints::message::{HintFate, HintsPurpose, HintsRequest};
use crate::hints::segment::Hint;
use crate::message::{Envelope, Request, Response};
use crate::view::{ReplicaSet, TableView, View};
use bytes::Bytes;
use dunlin_transport::{Lane, TransportError};
use dunlin_types::runtime::BoxFuture;
use dunlin_types::{HostId, ReplicaOutcome, Token};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Stand-ins of one write, by the index of the replica each stands in for. Empty in other keyspaces.
#[derive(Clone, Debug, Default)]
pub(super) struct StandIns(SmallVec<[(usize, HostId); 2]>);

impl StandIns {
    /// Chooses among the live nodes. Replicas for which nobody is left have no stand-in.
    pub(super) fn choose(view: &View, table: &TableView, replicas: &ReplicaSet, token: Token) -> StandIns {
        let mut chosen = StandIns::default();
        let mut down: SmallVec<[usize; 2]> =
            (0..replicas.hosts.len()).filter(|index| replicas.alive & 1 << index == 0).collect();
        let Some(layout) = view.newest_layout().filter(|_| table.keyspace.def.sloppy_quorum) else {
            return chosen;
        };
        let center = |host: &HostId| view.peers.get(host).map(|peer| peer.data_center.as_str());
        let mut walk =
            layout.walk(token).filter(|host| view.is_alive(*host) && replicas.index_of(*host).is_none());
        while !down.is_empty()
            && let Some(host) = walk.next()
        {
            let same_center = |index: &usize| center(&replicas.hosts[*index]) == center(&host);
            if let Some(place) = down.iter().position(same_center) {
                chosen.0.push((down.remove(place), host));
            }
        }
        chosen
    }

    /// The replicas that somebody stands in for.
    pub(super) fn mask(&self) -> Mask {
        self.0.iter().fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// Who stands in for that replica.
    pub(super) fn of(&self, index: usize) -> Option<HostId> {
        self.0.iter().find(|(stood_for, _)| *stood_for == index).map(|(_, host)| *host)
    }
}

/// Has a stand-in keep a hint. Nothing is sent before the future is polled.
pub(super) fn keep(
    core: &Arc<Core>,
    view: &View,
    stand_in: HostId,
    target: HostId,
    hint: Hint,
    timeout: Duration,
) -> BoxFuture<'static, Answer> {
    let core = Arc::clone(core);
    if stand_in == core.me() {
        return Box::pin(async move {
            let kept = core.hints.keep_synced(target, vec![hint], true).await;
            let durable = kept.iter().all(|kept| *kept == crate::hints::Kept::Durable);
            Answer::StandIn(if durable { ReplicaOutcome::Hinted } else { ReplicaOutcome::Failed })
        });
    }
    let request = Request::Hints(HintsRequest { purpose: HintsPurpose::StandIn(target), hints: vec![hint] });
    let body = Envelope { from: core.me(), fence: view.fence, request }.encode();
    let address = view.peers.get(&stand_in).map(|peer| peer.address);
    Box::pin(async move {
        let Some(address) = address else { return Answer::StandIn(ReplicaOutcome::Down) };
        Answer::StandIn(outcome(core.transport.call(address, Lane::Request, body, timeout).await))
    })
}

fn outcome(answer: Result<Bytes, TransportError>) -> ReplicaOutcome {
    match decode_answer(answer) {
        Ok(Response::Hints(answer)) if answer.fates == [HintFate::Taken] => ReplicaOutcome::Hinted,
        Ok(_) => ReplicaOutcome::Failed,
        Err(error) => error.outcome(),
    }
}
