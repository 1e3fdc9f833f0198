//! Every bound on statements does something.

use super::wire::Wire;
use super::{TestNode, run};
use crate::client::{ClientServices, ClientSettings, Session};
use dunlin_cql::{Body, Reply};
use dunlin_replication::coordinator::Coordinator;
use dunlin_types::ErrorCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A session of the same node under other settings, as after a restart.
fn session(node: &TestNode, settings: ClientSettings) -> Session {
    let coordinator = Coordinator::new(Arc::clone(node.services.coordinator.core()));
    Session::new(ClientServices::new(coordinator, Arc::clone(&node.services.backend), settings))
}

fn rows(reply: Reply) -> Vec<Vec<String>> {
    let Body::Rows { rows, .. } = reply.body else { panic!("{reply:?}") };
    let text = |cell: dunlin_cql::Cell| cell.as_str().unwrap_or_default().to_owned();
    rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

#[test]
fn a_value_over_the_limit_is_refused_before_anything_is_applied() {
    run(async {
        let node = TestNode::start().await;
        let mut before = session(&node, ClientSettings::default());
        let old = format!("INSERT INTO kv (key, value) VALUES ('old', '{}')", "o".repeat(300));
        assert_eq!(before.execute(&old).await.code(), None);
        let mut session = session(&node, ClientSettings { value_bytes: 100, ..ClientSettings::default() });
        assert_eq!(session.execute("CREATE TABLE bl (k text PRIMARY KEY, v blob)").await.code(), None);
        let long = "x".repeat(101);
        for statement in [
            format!("INSERT INTO kv (key, value) VALUES ('a', '{long}')"),
            format!("UPDATE kv SET value = '{long}' WHERE key = 'a'"),
            format!("INSERT INTO bl (k, v) VALUES ('a', 0x{})", "ab".repeat(101)),
            // The first would fit.
            format!(
                "BEGIN BATCH INSERT INTO kv (key, value) VALUES ('b', 'y'); \
                 INSERT INTO kv (key, value) VALUES ('a', '{long}'); APPLY BATCH"
            ),
        ] {
            let reply = session.execute(&statement).await;
            assert_eq!(
                (reply.code(), reply.field("applied")),
                (Some(ErrorCode::TooLarge), Some("no")),
                "{reply:?}"
            );
        }
        let blob = format!("INSERT INTO bl (k, v) VALUES ('e', 0x{})", "ab".repeat(100));
        assert_eq!(session.execute(&blob).await.code(), None);
        let found = rows(session.execute("SELECT * FROM kv WHERE key IN ('a', 'b', 'old')").await);
        assert_eq!(found, [["old".to_owned(), "o".repeat(300)]], "what was longer before can be read");
    });
}

#[test]
fn a_key_over_the_limit_is_too_large_in_every_statement() {
    run(async {
        let node = TestNode::start().await;
        let mut session = session(&node, ClientSettings::default());
        let key = "k".repeat(65_536);
        for statement in [
            format!("INSERT INTO kv (key, value) VALUES ('{key}', 'v')"),
            format!("DELETE FROM kv WHERE key = '{key}'"),
            format!("SELECT * FROM kv WHERE key = '{key}'"),
            format!("EXPLAIN SELECT * FROM kv WHERE key = '{key}'"),
        ] {
            let reply = session.execute(&statement).await;
            assert_eq!((reply.code(), reply.field("applied")), (Some(ErrorCode::TooLarge), Some("no")));
        }
        let longest = format!("INSERT INTO kv (key, value) VALUES ('{}', 'v')", &key[1..]);
        assert_eq!(session.execute(&longest).await.code(), None);
    });
}

#[test]
fn pages_end_by_bytes_too() {
    run(async {
        let node = TestNode::start().await;
        let settings = ClientSettings { page_bytes: 1000, unpaged_bytes: 2000, ..ClientSettings::default() };
        let mut session = session(&node, settings);
        for i in 0..20 {
            let insert = format!("INSERT INTO kv (key, value) VALUES ('{i}', '{}')", "x".repeat(250));
            assert_eq!(session.execute(&insert).await.code(), None);
        }
        let page = session.execute("SELECT * FROM kv").await;
        assert!(page.field("page").is_some());
        assert_eq!(rows(page).len(), 4);
        session.execute("PAGING OFF").await;
        let most = session.execute("SELECT * FROM kv").await;
        assert_eq!(most.warnings, ["too much for one answer: go on with USING PAGE"]);
        assert_eq!(rows(most).len(), 8);
    });
}

#[test]
fn a_connection_takes_so_many_statements_at_a_time() {
    run(async {
        for (settings, taken) in [
            (ClientSettings { pipeline: 3, ..ClientSettings::default() }, 3),
            (ClientSettings { pipeline_in_parallel: 2, ..ClientSettings::default() }, 2),
        ] {
            let node = TestNode::with(settings).await;
            let before = node.services.stats.statements.load(Ordering::Relaxed);
            let mut wire = Wire::connect(&node);
            let text = |i: u32| format!("SELECT * FROM kv WHERE key = 'slow{i}';");
            wire.send((0..9).map(text).collect::<String>()).await;
            assert!(wire.is_silent().await);
            assert_eq!(node.services.stats.statements.load(Ordering::Relaxed) - before, taken);
            node.store.gate.send(true).unwrap();
            for _ in 0..9 {
                assert_eq!(wire.text().await, "COLUMNS\tkey\tvalue\nEND\trows=0\n");
            }
        }
    });
}
