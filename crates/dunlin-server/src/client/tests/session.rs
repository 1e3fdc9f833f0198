//! What statements answer, byte for byte.

use super::{TestNode, run};
use crate::client::{ClientSettings, Readiness, Session};
use dunlin_cql::Reply;
use dunlin_types::ErrorCode;
use std::sync::Arc;
use std::time::Duration;

struct Shell {
    session: Session,
}

impl Shell {
    fn new(node: &TestNode) -> Shell {
        Shell { session: Session::new(Arc::clone(&node.services)) }
    }

    async fn reply(&mut self, statement: &str) -> Reply {
        self.session.execute(statement).await
    }

    async fn text(&mut self, statement: &str) -> String {
        String::from_utf8(self.reply(statement).await.to_bytes()).unwrap()
    }

    async fn check(&mut self, statement: &str, expected: &str) {
        assert_eq!(self.text(statement).await, expected.replace('·', "\t"), "{statement}");
    }

    async fn context(&mut self, statement: &str) -> String {
        let reply = self.reply(statement).await;
        reply.field("context").unwrap_or_else(|| panic!("{statement}: {reply:?}")).to_owned()
    }
}

#[test]
fn the_examples_of_the_protocol_page() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        let written = shell.text("INSERT INTO kv (key, value) VALUES ('alice', '3 apples');").await;
        assert!(written.starts_with("OK\tcontext=A") && written.ends_with('\n'), "{written}");
        shell
            .check(
                "SELECT * FROM kv WHERE key = 'alice';",
                "COLUMNS·key·value\nROW·alice·3 apples\nEND·rows=1\n",
            )
            .await;
        shell.check("SELECT * FROM kv WHERE key = 'bob';", "COLUMNS·key·value\nEND·rows=0\n").await;
        shell.check("SELEC 1;", "ERROR·SYNTAX·expected a statement, found SELEC·line=1·column=1\n").await;
        shell
            .check(
                "CREATE TABLE users (id uuid PRIMARY KEY, name text, age bigint);",
                "ERROR·INVALID·a table has exactly one key column and one value column\n",
            )
            .await;
    });
}

#[test]
fn siblings_and_contexts() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        let absent = shell.context("SELECT value, CONTEXT(value) FROM kv WHERE key = 'k'").await;
        let insert = |value: &str, context: &str| {
            format!("INSERT INTO kv (key, value) VALUES ('k', '{value}') USING CONTEXT '{context}'")
        };
        let first = shell.context(&insert("a", &absent)).await;
        // Conditional on absence too: it becomes a sibling.
        shell.context(&insert("b", &absent)).await;
        let reply = shell.reply("SELECT value, CONTEXT(value) FROM kv WHERE key = 'k'").await;
        let dunlin_cql::Body::Rows { columns, rows, .. } = reply.body else { panic!() };
        assert_eq!(columns, ["value", "context(value)"]);
        let values: Vec<_> = rows.iter().map(|row| row[0].as_str().unwrap()).collect();
        assert_eq!(values, ["a", "b"]);
        assert_eq!(rows[0][1], rows[1][1]);
        let both = rows[0][1].as_str().unwrap().to_owned();
        // A write's own context covers what it had seen and itself, and not the sibling.
        shell.context(&insert("c", &first)).await;
        shell.check("SELECT COUNT(*) FROM kv WHERE key = 'k'", "COLUMNS·count\nROW·2\nEND·rows=1\n").await;
        let after = shell.context(&format!("DELETE FROM kv USING CONTEXT '{both}' WHERE key = 'k'")).await;
        shell.check("SELECT value FROM kv WHERE key = 'k'", "COLUMNS·value\nROW·c\nEND·rows=1\n").await;
        let statement = format!("SELECT value FROM kv WHERE key = 'k' USING AFTER '{after}'");
        shell.check(&statement, "COLUMNS·value\nROW·c\nEND·rows=1\n").await;
        let other = format!("INSERT INTO kv (key, value) VALUES ('other', 'x') USING CONTEXT '{both}'");
        let refused = "ERROR·BAD_CONTEXT·the context token does not belong to this key·applied=no\n";
        shell.check(&other, refused).await;
        let damaged = "ERROR·BAD_CONTEXT·the context token is damaged·applied=no\n";
        shell.check(&insert("x", "nonsense!"), damaged).await;
    });
}

