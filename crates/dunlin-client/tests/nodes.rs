//! Which nodes are asked, and on how many connections.

// The client is an edge: its tests need real sockets and tasks.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod node;

use dunlin_client::{Client, ClientError};
use node::{Seen, always, echo, nobody, node, t};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const ROWS: &str = "COLUMNS\tvalue\tcontext\nROW\tv\tAQEB\nEND\trows=1\n";

async fn three() -> (Vec<String>, Vec<Seen>) {
    let (mut addrs, mut all) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (addr, seen) = always(Some(ROWS)).await;
        addrs.push(addr);
        all.push(seen);
    }
    (addrs, all)
}

#[tokio::test]
async fn one_call_after_another_goes_to_all_nodes_alike() {
    let (addrs, all) = three().await;
    let client = Client::builder().nodes(addrs).build().unwrap();
    for _ in 0..90 {
        client.get(&t(), "k").await.unwrap();
    }
    for seen in all {
        assert!((25..=35).contains(&seen.count()), "{}", seen.count());
    }
}

#[tokio::test]
async fn a_node_with_much_in_flight_is_given_less() {
    let (slow, seen_by_slow) = echo(Arc::new(Semaphore::new(0))).await;
    let (good, seen_by_good) = always(Some(ROWS)).await;
    let client = Client::builder().nodes([slow, good]).build().unwrap();
    client.get(&t(), "k").await.unwrap();
    let before = (seen_by_slow.count(), seen_by_good.count());
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get(&t(), "slow").await })
        })
        .collect();
    while (seen_by_slow.count() - before.0) + (seen_by_good.count() - before.1) < 6 {
        tokio::task::yield_now().await;
    }
    let before = seen_by_slow.count();
    for _ in 0..50 {
        client.get(&t(), "k").await.unwrap();
    }
    assert!(seen_by_slow.count() <= before + 1, "{} more", seen_by_slow.count() - before);
    waiting.into_iter().for_each(|call| call.abort());
}

#[tokio::test]
async fn a_node_that_failed_is_left_alone_for_a_while() {
    let tries = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bad = listener.local_addr().unwrap().to_string();
    let count = tries.clone();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (good, _) = always(Some(ROWS)).await;
    let client = Client::builder().nodes([bad, good]).build().unwrap();
    for _ in 0..100 {
        client.get(&t(), "k").await.unwrap();
    }
    // The client asks twice what is there: in plain text, and whether it speaks TLS.
    assert!(tries.load(Ordering::Relaxed) <= 4, "{tries:?}");
}

#[tokio::test]
async fn nodes_that_others_know_are_used() {
    let (second, seen) = always(Some(ROWS)).await;
    let away = nobody().await;
    let peers = format!(
        "COLUMNS\tname\tclient_address\tis_up\nROW\tn2\t{second}\ttrue\nROW\tn3\t{away}\tfalse\n\
         ROW\tn4\t0.0.0.0:9041\ttrue\nROW\tn5\tnonsense\ttrue\nROW\tn6\t\\N\ttrue\nEND\trows=5\n"
    );
    let (first, _) = node::with_peers(peers, |_| Box::pin(std::future::ready(Some(ROWS.to_owned())))).await;
    let client = Client::builder().nodes([first.clone()]).build().unwrap();
    for _ in 0..10 {
        client.get(&t(), "k").await.unwrap();
    }
    assert_eq!(client.nodes(), [first.clone(), second]);
    assert!(seen.count() >= 4, "{}", seen.count());
    let client = Client::builder().nodes([first.clone()]).discovery(false).build().unwrap();
    client.get(&t(), "k").await.unwrap();
    assert_eq!(client.nodes(), [first]);
}

/// Named `localhost` here and by its address there.
#[tokio::test]
async fn a_node_of_two_names_is_one() {
    let (second, _) = always(Some(ROWS)).await;
    let peers = format!("COLUMNS\tclient_address\nROW\t{second}\nEND\trows=1\n");
    let (first, _) = node::with_peers(peers, |_| Box::pin(std::future::ready(Some(ROWS.to_owned())))).await;
    let by_name = second.replace("127.0.0.1", "localhost");
    let client = Client::builder().nodes([first.clone(), by_name.clone()]).build().unwrap();
    for _ in 0..10 {
        client.get(&t(), "k").await.unwrap();
    }
    assert_eq!(client.nodes(), [first, by_name]);
}

