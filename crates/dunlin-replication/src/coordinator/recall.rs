//! Whether a write with a request id was made already: asked of all replicas before it is made.
//!
//! Every replica that holds a write remembers its request id for a while. The write is made twice only if no
//! replica that holds the first one can be reached when it is repeated.

use super::Coordinator;
use crate::core::decode_answer;
use crate::message::{Envelope, RecallRequest, Recalled, Request, RequestId, Response};
use crate::view::{ReplicaSet, View};
use dunlin_transport::Lane;
use dunlin_types::runtime::timeout;
use dunlin_types::{Key, Mono, TableId, Token};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::time::Duration;

/// Longest wait for replicas that do not answer; a quarter of the time left if that is less.
const WAIT_MAX: Duration = Duration::from_millis(500);

impl Coordinator {
    /// What a replica knows of the write; at once if it is this one. `None` if no replica that answers knows
    /// of it.
    pub(super) async fn recall(
        &self,
        view: &View,
        replicas: &ReplicaSet,
        table: TableId,
        token: Token,
        key: &Key,
        id: RequestId,
        deadline: Mono,
    ) -> Option<Recalled> {
        let core = &self.core;
        if let Some(write) = self.requests.recall(id, table, key)
            && let Ok(Some(record)) = core.local.read(table, token, key.clone()).await
            && write.mark.is_in(&record)
        {
            core.runtime.event("request_repeated", token.0, 0);
            return Some(Recalled { mark: write.mark, record });
        }
        let wait = (core.left(deadline) / 4).min(WAIT_MAX);
        let request = RecallRequest { table, token, key: key.clone(), id };
        let body =
            Envelope { from: core.me(), fence: view.fence, request: Request::Recall(request) }.encode();
        let live = replicas.hosts.iter().enumerate().filter(|(i, _)| replicas.alive & 1 << i != 0);
        let peers = live.filter(|(_, host)| **host != core.me()).filter_map(|(_, host)| view.peers.get(host));
        let mut calls: FuturesUnordered<_> =
            peers.map(|peer| core.transport.call(peer.address, Lane::Request, body.clone(), wait)).collect();
        let found = async {
            while let Some(answer) = calls.next().await {
                if let Ok(Response::Recalled(Some(recalled))) = decode_answer(answer) {
                    return Some(recalled);
                }
            }
            None
        };
        let found = timeout(&*core.runtime, wait, found).await.flatten();
        if found.is_some() {
            core.runtime.event("request_repeated", token.0, 1);
        }
        found
    }
}
