//! What the client repeats and what it never repeats, against nodes that follow a script.

// The client is an edge: its tests need real sockets and tasks.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use dunlin_client::{Client, ClientError, Connector, Options, TableName};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Statements that a node got.
type Seen = Arc<Mutex<Vec<String>>>;

const TABLES: &[u8] =
    b"COLUMNS\tkeyspace_name\ttable_name\tkey_column\tkey_type\tvalue_column\tvalue_type\tconflicts\n\
      ROW\tdunlin\tt\tkey\ttext\tvalue\ttext\tsiblings\nEND\trows=1\n";

fn t() -> TableName {
    "t".parse().unwrap()
}

/// A node that answers each statement with `reply`, or hangs up where that is `None`. Returns its address and
/// the statements it got.
async fn node(reply: Option<&'static str>) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let statements = Seen::default();
    let count = statements.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let count = count.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                    let statement = line.trim().to_owned();
                    line.clear();
                    if statement.contains("system.tables") {
                        stream.write_all(TABLES).await.unwrap();
                        continue;
                    }
                    count.lock().unwrap().push(statement);
                    let Some(reply) = reply else { return };
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (addr, statements)
}

/// An address that refuses connections.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

const OK: Option<&str> = Some("OK\tcontext=AQEB\n");
const ROWS: Option<&str> = Some("COLUMNS\tvalue\tcontext\nROW\tv\tAQEB\nEND\trows=1\n");

#[tokio::test]
async fn a_node_that_is_not_there_is_passed_over() {
    let (good, statements) = node(OK).await;
    let client = Client::new([nobody().await, good]);
    for _ in 0..5 {
        client.put(&t(), "k", "v").await.unwrap();
    }
    assert_eq!(statements.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_write_without_a_request_id_goes_elsewhere_only_when_it_was_not_applied() {
    for (reply, repeated) in [
        (Some("ERROR\tNOT_READY\tstarting\n"), true),
        (Some("ERROR\tOVERLOADED\tbusy\tapplied=no\tretry_after_ms=5\n"), true),
        (Some("ERROR\tWRITE_TIMEOUT\tlate\tapplied=maybe\n"), false),
        (Some("ERROR\tUNAVAILABLE\tfew\tapplied=no\n"), false),
        (Some("ERROR\tSYNTAX\tno\tline=1\tcolumn=1\n"), false),
        (None, false),
    ] {
        let (bad, seen_by_bad) = node(reply).await;
        let (good, seen_by_good) = node(OK).await;
        let options = Options { identified_writes: false, ..Options::default() };
        let outcome = Client::with_options(Connector::new(options.timeout), [bad, good], options)
            .put(&t(), "k", "v")
            .await;
        assert_eq!(outcome.is_ok(), repeated, "{reply:?}: {outcome:?}");
        let seen = (seen_by_bad.lock().unwrap().len(), seen_by_good.lock().unwrap().len());
        assert_eq!(seen, (1, usize::from(repeated)), "{reply:?}");
    }
}

#[tokio::test]
async fn a_write_with_a_request_id_is_repeated_under_it() {
    for (reply, repeated) in [
        (Some("ERROR\tOVERLOADED\tbusy\tapplied=no\tretry_after_ms=5\n"), true),
        (Some("ERROR\tWRITE_TIMEOUT\tlate\tapplied=maybe\n"), true),
        (Some("ERROR\tUNAVAILABLE\tfew\tapplied=no\n"), false),
        (Some("ERROR\tTOO_MANY_SIBLINGS\tfull\tapplied=no\n"), false),
        (None, true),
    ] {
        let (bad, seen_by_bad) = node(reply).await;
        let (good, seen_by_good) = node(OK).await;
        let outcome = Client::new([bad, good]).put(&t(), "k", "v").await;
        assert_eq!(outcome.is_ok(), repeated, "{reply:?}: {outcome:?}");
        let (bad, good) = (seen_by_bad.lock().unwrap().clone(), seen_by_good.lock().unwrap().clone());
        assert!(bad[0].contains("USING REQUEST"), "{bad:?}");
        assert_eq!((bad.len(), good.len()), (1, usize::from(repeated)), "{reply:?}");
        assert!(good.iter().all(|again| *again == bad[0]), "{good:?} is not {bad:?}");
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (bad, seen) = node(Some("ERROR\tWRITE_TIMEOUT\tlate\tapplied=maybe\n")).await;
    let failed = Client::new([bad]).put(&t(), "k", "v").await.unwrap_err();
    assert!(failed.maybe_applied());
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_read_goes_elsewhere_when_a_connection_breaks() {
    let (bad, _) = node(None).await;
    let (good, _) = node(ROWS).await;
    let found = Client::new([bad.clone(), good]).get(&t(), "k").await.unwrap();
    assert_eq!((&found.values[..], found.context.as_deref()), (&["v".to_owned()][..], Some("AQEB")));
    let lost = Client::new([bad]).get(&t(), "k").await.unwrap_err();
    assert!(matches!(lost, ClientError::Broken { .. }), "{lost}");
}

/// A node closed the pooled connection while it lay idle: nothing was sent on it, so even a write goes through.
#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new([listener.local_addr().unwrap().to_string()]);
    let (closed, was_closed) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let mut closed = Some(closed);
        let mut replies = vec![TABLES, b"OK\n"];
        for _ in 0..2 {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            for reply in std::mem::take(&mut replies) {
                stream.read_line(&mut String::new()).await.unwrap();
                stream.write_all(reply).await.unwrap();
            }
            replies = vec![b"OK\n"];
            drop(stream);
            if let Some(closed) = closed.take() {
                closed.send(()).unwrap();
            }
        }
    });
    client.put(&t(), "k", "1").await.unwrap();
    was_closed.await.unwrap();
    // Lets the runtime see the end of the stream.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    client.put(&t(), "k", "2").await.unwrap();
    server.await.unwrap();
}