#[test]
fn items_ttl_and_types() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        shell.check("INSERT INTO lww (k, v) VALUES (-5, 1.5) USING TIMESTAMP 1000000", "OK\n").await;
        shell
            .check(
                "SELECT k, v, WRITETIME(v), TTL(v) FROM lww WHERE k = -5",
                "COLUMNS·k·v·writetime(v)·ttl(v)\nROW·-5·1.5·1970-01-01T00:00:01.000000Z·\\N\nEND·rows=1\n",
            )
            .await;
        shell.reply("INSERT INTO kv (key, value) VALUES ('t', 'a\tb\\') USING TTL 10").await;
        shell
            .check(
                "SELECT value, TTL(value) FROM kv WHERE key = 't'",
                "COLUMNS·value·ttl(value)\nROW·a\\tb\\\\·10\nEND·rows=1\n",
            )
            .await;
        node.pass_time(Duration::from_secs(11));
        shell.check("SELECT value FROM kv WHERE key = 't'", "COLUMNS·value\nEND·rows=0\n").await;
        let reply = shell.reply("SELECT TOKEN(key) FROM kv WHERE key = 'zz'").await;
        assert_eq!(reply.field("context"), None);
        let ahead = "INSERT INTO lww (k, v) VALUES (1, 1) USING TIMESTAMP 9000000000000000";
        assert!(shell.text(ahead).await.starts_with("ERROR\tINVALID\t"));
    });
}

#[test]
fn scans_go_on_page_by_page() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        for i in 0..25 {
            shell.reply(&format!("INSERT INTO lww (k, v) VALUES ({i}, {i}.5)")).await;
        }
        for i in [3, 4] {
            shell.reply(&format!("DELETE FROM lww WHERE k = {i}")).await;
        }
        shell.check("SELECT COUNT(*) FROM lww", "COLUMNS·count\nROW·23\nEND·rows=1\n").await;
        shell.check("PAGING 10", "OK\n").await;
        let pages = |statement: &'static str| {
            let node = &node;
            async move {
                let mut shell = Shell::new(node);
                shell.reply("PAGING 10").await;
                let (mut sizes, mut keys, mut page) = (Vec::new(), Vec::new(), None::<String>);
                loop {
                    let using = page.map_or(String::new(), |page| format!(" USING PAGE '{page}'"));
                    let reply = shell.reply(&format!("{statement}{using}")).await;
                    page = reply.field("page").map(str::to_owned);
                    let dunlin_cql::Body::Rows { rows, .. } = reply.body else { panic!("{reply:?}") };
                    sizes.push(rows.len());
                    keys.extend(rows.iter().map(|row| row[0].as_str().unwrap().parse::<u64>().unwrap()));
                    if page.is_none() {
                        return (sizes, keys);
                    }
                }
            }
        };
        let (sizes, mut keys) = pages("SELECT k FROM lww").await;
        assert_eq!(sizes, [10, 10, 3]);
        keys.sort_unstable();
        let expected: Vec<u64> = (0..25).filter(|k| *k != 3 && *k != 4).collect();
        assert_eq!(keys, expected);
        assert_eq!(pages("SELECT k FROM lww LIMIT 12").await.0, [10, 2]);
        assert_eq!(pages("SELECT k FROM lww LIMIT 10").await.0, [10]);
        let (_, tokens) = pages("SELECT TOKEN(k) FROM lww").await;
        assert!(tokens.is_sorted());
        let half = "SELECT TOKEN(k) FROM lww WHERE TOKEN(k) <= 9223372036854775807";
        let (_, lower) = pages(half).await;
        assert_eq!(lower, tokens.iter().copied().filter(|t| *t < 1 << 63).collect::<Vec<_>>());
        let first = shell.reply("SELECT k FROM lww").await;
        let page = first.field("page").unwrap().to_owned();
        let next = shell.reply(&format!("SELECT k FROM lww LIMIT 3 USING PAGE '{page}'")).await;
        assert_eq!(next.field("page"), None);
        let dunlin_cql::Body::Rows { rows, .. } = next.body else { panic!("{next:?}") };
        assert_eq!(rows.len(), 3, "a LIMIT said with a page holds");
        shell.check("PAGING OFF", "OK\n").await;
        let all = shell.reply("SELECT * FROM lww").await;
        assert!(all.field("page").is_none());
        let bad = "ERROR·INVALID·the page token is damaged or of another statement·applied=no\n";
        shell.check("SELECT * FROM lww USING PAGE 'AAAA'", bad).await;
        shell.check("SELECT k FROM lww WHERE TOKEN(k) < 0", "COLUMNS·k\nEND·rows=0\n").await;
        shell
            .check("SELECT k FROM lww WHERE k IN (7, 3, 5, 7)", "COLUMNS·k\nROW·7\nROW·5\nEND·rows=2\n")
            .await;
        shell.check("SELECT k FROM lww WHERE k IN (7, 3, 5) LIMIT 1", "COLUMNS·k\nROW·7\nEND·rows=1\n").await;
    });
}

