//! What coordinator, replica and hint delivery share: the doors of one node and its settings.

use crate::foreground::Foreground;
use crate::gaps::Gaps;
use crate::hints::Hints;
use crate::local::Local;
use crate::message::Response;
use crate::repair::RepairConfig;
use crate::repair::compared::Compared;
use crate::repair::kept::KeptTrees;
use crate::repair::watch::Watch;
use crate::store::ReplicaStore;
use crate::view::{Peer, Views};
use bytes::Bytes;
use dunlin_transport::{Lane, Transport, TransportError};
use dunlin_types::runtime::{PlantedBug, SharedRuntime};
use dunlin_types::{Actor, HlcClock, HostId, Mono, ReplicaOutcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Settings of requests.
#[derive(Clone, Debug)]
pub struct ReplicationConfig {
    /// A read asks one more replica when an answer takes longer than this.
    pub speculative_after: Duration,
    /// Speculative reads, in percent of all reads.
    pub speculative_budget_percent: u64,
    /// Request ids that a replica remembers: more than writes come in while a message may be on its way.
    pub requests_remembered_max: usize,
    /// About the most bytes of one replica's page in a scan.
    pub scan_page_bytes: u32,
    /// What OVERLOADED tells a client to wait.
    pub retry_after: Duration,
    /// Repair and range transfer.
    pub repair: RepairConfig,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        ReplicationConfig {
            speculative_after: Duration::from_millis(50),
            speculative_budget_percent: 5,
            requests_remembered_max: 262_144,
            scan_page_bytes: 1 << 20,
            retry_after: Duration::from_millis(100),
            repair: RepairConfig::default(),
        }
    }
}

/// What the server gives.
pub struct CoreParts {
    /// Clock, timers, tasks, chance.
    pub runtime: SharedRuntime,
    /// The cluster as known.
    pub views: Arc<Views>,
    /// Other nodes.
    pub transport: Arc<dyn Transport>,
    /// The own copy.
    pub store: Arc<dyn ReplicaStore>,
    /// Hints for others.
    pub hints: Arc<Hints>,
    /// The node's hybrid clock.
    pub clock: Arc<HlcClock>,
    /// Its present incarnation.
    pub actor: Actor,
    /// The counter of the last dot this incarnation gave; persisted by the server at a clean stop.
    pub dots: Arc<AtomicU64>,
    /// Settings.
    pub config: ReplicationConfig,
}

/// Counters of requests, for metrics.
#[derive(Debug, Default)]
pub struct RequestStats {
    /// Reads coordinated here.
    pub reads: AtomicU64,
    /// Replicas asked because another was slow.
    pub speculative_reads: AtomicU64,
    /// Reads whose replicas differed.
    pub read_repairs: AtomicU64,
    /// Writes coordinated here.
    pub writes: AtomicU64,
    /// Writes of siblings tables that were passed to a replica.
    pub forwarded_writes: AtomicU64,
    /// Requests refused because of another layout.
    pub stale_layouts: AtomicU64,
    /// Requests that ended UNAVAILABLE.
    pub unavailable: AtomicU64,
    /// Requests that ended in a timeout.
    pub timeouts: AtomicU64,
}

/// One node's doors.
pub struct Core {
    /// Clock, timers, tasks, chance.
    pub runtime: SharedRuntime,
    /// The cluster as known.
    pub views: Arc<Views>,
    /// Other nodes.
    pub transport: Arc<dyn Transport>,
    /// The own copy.
    pub local: Local,
    /// Hints for others.
    pub hints: Arc<Hints>,
    /// The node's hybrid clock.
    pub clock: Arc<HlcClock>,
    /// Its present incarnation.
    pub actor: Actor,
    /// The counter of the last dot given.
    pub dots: Arc<AtomicU64>,
    /// Settings.
    pub config: ReplicationConfig,
    /// Counters.
    pub stats: RequestStats,
    /// How busy clients keep this node.
    pub foreground: Arc<Foreground>,
    /// Where this node's copy is not all that its incarnation wrote.
    pub gaps: Gaps,
    /// Merkle trees of the own copy.
    pub trees: Arc<KeptTrees>,
    /// What comparisons have proved.
    pub compared: Arc<Compared>,
}

impl Core {
    /// Puts the parts together.
    pub fn new(parts: CoreParts) -> Arc<Core> {
        let trees = Arc::new(KeptTrees::new(parts.config.repair.tree_leaves_max));
        let compared = Arc::new(Compared::default());
        parts.store.observe(Arc::new(Watch { trees: trees.clone(), compared: compared.clone() }));
        let local = Local::new(parts.store, parts.runtime.clone(), parts.clock.clone());
        Arc::new(Core {
            runtime: parts.runtime,
            views: parts.views,
            transport: parts.transport,
            local,
            hints: parts.hints,
            clock: parts.clock,
            actor: parts.actor,
            dots: parts.dots,
            config: parts.config,
            stats: RequestStats::default(),
            foreground: Arc::default(),
            gaps: Gaps::default(),
            trees,
            compared,
        })
    }

    /// This node.
    pub fn me(&self) -> HostId {
        self.actor.host
    }

    /// The time left until a deadline.
    pub fn left(&self, deadline: Mono) -> Duration {
        deadline.since(self.runtime.mono())
    }

    /// Whether the bug is planted in this run.
    pub(crate) fn planted(&self, bug: PlantedBug) -> bool {
        self.runtime.planted(bug)
    }

    /// Calls a peer and decodes its answer.
    pub async fn call(
        &self,
        peer: &Peer,
        lane: Lane,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Response, CallError> {
        let started = self.runtime.mono();
        let answer = self.transport.call(peer.address, lane, body, timeout).await;
        peer.latency.observe(self.runtime.mono().since(started));
        decode_answer(answer)
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Why a call has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The request was certainly not sent.
    NotSent(ReplicaOutcome),
    /// It may have arrived and been acted on.
    Unknown(ReplicaOutcome),
}

impl CallError {
    /// For an error's list of replicas.
    pub fn outcome(self) -> ReplicaOutcome {
        match self {
            CallError::NotSent(outcome) | CallError::Unknown(outcome) => outcome,
        }
    }
}

/// The answer of a transport call as a response.
pub(crate) fn decode_answer(answer: Result<Bytes, TransportError>) -> Result<Response, CallError> {
    match answer {
        Ok(bytes) => Response::decode(&bytes).map_err(|_| CallError::Unknown(ReplicaOutcome::Failed)),
        Err(TransportError::Timeout) => Err(CallError::Unknown(ReplicaOutcome::Timeout)),
        Err(TransportError::Unreachable(_)) => Err(CallError::NotSent(ReplicaOutcome::Unreachable)),
        Err(TransportError::Overloaded) => Err(CallError::NotSent(ReplicaOutcome::Overloaded)),
        Err(TransportError::TooLarge { .. }) => Err(CallError::NotSent(ReplicaOutcome::Failed)),
        Err(_) => Err(CallError::Unknown(ReplicaOutcome::Unreachable)),
    }
}
