//! What all sessions of a node share, and what they need of the node around them.

use super::admission::{Admission, AdmissionSettings};
use super::budget::Budget;
use super::limit::LimitSettings;
use dunlin_cql::operation::SchemaChange;
use dunlin_replication::context_token::ContextTokens;
use dunlin_replication::coordinator::Coordinator;
use dunlin_replication::view::View;
use dunlin_types::runtime::{BoxFuture, SharedRuntime};
use dunlin_types::{ClusterError, Consistency, ErrorCode};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Whether the node takes statements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Not yet part of a cluster, or still reading its log.
    Starting,
    /// Yes.
    Ready,
    /// It is about to stop.
    Draining,
}

/// What sessions need of the node.
pub trait ClientBackend: Send + Sync {
    /// Whether statements that touch data or schema are taken now.
    fn readiness(&self) -> Readiness;

    /// While [`Readiness::Starting`]: what keeps this node from serving.
    fn obstacle(&self) -> String {
        "this node is starting and not part of a cluster yet".to_owned()
    }

    /// Applies a change of the schema here and on every live node, within `timeout`. Returns the names of live
    /// nodes that do not have it yet. The error says whether it may have been applied.
    fn change_schema(
        &self,
        change: SchemaChange,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, Box<ClusterError>>>;

    /// Generation of this start, for `system.local`.
    fn generation(&self) -> u64;

    /// Checks a `LOGIN`. `Ok(false)`: this node asks nobody who they are.
    fn login(&self, _user: &str, _password: &str) -> Result<bool, Box<ClusterError>> {
        Ok(false)
    }

    /// Told of every statement that was executed; `operation` is one of a few fixed names.
    fn observe(
        &self,
        _operation: &'static str,
        _consistency: Option<Consistency>,
        _took: Duration,
        _code: Option<ErrorCode>,
    ) {
    }
}

/// Settings of the client side.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Of a read of keys that names none.
    pub read_timeout: Duration,
    /// Of a write that names none.
    pub write_timeout: Duration,
    /// Of each page of a scan that names none.
    pub scan_timeout: Duration,
    /// Of a change of the schema.
    pub schema_timeout: Duration,
    /// A page of a scan ends after about this many bytes.
    pub page_bytes: usize,
    /// A scan with `PAGING OFF` ends after about this many bytes, with a warning and a page token.
    pub unpaged_bytes: usize,
    /// Keys of one statement that are worked on beside each other.
    pub keys_in_parallel: usize,
    /// Statements of all connections that are worked on at a time, that wait, and for how long.
    pub admission: AdmissionSettings,
    /// Connections.
    pub connections: usize,
    /// Longest statement, bytes.
    pub statement_bytes: usize,
    /// Longest value that a write may have, bytes. Longer ones that are stored can be read.
    pub value_bytes: usize,
    /// Statements of one connection that are read before the first is answered.
    pub pipeline: usize,
    /// Statements of one connection that are worked on beside each other.
    pub pipeline_in_parallel: usize,
    /// Bytes of unfinished long statements of all connections together.
    pub input_bytes: usize,
    /// Bytes of long statements that are worked on or wait for it.
    pub work_bytes: usize,
    /// A connection that takes none of its answer, or sends no more of a long statement, is closed after this.
    pub stall_timeout: Duration,
    /// A connection in the middle of a short statement is closed after this.
    pub partial_timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings {
            read_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
            scan_timeout: Duration::from_secs(10),
            schema_timeout: Duration::from_secs(10),
            page_bytes: 4 << 20,
            unpaged_bytes: 64 << 20,
            keys_in_parallel: 64,
            admission: AdmissionSettings {
                limit: LimitSettings { floor: 64, ceiling: 8192, target: Duration::from_millis(100) },
                queue: 16_384,
                wait: Duration::from_millis(250),
            },
            connections: dunlin_types::limits::CONNECTIONS_MAX,
            statement_bytes: dunlin_types::limits::STATEMENT_BYTES_MAX,
            value_bytes: dunlin_types::limits::VALUE_BYTES_MAX,
            pipeline: dunlin_types::limits::PIPELINE_MAX,
            pipeline_in_parallel: 128,
            input_bytes: 512 << 20,
            work_bytes: 512 << 20,
            stall_timeout: Duration::from_secs(30),
            partial_timeout: Duration::from_secs(600),
        }
    }
}

/// Counters of the client side.
#[derive(Debug, Default)]
pub struct ClientStats {
    /// Open connections.
    pub connections: AtomicUsize,
    /// Connections that were refused because there were too many.
    pub refused: AtomicU64,
    /// Statements taken.
    pub statements: AtomicU64,
    /// Statements answered with an error.
    pub errors: AtomicU64,
    /// Sessions ever begun.
    pub sessions: AtomicU64,
    /// Bytes that came.
    pub bytes_in: AtomicU64,
    /// Bytes that went.
    pub bytes_out: AtomicU64,
}

/// What all sessions of a node share.
pub struct ClientServices {
    /// Reads and writes.
    pub coordinator: Coordinator,
    /// The node around.
    pub backend: Arc<dyn ClientBackend>,
    /// Settings.
    pub settings: ClientSettings,
    /// Counters.
    pub stats: ClientStats,
    /// Who is worked on next.
    pub admission: Arc<Admission>,
    /// Memory for what long statements carry.
    pub work_budget: Arc<Budget>,
    tokens: OnceLock<ContextTokens>,
}

impl ClientServices {
    /// Puts the parts together.
    pub fn new(
        coordinator: Coordinator,
        backend: Arc<dyn ClientBackend>,
        settings: ClientSettings,
    ) -> Arc<ClientServices> {
        let (stats, tokens) = (ClientStats::default(), OnceLock::new());
        let admission = Admission::new(coordinator.core().runtime.clone(), settings.admission);
        let work_budget = Arc::new(Budget::new(settings.work_bytes));
        Arc::new(ClientServices { coordinator, backend, settings, stats, admission, work_budget, tokens })
    }

    /// Clock, timers, tasks.
    pub fn runtime(&self) -> &SharedRuntime {
        &self.coordinator.core().runtime
    }

    /// The cluster as known now.
    pub(super) fn view(&self) -> Arc<View> {
        self.coordinator.core().views.load()
    }

    /// Seals and opens context tokens; `None` before the node is part of a cluster, which it then is for ever.
    pub(super) fn tokens(&self) -> Option<&ContextTokens> {
        if let Some(tokens) = self.tokens.get() {
            return Some(tokens);
        }
        let view = self.view();
        let layout = view.read_layout()?;
        let mut material = layout.partitioner.0.to_vec();
        material.extend_from_slice(&layout.cluster.0);
        Some(self.tokens.get_or_init(|| ContextTokens::new(&material)))
    }
}
