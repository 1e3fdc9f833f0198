//! Calls per second between two transports over loopback, each on a thread of its own:
//! `cargo run --release -p dunlin-transport --example throughput [IN_FLIGHT [BYTES]]`.

// A measurement: it needs the real clock, threads and files.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use bytes::Bytes;
use dunlin_transport::{Handler, Incoming, Lane, QuicOptions, QuicTransport, TlsIdentity, Transport, certs};
use dunlin_types::runtime::BoxFuture;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Answer(Bytes);

impl Handler for Answer {
    fn handle(self: Arc<Self>, _: Incoming) -> BoxFuture<'static, Bytes> {
        Box::pin(std::future::ready(self.0.clone()))
    }
}

fn bind(dir: &Path, name: &str) -> QuicTransport {
    let files = certs::issue(dir, name, &[]).unwrap();
    let tls = TlsIdentity::from_files(&files.ca, &files.cert, &files.key).unwrap();
    QuicTransport::bind(QuicOptions { listen: "127.0.0.1:0".parse().unwrap(), advertise: None, tls }).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let (in_flight, bytes) = (arguments.next().unwrap_or(64), arguments.next().unwrap_or(150));
    let dir = tempfile::tempdir().unwrap();
    certs::init_ca(dir.path()).unwrap();
    let (sender, address) = std::sync::mpsc::channel();
    let server_dir = dir.path().to_owned();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let server = bind(&server_dir, "server");
            server.listen(Arc::new(Answer(Bytes::from(vec![1; 50]))));
            sender.send(server.local_addr()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let to = address.recv().unwrap();
    runtime().block_on(async {
        let client = Arc::new(bind(dir.path(), "client"));
        let body = Bytes::from(vec![7; bytes]);
        client.call(to, Lane::Request, body.clone(), Duration::from_secs(5)).await.unwrap();
        let (before, packets) = (client.stats(), client.peers()[0].packets_sent);
        let start = Instant::now();
        let until = start + Duration::from_secs(3);
        let callers = (0..in_flight).map(|_| {
            let (client, body) = (client.clone(), body.clone());
            tokio::spawn(async move {
                let mut calls = 0u64;
                while Instant::now() < until {
                    client.call(to, Lane::Request, body.clone(), Duration::from_secs(5)).await.unwrap();
                    calls += 1;
                }
                calls
            })
        });
        let calls: u64 = futures::future::join_all(callers).await.into_iter().map(Result::unwrap).sum();
        let seconds = start.elapsed().as_secs_f64();
        let after = client.stats();
        println!(
            "{in_flight} in flight, {bytes} bytes: {:.0} calls/s, {:.1} frames a write, {:.3} packets a call",
            calls as f64 / seconds,
            (after.frames - before.frames) as f64 / (after.writes - before.writes) as f64,
            (client.peers()[0].packets_sent - packets) as f64 / calls as f64,
        );
    });
}
