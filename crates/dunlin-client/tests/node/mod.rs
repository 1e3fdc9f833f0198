//! A node that follows a script.

// Not every test needs all of it.
#![allow(dead_code)]

use dunlin_client::TableName;
use dunlin_cql::Splitter;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a node answers to a statement; `None` hangs up.
pub type Answer = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// Statements that a node got, but for those that the client asks on its own account.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A node that knows the tables t (siblings) and lww of the keyspace dunlin, has no peers, and answers all else as
/// `answer` says: the statements of a connection one after another, as a node does.
pub async fn node(answer: impl Fn(String) -> Answer + Send + Sync + 'static) -> (String, Seen) {
    with_peers("COLUMNS\tclient_address\nEND\trows=0\n".to_owned(), answer).await
}

/// The same with that answer to the question for its peers.
pub async fn with_peers(
    peers: String,
    answer: impl Fn(String) -> Answer + Send + Sync + 'static,
) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (seen, answer) = (Seen::default(), Arc::new(answer));
    let noted = seen.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (noted, answer, peers) = (noted.clone(), answer.clone(), peers.clone());
            tokio::spawn(async move {
                let (mut splitter, mut text, mut bytes) = (Splitter::new(), Vec::new(), vec![0; 64 << 10]);
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    let mut rest = &bytes[..length];
                    while let Some(end) = splitter.feed(rest) {
                        text.extend_from_slice(&rest[..end]);
                        rest = &rest[end..];
                        let statement = String::from_utf8(std::mem::take(&mut text)).unwrap();
                        let statement = statement.trim().to_owned();
                        let reply = match of_the_client(&statement) {
                            Some(_) if statement.contains("system.peers") => peers.clone(),
                            Some(reply) => reply.to_owned(),
                            None => {
                                noted.0.lock().unwrap().push(statement.clone());
                                let Some(reply) = answer(statement).await else { return };
                                reply
                            }
                        };
                        if stream.write_all(reply.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    text.extend_from_slice(rest);
                }
            });
        }
    });
    (addr, seen)
}

/// A node that answers everything with the same, or hangs up where that is `None`.
pub async fn always(reply: Option<&'static str>) -> (String, Seen) {
    node(move |_| Box::pin(std::future::ready(reply.map(str::to_owned)))).await
}

/// A node whose every key has its own name for a value, and whose answers to statements on the key `slow` wait for the
/// permits of `gate`.
pub async fn echo(gate: Arc<tokio::sync::Semaphore>) -> (String, Seen) {
    node(move |statement| {
        let gate = gate.clone();
        Box::pin(async move {
            let key = statement.split('\'').nth(1).unwrap_or_default().to_owned();
            if key == "slow" {
                gate.acquire().await.unwrap().forget();
            }
            Some(if statement.contains("SELECT") {
                format!("COLUMNS\tvalue\tcontext\nROW\t{key}\tctx-{key}\nEND\trows=1\n")
            } else {
                format!("OK\tcontext=ctx-{key}\n")
            })
        })
    })
    .await
}

/// What is answered to a question of the client itself.
pub fn of_the_client(statement: &str) -> Option<&'static str> {
    if statement.contains("system.tables") {
        return Some(
            "COLUMNS\tkeyspace_name\ttable_name\tkey_column\tkey_type\tvalue_column\tvalue_type\tconflicts\n\
             ROW\tdunlin\tt\tkey\ttext\tvalue\ttext\tsiblings\n\
             ROW\tdunlin\tlww\tId\tbigint\tselect\tdouble\tlast_write_wins\nEND\trows=2\n",
        );
    }
    if statement.contains("system.peers") {
        return Some("COLUMNS\tclient_address\nEND\trows=0\n");
    }
    None
}

/// An address that refuses connections.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

pub fn t() -> TableName {
    "t".parse().unwrap()
}
