//! The nodes that a client knows, and which of them is asked next.

use crate::node::{Node, Sharing};
use crate::reply::Reply;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Most nodes that are learnt of: what a node says is not taken without a bound.
const NODES_MAX: usize = 1000;

/// The nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub sharing: Sharing,
    nodes: RwLock<Vec<Arc<Node>>>,
    turn: AtomicUsize,
}

impl Cluster {
    /// Of nodes that the user names; at least one.
    pub(crate) fn new(given: Vec<String>, sharing: Sharing) -> Cluster {
        let nodes = given.into_iter().map(|addr| Arc::new(Node::new(addr, true, &sharing))).collect();
        Cluster { sharing, nodes: RwLock::new(nodes), turn: AtomicUsize::new(0) }
    }

    fn nodes(&self) -> RwLockReadGuard<'_, Vec<Arc<Node>>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses of the nodes.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node.addr.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes().len()
    }

    /// Whether there is a node that was not tried and is worth it.
    pub(crate) fn has_fresh(&self, tried: &[Arc<Node>]) -> bool {
        self.nodes().iter().any(|node| !is_in(node, tried) && node.rests_until().is_none())
    }

    /// The node to ask: not one that was tried already or has just failed, as long as there are others; of the next two
    /// in turn the one with fewer statements in flight.
    pub(crate) fn pick(&self, tried: &[Arc<Node>]) -> Arc<Node> {
        let nodes = self.nodes();
        let awake: Vec<&Arc<Node>> = nodes.iter().filter(|node| node.rests_until().is_none()).collect();
        let fresh: Vec<&Arc<Node>> = awake.iter().copied().filter(|node| !is_in(node, tried)).collect();
        let choice = match (fresh.is_empty(), awake.is_empty()) {
            (false, _) => self.of_two(&fresh),
            (true, false) => self.of_two(&awake),
            // All failed a moment ago: the one whose rest ends first, but another one each time.
            (true, true) => nodes.iter().min_by_key(|node| (is_in(node, tried), node.rests_until())),
        };
        choice.expect("there is a node").clone()
    }

    fn of_two<'a>(&self, nodes: &[&'a Arc<Node>]) -> Option<&'a Arc<Node>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = nodes[turn % nodes.len()];
        // Every pair gets its turn.
        let step = 1 + (turn / nodes.len()) % (nodes.len() - 1).max(1);
        let second = nodes[(turn + step) % nodes.len()];
        let is_less = second.in_flight(&self.sharing) < first.in_flight(&self.sharing);
        Some(if is_less { second } else { first })
    }

    /// Takes a node's list of the others for the whole: nodes that are up are added, and those that were learnt of
    /// before and are in it no more are forgotten, but for the one whose list it is.
    pub(crate) fn learn(&self, peers: &Reply, said_by: &Node) {
        let (Some(address), is_up) = (peers.column("client_address"), peers.column("is_up")) else { return };
        let cell = |row: &[Option<crate::Text>], at: usize| row.get(at).cloned().flatten();
        let listed: Vec<(String, bool)> = peers
            .rows
            .iter()
            .filter_map(|row| {
                let addr = cell(row, address)?;
                // A node that listens everywhere does not say where it is.
                let is_somewhere = addr.parse().is_ok_and(|addr: SocketAddr| !addr.ip().is_unspecified());
                let up = is_up.and_then(|at| cell(row, at)).is_none_or(|up| &*up == "true");
                is_somewhere.then(|| (addr.into(), up))
            })
            .collect();
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|node| {
            let is_listed = || listed.iter().any(|(addr, _)| node.is_at(addr));
            node.given || std::ptr::eq(&**node, said_by) || is_listed()
        });
        for (addr, up) in listed {
            if up && nodes.len() < NODES_MAX && !nodes.iter().any(|node| node.is_at(&addr)) {
                nodes.push(Arc::new(Node::new(addr, false, &self.sharing)));
            }
        }
        // One that was given by a name and is now found to be another that was learnt of.
        let given: Vec<Arc<Node>> = nodes.iter().filter(|node| node.given).cloned().collect();
        nodes.retain(|node| node.given || !given.iter().any(|given| given.is_at(&node.addr)));
    }
}

fn is_in(node: &Arc<Node>, tried: &[Arc<Node>]) -> bool {
    tried.iter().any(|other| Arc::ptr_eq(node, other))
}
