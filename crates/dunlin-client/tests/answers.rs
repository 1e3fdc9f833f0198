//! Nobody is given another's answer, whatever is done with a client.

// The client is an edge: its tests need real sockets and tasks.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod node;

use dunlin_client::{Client, ClientError};
use node::{echo, t};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

fn client(addr: &str, timeout: Duration) -> Client {
    Client::builder().nodes([addr]).timeout(timeout).build().unwrap()
}

/// Many callers at once: each has its own key's value and context.
async fn everybody_has_their_own(client: &Client) {
    let callers: Vec<_> = (0..50)
        .map(|i| {
            let client = client.clone();
            tokio::spawn(async move {
                let key = format!("key{i}");
                let found = client.get(&t(), &key).await.unwrap();
                assert_eq!(found.values, [key.as_str()]);
                let written = client.put(&t(), &key, "v").await.unwrap();
                assert_eq!(written.context.unwrap().as_str(), format!("ctx-{key}"));
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_text_that_is_not_one_statement_is_not_sent() {
    let (addr, seen) = echo(Arc::new(Semaphore::new(0))).await;
    let client = client(&addr, LONG);
    for text in [
        "SELECT value FROM t WHERE key = 'a'; SELECT value FROM t WHERE key = 'b'",
        "INSERT INTO t (key, value) VALUES ('a', 'b'); DELETE FROM t WHERE key = 'a'; SELECT * FROM t;",
        "",
        "-- nothing",
        ";",
        "/* nothing */",
        "SELECT value FROM t WHERE key = 'open",
        "SELECT value FROM t /* open",
        "SELECT \"value FROM t",
        "SELECT $$open",
        "BEGIN BATCH DELETE FROM t WHERE key = 'a';",
        "USE app",
        "consistency ONE;",
        "/* x */ PAGING 5",
        "TRACING ON",
        "LOGIN 'a' 'b'",
        "QUIT",
    ] {
        let refused = client.execute(text).await.unwrap_err();
        assert!(matches!(refused, ClientError::Statement(_)), "{text}: {refused}");
        assert!(!refused.maybe_applied(), "{text}");
    }
    assert_eq!(seen.all(), Vec::<String>::new());
    everybody_has_their_own(&client).await;
}

#[tokio::test]
async fn comments_do_not_swallow_what_comes_after() {
    let (addr, _) = echo(Arc::new(Semaphore::new(0))).await;
    let client = client(&addr, LONG);
    for text in [
        "SELECT value FROM t WHERE key = 'a' -- the last word",
        "SELECT value FROM t WHERE key = 'a' -- the last; word;",
        "SELECT value FROM t WHERE key = 'a'; // and no more",
        "/* one; */ SELECT value FROM t WHERE key = 'a'",
        "SELECT value FROM t WHERE key = 'a' /* 'b' */;",
    ] {
        let reply = client.execute(text).await.unwrap();
        assert_eq!(reply.rows[0][0].as_deref(), Some("a"), "{text}");
        everybody_has_their_own(&client).await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let gate = Arc::new(Semaphore::new(0));
    let (addr, _) = echo(gate.clone()).await;
    let patient = client(&addr, LONG);
    everybody_has_their_own(&patient).await;
    let client = client(&addr, Duration::from_millis(100));
    client.get(&t(), "fast").await.unwrap();
    for _ in 0..3 {
        let late = client.get(&t(), "slow").await.unwrap_err();
        assert!(late.to_string().contains("slow") || late.to_string().contains("no answer"), "{late}");
        gate.add_permits(100);
        assert_eq!(client.get(&t(), "fast").await.unwrap().values, ["fast"]);
        gate.forget_permits(100);
    }
    everybody_has_their_own(&patient).await;
}

#[tokio::test]
async fn an_answer_to_a_call_that_was_given_up_is_nobodys() {
    let gate = Arc::new(Semaphore::new(0));
    let (addr, seen) = echo(gate.clone()).await;
    let client = client(&addr, LONG);
    everybody_has_their_own(&client).await;
    for round in 0..20 {
        let before = seen.count();
        let slow = {
            let client = client.clone();
            tokio::spawn(async move {
                match round % 3 {
                    0 => drop(client.get(&t(), "slow").await),
                    1 => drop(client.put(&t(), "slow", "v").await),
                    _ => drop(client.execute("SELECT value FROM t WHERE key = 'slow'").await),
                }
            })
        };
        while seen.count() == before {
            tokio::task::yield_now().await;
        }
        slow.abort();
        assert!(slow.await.unwrap_err().is_cancelled());
        gate.add_permits(1);
        everybody_has_their_own(&client).await;
    }
}

/// Given up at any point on the way: before, while and after it is sent.
#[tokio::test]
async fn a_call_that_is_given_up_at_any_point_harms_nobody() {
    let (addr, _) = echo(Arc::new(Semaphore::new(0))).await;
    for polls in 0..30 {
        let client = client(&addr, LONG);
        for _ in 0..2 {
            let table = t();
            let mut call = Box::pin(async { client.get(&table, "given-up").await });
            for _ in 0..polls {
                let waker = std::task::Waker::noop();
                if call.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(call);
            everybody_has_their_own(&client).await;
        }
    }
}
