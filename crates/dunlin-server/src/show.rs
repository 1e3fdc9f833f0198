//! What operators are shown of a node and ask it to do: the verbs of the admin HTTP.
//!
//! [`status`] is the cluster, [`stats`] are counters, [`work`] is what takes a while, [`storage`] what is done to
//! the data here, by [`tasks`] if it may take hours.

mod hints;
mod stats;
mod status;
mod storage;
mod tasks;
mod tombstones;
mod work;

use crate::admin::{AdminBackend, AdminError, Params};
use crate::node::{Node, VERSION};
use crate::runtime::TokioRuntime;
use dunlin_transport::quic::QuicTransport;
use dunlin_types::runtime::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;
use tasks::Tasks;
use work::Repairs;

/// The node as the admin HTTP sees it.
pub struct AdminDoor {
    node: Arc<Node>,
    /// For `tpstats`; none in tests.
    runtime: Option<Arc<TokioRuntime>>,
    /// For `netstats`; none in tests.
    transport: Option<Arc<QuicTransport>>,
    repairs: Arc<Repairs>,
    tasks: Arc<Tasks>,
}

impl AdminDoor {
    /// Over a running node.
    pub fn new(
        node: Arc<Node>,
        runtime: Option<Arc<TokioRuntime>>,
        transport: Option<Arc<QuicTransport>>,
    ) -> AdminDoor {
        AdminDoor { node, runtime, transport, repairs: Arc::default(), tasks: Arc::default() }
    }
}

impl AdminBackend for AdminDoor {
    fn ready(&self) -> Result<(), String> {
        self.node.not_ready().map_or(Ok(()), Err)
    }

    fn metrics(&self) -> String {
        self.node.metrics.render(&stats::samples(&self.node, self.transport.as_deref()))
    }

    fn show(&self, verb: &str, params: &Params) -> Result<Value, AdminError> {
        let node = &*self.node;
        Ok(match verb {
            "status" => status::status(node),
            "info" => status::info(node),
            "ring" => status::ring(node),
            "describecluster" => status::describe_cluster(node),
            "gossipinfo" => status::gossip_info(node),
            "layout" => status::layout(node),
            "getendpoints" => status::endpoints(node, params)?,
            "getsstables" => status::sstables_of(node, params)?,
            "version" => json!({ "version": VERSION }),
            "hints" => hints::show(node),
            "netstats" => stats::network(node, self.transport.as_deref()),
            "tpstats" => stats::tasks(node, self.runtime.as_deref()),
            "compactionstats" => stats::compactions(node, &self.tasks),
            "tablestats" => stats::tables(node),
            "listsnapshots" => storage::list_snapshots(node)?,
            "tombstones" => tombstones::tombstones(node, params)?,
            "task" => self.tasks.show(params)?,
            "repair" => self.repairs.show(params)?,
            other => return Err(AdminError::Unknown(other.to_owned())),
        })
    }

    fn act(&self, verb: String, params: Params) -> BoxFuture<'static, Result<Value, AdminError>> {
        let (node, repairs, tasks) = (self.node.clone(), self.repairs.clone(), self.tasks.clone());
        Box::pin(async move {
            if let Some(started) = storage::start(&node, &tasks, &verb, &params) {
                return started;
            }
            match verb.as_str() {
                "flush" => work::flush(&node, &params).await,
                "snapshot" => storage::take_snapshot(&node, &params).await,
                "clearsnapshot" => storage::clear_snapshot(&node, &params).await,
                "repair" => repairs.start(&node, &params),
                "hints" => hints::act(&node, &params),
                "drain" => work::drain(&node).await,
                "decommission" => work::operated(node.membership.decommission()),
                "removenode" => {
                    let force = params.get("force").is_some_and(|f| f == "true");
                    work::operated(node.membership.remove(work::host(&node, &params)?, force))
                }
                "abort" => work::operated(node.membership.abort_change(work::host(&node, &params)?)),
                other => Err(AdminError::Unknown(other.to_owned())),
            }
        })
    }
}