/// A node that answers nothing before it has so many statements on one connection.
async fn gatherer(at_once: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let (mut line, mut held) = (String::new(), Vec::new());
                while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                    let statement = std::mem::take(&mut line);
                    if let Some(reply) = node::of_the_client(statement.trim()) {
                        stream.write_all(reply.as_bytes()).await.unwrap();
                        continue;
                    }
                    held.push(statement.split('\'').nth(1).unwrap().to_owned());
                    if held.len() == at_once {
                        for key in held.drain(..) {
                            let reply = format!("COLUMNS\tvalue\tcontext\nROW\t{key}\tx\nEND\trows=1\n");
                            stream.write_all(reply.as_bytes()).await.unwrap();
                        }
                    }
                }
            });
        }
    });
    (addr, connections)
}

#[tokio::test]
async fn many_calls_are_in_flight_on_few_connections() {
    let (addr, connections) = gatherer(100).await;
    let client = Client::builder().nodes([addr]).connections_per_node(1).build().unwrap();
    let table = t();
    client.columns(&table).await.unwrap();
    let found = client.multi_get(&table, (0..100).map(|i| format!("k{i}"))).await;
    for (i, found) in found.into_iter().enumerate() {
        assert_eq!(found.unwrap().values, [format!("k{i}").as_str()]);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_and_who_finds_no_room_is_told() {
    let (addr, _) = gatherer(3).await;
    let limit = Duration::from_millis(300);
    let builder = Client::builder().nodes([addr]).connections_per_node(1).in_flight_max(2);
    let client = builder.timeout(limit).build().unwrap();
    let table = t();
    client.columns(&table).await.unwrap();
    let (mut unanswered, mut busy) = (0, 0);
    for found in client.multi_get(&table, (0..6).map(|i| format!("k{i}"))).await {
        match found.unwrap_err() {
            ClientError::Unanswered { .. } => unanswered += 1,
            ClientError::Busy { .. } => busy += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((unanswered, busy), (2, 4));
}

#[tokio::test]
async fn a_connection_whose_oldest_statement_is_overdue_is_given_up() {
    let gate = Arc::new(Semaphore::new(0));
    let (addr, _) = echo(gate).await;
    let limit = Duration::from_millis(300);
    let client = Client::builder().nodes([addr]).connections_per_node(1).timeout(limit).build().unwrap();
    client.get(&t(), "fast").await.unwrap();
    let began = Instant::now();
    // Both are sent, and nobody waits for the first any more.
    let table = t();
    let slow = client.get(&table, "slow").timeout(Duration::from_millis(10));
    slow.await.unwrap_err();
    let behind = client.get(&table, "fast").timeout(Duration::from_secs(20)).await.unwrap();
    assert_eq!(behind.values, ["fast"]);
    assert!(began.elapsed() >= limit && began.elapsed() < limit * 10, "{:?}", began.elapsed());
}

/// Sent and not answered is something else than never sent, also when the runtime that carried it is gone.
#[test]
fn a_write_that_was_on_its_way_when_its_runtime_ended_may_have_been_applied() {
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (addr, seen) = other.block_on(node(|_| Box::pin(std::future::pending())));
    let mine = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let nodes = std::thread::Builder::new().spawn(move || {
        other.block_on(async { tokio::time::sleep(Duration::from_millis(1500)).await });
    });
    let client = Client::builder().nodes([addr]).identified_writes(false).build().unwrap();
    mine.block_on(client.columns(&t())).unwrap();
    let third = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = third.block_on(async {
        let table = t();
        let put = client.put(&table, "k", "v").into_future();
        let ended = async {
            while seen.count() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            mine.shutdown_background();
        };
        tokio::join!(put, ended).0
    });
    let error = outcome.unwrap_err();
    assert!(error.maybe_applied(), "{error}");
    assert_eq!(seen.count(), 1);
    nodes.unwrap().join().unwrap();
}
