//! The node that is asked by another: checks layout and ownership, then acts on its own copy.

use crate::coordinator::{CoordinateError, Coordinator, refusal_of};
use crate::core::{Core, count};
use crate::message::{
    Envelope, Fence, MergeReason, MergeRequest, ReadRequest, RecallRequest, Recalled, Refusal, Request,
    Response, ScanReplicaRequest,
};
use crate::repair::Responder;
use crate::store::StoreError;
use crate::view::{TableView, View};
use bytes::Bytes;
use dunlin_transport::Incoming;
use dunlin_types::{HostId, Record, TableId, Token};
use std::sync::Arc;
use std::time::Duration;

/// Serves the requests of other nodes (lanes `Request` and `Bulk`). Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    core: Arc<Core>,
    coordinator: Coordinator,
    repair: Arc<Responder>,
}

impl Replica {
    /// A replica over the same doors as the coordinator.
    pub fn new(coordinator: Coordinator) -> Replica {
        let repair = Arc::new(Responder::over(coordinator.core()));
        Replica { core: Arc::clone(coordinator.core()), coordinator, repair }
    }

    /// The coordinator beside it.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Answers a call of another node. Never panics on its bytes.
    pub async fn serve(&self, incoming: Incoming) -> Bytes {
        let response = match Envelope::decode(&incoming.body) {
            Ok(envelope) => self.handle(envelope, incoming.timeout).await,
            Err(error) => {
                tracing::warn!(peer = %incoming.peer_addr, %error, "a request could not be decoded");
                Response::Refused(Refusal::Malformed)
            }
        };
        response.encode()
    }

    /// Answers a request whose sender waits that long.
    pub async fn handle(&self, envelope: Envelope, timeout: Duration) -> Response {
        let Envelope { from, fence, request } = envelope;
        let result = match request {
            Request::Coordinate(request) => {
                // Ends a little before the sender gives up, so that the error in detail arrives.
                let deadline =
                    self.core.runtime.mono().after(timeout - (timeout / 10).min(Duration::from_millis(50)));
                match self.coordinator.coordinate(request, Some((from, fence)), deadline).await {
                    Ok(context) => Ok(Response::Coordinated(Ok(context))),
                    Err(CoordinateError::Failed(error)) => Ok(Response::Coordinated(Err(error))),
                    Err(CoordinateError::Refused(refusal)) => Err(refusal),
                }
            }
            Request::Merge(request) => self.merge(from, fence, request).await,
            Request::Read(request) => self.read(from, fence, request).await,
            Request::Scan(request) => self.scan(from, fence, request).await,
            Request::Recall(request) => self.recall(request).await,
            Request::Hints(request) => {
                self.core.hints.take(&self.core, from, fence, request).await.map(Response::Hints)
            }
            Request::Repair(request) => Ok(Response::Repair(self.repair.handle(from, request).await)),
        };
        result.unwrap_or_else(|refusal| {
            if matches!(refusal, Refusal::StaleLayout(_) | Refusal::Behind(_) | Refusal::NotOwner(_)) {
                count(&self.core.stats.stale_layouts);
            }
            Response::Refused(refusal)
        })
    }

    async fn merge(&self, from: HostId, fence: Fence, request: MergeRequest) -> Result<Response, Refusal> {
        let view = self.core.views.load();
        self.check_write(&view, from, fence, &request)?;
        if request.reason == MergeReason::Write {
            self.core.local.store.takes_client_writes().map_err(|error| self.refusal(error))?;
        }
        let MergeRequest { table, token, ref key, ref record, durability, .. } = request;
        let merged = self.core.local.merge(table, token, key.clone(), record.clone(), durability).await;
        merged.map_err(|error| self.refusal(error))?;
        // A newer layout may have become known while the store worked, and its new owners may have read
        // this copy already: an acknowledgement now would count a write that they miss (see `transfer`).
        let now = self.core.views.load();
        if now.fence.newest != view.fence.newest {
            self.check_write(&now, from, fence, &request)?;
        }
        if let Some(write) = request.identified {
            self.coordinator.requests.remember(write, table, &request.key);
        }
        Ok(Response::Merged)
    }

