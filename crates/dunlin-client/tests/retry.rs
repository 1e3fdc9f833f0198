//! What the client repeats and what it never repeats, against nodes that follow a script.

// The client is an edge: its tests need real sockets and tasks.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod node;

use dunlin_client::{Builder, Client, ClientError};
use node::{always, nobody, node, t};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const OK: Option<&str> = Some("OK\tcontext=AQEB\n");
const ROWS: Option<&str> = Some("COLUMNS\tvalue\tcontext\nROW\tv\tAQEB\nEND\trows=1\n");

/// The table's columns are asked of the first node, and then it is the second one's turn.
fn client(nodes: [String; 2]) -> Client {
    builder(nodes).build().unwrap()
}

fn builder(nodes: [String; 2]) -> Builder {
    Client::builder().nodes(nodes)
}

#[tokio::test]
async fn a_node_that_is_not_there_is_passed_over() {
    let (good, statements) = always(OK).await;
    let client = client([nobody().await, good]);
    for _ in 0..5 {
        client.put(&t(), "k", "v").await.unwrap();
    }
    assert_eq!(statements.count(), 5);
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
        let (bad, seen_by_bad) = always(reply).await;
        let (good, seen_by_good) = always(OK).await;
        let client = builder([good, bad]).identified_writes(false).build().unwrap();
        let outcome = client.put(&t(), "k", "v").await;
        assert_eq!(outcome.is_ok(), repeated, "{reply:?}: {outcome:?}");
        assert_eq!((seen_by_bad.count(), seen_by_good.count()), (1, usize::from(repeated)), "{reply:?}");
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
        let (bad, seen_by_bad) = always(reply).await;
        let (good, seen_by_good) = always(OK).await;
        let outcome = client([good, bad]).put(&t(), "k", "v").await;
        assert_eq!(outcome.is_ok(), repeated, "{reply:?}: {outcome:?}");
        let (bad, good) = (seen_by_bad.all(), seen_by_good.all());
        assert!(bad[0].contains("USING REQUEST"), "{bad:?}");
        assert_eq!((bad.len(), good.len()), (1, usize::from(repeated)), "{reply:?}");
        assert!(good.iter().all(|again| *again == bad[0]), "{good:?} is not {bad:?}");
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (bad, seen) = always(Some("ERROR\tWRITE_TIMEOUT\tlate\tapplied=maybe\n")).await;
    let client = Client::builder().nodes([bad]).build().unwrap();
    let failed = client.put(&t(), "k", "v").await.unwrap_err();
    assert!(failed.maybe_applied());
    assert_eq!(seen.count(), 3);
}

#[tokio::test]
async fn a_read_goes_elsewhere_when_a_connection_breaks() {
    let (bad, _) = always(None).await;
    let (good, _) = always(ROWS).await;
    let found = client([good, bad.clone()]).get(&t(), "k").await.unwrap();
    assert_eq!(found.values, ["v"]);
    assert_eq!(found.context.unwrap().as_str(), "AQEB");
    let lost = Client::builder().nodes([bad]).build().unwrap().get(&t(), "k").await.unwrap_err();
    assert!(matches!(lost, ClientError::Unanswered { changes: false, .. }), "{lost}");
    assert!(!lost.maybe_applied() && !lost.to_string().contains("applied"), "{lost}");
}

#[tokio::test]
async fn a_later_refusal_does_not_hide_that_a_write_may_have_been_applied() {
    let refusals = [
        Some("ERROR\tUNAVAILABLE\tfew\tapplied=no\n"),
        Some("ERROR\tOVERLOADED\tbusy\tapplied=no\tretry_after_ms=1\n"),
        Some("ERROR\tUNAUTHORIZED\tno\n"),
    ];
    for refusal in refusals {
        let (bad, _) = always(None).await;
        let (refusing, _) = always(refusal).await;
        let failed = client([refusing, bad]).put(&t(), "k", "v").await.unwrap_err();
        assert!(failed.maybe_applied(), "{refusal:?}: {failed}");
        assert!(failed.to_string().contains("may have been applied"), "{failed}");
    }
}

/// However many attempts, and however many nodes say nothing.
#[tokio::test]
async fn the_time_limit_is_the_longest_wait_of_all_attempts_together() {
    let silent = || node(|_| Box::pin(std::future::pending()));
    let ((one, _), (two, _)) = (silent().await, silent().await);
    let limit = Duration::from_millis(400);
    for nodes in [vec![one.clone()], vec![one, two]] {
        let client = Client::builder().nodes(nodes).timeout(limit).build().unwrap();
        for call in 0..3 {
            let began = Instant::now();
            let error = match call {
                0 => client.get(&t(), "k").await.unwrap_err(),
                1 => client.put(&t(), "k", "v").await.unwrap_err(),
                _ => client.scan(&t()).rows().next().await.unwrap().unwrap_err(),
            };
            assert!(began.elapsed() < limit * 2, "{:?}: {error}", began.elapsed());
            assert_eq!(error.maybe_applied(), call == 1, "{error}");
            assert!(error.to_string().contains("in time"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_node_that_says_nothing_does_not_use_up_the_time_of_the_others() {
    let (silent, _) = node(|_| Box::pin(std::future::pending())).await;
    let (good, _) = always(ROWS).await;
    let client = builder([good, silent]).timeout(Duration::from_secs(2)).build().unwrap();
    client.get(&t(), "k").await.unwrap();
    // From now on it is left alone.
    let began = Instant::now();
    for _ in 0..20 {
        client.get(&t(), "k").await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
}

/// A node closed the connection while it lay idle: nothing was sent on it, so even a write goes through.
#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let client = Client::builder().nodes([addr]).identified_writes(false).build().unwrap();
    let (closed, was_closed) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let peers: &[u8] = b"COLUMNS\tclient_address\nEND\trows=0\n";
        let tables: &[u8] =
            b"COLUMNS\tkeyspace_name\ttable_name\tkey_column\tkey_type\tvalue_column\tvalue_type\n\
            ROW\tdunlin\tt\tkey\ttext\tvalue\ttext\nEND\trows=1\n";
        let mut closed = Some(closed);
        for replies in [vec![peers, tables, b"OK\n"], vec![peers, b"OK\n"]] {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            for reply in replies {
                stream.read_line(&mut String::new()).await.unwrap();
                stream.write_all(reply).await.unwrap();
            }
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
