//! What a node does not own any more goes away by itself.
#![allow(clippy::disallowed_methods)]

mod support;

use dunlin_server::Node;
use dunlin_server::config::Config;
use dunlin_storage::fs::MemFs;
use dunlin_types::{TableId, Token, TokenRange};
use std::ops::ControlFlow;
use std::sync::Arc;
use support::{Hub, config, ok, run, start, until, whole};

const KEYS: usize = 200;

fn quiet(i: u16) -> Config {
    let mut config = config(i, 2);
    config.repair.interval_s = 0;
    config
}

/// Keys in a node's engine, by whether it owns them.
fn keys(node: &Node, table: TableId) -> (usize, usize) {
    let view = node.view();
    let placed = view.table(table).expect("the table");
    let (mut owned, mut others) = (0, 0);
    let count = |token: Token, _: &[u8], _: &[u8]| {
        *(if view.owns(placed, token, node.host()) { &mut owned } else { &mut others }) += 1;
        ControlFlow::Continue(())
    };
    node.store.engine().visit(table, TokenRange::ALL, None, KEYS, count).expect("a readable table");
    (owned, others)
}

#[test]
fn ranges_that_moved_away_are_emptied_and_filled_again_when_they_come_back() {
    run(async {
        let hub = Arc::new(Hub::default());
        let mut nodes: Vec<_> = (1..=2u16).map(|i| start(&hub, &MemFs::new(), quiet(i), i)).collect();
        until("two nodes in one layout", || whole(&nodes, 2)).await;
        for i in 0..KEYS {
            ok(&nodes[0], &format!("INSERT INTO dunlin.kv (key, value) VALUES ('{i}', 'v')")).await;
        }
        let table = nodes[0].view().schema.table("dunlin", "kv").expect("the default table").id;
        nodes.extend((3..=4u16).map(|i| start(&hub, &MemFs::new(), quiet(i), i)));
        until("four nodes in one layout", || whole(&nodes, 4)).await;
        until("only what is owned is left", || nodes.iter().all(|node| keys(node, table).1 == 0)).await;
        let held: usize = nodes.iter().map(|node| keys(node, table).0).sum();
        assert_eq!(held, 2 * KEYS, "every key at both of its owners");
        assert!(nodes.iter().all(|node| node.lost.all().is_empty()));

        for leaving in [3, 2] {
            nodes[leaving].membership.decommission().expect("it may leave");
            let out = |node: &Arc<Node>| {
                let view = node.view();
                view.layouts.len() == 1 && view.layouts[0].members.len() == leaving
            };
            until("it is out", || nodes[..leaving].iter().all(out)).await;
            let gone = nodes.pop().expect("the last one");
            gone.stop().await;
        }
        until("all of it is back", || nodes.iter().all(|node| keys(node, table) == (KEYS, 0))).await;
        until("nothing is in doubt", || nodes.iter().all(|node| node.lost.all().is_empty())).await;
        for node in nodes {
            node.stop().await;
        }
    });
}