#[test]
fn batches() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        let batch = "BEGIN BATCH INSERT INTO kv (key, value) VALUES ('a', '1'); INSERT INTO lww (k, v) VALUES (1, 1); \
                     UPDATE kv SET value = '2' WHERE key = 'a'; APPLY BATCH;";
        shell.check(batch, "OK·applied=3\n").await;
        shell.check("SELECT value FROM kv WHERE key = 'a'", "COLUMNS·value\nROW·2\nEND·rows=1\n").await;
        let reply = shell
            .reply(
                "BEGIN BATCH INSERT INTO kv (key, value) VALUES ('b', '1'); DELETE FROM kv USING CONTEXT 'x' WHERE key = 'c'; \
                 APPLY BATCH",
            )
            .await;
        assert_eq!(reply.field("batch_applied"), Some("1"));
        assert_eq!(reply.field("batch_failed"), Some("2"));
        assert_eq!(reply.field("applied"), Some("maybe"));
        shell.check("BEGIN BATCH APPLY BATCH", "OK·applied=0\n").await;
    });
}

#[test]
fn session_statements() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        shell.check("CONSISTENCY", "OK·consistency=QUORUM\n").await;
        shell.check("consistency one;", "OK\n").await;
        shell.check("CONSISTENCY", "OK·consistency=ONE\n").await;
        shell
            .check(
                "SHOW SESSION",
                "OK·keyspace=dunlin·consistency=ONE·paging=1000·tracing=OFF·user=·node=n1\n",
            )
            .await;
        shell.check("LOGIN 'ann' 'wrong'", "ERROR·UNAUTHENTICATED·wrong user or password\n").await;
        shell.check("LOGIN 'ann' 'secret'", "OK\n").await;
        shell.check("LOGIN 'bob' 'x'", "WARNING·this server asks nobody to log in\nOK\n").await;
        shell.check("PAGING;", "OK·paging=1000\n").await;
        shell.check("PAGING OFF", "OK\n").await;
        shell.check("PAGING", "OK·paging=OFF\n").await;
        shell.check("TRACING", "OK·tracing=OFF\n").await;
        shell.check("TRACING ON", "OK\n").await;
        assert!(shell.text("TRACING").await.ends_with("OK\ttracing=ON\n"));
        let traced = shell.text("SELECT * FROM kv WHERE key = 'a'").await;
        assert!(traced.contains("\nTRACE\t") && traced.contains("\tn1\tread at ONE\n"), "{traced}");
        assert!(traced.ends_with("\nEND\trows=0\n"), "{traced}");
        shell.reply("TRACING OFF").await;
        assert!(shell.text("HELP").await.starts_with("COLUMNS\thelp\nROW\tDunlin keeps"));
        assert!(shell.text("SHOW VERSION").await.starts_with("OK\tversion="));
        assert!(!shell.session.is_ended());
        shell.check("QUIT", "OK\n").await;
        assert!(shell.session.is_ended());
    });
}

#[test]
fn schema_and_its_description() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        let text = shell.reply("DESCRIBE SCHEMA").await;
        let dunlin_cql::Body::Rows { rows, .. } = text.body else { panic!() };
        assert_eq!(rows.len(), 5);
        // On a cluster that has them all but the last, and on one that has nothing.
        shell.check("DROP TABLE lww", "OK\n").await;
        for row in &rows {
            shell.check(row[0].as_str().unwrap(), "OK\n").await;
        }
        shell.check("DROP KEYSPACE dunlin", "OK\n").await;
        for row in &rows {
            shell.check(row[0].as_str().unwrap(), "OK\n").await;
        }
        let again = shell.reply("DESCRIBE SCHEMA").await;
        let dunlin_cql::Body::Rows { rows: again, .. } = again.body else { panic!() };
        assert_eq!(again, rows);
        shell
            .check("DESCRIBE TABLES", "COLUMNS·keyspace·table\nROW·dunlin·kv\nROW·dunlin·lww\nEND·rows=2\n")
            .await;
        shell.reply("INSERT INTO kv (key, value) VALUES ('a', 'b')").await;
        shell.check("TRUNCATE kv", "OK\n").await;
        shell.check("SELECT COUNT(*) FROM kv", "COLUMNS·count\nROW·0\nEND·rows=1\n").await;
        shell
            .check(
                "CREATE TABLE kv (k text PRIMARY KEY, v text)",
                "ERROR·ALREADY_EXISTS·table kv is there already in keyspace dunlin\n",
            )
            .await;
        shell.check("CREATE TABLE IF NOT EXISTS kv (k text PRIMARY KEY, v text)", "OK\n").await;
        shell.check("USE system", "OK\n").await;
        let local = shell.reply("SELECT name, cluster_name, status, generation FROM local").await;
        assert_eq!(
            String::from_utf8(local.to_bytes()).unwrap(),
            "COLUMNS\tname\tcluster_name\tstatus\tgeneration\nROW\tn1\ttest\tnormal\t7\nEND\trows=1\n"
        );
        shell.check("SELECT COUNT(*) FROM peers", "COLUMNS·count\nROW·0\nEND·rows=1\n").await;
        let tables = "COLUMNS·table_name\nROW·lww\nEND·rows=1\n";
        shell.check("SELECT table_name FROM tables WHERE conflicts = 'last_write_wins'", tables).await;
        let cluster = shell.text("DESCRIBE CLUSTER").await;
        assert!(cluster.contains("ROW\tnode\tn1 127.0.0.1:9041 dc1/r1 up\n"), "{cluster}");
        let explained = shell.text("EXPLAIN SELECT * FROM dunlin.kv WHERE key = 'a'").await;
        assert!(
            explained.contains("ROW\treplica\tn1\tup; owner of the vnode; dc1/r1; layout 1\n"),
            "{explained}"
        );
        assert!(
            explained.contains("ROW\tconsistency\tQUORUM\tneeds 1, 1 are up: can be served\n"),
            "{explained}"
        );
    });
}