    async fn recall(&self, request: RecallRequest) -> Result<Response, Refusal> {
        let RecallRequest { table, token, key, id } = request;
        let Some(write) = self.coordinator.requests.recall(id, table, &key) else {
            return Ok(Response::Recalled(None));
        };
        let record =
            self.core.local.store.get(table, token, key).await.map_err(|error| self.refusal(error))?;
        let seen = record.filter(|record| write.mark.is_in(record));
        Ok(Response::Recalled(seen.map(|record| Recalled { mark: write.mark, record })))
    }

    /// A write made in ignorance of this node's newest layout would be missing from the replicas of
    /// that layout. One made under a newer layout than this node knows is in the right place.
    fn check_write(
        &self,
        view: &View,
        from: HostId,
        fence: Fence,
        request: &MergeRequest,
    ) -> Result<(), Refusal> {
        let mine = view.fence.newest;
        let table = view.table(request.table).ok_or(Refusal::UnknownTable)?;
        if fence.newest.version > mine.version {
            self.core.views.report(from, fence.newest);
            return Ok(());
        }
        if fence.newest != mine {
            return Err(Refusal::StaleLayout(mine));
        }
        self.check_owner(view, table, request.token)
    }

    async fn read(&self, from: HostId, fence: Fence, request: ReadRequest) -> Result<Response, Refusal> {
        let view = self.core.views.load();
        self.check_read(&view, from, fence, request.table, &[request.token])?;
        let record = self.core.local.read(request.table, request.token, request.key).await;
        let record = record.map_err(|error| self.refusal(error))?;
        Ok(match request.digest {
            true => Response::Digest(record.as_ref().map(Record::digest)),
            false => Response::Record(record),
        })
    }

    async fn scan(
        &self,
        from: HostId,
        fence: Fence,
        request: ScanReplicaRequest,
    ) -> Result<Response, Refusal> {
        let view = self.core.views.load();
        // The range may span several vnodes; its ends are checked, the coordinator groups by owners.
        self.check_read(&view, from, fence, request.table, &[request.range.first, request.range.last])?;
        let page = scan_local(&self.core, request).await;
        let (entries, truncated) = page.map_err(|error| self.refusal(error))?;
        Ok(Response::Entries { entries, truncated })
    }

    /// Under a layout older than the one this node reads from, a reader would miss writes. Under one
    /// that this node does not know, this node may lack them. `tokens` are those read.
    fn check_read(
        &self,
        view: &View,
        from: HostId,
        fence: Fence,
        table: TableId,
        tokens: &[Token],
    ) -> Result<(), Refusal> {
        let mine = view.fence;
        let behind = fence.newest.version > mine.newest.version;
        if behind {
            self.core.views.report(from, fence.newest);
        }
        if fence.read < mine.read {
            return Err(Refusal::StaleLayout(mine.newest));
        }
        let table = view.table(table).ok_or(Refusal::UnknownTable)?;
        let owns = tokens.iter().all(|token| view.owns(table, *token, self.core.me()));
        match (owns, behind) {
            _ if fence.read > mine.newest.version => Err(Refusal::Behind(mine.newest)),
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::Behind(mine.newest)),
            (false, false) => Err(Refusal::NotOwner(mine.newest)),
        }
    }

    fn check_owner(&self, view: &View, table: &TableView, token: Token) -> Result<(), Refusal> {
        match view.owns(table, token, self.core.me()) {
            true => Ok(()),
            false => Err(Refusal::NotOwner(view.fence.newest)),
        }
    }

    fn refusal(&self, error: StoreError) -> Refusal {
        let retry_after_ms = u32::try_from(self.core.config.retry_after.as_millis()).unwrap_or(u32::MAX);
        refusal_of(error, retry_after_ms)
    }
}

/// A page of the own copy, and whether there may be more after it.
pub(crate) async fn scan_local(
    core: &Core,
    request: ScanReplicaRequest,
) -> Result<(Vec<crate::store::Entry>, bool), StoreError> {
    let ScanReplicaRequest { table, range, after, limit, bytes } = request;
    let store = &core.local.store;
    let limit = limit.max(1) as usize;
    store.serves(table, range)?;
    let entries = store.scan(table, range, after, limit, bytes as usize).await?;
    let Some(last) = entries.last() else { return Ok((entries, false)) };
    if entries.len() >= limit {
        return Ok((entries, true));
    }
    // The store may have stopped for bytes: only it knows.
    let rest = store.scan(table, range, Some((last.token, last.key.clone())), 1, 0).await?;
    let truncated = !rest.is_empty();
    Ok((entries, truncated))
}
