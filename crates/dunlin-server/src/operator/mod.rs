//! What an operator asks of a node and tells it to do: the node's side of the admin HTTP.
//!
//! [`show`] answers questions, [`act`] carries out orders, [`samples`] reads the counters for `/metrics`. Nothing
//! here touches a socket, so it works in the simulator too.

mod act;
mod repairs;
mod samples;
mod show;

use crate::admin::{AdminBackend, AdminError, Params};
use crate::metrics::Sample;
use crate::node::Node;
use dunlin_replication::core::Core;
use dunlin_types::runtime::BoxFuture;
use repairs::Repairs;
use serde_json::Value;
use std::sync::Arc;

/// Further counters that only some nodes have (those of the QUIC transport, say).
pub type ExtraSamples = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// See the module's comment.
#[derive(Clone)]
pub struct Operator(Arc<Inner>);

struct Inner {
    node: Arc<Node>,
    extra: ExtraSamples,
    repairs: Repairs,
}

impl Operator {
    /// The operator's side of a node.
    pub fn new(node: Arc<Node>, extra: ExtraSamples) -> Operator {
        Operator(Arc::new(Inner { node, extra, repairs: Repairs::default() }))
    }

    fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    fn core(&self) -> &Arc<Core> {
        self.node().coordinator().core()
    }
}

impl AdminBackend for Operator {
    fn ready(&self) -> Result<(), String> {
        if let Some(why) = self.node().not_ready() {
            return Err(why);
        }
        match self.node().store.engine().failure() {
            Some(failure) => Err(format!("takes no writes: {failure}")),
            None => Ok(()),
        }
    }

    fn metrics(&self) -> String {
        let mut samples = samples::all(self.node());
        samples.extend((self.0.extra)());
        self.node().metrics.render(&samples)
    }

    fn show(&self, verb: &str, params: &Params) -> Result<Value, AdminError> {
        self.shown(verb, params)
    }

    fn act(&self, verb: String, params: Params) -> BoxFuture<'static, Result<Value, AdminError>> {
        let operator = self.clone();
        Box::pin(async move { operator.acted(&verb, &params).await })
    }
}