#[test]
fn a_node_that_is_not_ready_says_so() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        node.set_readiness(Readiness::Starting);
        let starting = "ERROR·NOT_READY·this node is starting and not part of a cluster yet·applied=no·retry_after_ms=500\n";
        shell.check("SELECT * FROM kv", starting).await;
        shell.check("SELECT * FROM not_yet_known", starting).await;
        shell.check("CONSISTENCY", "OK·consistency=QUORUM\n").await;
        node.set_readiness(Readiness::Draining);
        let draining = "ERROR·NOT_READY·this node is stopping; ask another·applied=no·retry_after_ms=0\n";
        shell.check("DELETE FROM kv WHERE key = 'a'", draining).await;
    });
}

#[test]
fn too_many_siblings_carry_the_context_that_resolves_them() {
    run(async {
        let node = TestNode::start().await;
        let mut shell = Shell::new(&node);
        let absent = shell.context("SELECT CONTEXT(value) FROM kv WHERE key = 'k'").await;
        let mut n = 0;
        let error = loop {
            let statement =
                format!("INSERT INTO kv (key, value) VALUES ('k', '{n}') USING CONTEXT '{absent}'");
            let reply = shell.reply(&statement).await;
            if reply.code().is_some() {
                break reply;
            }
            n += 1;
        };
        assert_eq!(n, dunlin_types::limits::SIBLINGS_MAX);
        assert_eq!(error.code(), Some(ErrorCode::TooManySiblings));
        let all = error.field("context").unwrap();
        shell
            .context(&format!("INSERT INTO kv (key, value) VALUES ('k', 'one') USING CONTEXT '{all}'"))
            .await;
        shell.check("SELECT value FROM kv WHERE key = 'k'", "COLUMNS·value\nROW·one\nEND·rows=1\n").await;
    });
}

#[test]
fn long_statements_find_room_or_are_refused() {
    run(async {
        let settings = ClientSettings { work_bytes: 40 << 10, ..ClientSettings::default() };
        let node = TestNode::with(settings).await;
        let mut session = Session::new(Arc::clone(&node.services));
        let insert = format!("INSERT INTO kv (key, value) VALUES ('a', '{}')", "x".repeat(30 << 10));
        let first = session.prepare(&insert).unwrap_or_else(|reply| panic!("{reply:?}"));
        let refused = session.prepare(&insert).err().expect("there is no room for two");
        assert_eq!(refused.code(), Some(ErrorCode::Overloaded));
        assert!(session.prepare("SELECT * FROM kv WHERE key = 'a'").is_ok(), "short ones need none");
        assert_eq!(session.run(first).await.code(), None);
        assert_eq!(session.execute(&insert).await.code(), None, "the room is free again");
    });
}

#[test]
fn a_read_of_many_keys_is_bounded() {
    run(async {
        let settings = ClientSettings { unpaged_bytes: 1000, ..ClientSettings::default() };
        let node = TestNode::with(settings).await;
        let mut session = Session::new(Arc::clone(&node.services));
        for key in ["a", "b"] {
            let insert = format!("INSERT INTO kv (key, value) VALUES ('{key}', '{}')", "x".repeat(600));
            assert_eq!(session.execute(&insert).await.code(), None);
        }
        assert_eq!(session.execute("SELECT * FROM kv WHERE key IN ('a', 'c')").await.code(), None);
        let refused = session.execute("SELECT * FROM kv WHERE key IN ('a', 'b')").await;
        assert_eq!(refused.code(), Some(ErrorCode::TooLarge));
    });
}
